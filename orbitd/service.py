"""Keeps the service manager informed, when there is one: READY, STATUS, RELOADING, STOPPING, and that we still turn.

What is said, and when, is decided in `rules/service.py`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from orbitd.rules import service
from orbitd.rules.service import Facts, Said
from orbitd.system import clock
from orbitd.system.notify import Notifier

_TRY_AGAIN_SECONDS = 5.0


class Service:
    """Our side of sd_notify. Without a service manager it does nothing, and costs nothing."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._notifier = Notifier(environ)
        self._said = Said()
        self._facts: Facts | None = None
        self._not_before = 0.0

    def tell(self, look: Callable[[], Facts]) -> None:
        """Say what has changed, and what is due. What could not be said is said later: a READY that is lost would hang the start."""
        now = clock.now()
        if not self._notifier.has_listener or now < self._not_before:
            return
        self._facts = look()
        messages, said = service.say(self._said, self._facts, self._notifier.watchdog_seconds, now, time.monotonic_ns() // 1000)
        if all(map(self._notifier.send, messages)):
            self._said = said
        else:
            self._not_before = now + _TRY_AGAIN_SECONDS

    def next_deadline(self) -> float:
        """When to tell again although nothing happens; infinity when never."""
        if self._facts is None:
            return float("inf")
        return max(self._not_before, service.next_deadline(self._said, self._facts, self._notifier.watchdog_seconds))
