"""The highest number given out some time ago."""

from __future__ import annotations

from orbitd.rules.watermark import SETTLING_SECONDS, NumberClock


def test_a_number_counts_once_producers_have_had_the_time_to_commit() -> None:
    numbers = NumberClock()
    assert numbers.settled(100.0) == 0
    numbers.note(40, 100.0)
    assert numbers.settled(100.0 + SETTLING_SECONDS / 2) == 0
    assert numbers.settled(100.0 + SETTLING_SECONDS) == 40


def test_many_looks_do_not_keep_a_number_from_counting() -> None:
    numbers, now = NumberClock(), 100.0
    for look in range(100):
        now = 100.0 + look * SETTLING_SECONDS / 10
        numbers.note(look, now)
    assert 99 - 25 <= numbers.settled(now) <= 99 - 10


def test_nothing_is_known_of_another_server() -> None:
    numbers = NumberClock()
    numbers.note(40, 100.0)
    numbers.forget()
    assert numbers.settled(200.0) == 0
