"""Waiting in front of a terminal: one line that says for what and how long, and Ctrl-C that stops only the waiting."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from orbitd.ctl.output import say, stderr_is_terminal
from orbitd.errors import ExitCode, OrbitError
from orbitd.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TICK_SECONDS = 1.0
_LINE_EVERY_SECONDS = 5.0


class StoppedWaiting(OrbitError):
    """Ctrl-C while waiting."""

    exit_code = ExitCode.INTERRUPTED
    code = "interrupted"


@contextlib.contextmanager
def waiting(what: str, goes_on: str) -> Iterator[Callable[[], None]]:
    """Yields a function to call about each second; `what` is waited for, and `goes_on` if the waiting is stopped.

    Raises StoppedWaiting on Ctrl-C.
    """
    progress = _Progress(what)
    try:
        yield progress.tick
    except KeyboardInterrupt:
        raise StoppedWaiting(f"stopped waiting; {goes_on}") from None
    finally:
        progress.clear()


class _Progress:
    """A line that is written over on a terminal, a new line each 5 s elsewhere."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._terminal = stderr_is_terminal()
        self._begun_at = self._told_at = time.monotonic()

    def tick(self) -> None:
        now = time.monotonic()
        if now - self._told_at < (TICK_SECONDS if self._terminal else _LINE_EVERY_SECONDS):
            return
        self._told_at = now
        line = f"waiting for {self._what}, {format_duration(int(now - self._begun_at))}"
        say(f"\r{line}" if self._terminal else line, end="" if self._terminal else "\n")

    def clear(self) -> None:
        if self._terminal and self._told_at > self._begun_at:
            say("\r\033[K", end="")
