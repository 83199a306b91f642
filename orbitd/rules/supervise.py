"""What to do next: the whole of supervision as a pure function of roster, desired state, limits and time.

`decide` is lazy, and the arbiter notes each action in the roster as it performs it. So a later rule sees what an earlier
one did, and only in that way. Each rule is a reconciler: it compares what is with what should be, and holds no memory.

Replacing is one mechanism. Children that must leave (outdated ones, those whom the operator wants replaced, and one that has
reached a limit) raise the number of children wanted by a small surge; once more are able than asked for, the surplus is
drained, leaving and idle ones first. So the number able to claim never falls below the target for our sake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orbitd.rules import liveness
from orbitd.rules.actions import (
    Action,
    DismissJanitor,
    Drain,
    EndDegraded,
    Interrupt,
    Kill,
    KillJanitor,
    KillMold,
    Spawn,
    SpawnJanitor,
    SpawnMold,
)
from orbitd.rules.limits import Limits
from orbitd.rules.recycling import retire_at, retiring
from orbitd.rules.rollout import Stage
from orbitd.rules.roster import DEGRADED_WINDOW_SECONDS, Child, Roster
from orbitd.rules.states import Activity, Phase, Reason, StopLevel
from orbitd.rules.transaction import advance, next_step_due


@dataclass(slots=True)
class Desired:
    """What the operator wants. Signals and commands edit this; what is asked of one child is an event or an action."""

    count: int
    generation: int = 1
    is_paused: bool = False
    stop_level: StopLevel = StopLevel.NONE


def decide(roster: Roster, desired: Desired, limits: Limits, now: float) -> Iterator[Action]:
    """The actions that bring the fleet nearer to what is desired."""
    yield from liveness.watch(roster, limits, now)
    yield from kill_the_late(roster, limits, now)
    if desired.stop_level:
        yield from wind_down(roster, desired, limits, now)
        return
    yield from advance(roster, desired.generation, desired.count, limits, now)
    yield from keep_the_molds(roster, now)
    yield from keep_the_janitor(roster, limits, now)
    yield from end_degraded(roster, desired, limits, now)
    yield from spawn_the_canary(roster, now)
    yield from spawn_the_missing(roster, desired, limits, now)
    yield from drain_the_surplus(roster, desired, limits, now)


def is_finished(roster: Roster, desired: Desired) -> bool:
    """Whether the daemon may exit: it was told to, and nobody is left who can still do something."""
    return bool(desired.stop_level) and not _remaining(roster) and not roster.molds and roster.janitor.pid is None


def _remaining(roster: Roster) -> list[Child]:
    """All children but those that were killed and do not end: nobody can wait for them."""
    return [child for child in roster.children() if not child.vigil.is_abandoned]


def kill_the_late(roster: Roster, limits: Limits, now: float) -> Iterator[Action]:
    """Whoever let a deadline pass: boots, runs, drains. Each step of an escalation is taken once, by the change of phase."""
    for mold in list(roster.molds.values()):
        if not mold.is_ready and not mold.is_leaving and now >= mold.asked_at + limits.boot_seconds:
            yield KillMold(mold.generation)
    for child in list(roster.children()):
        match child.phase:
            case Phase.STARTING | Phase.DRAINING if child.booted_at is None and now >= child.asked_at + limits.boot_seconds:
                asked = roster.molds.get(child.generation)
                if child.pid is None and asked and not asked.is_leaving:
                    yield KillMold(asked.generation)  # it did not fork
                yield Kill(child.slot, child.reason or Reason.BOOT_TIMEOUT)
            case Phase.UP | Phase.DRAINING if child.run_deadline and now >= liveness.kill_at(child, limits):
                yield Kill(child.slot, Reason.RUN_TIMEOUT)
            case Phase.DRAINING if child.until is not None and now >= child.until:
                yield Interrupt(child.slot, Reason.DRAIN_TIMEOUT, now + limits.kill_after_seconds)
            case Phase.INTERRUPTED if child.until is not None and now >= child.until:
                yield Kill(child.slot, child.reason or Reason.DRAIN_TIMEOUT)
            case Phase.UP | Phase.DRAINING if child.is_bursting(limits):
                yield Interrupt(child.slot, Reason.OVER_MEMORY, now + limits.kill_after_seconds)
            case _:
                pass


def wind_down(roster: Roster, desired: Desired, limits: Limits, now: float) -> Iterator[Action]:
    """Children first, each by the stop level; then the janitor, which takes back what they left; then the molds.

    Until the children have gone there is a janitor: a drain may outlast the host's lease, which it keeps.
    """
    for child in list(roster.children()):
        if desired.stop_level is StopLevel.KILL and child.phase is not Phase.DYING:
            yield Kill(child.slot, Reason.STOPPING)
        elif desired.stop_level is StopLevel.INTERRUPT and (child.is_serving or child.phase is Phase.DRAINING):
            yield Interrupt(child.slot, Reason.STOPPING, now + limits.kill_after_seconds)
        elif child.is_serving or (child.phase is Phase.DRAINING and child.until is None):
            yield Drain(child.slot, Reason.STOPPING, now + limits.drain_seconds)
    if _remaining(roster):
        yield from keep_the_janitor(roster, limits, now)
        return
    yield from _part_with_janitor(roster, limits, now)
    for mold in list(roster.molds.values()):
        if not mold.is_leaving:
            yield KillMold(mold.generation)


def _part_with_janitor(roster: Roster, limits: Limits, now: float) -> Iterator[Action]:
    janitor = roster.janitor
    if janitor.pid is None:
        return
    if janitor.dismissed_at is None:
        yield DismissJanitor()
    elif janitor.killed_at is None and now >= janitor.dismissed_at + limits.farewell_seconds:
        yield KillJanitor()


def keep_the_molds(roster: Roster, now: float) -> Iterator[Action]:
    """One mold for the generation that serves, one for that on its way, and one to go back to; others are let go."""
    needed = {roster.generation} | (roster.rollout.generations() if roster.rollout else set())
    lost = {roster.changed_generation} if roster.rollout else set()  # once nothing takes its place, it is tried again
    for generation in sorted(needed - lost - {0}):
        if generation not in roster.molds and not roster.mold_history.is_waiting(now):
            yield SpawnMold(generation)
    for mold in list(roster.molds.values()):
        if mold.generation not in needed and not mold.is_leaving:
            yield KillMold(mold.generation)


def keep_the_janitor(roster: Roster, limits: Limits, now: float) -> Iterator[Action]:
    """One janitor, and one that turns: a helper that hangs would let the host's lease lapse."""
    janitor = roster.janitor
    if janitor.pid is None:
        if not janitor.history.is_waiting(now):
            yield SpawnJanitor()
    elif janitor.dismissed_at is None and now >= janitor.tick_at + limits.janitor_stall_seconds:
        yield KillJanitor()


