"""The lane board: where there may be work, and from where to search for it."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from orbitd.system.laneboard import BOARD_WORDS, MAX_BOARDED, LaneBoard, Look


@pytest.fixture
def memory() -> bytearray:
    return bytearray(BOARD_WORDS * 8)


@pytest.fixture
def janitor(memory: bytearray) -> LaneBoard:
    return LaneBoard(memoryview(memory))


@pytest.fixture
def child(memory: bytearray) -> LaneBoard:
    return LaneBoard(memoryview(memory))


def asked(board: LaneBoard, *lanes: int) -> list[tuple[int, int]]:
    """The lanes worth asking, each with its floor."""
    return [(look.lane, look.floor) for look in board.worth_asking(lanes)]


def look(board: LaneBoard, lane: int) -> Look:
    return board.all_of([lane])[0]


def test_a_lane_is_worth_asking_until_it_was_seen_empty_and_again_once_it_rings(janitor: LaneBoard, child: LaneBoard) -> None:
    janitor.enter([7, 8])
    assert asked(child, 8, 7) == [(8, 0), (7, 0)]
    child.see_empty(look(child, 7))
    assert asked(child, 8, 7) == [(8, 0)]
    janitor.ring(7)
    assert asked(child, 8, 7) == [(8, 0), (7, 0)]


def test_lanes_are_asked_in_the_order_given(janitor: LaneBoard, child: LaneBoard) -> None:
    janitor.enter(range(1, 100))
    order = [5, 99, 1, 2000, 17]
    assert [lane for lane, _ in asked(child, *order)] == order
    child.see_empty(look(child, 1))
    assert [lane for lane, _ in asked(child, *order)] == [5, 99, 2000, 17]


def test_a_ring_during_a_claim_that_finds_nothing_is_not_lost(janitor: LaneBoard, child: LaneBoard) -> None:
    janitor.enter([7])
    before = look(child, 7)
    janitor.ring(7)
    child.see_empty(before)
    assert asked(child, 7) == [(7, 0)]


def test_a_floor_that_was_lowered_during_a_claim_stays_low(janitor: LaneBoard, child: LaneBoard) -> None:
    janitor.enter([7])
    child.raise_floor(look(child, 7), 100)
    assert asked(child, 7) == [(7, 100)]
    before = look(child, 7)
    janitor.lower(7, 40)
    child.raise_floor(before, 200)
    assert asked(child, 7) == [(7, 40)]
    janitor.lower(7, 60)
    assert asked(child, 7) == [(7, 40)]
    child.raise_floor(look(child, 7), 50)
    assert asked(child, 7) == [(7, 50)]


def test_a_child_that_read_before_a_lowering_and_writes_after_it_raises_nothing(janitor: LaneBoard, child: LaneBoard) -> None:
    janitor.enter([7])
    before = look(child, 7)
    child.raise_floor(before, 100)
    written = child._raised[0]
    janitor.lower(7, 40)
    child._raised[0] = written + (900 << 16)  # it was between its check and its write
    assert janitor.floor(7) == 40


def test_another_server_is_searched_in_full(janitor: LaneBoard, child: LaneBoard) -> None:
    janitor.enter([7])
    before = look(child, 7)
    child.raise_floor(before, 100)
    janitor.forget_floors()
    child.raise_floor(before, 200)
    assert asked(child, 7) == [(7, 0)]


def test_what_is_not_on_the_board_is_always_asked(janitor: LaneBoard, child: LaneBoard) -> None:
    janitor.enter(range(1, MAX_BOARDED + 10))
    beyond = MAX_BOARDED + 5
    janitor.ring(beyond)
    janitor.lower(beyond, 5)
    child.see_empty(look(child, beyond))
    child.raise_floor(look(child, beyond), 100)
    assert asked(child, beyond, 5000) == [(beyond, 0), (5000, 0)]


def test_lanes_keep_their_entries_when_others_come(janitor: LaneBoard, child: LaneBoard) -> None:
    janitor.enter([7])
    child.raise_floor(look(child, 7), 100)
    assert asked(child, 7, 9) == [(7, 100), (9, 0)]
    janitor.enter([9, 7])
    assert janitor.floors(janitor.lanes) == {7: 100, 9: 0}
    child.see_empty(look(child, 9))
    assert asked(child, 7, 9) == [(7, 100)]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("look"), st.integers(0, 2), st.none()),
        st.tuples(st.just("raise"), st.integers(0, 2), st.integers(0, 1 << 50)),
        st.tuples(st.just("lower"), st.none(), st.integers(0, 1 << 50)),
    )
)


@given(STEPS)
def test_no_floor_is_above_what_the_janitor_said_since_the_look_that_it_comes_from(steps: list[tuple[str, int, int]]) -> None:
    """Children look and raise in any order; a lowering wins over all looks before it."""
    memory = bytearray(BOARD_WORDS * 8)
    janitor, children = LaneBoard(memoryview(memory)), [LaneBoard(memoryview(memory)) for _ in range(3)]
    janitor.enter([7])
    looks = [(look(child, 7), 0) for child in children]
    lowerings, highest = 0, 0
    for step, number, seq in steps:
        before = janitor.floor(7)
        match step:
            case "look":
                looks[number] = (look(children[number], 7), lowerings)
            case "raise":
                children[number].raise_floor(looks[number][0], seq)
                highest = max(highest, seq) if looks[number][1] == lowerings else highest
                assert before <= janitor.floor(7) <= max(before, highest)
            case "lower":
                janitor.lower(7, seq)
                lowerings, highest = (lowerings + 1, seq) if seq < before else (lowerings, highest)
                assert janitor.floor(7) == min(before, seq)
