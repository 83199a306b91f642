"""The arbiter's record of all its processes: plain data, changed only by `note(event)`.

A slot is a stable number; children come and go. An event about a child that is no longer there (its slot is empty, or
holds another one by now) changes nothing: messages and exits may overtake each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from orbitd.rules import backoff, events
from orbitd.rules.backoff import History
from orbitd.rules.limits import Limits
from orbitd.rules.states import Activity, Phase, Reason, SlotState

HEAVY_SAMPLES = 2
_WISHES = frozenset({Reason.STOPPING, Reason.SURPLUS, Reason.OUTDATED, Reason.DRAIN_TIMEOUT, Reason.RESTART_ASKED, Reason.KILL_ASKED})


@dataclass(slots=True)
class Child:
    """One child incarnation."""

    slot: int
    generation: int
    asked_at: float
    phase: Phase = Phase.STARTING
    pid: int | None = None
    booted_at: float | None = None
    reason: Reason | None = None
    until: float | None = None
    activity: Activity = Activity.NONE
    run_deadline: float = 0.0
    rss_bytes: int = 0
    own_bytes: int | None = None
    own_seen_at: float = 0.0
    heavy_samples: int = 0
    is_unwanted: bool = False

    @property
    def is_serving(self) -> bool:
        """Works, or is about to: has not been asked to leave."""
        return self.phase in (Phase.STARTING, Phase.UP)

    @property
    def is_able(self) -> bool:
        """Has come up; can claim, or could if the database were there."""
        return self.phase is Phase.UP

    @property
    def is_ready(self) -> bool:
        """Can claim: it has its database."""
        return self.phase is Phase.UP and self.activity in (Activity.IDLE, Activity.BUSY)

    @property
    def is_heavy(self) -> bool:
        """Was over its memory limit in consecutive samples."""
        return self.heavy_samples >= HEAVY_SAMPLES


@dataclass(slots=True)
class Slot:
    """A place for a child, and what it remembers of those before."""

    index: int
    child: Child | None = None
    history: History = field(default_factory=History)
    restarts: int = 0
    last_exit: str | None = None


@dataclass(slots=True)
class Mold:
    """One mold. `is_ready` once it has imported the pipelines; `is_leaving` once it was let go."""

    generation: int
    pid: int
    asked_at: float
    is_ready: bool = False
    is_leaving: bool = False


@dataclass(slots=True)
class Janitor:
    """The host's helper for the database. `dismissed_at` is set once it was asked to leave."""

    pid: int | None = None
    asked_at: float = 0.0
    tick_at: float = 0.0
    dismissed_at: float | None = None
    history: History = field(default_factory=History)


