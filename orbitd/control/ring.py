"""The last events of the daemon, for `orbitctl events`: bounded in number and in length."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from itertools import islice
from typing import Any

from orbitd.control.commands import MOST_EVENTS
from orbitd.system.log.entry import Entry, shortened
from orbitd.system.log.sink import Sink

_LONGEST_VALUE = 500


@dataclass(frozen=True, slots=True)
class RingEstate:
    """The events, and the number of the last."""

    events: list[dict[str, Any]]
    last_number: int


class Ring(Sink):
    """A place that log lines go to. Each gets the next number, from 1 on."""

    def __init__(self) -> None:
        super().__init__()
        self._events: deque[dict[str, Any]] = deque(maxlen=MOST_EVENTS)
        self.last_number = 0

    def hand_over(self) -> RingEstate:
        """For the program that goes on with it."""
        return RingEstate(list(self._events), self.last_number)

    def inherit(self, estate: RingEstate) -> None:
        """Go on with these."""
        self._events.extend(estate.events)
        self.last_number = estate.last_number

    def after(self, number: int, limit: int) -> list[dict[str, Any]]:
        """The latest events after that number, at most `limit` of them, the latest last."""
        later = min(limit, self.last_number - number, len(self._events))
        return list(islice(self._events, len(self._events) - max(0, later), None))

    def _write(self, entry: Entry) -> None:
        self.last_number += 1
        self._events.append({"number": self.last_number, **shortened(entry, _LONGEST_VALUE)})
