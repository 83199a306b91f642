"""Histories of a host that sleeps and is woken."""

from __future__ import annotations

from math import inf

from orbitd.rules.waking import CALM_SECONDS, LOOK_SECONDS, MARK_SECONDS, Wakefulness

NOBODY: frozenset[str] = frozenset()


def asleep(now: float = 0.0) -> Wakefulness:
    state = Wakefulness(now)
    assert state.wants_to_doze(now)
    state.dozed({}, NOBODY, now)
    assert (state.is_asleep, state.looks_at) == (True, inf)
    return state


def test_one_bell_makes_one_look_which_marks_us_as_asleep_again() -> None:
    state = asleep()
    state.hear(7, 10.0)
    assert not state.is_asleep
    assert state.looks_at == 10.0 + MARK_SECONDS
    assert state.wants_to_doze(state.looks_at)
    assert state.take_ticket() == 0  # producers may go on ringing


def test_two_bells_close_together_end_the_ringing_and_begin_the_looking() -> None:
    state = asleep()
    state.hear(7, 10.0)
    state.hear(8, 10.001)
    assert state.take_ticket() == 8
    assert state.take_ticket() == 0
    assert state.looks_at == 10.001 + LOOK_SECONDS
    assert not state.wants_to_doze(state.looks_at)


def test_bells_far_apart_are_no_traffic() -> None:
    state = asleep()
    for second in range(1, 5):
        state.hear(second, float(second))
        assert state.take_ticket() == 0
        state.dozed({}, NOBODY, second + MARK_SECONDS)


def test_looks_go_on_while_they_find_something_new_and_end_after_a_calm() -> None:
    state = asleep()
    state.hear(1, 0.0)
    state.hear(1, 0.0)
    now = 0.0
    for first in range(100):
        now = state.looks_at
        assert not state.wants_to_doze(now)
        state.looked({5: first}, now, now)
    for _ in range(9):
        now = state.looks_at
        assert not state.wants_to_doze(now)
        state.looked({5: 99}, now, now)  # what stays there is no news: perhaps nobody may take it
    assert state.wants_to_doze(now + CALM_SECONDS)
    state.dozed({5: 99}, NOBODY, now + CALM_SECONDS)
    assert state.looks_at == inf


def test_a_look_that_takes_long_is_made_seldom() -> None:
    state = Wakefulness(0.0)
    state.looked({}, 1.0, 1.2)
    assert state.looks_at >= 3.0


def test_a_producer_from_before_our_sleep_is_looked_for_until_it_has_ended_the_seldomer_the_longer_it_takes() -> None:
    state = Wakefulness(0.0)
    state.dozed({}, frozenset({"a", "b"}), 0.0)
    looks = 0
    while (now := state.looks_at) < 60.0:
        assert state.wants_to_doze(now)
        state.dozed({}, frozenset({"a", f"other {now}"}), now)  # who came later has seen the mark
        assert now < state.looks_at <= max(now * 1.1, now + LOOK_SECONDS) + 1e-9
        looks += 1
    assert looks < 100
    state.dozed({}, frozenset({"b", "c"}), now)
    assert state.looks_at == inf
