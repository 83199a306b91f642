"""Waiting in front of a terminal: one line that says for what and how long, and Ctrl-C that stops only the waiting."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Protocol

from orbitd.ctl.output import end_line, say
from orbitd.errors import ExitCode, OrbitError
from orbitd.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orbitd.ctl.output import Output

TICK_SECONDS = 1.0
_LINE_EVERY_SECONDS = 5.0


class StoppedWaiting(OrbitError):
    """Ctrl-C while waiting."""

    exit_code = ExitCode.INTERRUPTED
    code = "interrupted"


class Tick(Protocol):
    """To be called about each second of waiting, perhaps with what has been reached, such as "3 of 8 runs"."""

    def __call__(self, text: str | None = None) -> None:
        """Show it when it is time to."""


@contextlib.contextmanager
def waiting(out: Output, what: str, goes_on: str) -> Iterator[Tick]:
    """Yields a function to call about each second; `what` is waited for, and `goes_on` if the waiting is stopped.

    Raises StoppedWaiting on Ctrl-C.
    """
    progress = _Progress(out, what)
    try:
        yield progress.tick
    except KeyboardInterrupt:
        end_line()
        raise StoppedWaiting(f"stopped waiting; {goes_on}") from None
    finally:
        progress.clear()


class _Progress:
    """A line that is written over on a terminal, a new line each 5 s elsewhere, or for a program a line of JSON."""

    def __init__(self, out: Output, what: str) -> None:
        self._out = out
        self._what = what
        self._text: str | None = None
        self._begun_at = self._told_at = time.monotonic()

    def tick(self, text: str | None = None) -> None:
        self._text = text if text is not None else self._text
        now = time.monotonic()
        if now - self._told_at < (TICK_SECONDS if self._out.notes_redraw else _LINE_EVERY_SECONDS):
            return
        self._told_at = now
        self._tell(int(now - self._begun_at))

    def clear(self) -> None:
        if self._out.notes_redraw and self._told_at > self._begun_at:
            say("\r\033[K", end="")

    def _tell(self, seconds: int) -> None:
        if self._out.as_json:
            say(json.dumps({"progress": {"waiting_for": self._what, "seconds": seconds, "text": self._text}}))
            return
        line = self._out.told(f"waiting for {self._what}, {format_duration(seconds)}{f': {self._text}' if self._text else ''}")
        say(f"\r\033[K{line}" if self._out.notes_redraw else line, end="" if self._out.notes_redraw else "\n")
