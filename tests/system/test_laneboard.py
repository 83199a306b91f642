"""The lane board: where there may be work, and from where to search."""

from __future__ import annotations

import pytest

from orbitd.system.laneboard import ENTRY_WORDS, MAX_BOARDED, LaneBoard


@pytest.fixture
def memory() -> bytearray:
    return bytearray(MAX_BOARDED * ENTRY_WORDS * 8)


@pytest.fixture
def janitor(memory: bytearray) -> LaneBoard:
    return LaneBoard(memoryview(memory))


@pytest.fixture
def child(memory: bytearray) -> LaneBoard:
    return LaneBoard(memoryview(memory))


def test_a_lane_is_worth_asking_until_it_was_seen_empty_and_again_once_it_rings(janitor: LaneBoard, child: LaneBoard) -> None:
    janitor.enter([7, 8])
    assert child.worth_asking([8, 7]) == {8: 0, 7: 0}
    child.see_empty(7, child.rung([7])[7])
    assert child.worth_asking([8, 7]) == {8: 0}
    janitor.ring(7)
    assert child.worth_asking([8, 7]) == {8: 0, 7: 0}


def test_a_ring_during_a_claim_that_finds_nothing_is_not_lost(janitor: LaneBoard, child: LaneBoard) -> None:
    janitor.enter([7])
    before = child.rung([7])[7]
    janitor.ring(7)
    child.see_empty(7, before)
    assert child.worth_asking([7]) == {7: 0}


def test_a_floor_that_was_lowered_during_a_claim_stays_low(janitor: LaneBoard, child: LaneBoard) -> None:
    janitor.enter([7])
    child.raise_floor(7, 0, 100)
    assert child.worth_asking([7]) == {7: 100}
    janitor.lower(7, 40)
    child.raise_floor(7, 100, 200)
    assert child.worth_asking([7]) == {7: 40}
    janitor.lower(7, 60)
    assert child.worth_asking([7]) == {7: 40}


def test_another_server_is_searched_in_full(janitor: LaneBoard, child: LaneBoard) -> None:
    janitor.enter([7])
    child.raise_floor(7, 0, 100)
    janitor.forget_floors()
    assert child.worth_asking([7]) == {7: 0}


def test_what_is_not_on_the_board_is_always_asked(janitor: LaneBoard, child: LaneBoard) -> None:
    janitor.enter(range(1, MAX_BOARDED + 10))
    beyond = MAX_BOARDED + 5
    janitor.ring(beyond)
    child.see_empty(beyond, 1)
    child.raise_floor(beyond, 0, 100)
    assert child.worth_asking([beyond, 5000]) == {beyond: 0, 5000: 0}


def test_lanes_keep_their_entries_when_others_come(janitor: LaneBoard, child: LaneBoard) -> None:
    janitor.enter([7])
    child.raise_floor(7, 0, 100)
    janitor.enter([9, 7])
    assert child.worth_asking([7, 9]) == {7: 100, 9: 0}
