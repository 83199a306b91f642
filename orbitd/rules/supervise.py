"""What to do next: the whole of supervision as a pure function of roster, desired state, limits and time.

`decide` is lazy, and the arbiter notes each action in the roster as it performs it. So a later rule sees what an earlier
one did, and only in that way. Each rule is a reconciler: it compares what is with what should be, and holds no memory.

Replacing is one mechanism. Children that must leave (outdated ones, those whom the operator wants replaced, and one that is
over its memory limit) raise the number of children wanted by a small surge; once more are able than asked for, the surplus
is drained, leaving and idle ones first. So the number able to claim never falls below the target for our sake.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orbitd.rules.actions import Action, DismissJanitor, Drain, Interrupt, Kill, KillJanitor, KillMold, Spawn, SpawnJanitor, SpawnMold
from orbitd.rules.limits import Limits
from orbitd.rules.roster import Child, Roster
from orbitd.rules.states import Activity, Phase, Reason, StopLevel


@dataclass(slots=True)
class Desired:
    """What the operator wants. Signals and commands edit this; what is asked of one child is an event or an action."""

    count: int
    generation: int = 1
    is_paused: bool = False
    stop_level: StopLevel = StopLevel.NONE


def decide(roster: Roster, desired: Desired, limits: Limits, now: float) -> Iterator[Action]:
    """The actions that bring the fleet nearer to what is desired."""
    yield from kill_the_late(roster, limits, now)
    if desired.stop_level:
        yield from wind_down(roster, desired, limits, now)
        return
    yield from keep_the_molds(roster, desired, now)
    yield from keep_the_janitor(roster, limits, now)
    yield from spawn_the_missing(roster, desired, limits, now)
    yield from drain_the_surplus(roster, desired)


def is_finished(roster: Roster, desired: Desired) -> bool:
    """Whether the daemon may exit: it was told to, and nobody is left."""
    return bool(desired.stop_level) and not any(roster.children()) and not roster.molds and roster.janitor.pid is None


def kill_the_late(roster: Roster, limits: Limits, now: float) -> Iterator[Action]:
    """Whoever let a deadline pass: boots, runs, drains. Each step of an escalation is taken once, by the change of phase."""
    for mold in list(roster.molds.values()):
        if not mold.is_ready and not mold.is_leaving and now >= mold.asked_at + limits.boot_seconds:
            yield KillMold(mold.generation)
    for child in list(roster.children()):
        match child.phase:
            case Phase.STARTING if now >= child.asked_at + limits.boot_seconds:
                asked = roster.molds.get(child.generation)
                if child.pid is None and asked and not asked.is_leaving:
                    yield KillMold(asked.generation)  # it did not fork
                yield Kill(child.slot, Reason.BOOT_TIMEOUT)
            case Phase.UP | Phase.DRAINING if child.run_deadline and now >= child.run_deadline + limits.kill_after_seconds:
                yield Kill(child.slot, Reason.RUN_TIMEOUT)
            case Phase.DRAINING if child.until is not None and now >= child.until:
                yield Interrupt(child.slot, Reason.DRAIN_TIMEOUT, now + limits.kill_after_seconds)
            case Phase.INTERRUPTED if child.until is not None and now >= child.until:
                yield Kill(child.slot, Reason.DRAIN_TIMEOUT)
            case _:
                pass


def wind_down(roster: Roster, desired: Desired, limits: Limits, now: float) -> Iterator[Action]:
    """Children first, each by the stop level; then the janitor, which takes back what they left; then the molds."""
    for child in list(roster.children()):
        if desired.stop_level is StopLevel.KILL and child.phase is not Phase.DYING:
            yield Kill(child.slot, Reason.STOPPING)
        elif desired.stop_level is StopLevel.INTERRUPT and (child.is_serving or child.phase is Phase.DRAINING):
            yield Interrupt(child.slot, Reason.STOPPING, now + limits.kill_after_seconds)
        elif child.is_serving or (child.phase is Phase.DRAINING and child.until is None):
            yield Drain(child.slot, Reason.STOPPING, now + limits.drain_seconds)
    if any(roster.children()):
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
    elif now >= janitor.dismissed_at + limits.farewell_seconds:
        yield KillJanitor()


def keep_the_molds(roster: Roster, desired: Desired, now: float) -> Iterator[Action]:
    """One mold for the current generation, one for the desired; older ones go, once nobody needs them to go back to."""
    for generation in sorted({roster.generation, desired.generation} - {0}):
        if generation not in roster.molds and not roster.mold_history.is_waiting(now):
            yield SpawnMold(generation)
    for mold in list(roster.molds.values()):
        if mold.generation not in (roster.generation, desired.generation) and not mold.is_leaving:
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

    A slot in backoff, and one whose child is about to die, keeps its place: no other slot is filled for it.
    """
    mold = roster.molds.get(roster.generation)
    if mold is None or not mold.is_ready or mold.is_leaving:
        return
    empty = [slot for slot in roster.slots if slot.child is None]
    waiting = [slot for slot in empty if slot.history.is_waiting(now)]
    due = [slot for slot in empty if not slot.history.is_waiting(now)]
    serving = roster.serving()
    dying = sum(child.phase is Phase.DYING for child in roster.children())
    missing = desired.count + surge(roster, limits) - len(serving) - len(waiting) - dying
    booting = sum(child.phase is Phase.STARTING for child in serving)
    for slot in due[: max(0, min(missing, limits.boots_at_once - booting))]:
        yield Spawn(slot.index, roster.generation)