def spawn_the_missing(roster: Roster, desired: Desired, limits: Limits, now: float) -> Iterator[Action]:
    """Fill slots up to the target plus the surge.

    A slot in backoff, and one whose child is about to die, keeps its place: no other slot is filled for it, unless the child
    does not die.
    """
    mold = roster.molds.get(roster.generation)
    if mold is None or not mold.is_ready or mold.is_leaving:
        return
    empty = [slot for slot in roster.slots if slot.child is None]
    waiting = [slot for slot in empty if slot.history.is_waiting(now)]
    due = [slot for slot in empty if not slot.history.is_waiting(now)]
    serving = roster.serving()
    dying = sum(child.phase is Phase.DYING for child in _remaining(roster))
    surge = min(limits.surge_of(desired.count), len(leaving(roster, limits, now)))
    missing = desired.count + surge - len(serving) - len(waiting) - dying
    booting = sum(child.phase is Phase.STARTING for child in serving)
    for slot in due[: max(0, min(missing, limits.boots_at_once - booting, _probes_left(roster, limits, now)))]:
        yield Spawn(slot.index, roster.generation)


def _probes_left(roster: Roster, limits: Limits, now: float) -> int:
    """How many children may be tried: in a degraded service one at a time, until it has lived long enough."""
    since = roster.degraded_since
    if since is None:
        return len(roster.slots)
    return 1 - sum(child.asked_at >= since and not _is_proven(child, limits, now) for child in roster.serving())


def end_degraded(roster: Roster, desired: Desired, limits: Limits, now: float) -> Iterator[Action]:
    """A child that was born into a degraded service and has lived long enough ends that; or that none is missing any more."""
    since = roster.degraded_since
    if since is None:
        return
    proven = [child for child in roster.serving() if _is_proven(child, limits, now)]
    is_whole = len(proven) >= desired.count and now >= since + DEGRADED_WINDOW_SECONDS
    if is_whole or any(child.asked_at >= since for child in proven):
        yield EndDegraded()


def _is_proven(child: Child, limits: Limits, now: float) -> bool:
    return child.booted_at is not None and now >= child.booted_at + limits.backoff.min_uptime_seconds


