"""Where lines go. A place that cannot take one now loses it, and says so with the next that it can take."""

from __future__ import annotations

import abc

from orbitd.system.log.entry import Entry


class Sink(abc.ABC):
    """One place. Its count is exact without a lock: no other thread gets between the reading and the writing of one line."""

    def __init__(self) -> None:
        self._dropped = 0

    def take(self, entry: Entry) -> None:
        """Write the entry, or count it as dropped. Raises nothing."""
        dropped, self._dropped = self._dropped, 0
        try:
            self._write({**entry, "dropped_lines": dropped} if dropped else entry)
        except OSError:
            self._dropped += dropped + 1

    @abc.abstractmethod
    def _write(self, entry: Entry) -> None:
        """Write it now and in full, without ever waiting. Raises OSError."""
