"""One turn after another: do each part of the work, then sleep until something happens or a deadline is due.

A fault of ours in one part must not end the daemon, nor starve the other parts, nor spin. So what has failed is left out for a
moment, part or descriptor, while everything else goes on and whoever asks is answered. Nothing here ever sleeps out a time.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence

from orbitd.system import clock, log
from orbitd.system.wakeup import Wakeup

Part = Callable[[], None]

_REST_SECONDS = 0.2


class Loop:
    """`deadline` says until when we may sleep if nothing happens, on CLOCK_BOOTTIME."""

    def __init__(self, wakeup: Wakeup, parts: Sequence[Part], deadline: Callable[[], float]) -> None:
        self._wakeup, self._deadline = wakeup, deadline
        self._parts = [*parts, self._plan]
        self._fit_again_at: dict[Part, float] = {}
        self._wake_at = 0.0

    def turn(self) -> None:
        """Once around."""
        now = clock.now()
        self._fit_again_at = {part: at for part, at in self._fit_again_at.items() if at > now}
        for part in self._parts:
            if part not in self._fit_again_at and not _has_worked(part):
                self._fit_again_at[part] = now + _REST_SECONDS
        # What is due may be due for the part that rests: then it is not due before.
        self._wake_at = max(self._wake_at, min(self._fit_again_at.values(), default=0.0))
        for key in self._wakeup.wait(self._wake_at):
            if not _has_worked(key.data):
                self._wakeup.rest(key, clock.now() + _REST_SECONDS)

    def _plan(self) -> None:
        self._wake_at = self._deadline()


def _has_worked(act: Part) -> bool:
    try:
        act()
    except Exception:  # noqa: BLE001 - the edge: logged with all that is known
        log.fault("turn_failed", part=getattr(act, "__name__", repr(act)), error=traceback.format_exc())
        return False
    return True
