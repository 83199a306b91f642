"""A reload as a transaction, by histories: what is promoted, what is given up, and what is gone back to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orbitd.errors import ExitCode
from orbitd.rules import actions, events
from orbitd.rules.exits import ExitStatus
from orbitd.rules.limits import Backoff, Limits
from orbitd.rules.rollout import Outcomes, Stage
from orbitd.rules.states import Activity, Phase, Reason, SlotState
from orbitd.rules.supervise import next_deadline
from tests.support.simulated import KILLED, Fleet

LIMITS = Limits(
    backoff=Backoff(), janitor_backoff=Backoff(), boots_at_once=64, canary_seconds=2.0, probation_seconds=30.0, max_surge_share=0.25
)


def staged(count: int = 4) -> Fleet:
    """A fleet in which the mold of generation 2 has just become ready."""
    fleet = Fleet(count=count, limits=LIMITS).up()
    fleet.reload()
    assert fleet.turn() == [actions.SpawnMold(2)]
    fleet.roster.note(events.MoldReady(2))
    return fleet


def on_trial(count: int = 4) -> Fleet:
    """A fleet with a canary of generation 2 that has just booted."""
    fleet = staged(count)
    (spawn,) = fleet.turn()
    assert isinstance(spawn, actions.Spawn)
    fleet.boot(spawn.slot)
    return fleet


def rolled(count: int = 4) -> Fleet:
    """A fleet in which generation 2 holds the target, and is on probation."""
    fleet = on_trial(count)
    fleet.pass_time(LIMITS.canary_seconds)
    leave(fleet)
    assert fleet.stage() is Stage.PROBATION
    return fleet


def leave(fleet: Fleet) -> None:
    """Settle, and let go whoever is drained, until nothing moves."""
    for _ in range(100):
        fleet.settle()
        going = [child.slot for child in fleet.roster.children() if not child.is_serving]
        for slot in going:
            fleet.die(slot, ExitStatus(code=0))
        if not going:
            return
    raise AssertionError("never settled")


def canary_slot(fleet: Fleet) -> int:
    canary = fleet.roster.canary()
    assert canary
    return canary.slot


def test_one_canary_comes_beside_the_old_fleet_and_nobody_is_replaced_while_it_is_on_trial() -> None:
    fleet = on_trial()
    assert fleet.generations() == [1, 1, 1, 1, 2]
    fleet.pass_time(LIMITS.canary_seconds - 0.1)
    assert fleet.turn() == []
    assert len(fleet.roster.able()) == 4, "the canary is not counted"


def test_a_canary_that_lives_long_enough_brings_its_generation_in() -> None:
    fleet = on_trial()
    assert next_deadline(fleet.roster, fleet.desired, fleet.limits, fleet.now) == fleet.now + LIMITS.canary_seconds
    fleet.pass_time(LIMITS.canary_seconds)
    leave(fleet)
    assert fleet.generations() == [2, 2, 2, 2]
    assert fleet.stage() is Stage.PROBATION
    assert set(fleet.roster.molds) == {1, 2}, "the old mold is kept to go back to"


def test_after_its_probation_the_old_mold_is_let_go() -> None:
    fleet = rolled()
    fleet.pass_time(LIMITS.probation_seconds)
    leave(fleet)
    assert fleet.stage() is None
    assert set(fleet.roster.molds) == {2}


@pytest.mark.parametrize("count", [1, 4, 16])
def test_the_children_able_to_claim_never_fall_below_the_target(count: int) -> None:
    fleet = on_trial(min(count, 12))
    fleet.pass_time(LIMITS.canary_seconds)
    for _ in range(100):
        fleet.turn()
        assert len(fleet.roster.able()) >= fleet.desired.count
        assert len(fleet.roster.serving()) <= fleet.desired.count + LIMITS.surge_of(fleet.desired.count)
        for child in list(fleet.roster.children()):
            if child.phase is Phase.STARTING:
                fleet.boot(child.slot)
            elif not child.is_serving:
                fleet.die(child.slot, ExitStatus(code=0))
    assert set(fleet.generations()) == {2}


def test_a_canary_that_dies_leaves_everything_as_it_was() -> None:
    fleet = on_trial()
    fleet.die(canary_slot(fleet), ExitStatus(signal=11))
    fleet.turn()
    assert actions.GiveUp(2, "its first child died: crashed:SIGSEGV") in fleet.log
    leave(fleet)
    assert fleet.stage() is None
    assert fleet.generations() == [1, 1, 1, 1]
    assert set(fleet.roster.molds) == {1}
    assert not any(fleet.roster.slot_state(slot, fleet.now) is SlotState.BACKOFF for slot in fleet.roster.slots)


def test_a_canary_that_does_not_boot_is_given_up() -> None:
    fleet = staged()
    fleet.turn()
    slot = canary_slot(fleet)
    fleet.pass_time(LIMITS.boot_seconds)
    assert fleet.turn() == [actions.Kill(slot, Reason.BOOT_TIMEOUT)]
    assert fleet.turn() == [], "one canary is enough"
    fleet.die(slot)
    leave(fleet)
    assert actions.GiveUp(2, "its first child did not come up in time") in fleet.log
    assert fleet.generations() == [1, 1, 1, 1]
    assert fleet.stage() is None


def test_a_canary_is_on_trial_for_all_of_its_time_however_long() -> None:
    fleet = Fleet(count=2, limits=replace(LIMITS, canary_seconds=3600.0)).up()
    fleet.reload()
    fleet.turn()
    fleet.roster.note(events.MoldReady(2))
    fleet.settle()
    fleet.pass_time(1800)
    fleet.die(canary_slot(fleet), ExitStatus(signal=11))
    fleet.turn()
    assert actions.GiveUp(2, "its first child died: crashed:SIGSEGV") in fleet.log


def test_a_canary_for_which_no_slot_is_free_is_not_waited_for_for_ever() -> None:
    fleet = Fleet(count=8, limits=replace(LIMITS, max_surge=8)).up()
    for _ in range(2):
        for child in fleet.roster.children():
            fleet.seen(child.slot, Activity.BUSY)
        fleet.reload()
        fleet.settle()
        fleet.pass_time(40)
        fleet.settle()
    assert fleet.stage() is Stage.CANARY
    fleet.pass_time(LIMITS.boot_seconds)
    fleet.settle()
    assert fleet.stage() is None
    assert any(isinstance(action, actions.GiveUp) and "no slot is free" in action.why for action in fleet.log)


def test_a_bad_generation_that_cannot_be_gone_back_from_is_told_and_ends_its_rollout() -> None:
    fleet = rolled()
    fleet.roster.note(events.MoldExited(1, KILLED, fleet.now, 0.5))
    for _ in range(2):
        fleet.die(fleet.roster.able()[0].slot, ExitStatus(code=1))
        fleet.turn()
        fleet.roster.note(events.MoldExited(1, KILLED, fleet.now, 0.999))
    assert any(isinstance(action, actions.GiveUp) for action in fleet.log)
    assert (fleet.roster.generation, fleet.stage()) == (2, None)


def test_children_that_are_lost_with_their_mold_speak_against_nobody() -> None:
    fleet = Fleet(count=8, limits=LIMITS)
    fleet.turn()
    fleet.roster.note(events.MoldReady(1))
    fleet.turn()
    for child in fleet.roster.children():
        child.pid = None
    fleet.roster.note(events.MoldExited(1, KILLED, fleet.now, 0.5))
    for slot in range(8):
        fleet.die(slot, ExitStatus())
    assert fleet.roster.degraded_since is None
    assert not any(fleet.roster.slot_state(slot, fleet.now) is SlotState.BACKOFF for slot in fleet.roster.slots)


def test_files_that_change_again_and_again_are_tried_with_a_growing_wait() -> None:
    fleet = Fleet(count=2, limits=LIMITS).up()
    fleet.roster.note(events.MoldExited(1, KILLED, fleet.now, 0.999))
    staged_generations, end = 0, fleet.now + 600
    while fleet.now < end:
        fleet.roster.note(events.JanitorTicked(fleet.now))
        fleet.turn()
        for mold in list(fleet.roster.molds.values()):
            if mold.is_leaving:
                fleet.roster.note(events.MoldExited(mold.generation, KILLED, fleet.now, 0.999))
            elif not mold.is_ready and mold.generation == fleet.roster.generation:
                fleet.roster.note(events.CodeChanged(mold.generation))
                fleet.roster.note(events.MoldKilled(mold.generation, fleet.now))
                fleet.desired.generation = fleet.roster.newest_generation + 1
                staged_generations += 1
            elif not mold.is_ready:
                fleet.roster.note(events.MoldReady(mold.generation))
        if canary := fleet.roster.canary():
            fleet.die(canary.slot, ExitStatus(code=1))
        fleet.now += 0.5
    assert staged_generations < 30


def test_a_generation_that_is_refused_is_given_up_with_its_exit_code() -> None:
    fleet = on_trial()
    fleet.roster.note(events.GenerationRefused(2, "children.max_rss: too little", ExitCode.CONFIG))
    slot = canary_slot(fleet)
    assert actions.Drain(slot, Reason.ROLLED_BACK) in fleet.turn()
    assert actions.GiveUp(2, "children.max_rss: too little", ExitCode.CONFIG) in fleet.log


def test_children_that_die_early_roll_the_generation_back_new_before_old() -> None:
    fleet = rolled()
    for _ in range(2):
        fleet.pass_time(3)
        fleet.die(fleet.roster.able()[0].slot, ExitStatus(code=1))
        fleet.settle()
    assert fleet.roster.generation == 1
    assert any(isinstance(action, actions.GiveUp) and "died soon after the start" in action.why for action in fleet.log)
    lowest = len(fleet.roster.able())
    for _ in range(20):
        fleet.turn()
        for child in list(fleet.roster.children()):
            if child.phase is Phase.STARTING:
                fleet.boot(child.slot)
            elif not child.is_serving:
                fleet.die(child.slot, ExitStatus(code=0))
        lowest = min(lowest, len(fleet.roster.able()))
    assert lowest >= 3, "only the dead ones are missing"
    assert fleet.generations() == [1, 1, 1, 1]
    assert set(fleet.roster.molds) == {1}


def test_nothing_is_rolled_back_to_a_generation_whose_children_would_import_the_files_that_lie_there_now() -> None:
    fleet = rolled()
    fleet.roster.note(events.MoldReady(1, forks=False))
    fleet.roster.note(events.MoldExited(1, ExitStatus(code=0), fleet.now, 0.5))
    for _ in range(2):
        fleet.pass_time(3)
        fleet.die(fleet.roster.able()[0].slot, ExitStatus(code=1))
        fleet.settle()
    assert fleet.roster.generation == 2


def test_one_early_death_is_chance() -> None:
    fleet = rolled()
    fleet.die(fleet.roster.able()[0].slot, KILLED)
    fleet.settle()
    assert fleet.roster.generation == 2


def test_deaths_after_the_probation_roll_nothing_back() -> None:
    fleet = rolled()
    fleet.pass_time(LIMITS.probation_seconds)
    leave(fleet)
    for child in fleet.roster.able():
        fleet.die(child.slot, KILLED)
    fleet.settle()
    assert fleet.roster.generation == 2


def test_without_a_mold_to_go_back_to_nothing_is_rolled_back() -> None:
    fleet = rolled()
    fleet.roster.note(events.MoldExited(1, KILLED, fleet.now, 0.5))
    for child in fleet.roster.able():
        fleet.die(child.slot, KILLED)
    fleet.turn()
    assert fleet.roster.generation == 2


def test_runs_that_fail_markedly_more_than_before_roll_the_generation_back() -> None:
    fleet = rolled()
    fleet.roster.note(events.RunsEnded(1, 95, 5))
    fleet.roster.note(events.RunsEnded(2, 1, 6))
    fleet.turn()
    assert actions.GiveUp(2, "6 of 7 attempts failed, 5 of 100 before") in fleet.log


@pytest.mark.parametrize(
    ("new", "before", "is_worse"),
    [
        (Outcomes(0, 4), Outcomes(100, 0), False),
        (Outcomes(0, 5), Outcomes(100, 0), True),
        (Outcomes(10, 5), Outcomes(100, 0), True),
        (Outcomes(20, 5), Outcomes(100, 0), False),
        (Outcomes(5, 5), Outcomes(50, 50), False),
        (Outcomes(1, 19), Outcomes(50, 50), True),
        (Outcomes(5, 5), Outcomes(0, 0), False),
        (Outcomes(0, 5), Outcomes(0, 0), True),
        (Outcomes(0, 50), Outcomes(0, 50), False),
    ],
)
def test_worse_means_markedly_worse(new: Outcomes, before: Outcomes, is_worse: bool) -> None:  # noqa: FBT001 - a table
    assert new.are_worse_than(before) is is_worse


def test_a_second_reload_in_the_midst_of_the_first_starts_it_again_with_the_newest_files() -> None:
    fleet = on_trial()
    fleet.reload()
    done = fleet.turn()
    assert actions.SpawnMold(3) in done
    assert actions.KillMold(2) in done
    fleet.roster.note(events.MoldReady(3))
    leave(fleet)
    fleet.pass_time(LIMITS.canary_seconds)
    leave(fleet)
    assert fleet.generations() == [3, 3, 3, 3]
    assert fleet.roster.rollout
    assert fleet.roster.rollout.fallback == 1


def test_a_reload_during_the_probation_goes_back_to_the_last_generation_that_has_passed_one() -> None:
    fleet = rolled()
    fleet.reload()
    leave(fleet)
    fleet.pass_time(LIMITS.canary_seconds)
    leave(fleet)
    assert fleet.generations() == [3, 3, 3, 3]
    for _ in range(2):
        fleet.die(fleet.roster.able()[0].slot, ExitStatus(code=1))
        fleet.settle()
    leave(fleet)
    assert fleet.generations() == [1, 1, 1, 1]


def test_a_reload_during_the_probation_that_fails_leaves_the_probation_as_it_was() -> None:
    fleet = rolled()
    fleet.reload()
    assert fleet.turn() == [actions.SpawnMold(3)]
    fleet.roster.note(events.MoldKilled(3, fleet.now))
    fleet.roster.note(events.GenerationRefused(3, "SyntaxError"))
    fleet.turn()
    assert fleet.stage() is Stage.PROBATION
    assert fleet.desired.generation == 2
    for _ in range(2):
        fleet.die(fleet.roster.able()[0].slot, ExitStatus(code=1))
        fleet.settle()
    assert fleet.roster.generation == 1


def test_the_first_generation_of_all_needs_no_canary_and_no_probation() -> None:
    fleet = Fleet(count=2, limits=LIMITS).up()
    fleet.turn()
    assert fleet.stage() is None
    assert fleet.generations() == [1, 1]


def test_a_busy_old_child_finishes_while_the_new_generation_works() -> None:
    fleet = Fleet(count=2, limits=LIMITS).up()
    for child in fleet.roster.able():
        fleet.seen(child.slot, Activity.BUSY)
    fleet.reload()
    fleet.settle()
    fleet.pass_time(LIMITS.canary_seconds)
    fleet.settle()
    assert fleet.stage() is Stage.PROBATION
    fleet.pass_time(3600)
    fleet.settle()
    assert [child.phase for child in fleet.roster.children() if child.generation == 1] == [Phase.DRAINING, Phase.DRAINING]
    assert len(fleet.roster.able()) == 2


def test_a_stop_during_a_trial_ends_everything_and_turns_for_nothing() -> None:
    from orbitd.rules.states import StopLevel

    fleet = on_trial()
    fleet.desired.stop_level = StopLevel.DRAIN
    fleet.pass_time(LIMITS.canary_seconds + 1)
    assert len([action for action in fleet.turn() if isinstance(action, actions.Drain)]) == 5
    assert next_deadline(fleet.roster, fleet.desired, fleet.limits, fleet.now) > fleet.now


def test_the_surge_is_a_share_of_the_target_or_a_number() -> None:
    assert [LIMITS.surge_of(target) for target in (0, 1, 4, 16, 48)] == [1, 1, 1, 4, 12]
    assert replace(LIMITS, max_surge=3, max_surge_share=0.0).surge_of(16) == 3
