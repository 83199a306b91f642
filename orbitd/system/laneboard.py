"""Where on this host there may be work, and from where to search for it: a part of the shared memory, five words a lane.

    lane      its id; an entry keeps its lane for as long as the memory lives
    lowered   by the janitor: the floor that it has last lowered to, and the number of that lowering
    raised    by a child: the floor that it has come to, and the number of the lowering that it knew of
    rung      by the janitor: raised whenever there may be work in the lane
    seen      by a child: the value of `rung` before a claim that found the lane empty

The floor is a number below which no pending run is thought to be: the raised one, unless the janitor has lowered it since. So
nobody needs a lock: what a child that was slow writes of the time before a lowering counts for nothing. A lane is worth asking
while `rung` and `seen` differ; what is written there too late makes one claim more than need be.
"""

from __future__ import annotations

import operator
from collections.abc import Collection, Iterable, Sequence
from itertools import compress
from typing import NamedTuple

MAX_BOARDED = 1024
"""So many lanes have an entry. Others are asked each time, and searched in full."""

BOARD_WORDS = 5 * MAX_BOARDED

_LOWERINGS = 1 << 16
_HIGHEST_FLOOR = (1 << 47) - 1


class Look(NamedTuple):
    """A lane as it was before a claim. `lowered` and `rung` are for the board, to be told what the claim found."""

    lane: int
    floor: int
    lowered: int
    rung: int


class LaneBoard:
    """The board, as one process sees it."""

    def __init__(self, view: memoryview) -> None:
        words = view.cast("q")
        parts = (words[at : at + MAX_BOARDED] for at in range(0, BOARD_WORDS, MAX_BOARDED))
        self._lanes, self._lowered, self._raised, self._rung, self._seen = parts
        self._index: dict[int, int] = {}
        self._asked: tuple[Sequence[int], int] = ((), 0)
        self._ranks: dict[int, int] = {}
        self._unboarded: list[int] = []

    # --- the janitor writes ---

    def enter(self, lanes: Iterable[int]) -> None:
        """Give these lanes an entry, if there is room. A new one is worth asking."""
        self._read()
        for lane in lanes:
            if lane not in self._index and len(self._index) < MAX_BOARDED:
                at = len(self._index)
                self._lowered[at], self._raised[at], self._rung[at], self._seen[at] = 0, 0, 1, 0
                self._lanes[at] = lane
                self._index[lane] = at

    def ring(self, lane: int) -> None:
        """There may be work in the lane."""
        if (at := self._at(lane)) is not None:
            self._rung[at] += 1

    def lower(self, lane: int, seq: int) -> None:
        """There is a run of this number."""
        if (at := self._at(lane)) is not None and seq < self._floor(at):
            self._lower(at, seq)

    def tell_of(self, lane: int, seq: int) -> None:
        """There is a run of this number to be claimed. In this order: whoever sees the ring must see the floor."""
        self.lower(lane, seq)
        self.ring(lane)

    def forget_floors(self) -> None:
        """Search everything again: this may be another server, where numbers mean something else."""
        self._read()
        for at in self._index.values():
            self._lower(at, 0)

    @property
    def lanes(self) -> Collection[int]:
        """Those that have an entry."""
        self._read()
        return self._index.keys()

    def floors(self, lanes: Iterable[int]) -> dict[int, int]:
        """From where to search each of these lanes."""
        return {lane: self.floor(lane) for lane in lanes}

    def floor(self, lane: int) -> int:
        """From where to search the lane."""
        return 0 if (at := self._at(lane)) is None else self._floor(at)

    # --- the children read, and tell what they have found ---

    def worth_asking(self, lanes: Sequence[int]) -> list[Look]:
        """Those lanes which may have work, in the order given. Made for the same lanes again and again, a thousand of them."""
        self._read()
        count = len(self._index)
        if (lanes, count) != self._asked:
            self._asked = (lanes, count)
            self._ranks = {self._index[lane]: rank for rank, lane in enumerate(lanes) if lane in self._index}
            self._unboarded = [rank for rank, lane in enumerate(lanes) if lane not in self._index]
        rung = compress(range(count), map(operator.ne, self._rung[:count].tolist(), self._seen[:count].tolist()))
        ranks = sorted([*self._unboarded, *(self._ranks[at] for at in rung if at in self._ranks)])
        return self.all_of(lanes[rank] for rank in ranks)

    def is_rung(self, lanes: Iterable[int]) -> bool:
        """Whether there may be work in one of these lanes, as far as the board knows."""
        return any((at := self._at(lane)) is not None and self._rung[at] != self._seen[at] for lane in lanes)

    def all_of(self, lanes: Iterable[int]) -> list[Look]:
        """All these lanes, whether they are worth asking or not."""
        return [self._look(lane, self._at(lane)) for lane in lanes]

    def see_empty(self, look: Look) -> None:
        """A claim has found nothing in the lane."""
        if (at := self._at(look.lane)) is not None:
            self._seen[at] = look.rung

    def raise_floor(self, look: Look, floor: int) -> None:
        """A claim has found that from `look.floor` up to this one there is nothing."""
        at = self._at(look.lane)
        if at is not None and look.lowered == self._lowered[at] and self._floor(at) < floor:
            self._raised[at] = min(floor, _HIGHEST_FLOOR) * _LOWERINGS + look.lowered % _LOWERINGS

    def _look(self, lane: int, at: int | None) -> Look:
        if at is None:
            return Look(lane, 0, 0, 0)
        rung, lowered = self._rung[at], self._lowered[at]  # in this order: whoever sees the ring must see the lowering before it
        return Look(lane, self._floor(at), lowered, rung)

    def _floor(self, at: int) -> int:
        lowered, raised = self._lowered[at], self._raised[at]
        is_known = raised % _LOWERINGS == lowered % _LOWERINGS
        return (max(raised, lowered) if is_known else lowered) // _LOWERINGS

    def _lower(self, at: int, floor: int) -> None:
        self._lowered[at] = floor * _LOWERINGS + (self._lowered[at] + 1) % _LOWERINGS

    def _at(self, lane: int) -> int | None:
        if lane not in self._index:
            self._read()
        return self._index.get(lane)

    def _read(self) -> None:
        """Learn the entries that have come since."""
        for at in range(len(self._index), MAX_BOARDED):
            if not (lane := self._lanes[at]):
                return
            self._index[lane] = at
