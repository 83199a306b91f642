"""Histories of a host that sleeps and is woken."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given, strategies as st

from orbitd.rules.waking import CALM_SECONDS, LOOK_SECONDS, MARK_SECONDS, TRAFFIC, Wakefulness

NOBODY: frozenset[str] = frozenset()


def asleep(now: float = 0.0) -> Wakefulness:
    state = Wakefulness(now)
    assert state.wants_to_doze
    state.dozed(NOBODY, now)
    assert state.looks_at == inf
    return state


def awake(now: float = 0.0) -> Wakefulness:
    state = asleep(now)
    for ticket in range(1, TRAFFIC + 1):
        state.hear(ticket, now)
    assert not state.wants_to_doze
    assert state.take_ticket() == TRAFFIC
    return state


def test_one_bell_makes_one_look_which_marks_us_as_asleep_again() -> None:
    state = asleep()
    state.hear(7, 10.0)
    assert state.looks_at == 10.0 + MARK_SECONDS
    state.hear(8, 10.02)
    assert state.looks_at == 10.0 + MARK_SECONDS, "whoever rings often cannot put it off"
    assert state.wants_to_doze
    state.dozed(NOBODY, state.looks_at)
    assert state.looks_at == inf
    assert state.take_ticket() == 0, "producers may go on ringing"


def test_many_bells_close_together_end_the_ringing_and_begin_the_looking() -> None:
    state = asleep()
    for ticket in range(1, TRAFFIC + 1):
        assert state.take_ticket() == 0
        state.hear(ticket, 10.0 + ticket * 0.009)
    assert state.take_ticket() == TRAFFIC
    assert state.take_ticket() == 0
    assert not state.wants_to_doze
    assert state.looks_at == pytest.approx(10.0 + MARK_SECONDS + 0.009), "the mark that was due is a look now"


def test_the_first_look_is_soon_when_bells_come_at_once() -> None:
    assert awake(10.0).looks_at == 10.0 + LOOK_SECONDS


@given(st.lists(st.floats(CALM_SECONDS / (TRAFFIC - 1), 0.2), max_size=200))
def test_who_enqueues_one_run_after_another_has_its_bell_every_time(pauses: list[float]) -> None:
    state, now = asleep(), 0.0
    for pause in pauses:
        while state.looks_at <= now + pause:
            state.dozed(NOBODY, state.looks_at)
        now += pause
        state.hear(1, now)
        assert (state.wants_to_doze, state.take_ticket()) == (True, 0)


@given(st.integers(TRAFFIC, 3000), st.floats(0.0, 0.05))
def test_traffic_keeps_us_awake_and_ends_with_a_calm(a_second: int, took: float) -> None:
    state, now = awake(), 0.0
    while now < 3.0:
        now = state.looks_at + took
        state.looked(int(now * max(a_second, 2 * TRAFFIC / CALM_SECONDS)), state.looks_at, now)
        assert not state.wants_to_doze
    calm_at = now + 3 * CALM_SECONDS + 2 * (state.looks_at - now)
    last_seq = int(now * 1e6)
    state.looked(last_seq, now, now)
    while not state.wants_to_doze:
        assert now < calm_at
        now = state.looks_at
        state.looked(last_seq, now, now)


def test_a_run_now_and_then_is_no_traffic() -> None:
    state, now, last_seq = awake(), 0.0, 100
    while not state.wants_to_doze:
        now, last_seq = state.looks_at, last_seq + (int(now * 1000) % 30 < 10)
        state.looked(last_seq, now, now)
        assert now < 0.2


def test_after_a_time_with_nobody_idle_we_know_whether_there_was_traffic_meanwhile() -> None:
    for runs, wants_to_doze in ((60 * TRAFFIC / CALM_SECONDS + 1, False), (60 * TRAFFIC / CALM_SECONDS - 1, True)):
        state = awake()
        state.looked(1000, 1.0, 1.0)
        state.looked(1000 + int(runs), 61.0, 61.0)
        assert state.wants_to_doze == wants_to_doze


def test_bells_that_ring_all_the_same_are_ended_again_and_again() -> None:
    """Another host has fallen asleep meanwhile."""
    state = awake()
    state.looked(100, 0.01, 0.01)
    looks_at = state.looks_at
    for ticket in range(20, 20 + TRAFFIC):
        state.hear(ticket, 0.011)
    assert state.take_ticket() == 19 + TRAFFIC
    assert state.looks_at == looks_at


def test_a_look_that_takes_long_is_made_seldom() -> None:
    state = awake()
    state.looked(1, 1.0, 1.2)
    assert state.looks_at >= 3.0


def test_a_producer_from_before_our_sleep_is_looked_for_until_it_has_ended_the_seldomer_the_longer_it_takes() -> None:
    state = Wakefulness(0.0)
    state.dozed(frozenset({"a", "b"}), 0.0)
    looks = 0
    while (now := state.looks_at) < 60.0:
        assert state.wants_to_doze
        state.dozed(frozenset({"a", f"other {now}"}), now)  # who came later has seen the mark
        assert now < state.looks_at <= max(now * 1.1, now + LOOK_SECONDS) + 1e-9
        looks += 1
    assert looks < 100
    state.dozed(frozenset({"b", "c"}), now)
    assert state.looks_at == inf
