"""A reload as a transaction: the next step of a new generation, decided from the roster alone.

Nothing here replaces a child: which generation serves is a fact in the roster, and replacing outdated children is one and the
same rule whether a new generation rolls in or the one before rolls back.
"""

from __future__ import annotations

from collections.abc import Iterator

from orbitd.rules.actions import Action, GiveUp, Hold, Promote, Settle, Stage as StageGeneration
from orbitd.rules.limits import Limits
from orbitd.rules.rollout import Outcomes, Rollout, Stage
from orbitd.rules.roster import Roster


def advance(roster: Roster, desired_generation: int, target: int, limits: Limits, now: float) -> Iterator[Action]:
    """Take up a generation that is wanted, and take the one that is on its way one stage further, or give it up."""
    rollout = roster.rollout
    if desired_generation not in (roster.generation, rollout and rollout.generation):
        yield StageGeneration(desired_generation)
        return
    if rollout is None:
        return
    if (why := _why_give_up(roster, rollout, target, limits, now)) is not None:
        yield GiveUp(rollout.generation, why, rollout.exit_code)
    elif _has_passed(roster, rollout, target, limits, now):
        yield _next_step(rollout)


def next_step_due(roster: Roster, limits: Limits) -> float:
    """When `advance` may have something new to say although nothing happens."""
    rollout = roster.rollout
    if rollout is None:
        return float("inf")
    if rollout.stage is Stage.PROBATION:
        return rollout.since + limits.probation_seconds
    if rollout.stage is Stage.CANARY and not roster.has_child_of(rollout.generation):
        return rollout.since + limits.boot_seconds
    if rollout.stage is Stage.CANARY and (canary := roster.canary()) and canary.booted_at is not None:
        return canary.booted_at + rollout.canary_seconds
    return float("inf")


def _why_give_up(roster: Roster, rollout: Rollout, target: int, limits: Limits, now: float) -> str | None:
    if rollout.is_promoted and rollout.fallback == 0:
        return None  # it is the first of all
    is_childless = rollout.stage is Stage.CANARY and not roster.has_child_of(rollout.generation)
    if is_childless and now >= rollout.since + limits.boot_seconds:
        return rollout.trouble or "its first child could not be made: no slot is free (old children finish their runs), or its mold is gone"
    outcomes = roster.outcomes
    return rollout.why_give_up(target, outcomes.get(rollout.generation, Outcomes()), outcomes.get(rollout.fallback, Outcomes()))


def _has_passed(roster: Roster, rollout: Rollout, target: int, limits: Limits, now: float) -> bool:
    """Whether the stage in which it is lies behind it."""
    match rollout.stage:
        case Stage.STAGING:  # ended by the mold's word; the very first generation needs no canary, for there is nothing to protect
            mold = roster.molds.get(rollout.generation)
            return rollout.fallback == 0 and mold is not None and mold.is_ready
        case Stage.CANARY:
            canary = roster.canary()
            return canary is not None and canary.booted_at is not None and now >= canary.booted_at + rollout.canary_seconds
        case Stage.ROLLING:
            able = roster.able()
            return len(able) >= target and not any(roster.is_outdated(child) for child in able)
        case Stage.PROBATION:
            return now >= rollout.since + limits.probation_seconds or rollout.fallback == 0


def _next_step(rollout: Rollout) -> Action:
    match rollout.stage:
        case Stage.STAGING | Stage.CANARY:
            return Promote(rollout.generation)
        case Stage.ROLLING:
            return Hold(rollout.generation)
        case Stage.PROBATION:
            return Settle(rollout.generation)
