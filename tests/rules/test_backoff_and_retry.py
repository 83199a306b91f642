from __future__ import annotations

from hypothesis import given, strategies as st

from orbitd.rules import backoff, retry
from orbitd.rules.backoff import History
from orbitd.rules.limits import Backoff

POLICY = Backoff(first_seconds=0.5, longest_seconds=60)


def test_the_wait_doubles_from_the_second_early_death_on() -> None:
    assert [backoff.wait_seconds(streak, POLICY, draw=1.0) for streak in (0, 1, 2, 3, 4)] == [0, 0, 0.5, 1, 2]


@given(st.integers(0, 10_000), st.floats(0, 1))
def test_the_wait_is_never_longer_than_the_longest(streak: int, draw: float) -> None:
    assert 0 <= backoff.wait_seconds(streak, POLICY, draw) <= 60


def test_the_wait_before_connecting_again_doubles_up_to_five_seconds_all_of_it_jitter() -> None:
    assert [backoff.reconnect_seconds(attempts, draw=1.0) for attempts in (0, 1, 2, 3, 6, 7, 10**6)] == [0.0, 0.1, 0.2, 0.4, 3.2, 5.0, 5.0]
    assert [backoff.reconnect_seconds(attempts, draw=0.0) for attempts in (1, 10)] == [0.0, 0.0]
    assert backoff.reconnect_seconds(4, draw=0.25) == 0.2


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 0.999)), max_size=300))
def test_spawns_are_bounded_in_every_pattern_of_crashes(deaths: list[tuple[float, float]]) -> None:
    history, now, respawns = History(), 0.0, []
    for lifetime_seconds, draw in deaths:
        now = max(now, history.not_before) + lifetime_seconds
        backoff.after_death(history, POLICY, lifetime_seconds=lifetime_seconds, now=now, draw=draw)
        respawns.append(max(now, history.not_before))
    most = POLICY.max_restarts + 1 + POLICY.window_seconds / POLICY.longest_seconds
    for start in respawns:
        assert sum(start <= at < start + POLICY.window_seconds for at in respawns) <= 2 * most


def test_a_list_of_waits_is_taken_in_order_and_its_last_repeats() -> None:
    waits = (60.0, 300.0, 1800.0)
    assert [retry.delay_seconds(waits, errors, draw=0.5) for errors in (1, 2, 3, 4, 9)] == [60, 300, 1800, 1800, 1800]


@given(st.integers(1, 1000), st.floats(0, 0.999))
def test_exponential_grows_to_a_day_and_jitters_by_half(errors: int, draw: float) -> None:
    full = min(86400.0, 15.0 * 2 ** (errors - 1))
    assert full / 2 <= retry.delay_seconds("exponential", errors, draw) <= full


def test_attempts_are_left_until_the_last_one_has_failed() -> None:
    assert [retry.attempts_left(errors, 3) for errors in (1, 2, 3)] == [True, True, False]
