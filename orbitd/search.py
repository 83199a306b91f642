"""Which lanes a child's next claim searches, from which number on, and what is learnt from its answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

from orbitd.rules.batching import Batch, Pace
from orbitd.rules.watermark import NumberClock
from orbitd.store import Ask, Offer
from orbitd.store.rows import new_token
from orbitd.system import clock
from orbitd.system.laneboard import LaneBoard


class Search:
    """One child's use of the lane board."""

    def __init__(self, board: LaneBoard) -> None:
        self._board = board
        self._numbers = NumberClock()
        self._ask = Ask.of(())
        self._rung: Mapping[int, int] = {}
        self._settled = 0
        self._paces: defaultdict[int, Pace] = defaultdict(Pace)

    def begin(self, lanes: Iterable[int], batches: Mapping[int, Batch], *, is_board_fresh: bool) -> Ask:
        """A new claim. Where nobody keeps the board, all lanes are searched in full. `batches`: where it may bring several runs."""
        self._rung = self._board.rung(lanes)
        floors = self._board.worth_asking(lanes) if is_board_fresh else dict.fromkeys(lanes, 0)
        self._ask = Ask(new_token(), floors, {lane: self._paces[lane].want(batch) for lane, batch in batches.items()})
        self._settled = self._numbers.settled(clock.now())
        return self._ask

    def end(self, offer: Offer) -> None:
        """What the claim begun last has brought: the lanes before its run were empty, and the run is the first of its lane."""
        self._numbers.note(offer.last_seq, clock.now())
        if offer.claimed and (wanted := self._ask.wants.get(offer.claimed.lane)):
            self._paces[offer.claimed.lane].note_claim(wanted, len(offer.runs))
        for lane, floor in self._ask.floors.items():
            if offer.claimed and lane == offer.claimed.lane:
                self._board.raise_floor(lane, floor, min(offer.claimed.seq, self._settled + 1))
                return
            self._board.raise_floor(lane, floor, self._settled + 1)
            self._board.see_empty(lane, self._rung.get(lane, 0))

    def is_rung(self, lanes: Iterable[int]) -> bool:
        """Whether the board says that there may be work in one of these lanes."""
        return bool(self._board.worth_asking(self._board.rung(lanes)))

    def note_run(self, lane: int, seconds: float) -> None:
        """A run of the lane took so long."""
        self._paces[lane].note_run(seconds)

    def forget(self) -> None:
        """This is a new connection, perhaps to another server."""
        self._numbers.forget()
