"""Where on this host there may be work, and from where to search for it: a part of the shared memory, one entry a lane.

    lane    its id; an entry keeps its lane for as long as the memory lives
    floor   below this number no pending run is thought to be
    rung    raised by the janitor whenever there may be work in the lane
    seen    by a child: the value of `rung` before a claim that found the lane empty

So a lane is worth asking while `rung` and `seen` differ, and nobody needs a lock: whatever a child writes too late makes one claim
more than need be, or is healed by the janitor's next look.
"""

from __future__ import annotations

from collections.abc import Iterable

MAX_BOARDED = 1024
"""So many lanes have an entry. Others are asked each time, and searched in full."""

_LANE, _FLOOR, _RUNG, _SEEN, ENTRY_WORDS = range(5)


class LaneBoard:
    """The board, as one process sees it."""

    def __init__(self, view: memoryview) -> None:
        self._words = view.cast("q")
        self._index: dict[int, int] = {}

    # --- the janitor writes ---

    def enter(self, lanes: Iterable[int]) -> None:
        """Give these lanes an entry, if there is room. A new one is worth asking."""
        self._read()
        for lane in lanes:
            if lane not in self._index and len(self._index) < MAX_BOARDED:
                at = len(self._index) * ENTRY_WORDS
                self._words[at + _FLOOR], self._words[at + _RUNG], self._words[at + _SEEN] = 0, 1, 0
                self._words[at + _LANE] = lane
                self._index[lane] = at

    def ring(self, lane: int) -> None:
        """There may be work in the lane."""
        if (at := self._at(lane)) is not None:
            self._words[at + _RUNG] += 1

    def lower(self, lane: int, seq: int) -> None:
        """There is a run of this number."""
        if (at := self._at(lane)) is not None:
            self._words[at + _FLOOR] = min(self._words[at + _FLOOR], seq)

    def floors(self, lanes: Iterable[int]) -> dict[int, int]:
        """From where to search each of these lanes."""
        return {lane: 0 if (at := self._at(lane)) is None else self._words[at + _FLOOR] for lane in lanes}

    def forget_floors(self) -> None:
        """Search everything again: this may be another server, where numbers mean something else."""
        self._read()
        for at in self._index.values():
            self._words[at + _FLOOR] = 0

    # --- the children read, and tell what they have found ---

    def worth_asking(self, lanes: Iterable[int]) -> dict[int, int]:
        """Those lanes which may have work, in the order given, each with its floor."""
        asked = {}
        for lane in lanes:
            at = self._at(lane)
            if at is None:
                asked[lane] = 0
            elif self._words[at + _RUNG] != self._words[at + _SEEN]:
                asked[lane] = self._words[at + _FLOOR]
        return asked

    def rung(self, lanes: Iterable[int]) -> dict[int, int]:
        """How often each of these lanes was rung, to be read before a claim."""
        return {lane: self._words[at + _RUNG] for lane in lanes if (at := self._at(lane)) is not None}

    def see_empty(self, lane: int, rung: int) -> None:
        """A claim has found nothing in the lane, which had this `rung` before."""
        if (at := self._at(lane)) is not None:
            self._words[at + _SEEN] = rung

    def raise_floor(self, lane: int, before: int, floor: int) -> None:
        """Search from `floor` on, unless somebody has written another floor than `before` meanwhile."""
        at = self._at(lane)
        if at is not None and before < floor and self._words[at + _FLOOR] == before:
            self._words[at + _FLOOR] = floor

    def _at(self, lane: int) -> int | None:
        if lane not in self._index:
            self._read()
        return self._index.get(lane)

    def _read(self) -> None:
        """Learn the entries that have come since."""
        for number in range(len(self._index), MAX_BOARDED):
            at = number * ENTRY_WORDS
            if not (lane := self._words[at + _LANE]):
                return
            self._index[lane] = at
