"""The arbiter's hands: the processes behind the roster, their channels, pidfds and shared memory.

It does what it is told and reports what it sees as events and messages; it decides nothing. Every signal goes through a
pidfd. A dead child is peeked at, its group killed and its will read before it is reaped: until then its pid is its own.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol

from orbitd.rules import events
from orbitd.rules.exits import ExitStatus
from orbitd.rules.states import Reason
from orbitd.system import clock, log, process
from orbitd.system.channel import Channel, ChannelClosed, Message
from orbitd.system.memory import Samples
from orbitd.system.process import Process
from orbitd.system.slots import SharedSlots, Will
from orbitd.system.wakeup import Wakeup


@dataclass(frozen=True, slots=True)
class Death:
    """What a child left behind."""

    slot: int
    nonce: str
    status: ExitStatus
    child_id: int
    pipeline: str
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
    """Our end of one process. `process` is None while a child has not said hello."""

    channel: Channel
    process: Process | None = None
    nonce: str = ""


class Fleet:
    """All processes of this daemon."""

    def __init__(self, owner: Owner, wakeup: Wakeup) -> None:
        self.slots = SharedSlots.create()
        self._owner, self._wakeup = owner, wakeup
        self._molds: dict[int, _Hand] = {}
        self._children: dict[int, _Hand] = {}
        self._janitor: _Hand | None = None
        self._samples = Samples()
        self._mark = os.urandom(8).hex()

    # --- molds ---

    def spawn_mold(self, generation: int, settings: Mapping[str, Any]) -> None:
        """Exec a mold, which imports the pipelines."""
        hand = self._spawn("mold", {"type": "configure", "generation": generation, "settings": settings}, {process.MOLD_MARK: self._mark})
        self._molds[generation] = hand
        self._watch(hand, partial(self._owner.mold_said, generation))
        self._owner.note(events.MoldSpawned(generation, _pid(hand), clock.now()))

    def kill_mold(self, generation: int) -> None:
        """A mold holds nothing: it can be killed at any time."""
        self._owner.note(events.MoldKilled(generation))
        _process(self._molds[generation]).kill_session()

    # --- children ---

    def ask_for_child(self, slot: int, generation: int) -> None:
        """Ask the mold for a child; it will say hello on a socket of its own."""
        nonce = os.urandom(8).hex()
        ours, theirs = Channel.pair()
        self.slots.clear(slot)
        hand = self._children[slot] = _Hand(ours, nonce=nonce)
        self._owner.note(events.ChildAsked(slot, generation, nonce, clock.now()))
        self._watch(hand, partial(self._child_said, slot, hand), partial(self._child_hung_up, slot, hand))
        try:
            self._molds[generation].channel.send({"type": "spawn", "slot": slot, "nonce": nonce}, [theirs.fileno()])
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
        """SIGKILL the child's session. One that has not said hello has no pid: its mold goes, and its socket with it."""
        hand = self._children[slot]
        self._owner.note(events.KillSent(slot, reason))
        if hand.process:
            hand.process.kill_session()
        else:
            self._child_lost(slot, hand)

    def look(self, slot: int) -> None:
        """Note what shared memory says of a child."""
        record = self.slots.records[slot]
        self._owner.note(events.ChildSeen(slot, record.read_activity(), record.run_deadline))

    def weigh(self, slot: int) -> None:
        """Note how much memory a child has."""
        hand = self._children.get(slot)
        if hand and hand.process:
            self._owner.note(events.MemorySeen(slot, self._samples.rss_bytes(hand.process.pid)))

    # --- janitor ---

    def spawn_janitor(self, configuration: Message) -> None:
        """Exec the host's helper for the database."""
        self._janitor = hand = self._spawn("janitor", {"type": "configure", **configuration})
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
            if not self._bury(ended):
                process.reap(ended.pid)

    def record(self) -> list[dict[str, int]]:
        """Who lives, by pid and start time: what the next arbiter must see gone before it takes back our runs."""
        hands = [*self._molds.values(), *self._children.values(), *([self._janitor] if self._janitor else [])]
        return [{"pid": hand.process.pid, "start_ticks": hand.process.start_ticks} for hand in hands if hand.process]

    def _spawn(self, kind: str, configuration: Message, marks: Mapping[str, str] = MappingProxyType({})) -> _Hand:
        ours, theirs = Channel.pair()
        command = [sys.executable, "-P", "-m", "orbitd", "--as", kind, str(theirs.fileno())]
        handed_on = {"arbiter_pid": os.getpid(), "slots": {"fd": self.slots.fd, "bells": self.slots.bells, "stacks": self.slots.stacks}}
        child = process.spawn(command, keep_fds=[theirs.fileno(), *self.slots.fds], environment={**os.environ, **marks})
        theirs.close()
        ours.send({**configuration, **handed_on})
        self._wakeup.watch(child.pidfd, self.reap)
        return _Hand(ours, child)

    def _watch(self, hand: _Hand, on_message: Callable[[Message], None], on_closed: Callable[[], None] = lambda: None) -> None:
        def on_readable() -> None:
            if hand.channel.fileno() < 0:  # buried by an earlier callback of the same turn
                return
            try:
                while message := hand.channel.receive():
                    on_message(message)
            except ChannelClosed:
                self._wakeup.forget(hand.channel.fileno())
                on_closed()

        self._wakeup.watch(hand.channel.fileno(), on_readable)

    def _child_said(self, slot: int, hand: _Hand, message: Message) -> None:
        match message["type"]:
            case "hello":
                hand.process = Process.adopt(message["pid"])
                if hand.process is None:
                    self._child_lost(slot, hand)
                    return
                self._wakeup.watch(hand.process.pidfd, self.reap)
                self._owner.note(events.ChildSaidHello(slot, hand.process.pid))
            case "booted":
                self._owner.note(events.ChildBooted(slot, clock.now()))
            case "ready":  # to wake us: that it is, stands in its slot
                pass

    def _child_hung_up(self, slot: int, hand: _Hand) -> None:
        if hand.process is None and self._children.get(slot) is hand:
            self._child_lost(slot, hand)

    def _child_lost(self, slot: int, hand: _Hand) -> None:
        """It was never seen: it died before its hello, or its mold did."""
        self._close(hand)
        del self._children[slot]
        self._owner.note(events.ChildExited(slot, ExitStatus(), clock.now(), random.random()))

    def _bury(self, ended: process.Ended) -> bool:
        """Bury one of ours; False for a stranger."""
        at, draw = clock.now(), random.random()
        for generation, hand in self._molds.items():
            if _pid(hand) == ended.pid:
                self._drain_words(hand, partial(self._owner.mold_said, generation))
                self._end(hand)
                del self._molds[generation]
                self._owner.note(events.MoldExited(generation, ended.status, at, draw))
                return True
        if self._janitor and _pid(self._janitor) == ended.pid:
            self._drain_words(self._janitor, self._owner.janitor_said)
            self._end(self._janitor)
            self._janitor = None
            self._owner.note(events.JanitorExited(at, draw))
            return True
        for slot, hand in self._children.items():
            if hand.process and hand.process.pid == ended.pid:
                self._bury_child(slot, hand, ended, events.ChildExited(slot, ended.status, at, draw))
                return True
        return False

    def _bury_child(self, slot: int, hand: _Hand, ended: process.Ended, exited: events.ChildExited) -> None:
        record = self.slots.records[slot]
        death = Death(
            slot, hand.nonce, ended.status, record.child_id, record.pipeline, self.slots.claims[slot].read(), self.slots.stack_text(slot)
        )
        self._end(hand)
        self._samples.forget(ended.pid)
        del self._children[slot]
        self._owner.child_died(death)
        self._owner.note(exited)
        self._sweep(hand.nonce)

    def _drain_words(self, hand: _Hand, on_message: Callable[[Message], None]) -> None:
        """The last words of a process that has ended: a mold's traceback comes just before its exit."""
        try:
            while message := hand.channel.receive():
                on_message(message)
        except ChannelClosed:
            return

    def _end(self, hand: _Hand) -> None:
        ended = _process(hand)
        process.kill_group(ended.pid)
        process.reap(ended.pid)
        self._wakeup.forget(ended.pidfd)
        ended.close()
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
