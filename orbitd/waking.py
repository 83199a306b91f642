"""The host's ear: it wakes as many idle children as there is work, whether a bell tells of that or we look ourselves."""

from __future__ import annotations

import os
import random
import re
from contextlib import suppress
from math import inf

from orbitd import store
from orbitd.rules.states import Activity
from orbitd.rules.waking import Wakefulness
from orbitd.store import Connection, Sight
from orbitd.system import clock, log
from orbitd.system.slots import SharedSlots

_BELL = re.compile(r"([0-9]{1,9}) ([0-9]{1,18}) ([0-9]{1,9}) ([0-9]{1,18})", re.ASCII)


class Deaf(Exception):
    """The listener hears nothing any more, not even itself."""


class Waking:
    """How one host's idle children come to know of work. `lanes` are those that it serves."""

    def __init__(self, slots: SharedSlots) -> None:
        self._slots = slots
        self._state = Wakefulness(clock.now())
        self._has_heard = self._has_probed = self._is_in_doubt = False
        self._is_listening = self._has_ever_heard = False
        self._unsorted_from = 0
        self.lanes: frozenset[int] = frozenset()

    # --- the listener, and whether it hears ---

    def begin(self, connection: Connection) -> None:
        """Listen on a new connection, unless a pooler is in between."""
        if not connection.is_pooled:
            connection.listen()
        self._is_listening = self._is_in_doubt = not connection.is_pooled
        self._has_heard = self._has_ever_heard = self._has_probed = False
        self._state = Wakefulness(clock.now())

    def prepare_beat(self) -> bool:
        """Before a beat: whether it shall ring for ourselves, on a new connection, or because the one before found work untold of.

        Raises Deaf when the one before has rung in vain. A connection that never heard anything is left as it is: a pooler
        is in between, or something as deaf, and beats alone have to do.
        """
        if self._is_listening and self._has_probed and not self._has_heard:
            if self._has_ever_heard:
                raise Deaf
            self._is_listening = False
            log.warn("notifications_missing", hint="set database.direct_url to an address without a pooler")
        self._has_probed = self._is_listening and self._is_in_doubt and not self._has_heard
        self._has_heard = self._is_in_doubt = False
        return self._has_probed

    def ring_for_find(self) -> None:
        """A beat has found work. Where nobody rings that is no wonder, but else we may be deaf."""
        self._is_in_doubt = True
        self.ring_idle(len(self._slots.records))

    # --- bells and looks ---

    def answer(self, connection: Connection) -> bool:
        """Wake children for work that is ready. True: something else rang (a cancel, a run for later or for no known lane)."""
        waiting, wants_beat, now = 0, False, clock.now()
        for notification in connection.heard():
            self._has_heard = self._has_ever_heard = True
            if notification.channel.startswith("orbit_probe"):
                continue
            bell = _BELL.fullmatch(notification.payload) if notification.channel == store.WORK_CHANNEL else None
            if bell is None:
                wants_beat = True
                continue
            lane, seq, count, ticket = map(int, bell.groups())
            if ticket:
                self._state.hear(ticket, now)
            if count == 0 or lane == store.CATCH_ALL_LANE:
                wants_beat = True
            elif lane in self.lanes:
                self._slots.board.tell_of(lane, seq)
                waiting += count
        self.ring_idle(waiting)
        return wants_beat

    def next_look_at(self) -> float:
        """When to look for work. With no child idle there is nobody to wake: the first that becomes idle tells us."""
        header, looks_at = self._slots.header, self._state.looks_at if self._is_listening else inf
        header.tells_idle = looks_at < inf  # said before we look who is idle: whoever becomes so later tells
        return looks_at if looks_at < inf and self._idle() else inf

    def look(self, connection: Connection) -> float | None:
        """Look if it is time to; how many seconds there are until a beat has something to do, as far as we know."""
        if self._is_listening and (ticket := self._state.take_ticket()):
            store.stay_awake(connection, ticket)
        begun = clock.now()
        if begun < self.next_look_at():
            return None
        floors = self._slots.board.floors((*self.lanes, store.CATCH_ALL_LANE))
        if self._state.wants_to_doze:
            sight, producers = store.doze(connection, floors, len(self._idle()))
            self._state.dozed(producers, begun)
        else:
            sight = store.look(connection, floors, len(self._idle()))
            self._state.looked(sight.last_seq, begun, clock.now())
        return self._wake_for(sight)

    def _wake_for(self, sight: Sight) -> float | None:
        waiting = 0
        due_seconds = sight.next_due_seconds
        for lane, seq, count in zip(sight.lanes, sight.seqs, sight.counts, strict=True):
            if lane != store.CATCH_ALL_LANE:
                self._slots.board.ring(lane)
                waiting += count
            elif seq != self._unsorted_from:
                self._unsorted_from, due_seconds = seq, 0.0
        self.ring_idle(waiting)
        return due_seconds

    # --- children ---

    def hush(self) -> None:
        """Take note that a child has become idle."""
        with suppress(BlockingIOError):
            os.eventfd_read(self._slots.janitor_bell)

    def _idle(self) -> list[int]:
        return [slot for slot, record in enumerate(self._slots.records) if record.activity == Activity.IDLE]

    def ring_idle(self, count: int) -> None:
        """Ring as many idle children as there is work, never the same ones first."""
        if count:
            idle = self._idle()
            random.shuffle(idle)
            for slot in idle[:count]:
                self._slots.ring(slot)

    def ring_all(self) -> None:
        """Ring every child, whatever it does."""
        for slot, record in enumerate(self._slots.records):
            if record.activity:
                self._slots.ring(slot)
