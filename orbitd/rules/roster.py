"""The arbiter's record of all its processes: plain data, changed only by `note(event)`.

A slot is a stable number; children come and go. An event about a child that is no longer there (its slot is empty, or
holds another one by now) changes nothing: messages and exits may overtake each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from orbitd.rules import backoff, events
from orbitd.rules.backoff import History
from orbitd.rules.exits import Exit
from orbitd.rules.limits import Limits
from orbitd.rules.rollout import Outcomes, Rollout, Stage
from orbitd.rules.states import Activity, Phase, Reason, SlotState
from orbitd.rules.vigil import Vigil

HEAVY_SAMPLES = 2
MOST_EXITS = 8
"""So many of its last children's exits a slot remembers."""
PRESSURE = 0.9
"""A control group with more than this share of its memory in use is under pressure."""
FEWEST_DEGRADED = 3
DEGRADED_WINDOW_SECONDS = 60.0
"""So many slots, or half of them, whose children have died early within this time: the service is degraded."""
_WISHES = frozenset(
    {
        Reason.STOPPING,
        Reason.SURPLUS,
        Reason.OUTDATED,
        Reason.ROLLED_BACK,
        Reason.DRAIN_TIMEOUT,
        Reason.RESTART_ASKED,
        Reason.KILL_ASKED,
        Reason.MAX_RUNS,
        Reason.MAX_LIFETIME,
        Reason.MEMORY_PRESSURE,
    }
)


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
    vigil: Vigil = field(default_factory=Vigil)
    rss_bytes: int = 0
    own_bytes: int | None = None
    own_seen_at: float = 0.0
    rss_seen_at: float = 0.0
    own_seen_rss_bytes: int = 0
    own_peak_bytes: int | None = None
    pss_bytes: int | None = None
    baseline_rss_bytes: int = 0
    baseline_own_bytes: int = 0
    heavy_samples: int = 0
    heavy_own_samples: int = 0
    draw: float = 0.5
    is_worn: bool = False
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
        return max(self.heavy_samples, self.heavy_own_samples) >= HEAVY_SAMPLES

    def thaw(self, gap_seconds: float, now: float) -> None:
        """Let a time in which all of us were frozen, and which ends now, not count."""
        self.asked_at = min(now, self.asked_at + gap_seconds)
        self.booted_at = None if self.booted_at is None else min(now, self.booted_at + gap_seconds)
        self.until = None if self.until is None else self.until + gap_seconds
        self.run_deadline += gap_seconds if self.run_deadline else 0.0
        self.vigil.thaw(gap_seconds, now)

    def is_bursting(self, limits: Limits) -> bool:
        """Is so far over a memory limit that its run must not go on."""
        factor = limits.memory_hard_factor
        return (0 < limits.max_rss_bytes * factor < self.rss_bytes) or (0 < limits.max_own_bytes * factor < (self.own_bytes or 0))


@dataclass(slots=True)
class Slot:
    """A place for a child, and what it remembers of those before."""

    index: int
    child: Child | None = None
    history: History = field(default_factory=History)
    restarts: int = 0
    exits: list[Exit] = field(default_factory=list)

    @property
    def last_exit(self) -> str | None:
        """What its last child died of; None before the first."""
        return self.exits[-1].cause if self.exits else None


@dataclass(slots=True)
class Mold:
    """One mold. `is_ready` once it has imported the pipelines; `killed_at` is set once it was let go.

    One that does not fork ends when it is ready. Without a process (`pid` None) it says that children can still be exec'd.
    """

    generation: int
    pid: int | None
    asked_at: float
    is_ready: bool = False
    killed_at: float | None = None
    forks: bool = True

    @property
    def is_leaving(self) -> bool:
        """Was let go."""
        return self.killed_at is not None

    @property
    def holds_code(self) -> bool:
        """Whether it can make children of its generation whatever has become of the files: else they import what lies there now."""
        return self.is_ready and self.forks and not self.is_leaving


@dataclass(slots=True)
class Janitor:
    """The host's helper for the database. `dismissed_at` is set once it was asked to leave, `killed_at` once it was killed."""

    pid: int | None = None
    asked_at: float = 0.0
    tick_at: float = 0.0
    dismissed_at: float | None = None
    killed_at: float | None = None
    history: History = field(default_factory=History)


