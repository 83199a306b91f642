"""A simulated fleet for the pure rules: no process, a made-up clock. Each action has its usual consequence."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field

from orbitd.rules import actions, events
from orbitd.rules.exits import ExitStatus
from orbitd.rules.limits import Backoff, Limits
from orbitd.rules.rollout import Stage
from orbitd.rules.roster import Roster
from orbitd.rules.states import Activity, Phase
from orbitd.rules.supervise import Desired, decide

KILLED = ExitStatus(signal=signal.SIGKILL)


@dataclass
class Fleet:
    """A simulated fleet: each action has its usual consequence, at once or when the test says so."""

    count: int = 2
    limits: Limits = field(default_factory=lambda: Limits(backoff=Backoff(), janitor_backoff=Backoff(), boots_at_once=64))
    now: float = 1000.0
    pid: int = 100

    def __post_init__(self) -> None:
        self.roster = Roster.of(16, self.limits)
        self.desired = Desired(self.count)
        self.log: list[actions.Action] = []

    def turn(self) -> list[actions.Action]:
        """Decide once, and note what each action does at once. What is done to processes; steps of a reload are in the log."""
        done = []
        for action in decide(self.roster, self.desired, self.limits, self.now):
            done.append(action)
            self._perform(action)
        self.log += done
        return [action for action in done if not isinstance(action, actions.Step)]

    def settle(self) -> None:
        """Turn until nothing more is decided; molds become ready and children boot."""
        for _ in range(100):
            self.roster.note(events.JanitorTicked(self.now))
            before = len(self.log)
            self.turn()
            has_moved = len(self.log) > before
            for mold in list(self.roster.molds.values()):
                if mold.is_leaving:
                    self.roster.note(events.MoldExited(mold.generation, KILLED, self.now, 0.5))
                elif not mold.is_ready:
                    self.roster.note(events.MoldReady(mold.generation))
                    has_moved = True
            for child in list(self.roster.children()):
                if child.phase is Phase.STARTING:
                    self.boot(child.slot)
                    has_moved = True
            if not has_moved:
                return
        raise AssertionError(f"never settled: {self.log[-10:]}")

    def up(self) -> Fleet:
        """A fleet that has come up."""
        self.settle()
        self.log.clear()
        return self

    def reload(self) -> None:
        """The operator wants a new generation."""
        self.roster.note(events.Forgiven())
        self.desired.generation = max(self.roster.newest_generation, self.desired.generation) + 1

    def stage(self) -> Stage | None:
        """How far the reload is; None when there is none."""
        return self.roster.rollout.stage if self.roster.rollout else None

    def pass_time(self, seconds: float) -> None:
        """Let time pass in which the janitor turns."""
        self.now += seconds
        self.roster.note(events.JanitorTicked(self.now))

    def generations(self) -> list[int]:
        """Of the children that work, or are about to."""
        return sorted(child.generation for child in self.roster.children() if child.is_serving)

    def die(self, slot: int, status: ExitStatus = KILLED, draw: float = 0.999) -> None:
        self.roster.note(events.ChildExited(slot, status, self.now, draw))

    def seen(self, slot: int, activity: Activity = Activity.IDLE, *, deadline: float = 0.0, rss_bytes: int | None = None) -> None:
        self.roster.note(events.ChildSeen(slot, activity, deadline))
        if rss_bytes is not None:
            self.roster.note(events.MemorySeen(slot, rss_bytes, None, self.now))

    def boot(self, slot: int, activity: Activity = Activity.IDLE) -> None:
        self.roster.note(events.ChildBooted(slot, self.now))
        self.seen(slot, activity)

    def phases(self) -> dict[int, Phase]:
        return {child.slot: child.phase for child in self.roster.children()}

    def _perform(self, action: actions.Action) -> None:  # noqa: C901, PLR0912 - one arm an action: the list is the point
        if isinstance(action, actions.Step):
            self._take_step(action)
            return
        if isinstance(action, actions.Tend):
            self._tend(action)
            return
        self.pid += 1
        match action:
            case actions.SpawnMold(generation):
                self.roster.note(events.MoldSpawned(generation, self.pid, self.now))
            case actions.KillMold(generation):
                self.roster.note(events.MoldKilled(generation, self.now))
            case actions.SpawnJanitor():
                self.roster.note(events.JanitorSpawned(self.pid, self.now))
            case actions.AbandonMold(generation):
                self.roster.note(events.MoldAbandoned(generation))
            case actions.DismissJanitor():
                self.roster.note(events.JanitorDismissed(self.now))
            case actions.KillJanitor():
                self.roster.note(events.JanitorKilled(self.now))
            case actions.AbandonJanitor():
                self.roster.note(events.JanitorAbandoned())
            case actions.Spawn(slot, generation):
                self.roster.note(events.ChildAsked(slot, generation, self.now))
                self.roster.note(events.ChildSaidHello(slot, self.pid))
            case actions.Drain(slot, reason, until):
                self.roster.note(events.DrainSent(slot, reason, until))
            case actions.Interrupt(slot, reason, until):
                self.roster.note(events.InterruptSent(slot, reason, until))
            case actions.Kill(slot, reason):
                self.roster.note(events.KillSent(slot, reason, self.now))

    def _tend(self, action: actions.Tend) -> None:
        match action:
            case actions.TellStall(slot):
                self.roster.note(events.StallTold(slot, self.now))
            case actions.DumpStack(slot):
                self.roster.note(events.DumpSent(slot, self.now))
            case actions.Abandon(slot):
                self.roster.note(events.ChildAbandoned(slot))

    def _take_step(self, step: actions.Step) -> None:
        match step:
            case actions.Stage(generation):
                self.roster.note(events.GenerationStaged(generation, self.now, self.limits.canary_seconds))
            case actions.Promote(generation):
                self.roster.note(events.GenerationPromoted(generation, self.now))
            case actions.Hold(generation):
                self.roster.note(events.GenerationHolds(generation, self.now))
            case actions.Settle(generation):
                self.roster.note(events.GenerationSettled(generation))
            case actions.GiveUp(generation):
                self.roster.note(events.GenerationGivenUp(generation, self.now))
                rollout = self.roster.rollout
                self.desired.generation = rollout.generation if rollout else self.roster.generation
            case actions.EndDegraded():
                self.roster.note(events.DegradedEnded())
