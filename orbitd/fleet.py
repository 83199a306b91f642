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
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from orbitd.rules import events
from orbitd.rules.exits import ExitStatus
from orbitd.rules.limits import Limits
from orbitd.rules.recycling import most_runs
from orbitd.rules.states import Activity, Reason
from orbitd.system import clock, log, memory, process
from orbitd.system.channel import Channel, ChannelClosed, Message
from orbitd.system.memory import Samples
from orbitd.system.process import Ended, Process
from orbitd.system.slots import SharedSlots, Will
from orbitd.system.stacks import DUMP_SIGNAL
from orbitd.system.wakeup import Wakeup


@dataclass(frozen=True, slots=True)
class Death:
    """What a child left behind."""

    slot: int
    nonce: str
    status: ExitStatus
    child_id: int
    will: Will
    stack: str


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


class Fleet:
    """All processes of this daemon."""

    def __init__(self, owner: Owner, wakeup: Wakeup, most_runs: int | None = None) -> None:
        self.slots = SharedSlots.create(most_runs)
        self._owner, self._wakeup = owner, wakeup
        self._molds: dict[int, _Hand] = {}
        self._children: dict[int, _Hand] = {}
        self._janitor: _Hand | None = None
        self._burials: dict[int, Callable[[Ended], None]] = {}
        self._samples = Samples()
        self._mark = os.urandom(8).hex()

    # --- molds ---

    def spawn_mold(self, generation: int, settings: Mapping[str, Any], environ: Mapping[str, str]) -> None:
        """Exec a mold, which imports the pipelines in that environment."""
        configuration = {"type": "configure", "generation": generation, "settings": settings}
        marked = {**environ, process.MOLD_MARK: self._mark}
        hand = self._spawn("mold", configuration, marked, partial(self._bury_mold, generation))
        self._molds[generation] = hand
        self._watch(hand, partial(self._owner.mold_said, generation))
        self._owner.note(events.MoldSpawned(generation, _pid(hand), clock.now()))

    def kill_mold(self, generation: int) -> None:
        """A mold holds nothing: it can be killed at any time."""
        self._owner.note(events.MoldKilled(generation))
        _process(self._molds[generation]).kill_session()

    # --- children ---

    def ask_for_child(self, slot: int, generation: int, limits: Limits) -> None:
        """Ask the mold for a child; it will say hello on a socket of its own. Limits are spread: it has one of its own."""
        draw = random.random()
        nonce = os.urandom(8).hex()
        ours, theirs = Channel.pair()
        self.slots.clear(slot)
        hand = self._children[slot] = _Hand(ours, nonce=nonce)
        self._owner.note(events.ChildAsked(slot, generation, clock.now(), draw))
        self._watch(hand, partial(self._child_said, slot, hand), partial(self._child_hung_up, slot, hand))
        order = {"type": "spawn", "slot": slot, "nonce": nonce, "max_runs": most_runs(limits, draw)}
        try:
            self._molds[generation].channel.send(order, [theirs.fileno()])
        except (ChannelClosed, BlockingIOError):
            log.warn("spawn_failed", slot=slot, gen=generation)  # we keep no copy of its end: the closed channel frees the slot
        finally:
            theirs.close()

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
            self._mourn(slot, hand, ExitStatus(signal=signal.SIGKILL))

    def in_hand(self) -> list[int]:
        """The slots whose child has a run in hand, or may be given one just now."""
        records, claims = self.slots.records, self.slots.claims
        return [slot for slot in self._children if records[slot].read_activity() is Activity.BUSY or not claims[slot].is_empty]

    def look(self, slot: int) -> None:
        """Note what shared memory says of a child."""
        record = self.slots.records[slot]
        self._owner.note(events.ChildSeen(slot, record.read_activity(), record.run_deadline, record.tick_at))

    def weigh(self, slot: int, *, fully: bool) -> None:
        """Note how much memory a child has; `fully`: also how much is its own, which takes milliseconds."""
        hand = self._children.get(slot)
        if hand and hand.process:
            pid = hand.process.pid
            own_bytes = memory.own_bytes(pid) if fully else None
            self._owner.note(events.MemorySeen(slot, self._samples.rss_bytes(pid), own_bytes, clock.now()))

    # --- janitor ---

    def spawn_janitor(self, configuration: Message, environ: Mapping[str, str]) -> None:
        """Exec the host's helper for the database."""
        self._janitor = hand = self._spawn("janitor", {"type": "configure", **configuration}, environ, self._bury_janitor)
        self.slots.header.janitor_tick_at = clock.now()
        self._watch(hand, self._owner.janitor_said)
        self._owner.note(events.JanitorSpawned(_pid(hand), clock.now()))

    def tell_janitor(self, message: Message) -> None:
        """Send the janitor a message; without one it is lost, and told again to the next (see `Arbiter`)."""
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

    # --- messages and deaths ---

    def flush(self) -> None:
        """Send what waits for room in a channel."""
        for hand in [*self._molds.values(), *self._children.values(), *([self._janitor] if self._janitor else [])]:
            try:
                hand.channel.flush()
            except ChannelClosed:
                continue

    def reap(self) -> None:
        """Collect every process that has ended: ours, and strangers whom a subreaper inherits."""
        while ended := process.peek_ended():
            if ended.pid not in self._burials:
                self._hear_newborns()  # it may have died with its hello unread
            bury = self._burials.pop(ended.pid, None)
            bury(ended) if bury else process.reap(ended.pid)

    def _hear_newborns(self) -> None:
        for slot, hand in list(self._children.items()):
            if hand.process is None:
                self._read(hand, partial(self._child_said, slot, hand), partial(self._child_hung_up, slot, hand))

    def record(self) -> list[dict[str, int]]:
        """Who lives, by pid and start time: what the next arbiter must see gone before it takes back our runs."""
        hands = [*self._molds.values(), *self._children.values(), *([self._janitor] if self._janitor else [])]
        return [{"pid": hand.process.pid, "start_ticks": hand.process.start_ticks} for hand in hands if hand.process]

    def _spawn(self, kind: str, configuration: Message, environ: Mapping[str, str], bury: Callable[[Ended], None]) -> _Hand:
        ours, theirs = Channel.pair()
        command = [sys.executable, "-P", "-m", "orbitd", "--as", kind, str(theirs.fileno())]
        handed_on = {"arbiter_pid": os.getpid(), "slots": self.slots.description}
        try:
            child = process.spawn(command, keep_fds=[theirs.fileno(), *self.slots.fds], environment=environ)
        finally:
            theirs.close()
        self._burials[child.pid] = bury
        self._wakeup.watch(child.pidfd, self.reap)
        with contextlib.suppress(ChannelClosed):  # it has died already, and is buried in a moment
            ours.send({**configuration, **handed_on})
        return _Hand(ours, child)

    def _watch(self, hand: _Hand, on_message: Callable[[Message], None], on_closed: Callable[[], None] = lambda: None) -> None:
        self._wakeup.watch(hand.channel.fileno(), lambda: self._read(hand, on_message, on_closed))

    def _read(self, hand: _Hand, on_message: Callable[[Message], None], on_closed: Callable[[], None] = lambda: None) -> None:
        """Read what there is. A channel may be closed under us: by an earlier callback of the same turn, or by a message's own."""
        try:
            while hand.channel.fileno() >= 0 and (message := hand.channel.receive()):
                on_message(message)
        except ChannelClosed:
            if hand.channel.fileno() in self._wakeup.selector.get_map():
                self._wakeup.forget(hand.channel.fileno())
            on_closed()

    def _child_said(self, slot: int, hand: _Hand, message: Message) -> None:
        match message["type"]:
            case "hello":
                self._greet(slot, hand, message["pid"])
            case "booted":
                self._owner.note(events.ChildBooted(slot, clock.now()))
            case "worn":
                self._owner.note(events.ChildWorn(slot))
            case "ready" | "idle":  # to wake us: that it is, stands in its slot
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
        self._burials[pid] = partial(self._bury_child, slot, hand)
        self._wakeup.watch(hand.process.pidfd, self.reap)
        self._owner.note(events.ChildSaidHello(slot, pid))

    def _child_hung_up(self, slot: int, hand: _Hand) -> None:
        if hand.process is None and self._children.get(slot) is hand:
            self._child_lost(slot, hand)

    def _child_lost(self, slot: int, hand: _Hand) -> None:
        """It was never seen: it died before its hello, or its mold did, or there was no descriptor to watch it by."""
        self._close(hand)
        self._depart(slot, hand, ExitStatus())

    def _bury_mold(self, generation: int, ended: Ended) -> None:
        hand = self._molds.pop(generation)
        self._read(hand, partial(self._owner.mold_said, generation))  # its last words: a traceback comes just before the exit
        self._end(hand)
        self._owner.note(events.MoldExited(generation, ended.status, clock.now(), random.random()))

    def _bury_janitor(self, _ended: Ended) -> None:
        if self._janitor:
            self._read(self._janitor, self._owner.janitor_said)
            self._end(self._janitor)
        self._janitor = None
        self._owner.note(events.JanitorExited(clock.now(), random.random()))

    def _bury_child(self, slot: int, hand: _Hand, ended: Ended) -> None:
        self._end(hand)
        self._samples.forget(ended.pid)
        self._depart(slot, hand, ended.status)
        self._sweep(hand.nonce)

    def _depart(self, slot: int, hand: _Hand, status: ExitStatus) -> None:
        """A child is gone: tell what it left, then that it is gone."""
        del self._children[slot]
        if not hand.is_mourned:
            self._mourn(slot, hand, status)
        self._owner.note(events.ChildExited(slot, status, clock.now(), random.random()))

    def _mourn(self, slot: int, hand: _Hand, status: ExitStatus) -> None:
        """Tell what a child has left, and clear its slot: else the janitor would go on ringing for it."""
        hand.is_mourned = True
        will, stack = self.slots.claims[slot].read(), self.slots.stack(slot).read()
        self._owner.child_died(Death(slot, hand.nonce, status, self.slots.records[slot].child_id, will, stack))
        self.slots.clear(slot)

    def _end(self, hand: _Hand) -> None:
        """Kill what is left of its group, and reap it."""
        dead = _process(hand)
        process.kill_group(dead.pid)
        process.reap(dead.pid)
        self._wakeup.forget(dead.pidfd)
        dead.close()
        self._close(hand)

    def _close(self, hand: _Hand) -> None:
        if hand.channel.fileno() in self._wakeup.selector.get_map():
            self._wakeup.forget(hand.channel.fileno())
        hand.channel.close()

    def _sweep(self, nonce: str) -> None:
        """Kill what a dead child started in sessions of its own: now that it is dead, they are our children.

        Programs carry the child's nonce in their environment. What was forked without an exec carries only its mold's mark, as
        does a child on its way to its hello: it is left alone while there is one. Strangers, whom we inherit as process 1 or
        from whoever exec'd us, carry neither.
        """
        known = {entry["pid"] for entry in self.record()}
        is_arriving = any(hand.process is None for hand in self._children.values())
        marks = [f"{process.CHILD_MARK}={nonce}".encode(), *([] if is_arriving else [f"{process.MOLD_MARK}={self._mark}".encode()])]
        for pid in process.own_children():
            if pid in known:
                continue
            environment = process.environment_of(pid)
            if any(mark in environment for mark in marks):
                stray = Process.adopt(pid)
                if stray:
                    log.warn("stray_killed", pid=pid)
                    stray.send_signal(signal.SIGKILL)
                    stray.close()


def _process(hand: _Hand) -> Process:
    if hand.process is None:
        raise ValueError("the process has not said hello")
    return hand.process


def _pid(hand: _Hand) -> int:
    return _process(hand).pid