def spawn_the_canary(roster: Roster, now: float) -> Iterator[Action]:
    """One child of the generation that is tried, beside all others."""
    rollout = roster.rollout
    if rollout is None or rollout.stage is not Stage.CANARY or rollout.trouble or roster.has_child_of(rollout.generation):
        return
    mold = roster.molds.get(rollout.generation)
    free = next((slot for slot in roster.slots if not roster.is_occupied(slot, now)), None)
    if mold and mold.is_ready and not mold.is_leaving and free:
        yield Spawn(free.index, rollout.generation)


def leaving(roster: Roster, limits: Limits, now: float) -> dict[int, Reason]:
    """Which slots' children must be replaced, and why: every outdated or unwanted child, and the holder of the retire token."""
    reasons = {child.slot: reason for child in roster.serving() if (reason := _why_unwanted(roster, child))}
    if (retired := retiring(roster, limits, now)) is not None:
        child, reason = retired
        reasons.setdefault(child.slot, reason)
    return reasons


def _why_unwanted(roster: Roster, child: Child) -> Reason | None:
    if roster.is_outdated(child):
        return Reason.OUTDATED if child.generation < roster.generation else Reason.ROLLED_BACK
    return Reason.RESTART_ASKED if child.is_unwanted else None


def drain_the_surplus(roster: Roster, desired: Desired, limits: Limits, now: float) -> Iterator[Action]:
    """Drain what is more than wanted: those that must leave first, idle before busy, the highest slot first.

    A child that must leave is replaced only by one that is as far as itself: one that still starts, or waits for the
    database, is no match for one that can claim. After a scale-down those that start go first.
    """
    goers = leaving(roster, limits, now)
    candidates = roster.able() if goers else roster.serving()
    excess, spare_ready = len(candidates) - desired.count, len(roster.ready()) - desired.count
    candidates.sort(
        key=lambda child: (child.slot not in goers, child.phase is not Phase.STARTING, child.activity is Activity.BUSY, -child.slot)
    )
    for child in candidates[: max(0, excess)]:
        if child.slot in goers and child.is_ready:
            if spare_ready <= 0:
                continue
            spare_ready -= 1
        yield Drain(child.slot, goers.get(child.slot, Reason.SURPLUS))


def next_deadline(roster: Roster, desired: Desired, limits: Limits, now: float) -> float:
    """When `decide` may have something new to say although nothing happens. Never before `now`."""
    times = [mold.asked_at + limits.boot_seconds for mold in roster.molds.values() if not mold.is_ready and not mold.is_leaving]
    times += [_child_deadline(child, limits) for child in roster.children()]
    if not desired.stop_level:
        times.append(next_step_due(roster, limits))
        times += [at for child in roster.serving() for at in _turning_points(roster, child, limits) if at > now]
        if roster.degraded_since is not None and (whole_at := roster.degraded_since + DEGRADED_WINDOW_SECONDS) > now:
            times.append(whole_at)
    times += [slot.history.not_before for slot in roster.slots if slot.child is None and slot.history.is_waiting(now)]
    times += [history.not_before for history in (roster.mold_history, roster.janitor.history) if history.is_waiting(now)]
    if roster.janitor.pid is not None and roster.janitor.dismissed_at is None:
        times.append(roster.janitor.tick_at + limits.janitor_stall_seconds)
    times += [
        at + liveness.UNKILLABLE_SECONDS
        for at in (roster.janitor.killed_at if roster.janitor.pid is not None else None, *_kills(roster))
        if at
    ]
    if desired.stop_level:
        times.append(now + limits.look_seconds)
    return max(now, min(times, default=now + 3600.0))


def _kills(roster: Roster) -> Iterator[float | None]:
    yield from (mold.killed_at for mold in roster.molds.values())


def _turning_points(roster: Roster, child: Child, limits: Limits) -> Iterator[float]:
    """When a child will have lived long enough: to be retired, and to end a degraded service."""
    if child.booted_at is not None:
        yield retire_at(child, child.booted_at, limits)
        if roster.degraded_since is not None:
            yield child.booted_at + limits.backoff.min_uptime_seconds


def _child_deadline(child: Child, limits: Limits) -> float:
    is_booting = child.booted_at is None and child.phase in (Phase.STARTING, Phase.DRAINING)
    times = [child.asked_at + limits.boot_seconds] if is_booting else []
    if child.run_deadline and child.phase in (Phase.UP, Phase.DRAINING):
        times.append(liveness.kill_at(child, limits) if liveness.is_dumped(child) else liveness.dump_at(child, limits))
    if child.until is not None:
        times.append(child.until)
    return min(times, default=float("inf"))