def surge(roster: Roster, limits: Limits) -> int:
    """How many children above the target may live while some wait to be replaced."""
    return min(limits.max_surge, len(leaving(roster)))


def leaving(roster: Roster) -> list[Child]:
    """Who must be replaced: every outdated or unwanted child, and one child over its memory limit, the heaviest.

    One, for the whole fleet: limits must never restart everything together.
    """
    serving = roster.serving()
    unwanted = [child for child in serving if child.is_unwanted or roster.is_outdated(child)]
    heavy = [child for child in serving if child.is_heavy and child not in unwanted]
    one_is_leaving = any(child.phase is Phase.DRAINING and child.reason is Reason.OVER_MEMORY for child in roster.children())
    if not heavy or one_is_leaving:
        return unwanted
    return [*unwanted, max(heavy, key=lambda child: child.rss_bytes)]


def drain_the_surplus(roster: Roster, desired: Desired) -> Iterator[Action]:
    """Drain what is more than wanted: those that must leave first, idle before busy, the highest slot first.

    A child that must leave is replaced only by one that is as far as itself: one that still starts, or waits for the
    database, is no match for one that can claim. After a scale-down those that start go first.
    """
    goers = leaving(roster)
    candidates = roster.able() if goers else roster.serving()
    excess, spare_ready = len(candidates) - desired.count, len(roster.ready()) - desired.count
    candidates.sort(key=lambda child: (child not in goers, child.phase is not Phase.STARTING, child.activity is Activity.BUSY, -child.slot))
    for child in candidates[: max(0, excess)]:
        if child in goers and child.is_ready:
            if spare_ready <= 0:
                continue
            spare_ready -= 1
        yield Drain(child.slot, _reason(roster, child))


def _reason(roster: Roster, child: Child) -> Reason:
    if roster.is_outdated(child):
        return Reason.OUTDATED
    if child.is_unwanted:
        return Reason.RESTART_ASKED
    return Reason.OVER_MEMORY if child.is_heavy else Reason.SURPLUS


def next_deadline(roster: Roster, desired: Desired, limits: Limits, now: float) -> float:
    """When `decide` may have something new to say although nothing happens. Never before `now`."""
    times = [mold.asked_at + limits.boot_seconds for mold in roster.molds.values() if not mold.is_ready and not mold.is_leaving]
    times += [_child_deadline(child, limits) for child in roster.children()]
    times += [slot.history.not_before for slot in roster.slots if slot.child is None and slot.history.is_waiting(now)]
    times += [history.not_before for history in (roster.mold_history, roster.janitor.history) if history.is_waiting(now)]
    if roster.janitor.pid is not None and roster.janitor.dismissed_at is None:
        times.append(roster.janitor.tick_at + limits.janitor_stall_seconds)
    if desired.stop_level:
        times.append(now + limits.look_seconds)
    return max(now, min(times, default=now + 3600.0))


def _child_deadline(child: Child, limits: Limits) -> float:
    times = [child.asked_at + limits.boot_seconds] if child.phase is Phase.STARTING else []
    if child.run_deadline and child.phase in (Phase.UP, Phase.DRAINING):
        times.append(child.run_deadline + limits.kill_after_seconds)
    if child.until is not None:
        times.append(child.until)
    return min(times, default=float("inf"))
