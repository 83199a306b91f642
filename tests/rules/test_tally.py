"""The sum over what the children say: histories of counts, deaths and rebirths."""

from __future__ import annotations

from hypothesis import given, strategies as st

from orbitd.rules.tally import Count, Tally


def count(succeeded: int = 0, failed: int = 0, *, took: float = 1.0, ended_at: float = 0.0) -> Count:
    ended = succeeded + failed
    return Count(succeeded, failed, took * ended, took if ended else 0.0, took if ended else 0.0, ended_at)


def test_only_what_is_new_since_the_last_look_is_added() -> None:
    tally = Tally(started_at=0)
    for succeeded in (1, 1, 3):
        tally.note(0, count(succeeded), now=10)
    assert (tally.succeeded, tally.failed, tally.seconds_total) == (3, 0, 3.0)


def test_the_next_child_of_a_slot_counts_from_nothing() -> None:
    tally = Tally(started_at=0)
    tally.note(0, count(5), now=10)
    tally.bury(0, lost_runs=0, now=11)
    tally.note(0, count(2), now=12)
    assert tally.succeeded == 7


def test_an_attempt_that_died_with_its_child_has_failed() -> None:
    tally = Tally(started_at=0)
    tally.note(0, count(3), now=10)
    tally.bury(0, lost_runs=1, now=11)
    assert (tally.succeeded, tally.failed, tally.last_ended_at) == (3, 1, 11)
    assert (tally.error_rate, tally.average_seconds) == (0.25, 1.0)


def test_a_tally_of_nothing_has_rates_of_nothing() -> None:
    tally = Tally(started_at=100)
    assert (tally.success_rate, tally.error_rate, tally.average_seconds, tally.runs_per_hour(100)) == (0, 0, 0, 0)


def test_the_shortest_and_the_longest_attempt_are_kept_over_all_children() -> None:
    tally = Tally(started_at=0)
    tally.note(0, count(1, took=2.0), now=1)
    tally.note(1, count(1, took=0.5), now=2)
    tally.note(2, count(1, took=9.0), now=3)
    assert (tally.seconds_least, tally.seconds_most) == (0.5, 9.0)


def test_a_success_ends_a_row_of_failures() -> None:
    tally = Tally(started_at=0)
    tally.note(0, count(0, 4), now=1)
    tally.bury(1, lost_runs=1, now=2)
    assert tally.failures_in_row == 5
    tally.note(0, count(1, 4), now=3)
    assert tally.failures_in_row == 0


def test_the_recent_time_grows_until_it_has_enough_runs() -> None:
    tally = Tally(started_at=0)
    tally.note(0, count(30, 0), now=0)
    tally.note(0, count(30, 10), now=1800)
    tally.note(0, count(34, 10), now=3000)
    assert tally.recent(3000, least_seconds=300, least_runs=4) == (4, 0)
    assert tally.recent(3000, least_seconds=300, least_runs=14) == (14, 10)
    assert tally.recent(3000, least_seconds=300, least_runs=1000) == (44, 10)


def test_what_is_older_than_an_hour_is_not_recent() -> None:
    tally = Tally(started_at=0)
    tally.note(0, count(0, 10), now=0)
    assert tally.recent(3599, least_seconds=300, least_runs=1) == (10, 10)
    assert tally.recent(3601, least_seconds=300, least_runs=1) == (0, 0)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=40))
def test_however_children_come_and_go_nothing_is_lost_or_counted_twice(history: list[tuple[int, int, int, bool]]) -> None:
    tally, counts, ended = Tally(started_at=0), dict.fromkeys(range(4), (0, 0)), 0
    for now, (slot, succeeded, failed, dies) in enumerate(history):
        counts[slot] = (counts[slot][0] + succeeded, counts[slot][1] + failed)
        ended += succeeded + failed
        tally.note(slot, count(*counts[slot]), now)
        if dies:
            tally.bury(slot, lost_runs=1, now=now)
            counts[slot], ended = (0, 0), ended + 1
    assert tally.total == ended
