"""The arbiter's hands: the processes behind the roster, their channels, pidfds and shared memory.

It does what it is told and reports what it sees as events and messages; it decides nothing. A process is signalled through
its pidfd, or while it is not reaped: until then its pid and its group are its own. So a dead child is peeked at first, its
group killed, its will read, and only then reaped.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from orbitd.rules import events
from orbitd.rules.exits import ExitStatus
from orbitd.rules.limits import Limits
from orbitd.rules.liveness import UNKILLABLE_SECONDS
from orbitd.rules.recycling import most_runs
from orbitd.rules.states import Activity, Reason
from orbitd.system import clock, log, process
from orbitd.system.channel import Channel, ChannelClosed, ChannelEstate, Message
from orbitd.system.notify import without_service
from orbitd.system.orphans import Orphans
from orbitd.system.process import Ended, Process
from orbitd.system.slots import SharedSlots, Will
from orbitd.system.stacks import DUMP_SIGNAL
from orbitd.system.wakeup import Wakeup

_MOST_NAMED = 8


@dataclass(frozen=True, slots=True)
class Death:
    """What a child left behind. `peak_bytes` as `process.reap` has it: 0 of one that nobody saw end."""

    slot: int
    nonce: str
    status: ExitStatus
    peak_bytes: int
    run_id: int
    pipeline: str
    child_id: int
    will: Will
    stack: str


Keep = Callable[[int], int]
"""Takes down a descriptor that must outlive the exec, and returns it."""
OnEnd = Callable[[ExitStatus], None]


@dataclass(frozen=True, slots=True)
class HandEstate:
    """What one process hands over."""

    channel: ChannelEstate
    process: Process | None
    nonce: str
    is_mourned: bool


@dataclass(frozen=True, slots=True)
class FleetEstate:
    """All that a fleet hands over to the next program: its processes, and the memory that it shares with them."""

    slots: dict[str, Any]
    layout: dict[str, int]
    molds: dict[int, HandEstate]
    children: dict[int, HandEstate]
    janitor: HandEstate | None
    mark: str
    strangers: set[int]


class Owner(Protocol):
    """Who the fleet reports to: the arbiter."""

    def note(self, event: events.Event) -> None:
        """A fact for the roster."""

    def mold_said(self, generation: int, message: Message) -> None:
        """A message of a mold."""

    def janitor_said(self, message: Message) -> None:
        """A message of the janitor."""

    def child_died(self, death: Death) -> None:
        """A child is gone; called before its exit is noted."""


@dataclass(slots=True)
class _Hand:
    """Our end of one process. `process` is None while a child has not said hello; `is_mourned` once its runs are taken back."""

    channel: Channel
    process: Process | None = None
    nonce: str = ""
    is_mourned: bool = False

    def hand_over(self, keep: Keep) -> HandEstate:
        if self.process and self.process.pidfd is not None:
            keep(self.process.pidfd)
        return HandEstate(self.channel.hand_over(keep), self.process, self.nonce, self.is_mourned)

    @classmethod
    def inherit(cls, estate: HandEstate) -> _Hand:
        return cls(Channel.inherit(estate.channel), estate.process, estate.nonce, estate.is_mourned)


class Fleet:
    """All processes of this daemon."""

    def __init__(self, owner: Owner, wakeup: Wakeup, slots: SharedSlots) -> None:
        self.slots = slots
        self._owner, self._wakeup = owner, wakeup
        self._molds: dict[int, _Hand] = {}
        self._children: dict[int, _Hand] = {}
        self._janitor: _Hand | None = None
        self._burials: dict[int, Callable[[Ended], None]] = {}
        self._strays: dict[int, float] = {}
        self._mark = os.urandom(8).hex()
        self._orphans = Orphans()

    # --- over an upgrade ---

    def hand_over(self, keep: Keep) -> FleetEstate:
        """What `inherit` needs. Nothing is let go of."""
        for fd in self.slots.fds:
            keep(fd)
        return FleetEstate(
            slots=self.slots.description,
            layout=self.slots.layout(),
            molds={generation: hand.hand_over(keep) for generation, hand in self._molds.items()},
            children={slot: hand.hand_over(keep) for slot, hand in self._children.items()},
            janitor=self._janitor.hand_over(keep) if self._janitor else None,
            mark=self._mark,
            strangers=self._orphans.strangers,
        )

    def inherit(self, estate: FleetEstate) -> None:
        """Go on with these processes: as a fresh fleet, with the shared memory of the one before."""
        self._mark, self._orphans = estate.mark, Orphans(estate.strangers)
        for generation, left in estate.molds.items():
            self._molds[generation] = hand = _Hand.inherit(left)
            self._await_end(hand, partial(self._bury_mold, generation))
            self._watch(hand, partial(self._owner.mold_said, generation))
        for slot, left in estate.children.items():
            self._children[slot] = hand = _Hand.inherit(left)
            if hand.process:
                self._await_end(hand, partial(self._bury_child, slot))
            self._watch(hand, partial(self._child_said, slot, hand), partial(self._child_hung_up, slot, hand))
        if estate.janitor:
            self._janitor = hand = _Hand.inherit(estate.janitor)
            self._await_end(hand, self._bury_janitor)
            self._watch(hand, self._owner.janitor_said)

    def exec_guest(self, command: Sequence[str], environ: Mapping[str, str], fds: Sequence[int], output_fd: int, on_end: OnEnd) -> Process:
        """Exec a program that is none of the daemon's processes; tell how it ended. Raises OSError."""
        guest = process.spawn(command, keep_fds=fds, environment=without_service(environ), output_fd=output_fd)

        def bury(ended: Ended) -> None:
            self._end_process(guest)
            on_end(ended.status)

        self._await_process(guest, bury)
        return guest

    # --- molds ---

    def spawn_mold(self, generation: int, settings: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        """Exec a mold, which imports the pipelines in that environment."""
        configuration = {"generation": generation, "settings": settings, "asked_at": clock.now()}
        marked = {**environ, process.MOLD_MARK: self._mark}
        self._molds[generation] = hand = self._spawn("mold", configuration, marked, partial(self._bury_mold, generation))
        self._watch(hand, partial(self._owner.mold_said, generation))
        self._owner.note(events.MoldSpawned(generation, _pid(hand), clock.now()))

    def kill_mold(self, generation: int) -> None:
        """A mold holds nothing: it can be killed at any time. One that has ended by itself is only forgotten."""
        self._owner.note(events.MoldKilled(generation, clock.now()))
        if hand := self._molds.get(generation):
            _process(hand).kill_session()

    def abandon_mold(self, generation: int) -> None:
        """Wait no longer for one that was killed: the kernel holds it, and it will be reaped when it is let go."""
        self._molds.pop(generation, None)
        self._owner.note(events.MoldAbandoned(generation))

    # --- children ---

    def spawn_child(self, slot: int, generation: int, limits: Limits, settings: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        """Exec a child, which imports the pipelines itself."""

        def spawn(order: Message) -> _Hand:
            marked = {**environ, process.MOLD_MARK: self._mark, process.CHILD_MARK: order["nonce"]}
            configuration = {"generation": generation, "settings": settings, **order}
            return self._spawn("child", configuration, marked, partial(self._bury_child, slot))

        hand = self._begin_child(slot, generation, limits, spawn)
        self._owner.note(events.ChildSaidHello(slot, _pid(hand)))

    def ask_for_child(self, slot: int, generation: int, limits: Limits) -> None:
        """Ask the mold for a child; it will say hello on a socket of its own. Limits are spread: it has one of its own."""

        def ask(order: Message) -> _Hand:
            ours, theirs = Channel.pair()
            try:
                self._molds[generation].channel.send({"type": "spawn", **order}, [theirs.fileno()])
            except (ChannelClosed, BlockingIOError):
                log.warn("spawn_failed", slot=slot, gen=generation)  # we keep no copy of its end: the closed channel frees the slot
            finally:
                theirs.close()
            return _Hand(ours)

        self._begin_child(slot, generation, limits, ask)

    def _begin_child(self, slot: int, generation: int, limits: Limits, begin: Callable[[Message], _Hand]) -> _Hand:
        """Fill a slot with a child that `begin` brings about, given what it must be told."""
        draw, nonce = random.random(), os.urandom(8).hex()
        self.slots.clear(slot)
        hand = self._children[slot] = begin({"slot": slot, "nonce": nonce, "max_runs": most_runs(limits, draw)})
        hand.nonce = nonce
        self._owner.note(events.ChildAsked(slot, generation, clock.now(), draw))
        self._watch(hand, partial(self._child_said, slot, hand), partial(self._child_hung_up, slot, hand))
        return hand

    def tell_child(self, slot: int, message: Message) -> None:
        """Send a child a message and ring its bell. One that is gone will be reaped in a moment."""
        hand = self._children.get(slot)
        if hand is None:
            return
        try:
            hand.channel.send(message)
        except (ChannelClosed, BufferError):
            return
        self.slots.ring(slot)

    def kill_child(self, slot: int, reason: Reason) -> None:
        """SIGKILL the child's session. One that has not said hello has no pid yet: it ends by itself when its socket closes."""
        hand = self._children[slot]
        self._owner.note(events.KillSent(slot, reason, clock.now()))
        if hand.process:
            hand.process.kill_session()
        else:
            self._child_lost(slot, hand)

    @property
    def has_strays(self) -> bool:
        """Whether somebody whom a child has left behind is still dying."""
        return any(clock.now() < killed_at + UNKILLABLE_SECONDS for killed_at in self._strays.values())

    def process_of(self, slot: int) -> Process | None:
        """The child of a slot; None when there is none, or it has not said hello."""
        hand = self._children.get(slot)
        return hand.process if hand else None

    def dump_stack(self, slot: int) -> None:
        """Have a child add the stacks of its threads to its stack file, where its end will find them."""
        child = self.process_of(slot)
        if child:
            child.send_signal(DUMP_SIGNAL)

    def abandon(self, slot: int) -> None:
        """Tell what a killed child held, before its end, and once for all.

        SIGKILL is pending: wherever the kernel holds it (a frozen control group, a device), it never executes user code again.
        """
        hand = self._children[slot]
        if not hand.is_mourned:
            self._mourn(slot, hand, ExitStatus(signal=signal.SIGKILL), peak_bytes=0)

    def in_hand(self) -> list[int]:
        """The slots whose child has a run in hand, or may be given one just now."""
        records, claims = self.slots.records, self.slots.claims
        return [slot for slot in self._children if records[slot].read_activity() is Activity.BUSY or not claims[slot].is_empty]

    def look(self, slot: int) -> None:
        """Note what shared memory says of a child."""
        record = self.slots.records[slot]
        self._owner.note(events.ChildSeen(slot, record.read_activity(), record.run_deadline, record.tick_at))

    # --- janitor ---

    def spawn_janitor(self, configuration: Message, environ: Mapping[str, str]) -> None:
        """Exec the host's helper for the database."""
        self._janitor = hand = self._spawn("janitor", configuration, environ, self._bury_janitor)
        self.slots.header.janitor_tick_at = clock.now()
        self._watch(hand, self._owner.janitor_said)
        self._owner.note(events.JanitorSpawned(_pid(hand), clock.now()))

    def tell_janitor(self, message: Message) -> None:
        """Send the janitor a message; without one it is lost, and told again to the next (see `Affairs`)."""
        if self._janitor is None:
            return
        try:
            self._janitor.channel.send(message)
        except (ChannelClosed, BufferError):
            log.warn("janitor_unreachable", message=message["type"])

    def kill_janitor(self) -> None:
        """A janitor that does not turn is of no use."""
        if self._janitor:
            _process(self._janitor).kill_session()
        self._owner.note(events.JanitorKilled(clock.now()))

    def abandon_janitor(self) -> None:
        """As `abandon_mold`."""
        self._janitor = None
        self._owner.note(events.JanitorAbandoned())

    # --- messages and deaths ---

    def flush(self) -> None:
        """Send what waits for room in a channel."""
        for hand in self._hands():
            try:
                hand.channel.flush()
            except ChannelClosed:
                continue

    def reap(self) -> None:
        """Collect every process that has ended: ours, and strangers whom a subreaper inherits."""
        has_ended = False
        while ended := process.peek_ended():
            if ended.pid not in self._burials:
                self._hear_newborns()  # it may have died with its hello unread
            bury = self._burials.pop(ended.pid, None)
            bury(ended) if bury else process.reap(ended.pid)
            self._strays.pop(ended.pid, None)
            has_ended = True
        if has_ended:
            self._sweep()

    def _hear_newborns(self) -> None:
        for slot, hand in list(self._children.items()):
            if hand.process is None:
                self._read(hand, partial(self._child_said, slot, hand), partial(self._child_hung_up, slot, hand))

    def record(self) -> list[dict[str, int]]:
        """Who lives, by pid and start time: what the next arbiter must see gone before it takes back our runs."""
        return [{"pid": hand.process.pid, "start_ticks": hand.process.start_ticks} for hand in self._hands() if hand.process]

    def _hands(self) -> list[_Hand]:
        return [*self._molds.values(), *self._children.values(), *([self._janitor] if self._janitor else [])]

    def _spawn(self, kind: str, configuration: Message, environ: Mapping[str, str], bury: Callable[[_Hand, Ended], None]) -> _Hand:
        ours, theirs = Channel.pair()
        command = [sys.executable, "-P", "-m", "orbitd", "--as", kind, str(theirs.fileno())]
        handed_on = {"arbiter_pid": os.getpid(), "slots": self.slots.description}
        try:
            child = process.spawn(command, keep_fds=[theirs.fileno(), *self.slots.fds], environment=without_service(environ))
        finally:
            theirs.close()
        hand = _Hand(ours, child)
        self._await_end(hand, bury)
        with contextlib.suppress(ChannelClosed):  # it has died already, and is buried in a moment
            ours.send({"type": "configure", **configuration, **handed_on})
        return hand

    def _await_end(self, hand: _Hand, bury: Callable[[_Hand, Ended], None]) -> None:
        self._await_process(_process(hand), partial(bury, hand))

    def _await_process(self, living: Process, bury: Callable[[Ended], None]) -> None:
        """Have it buried when it has ended. Without a pidfd SIGCHLD alone tells."""
        self._burials[living.pid] = bury
        if living.pidfd is not None:
            self._wakeup.watch(living.pidfd, self.reap)

    def _watch(self, hand: _Hand, on_message: Callable[[Message], None], on_closed: Callable[[], None] = lambda: None) -> None:
        self._wakeup.watch(hand.channel.fileno(), lambda: self._read(hand, on_message, on_closed))

    def _read(self, hand: _Hand, on_message: Callable[[Message], None], on_closed: Callable[[], None] = lambda: None) -> None:
        """Read what there is. A channel may be closed under us: by an earlier callback of the same turn, or by a message's own."""
        try:
            while hand.channel.fileno() >= 0 and (message := hand.channel.receive()):
                on_message(message)
        except ChannelClosed:
            self._wakeup.forget(hand.channel.fileno())
            on_closed()

    def _child_said(self, slot: int, hand: _Hand, message: Message) -> None:
        match message["type"]:
            case "hello" if hand.process is None:
                self._greet(slot, hand, message["pid"])
            case "booted":
                self._owner.note(events.ChildBooted(slot, clock.now()))
            case "worn":
                self._owner.note(events.ChildWorn(slot))
            case "hello" | "ready" | "idle":  # to wake us: that it is, stands in its slot
                pass

    def _greet(self, slot: int, hand: _Hand, pid: int) -> None:
        """A child has come to us. Without a descriptor to watch it by, it cannot stay."""
        try:
            hand.process = Process.adopt(pid)
        except OSError as error:
            log.fault("adoption_failed", slot=slot, pid=pid, error=error.strerror)
            process.kill_unwatched(pid)
        if hand.process is None:
            self._child_lost(slot, hand)
            return
        self._await_end(hand, partial(self._bury_child, slot))
        self._owner.note(events.ChildSaidHello(slot, pid))

    def _child_hung_up(self, slot: int, hand: _Hand) -> None:
        if hand.process is None and self._children.get(slot) is hand:
            self._child_lost(slot, hand)

    def _child_lost(self, slot: int, hand: _Hand) -> None:
        """It was never seen: it died before its hello, or its mold did, or there was no descriptor to watch it by."""
        self._close(hand)
        self._depart(slot, hand, ExitStatus())

    def _bury_mold(self, generation: int, hand: _Hand, ended: Ended) -> None:
        if self._molds.get(generation) is not hand:  # it was abandoned
            self._end(hand)
            return
        del self._molds[generation]
        self._read(hand, partial(self._owner.mold_said, generation))  # its last words: a traceback comes just before the exit
        self._end(hand)
        self._owner.note(events.MoldExited(generation, ended.status, clock.now(), random.random()))

    def _bury_janitor(self, hand: _Hand, _ended: Ended) -> None:
        if self._janitor is not hand:
            self._end(hand)
            return
        self._read(hand, self._owner.janitor_said)
        self._end(hand)
        self._janitor = None
        self._owner.note(events.JanitorExited(clock.now(), random.random()))

    def _bury_child(self, slot: int, hand: _Hand, ended: Ended) -> None:
        peak_bytes = self._end(hand)
        self._depart(slot, hand, ended.status, peak_bytes)

    def _depart(self, slot: int, hand: _Hand, status: ExitStatus, peak_bytes: int = 0) -> None:
        """A child is gone: tell what it left, then that it is gone."""
        del self._children[slot]
        if not hand.is_mourned:
            self._mourn(slot, hand, status, peak_bytes)
        self._owner.note(events.ChildExited(slot, status, clock.now(), random.random()))

    def _mourn(self, slot: int, hand: _Hand, status: ExitStatus, peak_bytes: int) -> None:
        """Tell what a child has left, and clear its slot: else the janitor would go on ringing for it."""
        hand.is_mourned = True
        record, will, stack = self.slots.records[slot], self.slots.claims[slot].read(), self.slots.stack(slot).read()
        self._owner.child_died(Death(slot, hand.nonce, status, peak_bytes, record.run_id, record.pipeline, record.child_id, will, stack))
        self.slots.clear(slot)

    def _end(self, hand: _Hand) -> int:
        peak_bytes = self._end_process(_process(hand))
        self._close(hand)
        return peak_bytes

    def _end_process(self, dead: Process) -> int:
        """Kill what is left of its group, and reap it; its peak memory."""
        process.kill_group(dead.pid)
        peak_bytes = process.reap(dead.pid)
        if dead.pidfd is not None:
            self._wakeup.forget(dead.pidfd)
        dead.close()
        return peak_bytes

    def _close(self, hand: _Hand) -> None:
        self._wakeup.forget(hand.channel.fileno())
        hand.channel.close()

    def _sweep(self) -> None:
        """Kill what dead children have left: when one has ended, and when something of what it left has."""
        is_arriving = any(hand.process is None for hand in self._children.values())
        if swept := self._orphans.sweep(self._burials, self._mark, is_arriving=is_arriving):
            log.warn("strays_killed", count=len(swept), pids=",".join(map(str, swept[:_MOST_NAMED])))
            self._strays = dict.fromkeys(swept, clock.now()) | self._strays  # who does not end was killed when it was first


def _process(hand: _Hand) -> Process:
    if hand.process is None:
        raise ValueError("the process has not said hello")
    return hand.process


def _pid(hand: _Hand) -> int:
    return _process(hand).pid
