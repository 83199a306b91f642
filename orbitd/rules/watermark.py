"""From which number on a lane must be searched.

Numbers become visible out of order: a producer that took a low one may commit last. So "the last claim's number" is no bound. A
number that was given out some time ago is one for all producers which commit within that time; the slower ones are found by the
janitor, which knows them by the locks that they hold, and lowers the floor again.
"""

from __future__ import annotations

SETTLING_SECONDS = 0.05
_NEVER = float("-inf")


class NumberClock:
    """Remembers the highest number given out some 50 to 100 ms ago. Times are seconds on the clock of the caller."""

    def __init__(self) -> None:
        self._older = self._newer = 0
        self._newer_at = _NEVER

    def note(self, last_seq: int, at: float) -> None:
        """This was the highest number at that time, or before it."""
        if at >= self._newer_at + SETTLING_SECONDS:
            self._older, self._newer, self._newer_at = self._newer, last_seq, at

    def settled(self, now: float) -> int:
        """Every producer whose number is not above this has had the time to commit, unless it is slow."""
        return self._newer if now >= self._newer_at + SETTLING_SECONDS else self._older

    def forget(self) -> None:
        """The numbers may be another server's from now on."""
        self._older = self._newer = 0
        self._newer_at = _NEVER
