"""The loop goes on whatever fails in it: complaint 18 (uwsgi#867): no part ever sleeps out a time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator

import pytest

from orbitd.system import clock
from orbitd.system.loop import Loop
from orbitd.system.wakeup import Wakeup


@pytest.fixture
def wakeup() -> Iterator[Wakeup]:
    wakeup = Wakeup()
    yield wakeup
    wakeup.selector.close()
    wakeup._reader.close()
    wakeup._writer.close()


@pytest.fixture
def bell(wakeup: Wakeup) -> Iterator[int]:
    """A descriptor that is readable."""
    fd = os.eventfd(1)
    yield fd
    wakeup.forget(fd)
    os.close(fd)


def turns(loop: Loop, *, seconds: float) -> int:
    """How often it turns in that time."""
    count, end = 0, time.monotonic() + seconds
    while time.monotonic() < end:
        loop.turn()
        count += 1
    return count


def failing() -> None:
    raise ZeroDivisionError


def counting(calls: list[float]) -> Callable[[], None]:
    return lambda: calls.append(time.monotonic())


def test_a_part_that_fails_is_tried_again_and_the_others_go_on(wakeup: Wakeup) -> None:
    good: list[float] = []
    bad: list[float] = []

    def fails() -> None:
        bad.append(time.monotonic())
        raise ZeroDivisionError

    loop = Loop(wakeup, (fails, counting(good)), lambda: clock.now() + 0.02)
    assert turns(loop, seconds=0.5) == len(good)
    assert 2 <= len(bad) <= 4


def test_whoever_rings_is_answered_at_once_although_a_part_rests(wakeup: Wakeup, bell: int) -> None:
    answered: list[float] = []
    loop = Loop(wakeup, (failing,), lambda: clock.now() + 60)
    wakeup.watch(bell, counting(answered))
    begun = time.monotonic()
    loop.turn()
    assert answered
    assert answered[0] - begun < 0.2


def test_a_part_whose_deadline_is_over_does_not_spin_while_it_rests(wakeup: Wakeup) -> None:
    assert turns(Loop(wakeup, (failing,), clock.now), seconds=0.5) <= 6


def test_a_deadline_that_fails_does_not_spin(wakeup: Wakeup) -> None:
    def deadline() -> float:
        raise ZeroDivisionError

    assert turns(Loop(wakeup, (), deadline), seconds=0.5) <= 6


def test_a_descriptor_whose_function_fails_rests_while_others_are_heard(wakeup: Wakeup, bell: int) -> None:
    heard: list[float] = []
    wakeup.watch(bell, failing)
    other = os.eventfd(1)
    wakeup.watch(other, counting(heard))
    Loop(wakeup, (), lambda: clock.now() + 60).turn()
    assert heard
    wakeup.forget(other)
    os.close(other)
    assert turns(Loop(wakeup, (), lambda: clock.now() + 60), seconds=0.5) <= 6


def test_a_descriptor_that_is_forgotten_while_it_rests_stays_so(wakeup: Wakeup, bell: int) -> None:
    wakeup.watch(bell, failing)
    loop = Loop(wakeup, (), lambda: clock.now() + 0.3)
    loop.turn()
    wakeup.forget(bell)
    loop.turn()
    assert bell not in wakeup.selector.get_map()
