"""Reloads as the arbiter carries them out: the molds' word is heard here, and the steps that the rules decide are taken."""

from __future__ import annotations

import contextlib
import signal
from typing import Protocol

from orbitd.config import Loaded, Settings
from orbitd.errors import ExitCode, OrbitError
from orbitd.fleet import Fleet
from orbitd.generations import Generations, limits_of
from orbitd.rules import actions, events
from orbitd.rules.recycling import refusal
from orbitd.rules.roster import Roster
from orbitd.rules.supervise import Desired
from orbitd.scales import Scales
from orbitd.system import clock, log, process
from orbitd.system.channel import Message

_MOST_KILLED_IMPORTS = 3
_BLAMELESS = (signal.SIGKILL, signal.SIGTERM)


class Owner(Protocol):
    """Whose generations they are: the arbiter."""

    roster: Roster
    desired: Desired

    def note(self, event: events.Event) -> None:
        """A fact for the roster."""

    def go_by(self, settings: Settings) -> None:
        """From now on this configuration counts."""

    def scale(self, count: int) -> None:
        """Have this many children."""

    def give_up_start(self, error: str) -> None:
        """The very first generation is no good: there is nothing to go on with."""


class Rollouts:
    """One after another; each may overtake the one before."""

    def __init__(self, owner: Owner, generations: Generations, fleet: Fleet, scales: Scales) -> None:
        self._owner, self._generations, self._fleet, self._scales = owner, generations, fleet, scales

    def newest_configuration(self) -> tuple[Loaded, Loaded]:
        """The configuration in force, and what a reload would take up now. Raises ConfigError when that cannot be used."""
        return self._generations.serving, self._generations.newest()

    def begin(self) -> int:
        """Stage a new generation with the newest configuration and code; its number. A broken one changes nothing.

        Raises ConfigError when the configuration cannot be used: a reload that is under way goes on.
        """
        generation = self.stage()
        self._owner.note(events.Forgiven())
        return generation

    def stage(self) -> int:
        """The same, without forgiving what has died so far."""
        generation = max(self._owner.roster.newest_generation, self._owner.desired.generation) + 1
        self._generations.stage(generation)
        self._owner.desired.generation = generation
        return generation

    def mold_said(self, generation: int, message: Message) -> None:
        """A mold is ready, or has failed. One that was overtaken has nothing more to say."""
        mold = self._owner.roster.molds.get(generation)
        if mold is None or mold.is_leaving:
            return
        match message["type"]:
            case "ready" if not self._generations.is_unchanged(generation, message["fingerprint"]):
                self._part_with_changed(generation)
            case "ready":
                log.event("mold_ready", gen=generation, pipelines=",".join(spec["name"] for spec in message["pipelines"]))
                if message["hazards"]:
                    log.warn("unsafe_to_fork", gen=generation, causes="; ".join(message["hazards"]), so="each child is exec'd and imports")
                self._generations.learn(generation, message["pipelines"], [] if process.lacking() else message["hazards"])
                self._owner.note(events.MoldReady(generation, message["forks"]))
            case "failed":
                self._fleet.kill_mold(generation)  # it ends by itself, unless what it has imported keeps it
                self._mold_failed(generation, message["error"], ExitCode(message["exit_code"]))

    def child_booted(self, slot: int) -> None:
        """What a child weighs before it has done anything tells whether the memory limits can be meant."""
        child = self._owner.roster.slots[slot].child
        if child is None:
            return
        log.event("child_booted", slot=slot, gen=child.generation, pid=child.pid)
        rollout = self._owner.roster.rollout
        is_start = rollout is not None and rollout.fallback == 0
        if is_start or self._owner.roster.is_on_trial(child):
            self._scales.weigh(child, clock.now())
            if why := refusal(child, limits_of(self._generations.of(child.generation).settings)):
                log.fault("generation_refused", gen=child.generation, error=why)
                self._refuse(child.generation, why, ExitCode.CONFIG, at_start=why)

    def mold_exits(self, event: events.MoldExited) -> None:
        """A mold has ended, which is not noted yet: before its import was done that speaks against its generation."""
        mold = self._owner.roster.molds.get(event.generation)
        if mold is None or mold.is_leaving or (mold.is_ready and not mold.forks):
            return
        log.warn("mold_exited", gen=event.generation, status=event.status)
        was_killed = event.status.signal in _BLAMELESS and len(self._owner.roster.mold_history.deaths) < _MOST_KILLED_IMPORTS
        if not mold.is_ready and not was_killed:
            self._mold_failed(event.generation, f"the import of the pipelines ended the process: {event.status}", ExitCode.FAILED)

    def mold_is_late(self, generation: int, boot_seconds: float) -> None:
        """The import takes too long, and was killed for it."""
        hint = "see in the log where it stood, or allow it more time: children.boot_timeout"
        error = f"the import took longer than children.boot_timeout, {boot_seconds:g}s\nhint: {hint}"
        self._mold_failed(generation, error, ExitCode.FAILED)

    def take(self, step: actions.Step) -> None:
        """A step of a reload, or of a degraded service."""
        match step:
            case actions.Stage(generation):
                canary_seconds = limits_of(self._generations.of(generation).settings).canary_seconds
                self._owner.note(events.GenerationStaged(generation, clock.now(), canary_seconds))
            case actions.Promote(generation):
                self._generations.counts[self._owner.roster.generation] = self._owner.desired.count
                self._owner.note(events.GenerationPromoted(generation, clock.now()))
                self._serve(generation)
            case actions.Hold(generation):
                self._owner.note(events.GenerationHolds(generation, clock.now()))
                self._generations.conclude(generation, len(self._owner.roster.able()))
            case actions.Settle(generation):
                self._owner.note(events.GenerationSettled(generation))
                self._generations.keep({generation})
            case actions.GiveUp():
                self._give_up(step)
            case actions.EndDegraded():
                self._owner.note(events.DegradedEnded())

    def _part_with_changed(self, generation: int) -> None:
        """A mold has imported other files than the first one of its generation: that is another generation, with newer code."""
        log.warn("code_changed", gen=generation, so="a new generation is begun, as by a reload")
        self._owner.note(events.CodeChanged(generation))
        self._fleet.kill_mold(generation)
        if self._owner.desired.generation == generation and not self._owner.desired.stop_level:
            with contextlib.suppress(OrbitError):  # it is in the log, and in the status
                self.stage()

    def _mold_failed(self, generation: int, error: str, exit_code: ExitCode) -> None:
        log.fault("mold_failed", gen=generation, error=error)
        self._refuse(generation, error, exit_code, at_start=f"the pipelines cannot be imported: {error}")

    def _refuse(self, generation: int, error: str, exit_code: ExitCode, *, at_start: str) -> None:
        """A generation is no good, and will be given up for the one before. At the very first start there is none: the daemon ends."""
        rollout = self._owner.roster.rollout
        if rollout and rollout.generation == generation and rollout.fallback == 0:
            self._owner.give_up_start(at_start)
        else:
            self._owner.note(events.GenerationRefused(generation, error, exit_code))

    def _serve(self, generation: int) -> None:
        before, now = self._generations.serving.settings, self._generations.take_over(generation).settings
        for pipeline in self._generations.pipelines_of(generation):
            log.event("pipeline_loaded", pipeline=pipeline["name"], queue=pipeline["queue"])
        self._owner.go_by(now)
        if now.children.count != before.children.count:
            had = self._generations.counts.get(generation)
            if had is None:
                self._owner.scale(now.children.count)
            elif self._owner.desired.count == before.children.count:  # nobody has scaled since: as if nothing had been
                self._owner.scale(had)

    def _give_up(self, action: actions.GiveUp) -> None:
        roster = self._owner.roster
        served = roster.generation
        self._owner.note(events.GenerationGivenUp(action.generation, clock.now()))
        self._owner.desired.generation = roster.rollout.generation if roster.rollout else roster.generation
        why = action.why
        if roster.generation != served:
            log.warn("rolled_back", gen=action.generation, to=roster.generation, why=why)
            why = f"rolled back: {why}"
            self._serve(roster.generation)
        elif roster.generation == action.generation:
            why = f"there is no generation to go back to: {why}"
        self._generations.fail(action.generation, why, action.exit_code)
        self._generations.keep({roster.generation} | (roster.rollout.generations() if roster.rollout else set()))
