"""Many things one after the other: a progress line, and a Ctrl-C that ends it between two of them, with a word of how far it came."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

from orbitd.ctl.output import end_line
from orbitd.ctl.waiting import StoppedWaiting, waiting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import FrameType

    from orbitd.ctl.app import Session

T = TypeVar("T")


def in_turn(session: Session, things: Sequence[T], what: str, reached: Callable[[], str]) -> Iterator[T]:
    """The things, one by one; `reached` says how many are done, such as "3 of 8 runs were made".

    Raises StoppedWaiting on Ctrl-C, once the thing in hand is done: what a statement that is cut off has done nobody knows.
    """
    with _noted_interrupts() as interrupted, waiting(session.out, what, "what was begun goes on") as tick:
        for thing in things:
            yield thing
            tick(reached())
            if interrupted():
                end_line()
                raise StoppedWaiting(f"stopped: {reached()}")


@contextmanager
def _noted_interrupts() -> Iterator[Callable[[], bool]]:
    """Whether Ctrl-C was pressed; pressed again it interrupts at once."""
    pressed: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        pressed.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(pressed)
    finally:
        signal.signal(signal.SIGINT, before)
