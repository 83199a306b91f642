"""Which lanes a child's next claim searches, from which number on, and what is learnt from its answer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from orbitd.rules.batching import Batch, Pace
from orbitd.rules.watermark import NumberClock, pause_after
from orbitd.store import Ask, Offer
from orbitd.store.rows import new_token
from orbitd.system import clock
from orbitd.system.laneboard import LaneBoard, Look


class Search:
    """One child's use of the lane board."""

    def __init__(self, board: LaneBoard) -> None:
        self._board = board
        self._numbers = NumberClock()
        self._looks: list[Look] = []
        self._settled = 0
        self._wants: Mapping[int, int] = {}
        self._paces: defaultdict[int, Pace] = defaultdict(Pace)
        self._began_at = self._next_full = 0.0
        self._is_full = False

    def begin(self, lanes: Sequence[int], batches: Mapping[int, Batch], *, is_board_fresh: bool) -> Ask:
        """A new claim. Where nobody keeps the board all lanes are asked, and now and then searched in full.

        `batches`: where it may bring several runs.
        """
        self._began_at = clock.now()
        self._is_full = not is_board_fresh and self._began_at >= self._next_full
        self._looks = self._board.worth_asking(lanes) if is_board_fresh else self._board.all_of(lanes)
        if self._is_full:
            self._looks = [look._replace(floor=0) for look in self._looks]
        self._settled = self._numbers.settled(self._began_at)
        self._wants = {lane: self._paces[lane].want(batch) for lane, batch in batches.items()}
        return Ask(new_token(), {look.lane: look.floor for look in self._looks}, self._wants)

    def end(self, offer: Offer) -> None:
        """What the claim begun last has brought: the lanes before its runs were empty, and the first of them is the first of its lane."""
        now = clock.now()
        if offer.claimed and (wanted := self._wants.get(offer.claimed.lane)):
            self._paces[offer.claimed.lane].note_claim(wanted, len(offer.runs))
        if self._numbers.note(offer.last_seq, now):
            return  # these are another server's numbers: what we thought settled is not
        is_late = False
        for look in self._looks:
            if offer.claimed and look.lane == offer.claimed.lane:
                is_late = offer.claimed.seq < self._board.floor(look.lane)
                self._board.raise_floor(look, min(offer.claimed.seq, self._settled + 1))
                break
            self._board.raise_floor(look, self._settled + 1)
            self._board.see_empty(look)
        if self._is_full and not is_late:  # else there may be more of those that nobody would find
            self._next_full = now + pause_after(now - self._began_at)

    def is_rung(self, lanes: Iterable[int]) -> bool:
        """Whether the board says that there may be work in one of these lanes."""
        return self._board.is_rung(lanes)

    def note_run(self, lane: int, seconds: float) -> None:
        """A run of the lane took so long."""
        self._paces[lane].note_run(seconds)

    def forget(self) -> None:
        """This is a new connection, perhaps to another server."""
        self._numbers.forget()