@dataclass(slots=True)
class Roster:
    """All processes of this daemon.

    `generation` is the one that serves: 0 until the first. Children of another one are outdated, but for one *canary* of the
    generation that is being tried. `outcomes` are those of the generations that serve or may serve again.
    """

    limits: Limits
    slots: list[Slot]
    molds: dict[int, Mold] = field(default_factory=dict)
    mold_history: History = field(default_factory=History)
    janitor: Janitor = field(default_factory=Janitor)
    generation: int = 0
    newest_generation: int = 0
    exits_by_cause: dict[str, int] = field(default_factory=dict)
    pressure: events.MemoryPressure | None = None
    changed_generation: int = 0
    """The last generation whose files are not what they were: see `CodeChanged`."""
    rollout: Rollout | None = None
    outcomes: dict[int, Outcomes] = field(default_factory=dict)
    early_deaths: list[tuple[float, int]] = field(default_factory=list)
    degraded_since: float | None = None

    @classmethod
    def of(cls, max_slots: int, limits: Limits) -> Roster:
        """An empty roster."""
        return cls(limits, [Slot(index) for index in range(max_slots)])

    def children(self) -> Iterator[Child]:
        """Every child, in the order of slots."""
        return (slot.child for slot in self.slots if slot.child)

    def serving(self) -> list[Child]:
        """Children that work or are about to; a canary is on trial, and not counted here nor below."""
        return [child for child in self.children() if child.is_serving and not self.is_on_trial(child)]

    def able(self) -> list[Child]:
        """Children that have come up."""
        return [child for child in self.serving() if child.is_able]

    def ready(self) -> list[Child]:
        """Children that can claim."""
        return [child for child in self.serving() if child.is_ready]

    @property
    def is_under_pressure(self) -> bool:
        """Whether our control group is near its memory limit."""
        return self.pressure is not None and self.pressure.used_bytes > PRESSURE * self.pressure.limit_bytes

    @property
    def is_degraded(self) -> bool:
        """Whether so many children have died early that they are tried one at a time."""
        return self.degraded_since is not None

    def canary(self) -> Child | None:
        """The child on trial."""
        return next((child for child in self.children() if child.is_serving and self.is_on_trial(child)), None)

    def has_child_of(self, generation: int) -> bool:
        """Whether there is a child of that generation, be it only dying."""
        return any(child.generation == generation for child in self.children())

    def is_on_trial(self, child: Child) -> bool:
        """Whether it is the first child of a generation that does not serve yet."""
        rollout = self.rollout
        return rollout is not None and not rollout.is_promoted and child.generation == rollout.generation

    def is_outdated(self, child: Child) -> bool:
        """Whether another generation than this child's serves, and it is not on trial."""
        return child.generation != self.generation and not self.is_on_trial(child)

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

    def note(self, event: events.Event) -> None:
        """Take down a fact."""
        if isinstance(event, events.OfMold):
            self._note_mold(event)
        elif isinstance(event, events.OfJanitor):
            self._note_janitor(event)
        elif isinstance(event, events.OfRollout):
            self._note_rollout(event)
        elif isinstance(event, events.OfFleet):
            self._note_fleet(event)
        elif isinstance(event, events.ChildAsked):
            self.slots[event.slot].child = Child(event.slot, event.generation, event.at, draw=event.draw)
        elif isinstance(event, events.ChildExited):
            self._child_exited(event.slot, str(event.status), event.at, event.draw)
        elif child := self.slots[event.slot].child:
            self._note_child(child, event)

    def _note_mold(self, event: events.OfMold) -> None:
        match event:
            case events.MoldSpawned(generation, pid, at):
                self.molds[generation] = Mold(generation, pid, at)
                self.newest_generation = max(self.newest_generation, generation)
            case events.MoldReady(generation, forks):
                if mold := self.molds.get(generation):
                    mold.forks = forks
                    self._mold_ready(mold)
            case events.MoldKilled(generation, at):
                if mold := self.molds.get(generation):
                    mold.killed_at = at
                    if mold.pid is None:
                        del self.molds[generation]
            case events.MoldAbandoned(generation):
                self.molds.pop(generation, None)
            case events.CodeChanged(generation):
                self.changed_generation = generation
            case events.MoldExited(generation, _, at, draw):
                self._mold_exited(generation, at, draw)

    def _mold_ready(self, mold: Mold) -> None:
        mold.is_ready = True
        if mold.generation == self.generation:  # not that of another one: it says nothing of the files of this one
            self.mold_history = History()
        if mold.generation == self.changed_generation:
            self.changed_generation = 0
        if self.rollout and self.rollout.fallback and mold.generation == self.rollout.generation:
            self.rollout.begin_trial()

    def _note_janitor(self, event: events.OfJanitor) -> None:
        match event:
            case events.JanitorSpawned(pid, at):
                self.janitor = Janitor(pid, at, tick_at=at, history=self.janitor.history)
            case events.JanitorTicked(tick_at):
                self.janitor.tick_at = max(self.janitor.tick_at, tick_at)
            case events.JanitorDismissed(at):
                self.janitor.dismissed_at = at
            case events.JanitorKilled(at):
                self.janitor.dismissed_at = self.janitor.killed_at = at
            case events.JanitorAbandoned():
                self.janitor.pid = None
            case events.JanitorExited(at, draw):
                lifetime_seconds = at - self.janitor.asked_at
                backoff.after_death(self.janitor.history, self.limits.janitor_backoff, lifetime_seconds=lifetime_seconds, now=at, draw=draw)
                self.janitor.pid = None

    def _note_fleet(self, event: events.OfFleet) -> None:
        match event:
            case events.SpawnFailed(role, slot, at, draw):
                self._early_death(self._history(role, slot), at, draw)
            case events.Scaled(count, at):
                self._forget_unwanted(count, at)
            case events.Forgiven():
                self._forgive()
            case events.RestartAsked(slots):
                self._restart(slots)
            case events.RunsEnded(generation, succeeded, failed):
                outcomes = self.outcomes.setdefault(generation, Outcomes())
                outcomes.succeeded += succeeded
                outcomes.failed += failed
            case events.DeathJudged(slot, judged):
                self.slots[slot].exits = [*self.slots[slot].exits, judged][-MOST_EXITS:]
                self.exits_by_cause[judged.counted_as] = self.exits_by_cause.get(judged.counted_as, 0) + 1
            case events.MemoryPressure():
                self.pressure = event
            case events.DegradedEnded():
                self.degraded_since, self.early_deaths = None, []
            case events.Thawed(gap_seconds, at):
                self._thaw(gap_seconds, at)

    def _note_child(self, child: Child, event: events.OfChild) -> None:
        match event:
            case events.ChildSaidHello(_, pid):
                child.pid = pid
            case events.ChildBooted(_, at) if child.booted_at is None:
                child.booted_at = at
                child.phase = Phase.UP if child.phase is Phase.STARTING else child.phase
            case events.ChildSeen(_, activity, deadline, tick_at):
                child.activity, child.run_deadline = activity, child.vigil.see(deadline, tick_at)
            case events.ChildWorn():
                child.is_worn = True
            case events.ProcessSeen() | events.StallTold() | events.DumpSent() | events.ChildAbandoned():
                child.vigil.note(event)
            case events.MemorySeen(_, rss_bytes, own_bytes, at, pss_bytes):
                self._note_memory(child, rss_bytes, own_bytes, at)
                child.pss_bytes = pss_bytes if own_bytes is not None else child.pss_bytes
            case events.DrainSent(_, reason, until):
                child.phase, child.reason, child.until = Phase.DRAINING, reason, until
            case events.InterruptSent(_, reason, until):
                child.phase, child.reason, child.until = Phase.INTERRUPTED, reason, until
            case events.KillSent(_, reason, at):
                child.phase, child.reason, child.until = Phase.DYING, reason, None
                child.vigil.killed_at = at

    def _thaw(self, gap_seconds: float, now: float) -> None:
        """Move what somebody must do by a certain time, and since when somebody has been waited for, by a gap that ends now.

        What merely waits (a backoff) may end meanwhile: nobody is killed for it. A tick may be from after the gap already.
        """
        for mold in self.molds.values():
            mold.asked_at = min(now, mold.asked_at + gap_seconds)
            mold.killed_at = None if mold.killed_at is None else min(now, mold.killed_at + gap_seconds)
        self.janitor.asked_at = min(now, self.janitor.asked_at + gap_seconds)
        self.janitor.tick_at = min(now, self.janitor.tick_at + gap_seconds)
        if self.janitor.dismissed_at is not None:
            self.janitor.dismissed_at = min(now, self.janitor.dismissed_at + gap_seconds)
        if self.janitor.killed_at is not None:
            self.janitor.killed_at = min(now, self.janitor.killed_at + gap_seconds)
        if self.rollout:
            self.rollout.since = min(now, self.rollout.since + gap_seconds)
        for child in self.children():
            child.thaw(gap_seconds, now)

    def _note_memory(self, child: Child, rss_bytes: int, own_bytes: int | None, at: float) -> None:
        child.rss_bytes, child.rss_seen_at = rss_bytes, at
        child.heavy_samples = child.heavy_samples + 1 if 0 < self.limits.max_rss_bytes < rss_bytes else 0
        if own_bytes is None:
            return
        child.heavy_own_samples = child.heavy_own_samples + 1 if 0 < self.limits.max_own_bytes < own_bytes else 0
        if child.own_bytes is None:
            child.baseline_rss_bytes, child.baseline_own_bytes = rss_bytes, own_bytes
        child.own_bytes, child.own_seen_at, child.own_seen_rss_bytes = own_bytes, at, rss_bytes
        child.own_peak_bytes = max(child.own_peak_bytes or 0, own_bytes)

    def _note_rollout(self, event: events.OfRollout) -> None:
        rollout = self.rollout
        match event:
            case events.GenerationStaged(generation, at, canary_seconds):
                overtaken = rollout if rollout is None or rollout.is_promoted else rollout.overtaken
                fallback = (overtaken.fallback if overtaken else 0) or self.generation
                self.rollout = Rollout(generation, fallback, at, canary_seconds, overtaken=overtaken)
            case events.GenerationRefused(generation, why, exit_code) if rollout and rollout.generation == generation:
                rollout.trouble, rollout.exit_code = why, exit_code
            case events.GenerationPromoted(generation, at) if rollout:
                rollout.move_to(Stage.ROLLING, at)
                rollout.overtaken = None
                self.generation = generation
            case events.GenerationHolds(_, at) if rollout:
                rollout.move_to(Stage.PROBATION, at)
            case events.GenerationSettled(generation):
                self.rollout = None
                self.outcomes = {each: outcomes for each, outcomes in self.outcomes.items() if each == generation}
            case events.GenerationGivenUp(generation) if rollout:
                self.rollout = rollout.overtaken
                self.outcomes.pop(generation, None)
                if rollout.is_promoted and self.can_go_back(rollout):
                    self.generation = rollout.fallback
                    self._forgive()
            case _:
                pass

    def can_go_back(self, rollout: Rollout) -> bool:
        """Whether children of the generation before can still be made, whatever has become of the files."""
        mold = self.molds.get(rollout.fallback)
        return mold is not None and mold.holds_code

    def _forgive(self) -> None:
        """Nothing that has died so far speaks against another try."""
        self.mold_history = History()
        self.degraded_since, self.early_deaths = None, []
        for slot in self.slots:
            slot.history = History()

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
        mold = self.molds.get(generation)
        if mold and mold.is_ready and not mold.forks and not mold.is_leaving:
            mold.pid = None
            return
        self.molds.pop(generation, None)
        if mold and not (mold.is_ready and mold.is_leaving):
            lifetime_seconds = at - mold.asked_at
            backoff.after_death(self.mold_history, self.limits.backoff, lifetime_seconds=lifetime_seconds, now=at, draw=draw)

    def _child_exited(self, index: int, status: str, at: float, draw: float) -> None:
        slot = self.slots[index]
        child, slot.child = slot.child, None
        if child is None or _is_planned(child) or self._is_orphan(child):
            return
        if self.rollout and self.is_on_trial(child):  # its generation has no claim to a slot yet
            end = "did not come up in time" if child.reason is Reason.BOOT_TIMEOUT else f"died: {slot.last_exit or status}"
            self.rollout.trouble = self.rollout.trouble or f"its first child {end}"
            return
        lifetime_seconds = at - child.booted_at if child.booted_at is not None else 0.0
        has_died_of_its_run = bool(slot.exits and slot.exits[-1].run_id)  # then that counts among the run's outcomes
        if lifetime_seconds < self.limits.backoff.min_uptime_seconds and not has_died_of_its_run:
            self._note_early_death(child, slot.last_exit or status, at)
        slot.restarts += 1
        backoff.after_death(slot.history, self.limits.backoff, lifetime_seconds=lifetime_seconds, now=at, draw=draw)

    def _is_orphan(self, child: Child) -> bool:
        """Whether it was lost on its way to us, with its mold: that is the mold's death, and not its own."""
        mold = self.molds.get(child.generation)
        return child.pid is None and (mold is None or mold.is_leaving)

    def _note_early_death(self, child: Child, status: str, at: float) -> None:
        """One more reason to give the child's generation up, or to stop filling slots for nothing."""
        rollout = self.rollout
        while rollout and rollout.generation != child.generation:
            rollout = rollout.overtaken
        if rollout:
            rollout.early_deaths, rollout.last_death = rollout.early_deaths + 1, status
        self.early_deaths = [(when, slot) for when, slot in self.early_deaths if at - when < DEGRADED_WINDOW_SECONDS] + [(at, child.slot)]
        occupied = sum(slot.child is not None or slot.history.is_waiting(at) for slot in self.slots) + 1
        if len({slot for _, slot in self.early_deaths}) >= max(FEWEST_DEGRADED, occupied / 2) and self.degraded_since is None:
            self.degraded_since = at


def _is_planned(child: Child) -> bool:
    """Whether its end was our wish, and its replacement is there or not wanted: no sign of trouble, and no claim to its slot.

    A child so far over its memory limit that it was stopped is trouble: nobody was there in its place.
    """
    return child.reason in _WISHES or (child.reason is Reason.OVER_MEMORY and child.phase is Phase.DRAINING)