@dataclass(slots=True)
class Roster:
    """All processes of this daemon.

    `generation` is the newest one whose mold was ever ready: 0 until the first. Children below it are outdated.
    """

    limits: Limits
    slots: list[Slot]
    molds: dict[int, Mold] = field(default_factory=dict)
    mold_history: History = field(default_factory=History)
    janitor: Janitor = field(default_factory=Janitor)
    generation: int = 0
    newest_generation: int = 0

    @classmethod
    def of(cls, max_slots: int, limits: Limits) -> Roster:
        """An empty roster."""
        return cls(limits, [Slot(index) for index in range(max_slots)])

    def children(self) -> Iterator[Child]:
        """Every child, in the order of slots."""
        return (slot.child for slot in self.slots if slot.child)

    def serving(self) -> list[Child]:
        """Children that work or are about to."""
        return [child for child in self.children() if child.is_serving]

    def able(self) -> list[Child]:
        """Children that have come up."""
        return [child for child in self.children() if child.is_able]

    def ready(self) -> list[Child]:
        """Children that can claim."""
        return [child for child in self.children() if child.is_ready]

    def is_outdated(self, child: Child) -> bool:
        """Whether newer code than this child's is ready."""
        return child.generation < self.generation

    def is_occupied(self, slot: Slot, now: float) -> bool:
        """Whether the slot has a child, or waits for one that has died."""
        return slot.child is not None or slot.history.is_waiting(now)

    def slot_state(self, slot: Slot, now: float) -> SlotState:
        """The one word for a slot that people read."""
        child = slot.child
        if child is None:
            if not slot.history.is_waiting(now):
                return SlotState.EMPTY
            return SlotState.HELD if slot.history.held else SlotState.BACKOFF
        if child.phase is Phase.UP:
            return SlotState(child.activity.name.lower()) if child.activity else SlotState.WAITING
        return SlotState.DRAINING if child.phase is Phase.INTERRUPTED else SlotState(child.phase.value)

    def note(self, event: events.Event) -> None:  # noqa: C901, PLR0912 - one arm an event: the list is the point
        """Take down a fact."""
        match event:
            case events.MoldSpawned(generation, pid, at):
                self.molds[generation] = Mold(generation, pid, at)
                self.newest_generation = max(self.newest_generation, generation)
            case events.MoldReady(generation):
                if mold := self.molds.get(generation):
                    mold.is_ready = True
                    self.mold_history = History()
                    self.generation = max(self.generation, generation)
            case events.MoldFailed(generation) | events.MoldKilled(generation):
                if mold := self.molds.get(generation):
                    mold.is_leaving = True
            case events.MoldExited(generation, _, at, draw):
                self._mold_exited(generation, at, draw)
            case events.JanitorSpawned(pid, at):
                self.janitor = Janitor(pid, at, tick_at=at, history=self.janitor.history)
            case events.JanitorTicked(tick_at):
                self.janitor.tick_at = max(self.janitor.tick_at, tick_at)
            case events.JanitorDismissed(at):
                self.janitor.dismissed_at = at
            case events.JanitorExited(at, draw):
                lifetime_seconds = at - self.janitor.asked_at
                backoff.after_death(self.janitor.history, self.limits.janitor_backoff, lifetime_seconds=lifetime_seconds, now=at, draw=draw)
                self.janitor.pid = None
            case events.ChildAsked(slot, generation, at):
                self.slots[slot].child = Child(slot, generation, at)
            case events.ChildExited(slot, status, at, draw):
                self._child_exited(slot, str(status), at, draw)
            case events.SpawnFailed(role, slot, at, draw):
                self._early_death(self._history(role, slot), at, draw)
            case events.Scaled(count, at):
                self._forget_unwanted(count, at)
            case events.Forgiven():
                self.mold_history = History()
                for slot_record in self.slots:
                    slot_record.history = History()
            case events.RestartAsked(slots):
                self._restart(slots)
            case _:
                if child := self.slots[event.slot].child:
                    self._note_child(child, event)

    def _note_child(self, child: Child, event: events.Event) -> None:
        match event:
            case events.ChildSaidHello(_, pid):
                child.pid = pid
            case events.ChildBooted(_, at) if child.phase is Phase.STARTING:
                child.phase, child.booted_at = Phase.UP, at
            case events.ChildSeen(_, activity, deadline):
                child.activity, child.run_deadline = activity, deadline
            case events.MemorySeen(_, rss_bytes, own_bytes, at):
                child.rss_bytes = rss_bytes
                if own_bytes is not None:
                    child.own_bytes, child.own_seen_at = own_bytes, at
                is_over = 0 < self.limits.max_rss_bytes < rss_bytes
                child.heavy_samples = child.heavy_samples + 1 if is_over else 0
            case events.DrainSent(_, reason, until):
                child.phase, child.reason, child.until = Phase.DRAINING, reason, until
            case events.InterruptSent(_, reason, until):
                child.phase, child.reason, child.until = Phase.INTERRUPTED, reason, until
            case events.KillSent(_, reason):
                child.phase, child.reason, child.until = Phase.DYING, reason, None

    def _restart(self, slots: frozenset[int]) -> None:
        for slot in slots:
            record = self.slots[slot]
            record.history = History()
            if record.child:
                record.child.is_unwanted = True

    def _forget_unwanted(self, count: int, now: float) -> None:
        """Slots that wait in backoff, but which a smaller fleet does not need, keep no place: the highest first."""
        waiting = [slot for slot in self.slots if slot.child is None and slot.history.is_waiting(now)]
        unwanted = len(self.serving()) + len(waiting) - count
        for slot in waiting[::-1][: max(0, unwanted)]:
            slot.history = History()

    def _history(self, role: str, slot: int | None) -> History:
        if slot is not None:
            return self.slots[slot].history
        return self.mold_history if role == "mold" else self.janitor.history

    def _early_death(self, history: History, at: float, draw: float) -> None:
        backoff.after_death(history, self.limits.backoff, lifetime_seconds=0.0, now=at, draw=draw)

    def _mold_exited(self, generation: int, at: float, draw: float) -> None:
        mold = self.molds.pop(generation, None)
        if mold and not (mold.is_ready and mold.is_leaving):
            lifetime_seconds = at - mold.asked_at
            backoff.after_death(self.mold_history, self.limits.backoff, lifetime_seconds=lifetime_seconds, now=at, draw=draw)

    def _child_exited(self, index: int, status: str, at: float, draw: float) -> None:
        slot = self.slots[index]
        child, slot.child, slot.last_exit = slot.child, None, status
        if child is None or _is_planned(child):
            return
        slot.restarts += 1
        lifetime_seconds = at - child.booted_at if child.booted_at is not None else 0.0
        backoff.after_death(slot.history, self.limits.backoff, lifetime_seconds=lifetime_seconds, now=at, draw=draw)


def _is_planned(child: Child) -> bool:
    """Whether its end was our wish and no sign of trouble. Memory is trouble: else a leak becomes a fork storm."""
    return child.reason in _WISHES
