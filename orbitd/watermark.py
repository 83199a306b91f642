"""The janitor's part in the watermark: to find the runs of producers who commit late, see rules/watermark.py.

It looks each second while claims raise the floors of its host's lanes, and rests when nobody claims. A look in full, every ten
minutes, must find nothing else: what it finds is counted, because somebody's bound was wrong.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from orbitd import lease, store
from orbitd.rules.watermark import LEAST_PAUSE_SECONDS, Bounds, pause_after
from orbitd.store import Beat, Connection, Sweep
from orbitd.system import clock, log
from orbitd.system.slots import SlotMemory

FULL_LOOK_SECONDS = 600.0


class Watermark:
    """What the janitor knows of the numbers below its host's floors. Times are CLOCK_BOOTTIME."""

    def __init__(self, slots: SlotMemory) -> None:
        self._board, self._header = slots.board, slots.header
        self._bounds = Bounds()
        self._next_full = clock.now() + FULL_LOOK_SECONDS
        self._took_seconds = 0.0
        self._is_resting = False
        self.next_look = 0.0

    def reset(self) -> None:
        """This is a new connection, perhaps to another server: search everything again."""
        self._bounds.forget()
        self._board.forget_floors()
        self.next_look = 0.0

    def beat(self, connection: Connection, host_id: int, lease_seconds: float, *, probes: bool = False) -> Beat:
        """A beat, whose finds are on the board afterwards. Raises LeaseLost."""
        floors = self._board.floors(self._board.lanes) or None
        beat = lease.beat(connection, self._header, host_id, lease_seconds, floors, probes=probes)
        if self._note_server(beat):
            beat = lease.beat(connection, self._header, host_id, lease_seconds, None)
        self._publish(dict(zip(beat.lanes_with_work, beat.first_seqs, strict=True)))
        return beat

    def look(self, connection: Connection, served: Collection[int]) -> int:
        """Look for late runs if it is time, and there may be some. In how many lanes there are: so many children are needed.

        `served` are the lanes that our children ask: each as long as it is rung. While none is, no floor rises.
        """
        now = clock.now()
        if now < self.next_look and not self._is_resting:
            return 0
        may_rise = self._board.is_rung(served)  # before the floors: a child raises them, and then sees that the lane is empty
        floors = self._board.floors(self._board.lanes)
        is_full = now >= self._next_full
        lanes = dict.fromkeys(floors, 0) if is_full else self._bounds.open_lanes(floors)
        self._is_resting = not lanes and not may_rise
        self.next_look = self._next_full if self._is_resting else now + LEAST_PAUSE_SECONDS
        if not lanes:
            return 0
        if is_full:
            self._next_full = now + FULL_LOOK_SECONDS  # also if it comes to nothing
        sweep = store.sweep(connection, lanes)
        took_seconds = clock.now() - now
        self.next_look = now + pause_after(min(took_seconds, self._took_seconds))  # that the machine is busy happens once
        self._took_seconds = took_seconds
        if self._note_server(sweep):
            self._publish(dict.fromkeys(floors, 0))
            return len(floors)
        if is_full:
            self._next_full = max(self._next_full, self.next_look)
            self._count_missed(sweep.found)
        self._bounds.learn(lanes, sweep.safe_seq, sweep.found)
        late = {lane: seq for lane, seq in sweep.found.items() if seq < floors[lane]}
        self._publish(late)
        return len(late)

    def _note_server(self, answer: Beat | Sweep) -> bool:
        is_other = self._bounds.note_server(answer.server_since, answer.last_seq)
        if is_other:
            log.warn("server_changed", since=answer.server_since.isoformat(), last_seq=answer.last_seq)
            self._board.forget_floors()
        return is_other

    def _count_missed(self, found: Mapping[int, int]) -> None:
        for lane, seq in self._bounds.missed(found).items():
            self._header.found_by_sweep += 1
            log.fault("run_overlooked", lane=lane, seq=seq)

    def _publish(self, found: Mapping[int, int]) -> None:
        for lane, seq in found.items():
            self._board.tell_of(lane, seq)
