"""From which number on a lane must be searched, so that a claim costs the same however many runs have gone before.

Numbers become visible out of order: a producer that took a low one may commit last. So "the last claim's number" is no bound.

    floor     where claims begin. A number that was given out some time ago is one for all producers which commit within that
              time; so claims that find nothing below it raise the floor to it.
    bound     where the janitor's look for the others begins: below it nothing can appear, because each producer who could
              write there has ended (it knows them by the locks that they hold), and no run waited there when it looked last.
              A run that it sees between bound and floor is late, and lowers the floor.

A look reads what is committed. So a run that somebody is just claiming still waits for it, and keeps the bound down until the
claim has committed, or was rolled back. A run that was taken back into its old place is below every bound: the database keeps a
list of those.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

SETTLING_SECONDS = 0.05
LEAST_PAUSE_SECONDS = 1.0
_PAUSE_FACTOR = 19
_NEVER = float("-inf")


def pause_after(seconds: float) -> float:
    """How long to wait after a look that has taken so long: looking shall take a twentieth of the time at most."""
    return max(LEAST_PAUSE_SECONDS, _PAUSE_FACTOR * seconds)


class NumberClock:
    """Remembers the highest number given out some 50 to 100 ms ago. Times are seconds on the clock of the caller."""

    def __init__(self) -> None:
        self._older = self._newer = 0
        self._newer_at = _NEVER

    def note(self, last_seq: int, at: float) -> bool:
        """This was the highest number at that time, or before it. True: it has gone back, so this is another server's."""
        is_other = last_seq < self._newer
        if is_other:
            self.forget()
        if at >= self._newer_at + SETTLING_SECONDS:
            self._older, self._newer, self._newer_at = self._newer, last_seq, at
        return is_other

    def settled(self, now: float) -> int:
        """Every producer whose number is not above this has had the time to commit, unless it is slow."""
        return self._newer if now >= self._newer_at + SETTLING_SECONDS else self._older

    def forget(self) -> None:
        """The numbers may be another server's from now on."""
        self._older = self._newer = 0
        self._newer_at = _NEVER


class Bounds:
    """The janitor's bound of each lane."""

    def __init__(self) -> None:
        self._bounds: dict[int, int] = {}
        self._server: tuple[datetime | None, int] = (None, 0)

    def note_server(self, started_at: datetime, last_seq: int) -> bool:
        """Who has answered. True: not the server of the last answer, or one that has lost what it knew then."""
        known, highest = self._server
        self._server = (started_at, last_seq)
        is_other = known is not None and (started_at != known or last_seq < highest)
        if is_other:
            self._bounds.clear()
        return is_other

    def open_lanes(self, floors: Mapping[int, int]) -> dict[int, int]:
        """The lanes whose floor is above the bound: there may be late runs, to be looked for from the bound given here."""
        return {lane: bound for lane, floor in floors.items() if floor > (bound := self._bounds.get(lane, 0))}

    def missed(self, found: Mapping[int, int]) -> dict[int, int]:
        """Those of the first runs found by a look in full that no other look would have come to."""
        return {lane: seq for lane, seq in found.items() if seq < self._bounds.get(lane, 0)}

    def learn(self, lanes: Iterable[int], safe_seq: int, found: Mapping[int, int]) -> None:
        """A look into these lanes has found these first runs. All producers of numbers up to `safe_seq` had ended before it."""
        for lane in lanes:
            bound = max(self._bounds.get(lane, 0), safe_seq + 1)
            self._bounds[lane] = min(bound, found.get(lane, bound))

    def forget(self) -> None:
        """Whoever answers next may be another server."""
        self._bounds.clear()
        self._server = (None, 0)
