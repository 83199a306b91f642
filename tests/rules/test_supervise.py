"""Supervision by histories: what happens, and what is decided. No process, a made-up clock."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orbitd.rules import actions, events
from orbitd.rules.exits import ExitStatus
from orbitd.rules.limits import Backoff, Limits
from orbitd.rules.states import Activity, Phase, Reason, SlotState, StopLevel
from orbitd.rules.supervise import is_finished, next_deadline
from tests.support.simulated import KILLED, Fleet


def test_the_first_turn_starts_a_mold_and_the_janitor_and_no_child() -> None:
    assert Fleet().turn() == [actions.SpawnMold(1), actions.SpawnJanitor()]


def test_children_come_when_the_mold_is_ready() -> None:
    fleet = Fleet(count=3)
    fleet.turn()
    fleet.roster.note(events.MoldReady(1))
    assert fleet.turn() == [actions.Spawn(slot, 1) for slot in range(3)]


def test_a_mold_that_does_not_fork_is_not_replaced_when_it_ends_and_its_children_are() -> None:
    """Complaint 19 (puma#3596): the slots refill whether or not there is a mold."""
    fleet = Fleet(count=1)
    fleet.turn()
    fleet.roster.note(events.MoldReady(1, forks=False))
    fleet.roster.note(events.MoldExited(1, ExitStatus(code=0), fleet.now, 0.5))
    assert fleet.turn() == [actions.Spawn(0, 1)]
    fleet.boot(0)
    fleet.die(0)
    assert fleet.turn() == [actions.Spawn(0, 1)]
    assert (fleet.roster.molds[1].pid, fleet.roster.mold_history.deaths) == (None, Fleet().roster.mold_history.deaths)


def test_a_mold_without_a_process_is_forgotten_once_another_generation_has_passed_its_probation() -> None:
    fleet = Fleet(count=1)
    fleet.turn()
    fleet.roster.note(events.MoldReady(1, forks=False))
    fleet.roster.note(events.MoldExited(1, ExitStatus(code=0), fleet.now, 0.5))
    fleet.up()
    fleet.reload()
    fleet.settle()
    assert set(fleet.roster.molds) == {1, 2}
    fleet.pass_time(fleet.limits.probation_seconds)
    fleet.settle()
    assert set(fleet.roster.molds) == {2}


def test_a_stop_does_not_wait_for_a_mold_that_has_no_process() -> None:
    fleet = Fleet(count=0)
    fleet.turn()
    fleet.roster.note(events.MoldReady(1, forks=False))
    fleet.roster.note(events.MoldExited(1, ExitStatus(code=0), fleet.now, 0.5))
    fleet.roster.note(events.JanitorExited(fleet.now, 0.5))
    fleet.desired.stop_level = StopLevel.DRAIN
    assert fleet.turn() == [actions.KillMold(1)]
    assert is_finished(fleet.roster, fleet.desired)


def test_a_mold_that_does_not_fork_and_was_let_go_before_it_ended_is_gone() -> None:
    fleet = Fleet().up()
    fleet.roster.note(events.MoldReady(1, forks=False))
    fleet.roster.note(events.MoldKilled(1, fleet.now))
    fleet.roster.note(events.MoldExited(1, KILLED, fleet.now, 0.5))
    assert not fleet.roster.molds


def test_a_generation_whose_files_changed_gets_no_mold_while_another_takes_its_place() -> None:
    fleet = Fleet().up()
    fleet.roster.note(events.MoldExited(1, KILLED, fleet.now, 0.5))
    assert fleet.turn() == [actions.SpawnMold(1)]
    fleet.roster.note(events.CodeChanged(1))
    fleet.roster.note(events.MoldKilled(1, fleet.now))
    fleet.roster.note(events.MoldExited(1, KILLED, fleet.now, 0.5))
    fleet.desired.generation = 2
    fleet.pass_time(100)
    assert fleet.turn() == [actions.SpawnMold(2)]
    fleet.roster.note(events.MoldKilled(2, fleet.now))
    fleet.roster.note(events.GenerationRefused(2, "broken"))
    fleet.roster.note(events.MoldExited(2, ExitStatus(code=78), fleet.now, 0.5))
    fleet.pass_time(100)
    fleet.turn()
    assert actions.SpawnMold(1) in fleet.log[-2:], "broken newer code is no reason to try no more"


def test_no_more_boots_at_once_than_allowed() -> None:
    limits = Limits(backoff=Backoff(), janitor_backoff=Backoff(), boots_at_once=2)
    fleet = Fleet(count=5, limits=limits)
    fleet.turn()
    fleet.roster.note(events.MoldReady(1))
    assert fleet.turn() == [actions.Spawn(0, 1), actions.Spawn(1, 1)]
    assert fleet.turn() == []
    fleet.boot(0)
    assert fleet.turn() == [actions.Spawn(2, 1)]


def test_a_fleet_that_is_as_desired_is_left_alone() -> None:
    assert Fleet().up().turn() == []


def test_the_first_early_death_is_forgiven_at_once() -> None:
    fleet = Fleet().up()
    fleet.die(1)
    assert fleet.turn() == [actions.Spawn(1, 1)]


def test_the_second_early_death_waits_and_no_other_slot_is_filled_for_it() -> None:
    fleet = Fleet().up()
    fleet.die(1)
    fleet.settle()
    fleet.die(1)
    assert fleet.turn() == []
    assert fleet.roster.slot_state(fleet.roster.slots[1], fleet.now) is SlotState.BACKOFF
    fleet.now = next_deadline(fleet.roster, fleet.desired, fleet.limits, fleet.now)
    assert fleet.turn() == [actions.Spawn(1, 1)]


def test_a_child_that_lived_long_enough_ends_the_streak() -> None:
    fleet = Fleet().up()
    for _ in range(5):
        fleet.now += 11
        fleet.die(0)
        fleet.roster.note(events.JanitorTicked(fleet.now))
        assert fleet.turn() == [actions.Spawn(0, 1)]
        fleet.settle()


def test_a_child_that_dies_each_eleven_seconds_is_held_in_the_end() -> None:
    fleet = Fleet().up()
    for _ in range(fleet.limits.backoff.max_restarts + 1):
        fleet.now += 11
        fleet.die(0)
        fleet.settle()
    assert fleet.roster.slot_state(fleet.roster.slots[0], fleet.now) is SlotState.HELD
    fleet.roster.note(events.Forgiven())
    assert fleet.turn() == [actions.Spawn(0, 1)]


def test_scaling_down_drains_the_idle_before_the_busy_and_the_highest_slot_first() -> None:
    fleet = Fleet(count=4).up()
    fleet.seen(3, Activity.BUSY)
    fleet.desired.count = 2
    assert fleet.turn() == [actions.Drain(2, Reason.SURPLUS), actions.Drain(1, Reason.SURPLUS)]


def test_scaling_down_spares_a_drained_child_a_second_order() -> None:
    fleet = Fleet(count=2).up()
    fleet.desired.count = 1
    assert len(fleet.turn()) == 1
    assert fleet.turn() == []


def test_a_reload_replaces_new_before_old_and_never_falls_below_the_target() -> None:
    fleet = Fleet(count=3).up()
    fleet.desired.generation = 2
    lowest = 3
    for _ in range(50):
        fleet.turn()
        lowest = min(lowest, len(fleet.roster.able()))
        if (mold := fleet.roster.molds.get(2)) and not mold.is_ready:
            fleet.roster.note(events.MoldReady(2))
        for child in list(fleet.roster.children()):
            if child.phase is Phase.STARTING:
                fleet.boot(child.slot)
            elif child.phase is Phase.DRAINING:
                fleet.die(child.slot, ExitStatus(code=0))
    assert lowest == 3
    assert {child.generation for child in fleet.roster.children()} == {2}
    assert len(fleet.roster.able()) == 3


def test_a_busy_old_child_finishes_its_run_without_a_deadline() -> None:
    fleet = Fleet(count=1).up()
    fleet.seen(0, Activity.BUSY)
    fleet.desired.generation = 2
    fleet.settle()
    assert fleet.phases()[0] is Phase.DRAINING
    fleet.pass_time(3600)
    fleet.settle()
    assert fleet.phases()[0] is Phase.DRAINING


def test_a_replacement_that_waits_for_the_database_is_no_match_for_a_child_that_can_claim() -> None:
    fleet = Fleet(count=1).up()
    fleet.desired.generation = 2
    fleet.turn()
    fleet.roster.note(events.MoldReady(2))
    assert actions.Spawn(1, 2) in fleet.turn()
    fleet.boot(1, Activity.WAITING)
    assert fleet.turn() == []
    fleet.seen(1, Activity.IDLE)
    assert fleet.turn() == [actions.Drain(0, Reason.OUTDATED)]


def test_a_reload_goes_through_while_the_database_is_down() -> None:
    fleet = Fleet(count=1).up()
    fleet.seen(0, Activity.WAITING)
    fleet.desired.generation = 2
    fleet.turn()
    fleet.roster.note(events.MoldReady(2))
    fleet.turn()
    fleet.boot(1, Activity.WAITING)
    assert fleet.turn() == [actions.Drain(0, Reason.OUTDATED)]


def test_a_mold_that_fails_leaves_the_old_generation_and_its_mold() -> None:
    fleet = Fleet().up()
    fleet.desired.generation = 2
    assert fleet.turn() == [actions.SpawnMold(2)]
    fleet.roster.note(events.MoldKilled(2, fleet.now))
    fleet.roster.note(events.GenerationRefused(2, "SyntaxError"))
    fleet.roster.note(events.MoldExited(2, ExitStatus(code=78), fleet.now, 0.5))
    assert fleet.turn() == []
    fleet.die(0)
    assert fleet.turn() == [actions.Spawn(0, 1)]


def test_a_heavy_child_is_replaced_before_it_is_drained() -> None:
    limits = Limits(backoff=Backoff(), janitor_backoff=Backoff(), boots_at_once=64, max_rss_bytes=1000)
    fleet = Fleet(count=2, limits=limits).up()
    fleet.seen(0, rss_bytes=2000)
    assert fleet.turn() == []
    fleet.seen(0, rss_bytes=2000)
    assert fleet.turn() == [actions.Spawn(2, 1)]
    fleet.boot(2)
    assert fleet.turn() == [actions.Drain(0, Reason.OVER_MEMORY)]


def test_one_light_sample_forgives() -> None:
    limits = Limits(backoff=Backoff(), janitor_backoff=Backoff(), max_rss_bytes=1000)
    fleet = Fleet(limits=limits).up()
    for rss_bytes in (2000, 500, 2000):
        fleet.seen(0, rss_bytes=rss_bytes)
    assert fleet.turn() == []


def test_three_heavy_children_are_replaced_one_at_a_time() -> None:
    limits = Limits(backoff=Backoff(), janitor_backoff=Backoff(), boots_at_once=64, max_rss_bytes=1000)
    fleet = Fleet(count=3, limits=limits).up()
    for slot in (0, 1, 2):
        for _ in range(2):
            fleet.seen(slot, Activity.BUSY, rss_bytes=1500 + slot)
    fleet.settle()
    assert [phase for phase in fleet.phases().values() if phase is Phase.DRAINING] == [Phase.DRAINING]
    assert fleet.phases()[2] is Phase.DRAINING
    assert fleet.turn() == []
    fleet.die(2, ExitStatus(code=0))
    fleet.settle()
    assert fleet.phases()[1] is Phase.DRAINING


def test_a_run_past_its_deadline_is_killed_after_its_grace() -> None:
    fleet = Fleet().up()
    fleet.seen(0, Activity.BUSY, deadline=fleet.now + 5)
    fleet.now += 5 + fleet.limits.kill_after_seconds - 0.1
    assert actions.Kill(0, Reason.RUN_TIMEOUT) not in fleet.turn()
    fleet.now = next_deadline(fleet.roster, fleet.desired, fleet.limits, fleet.now)
    assert fleet.turn() == [actions.Kill(0, Reason.RUN_TIMEOUT)]
    assert fleet.turn() == []


def test_a_child_that_does_not_boot_is_killed() -> None:
    fleet = Fleet(count=1)
    fleet.turn()
    fleet.roster.note(events.MoldReady(1))
    fleet.turn()
    fleet.now += fleet.limits.boot_seconds
    fleet.roster.note(events.JanitorTicked(fleet.now))
    assert fleet.turn() == [actions.Kill(0, Reason.BOOT_TIMEOUT)]


def test_a_mold_that_does_not_become_ready_is_killed() -> None:
    fleet = Fleet()
    fleet.turn()
    fleet.now += fleet.limits.boot_seconds
    assert actions.KillMold(1) in fleet.turn()


def test_a_janitor_that_does_not_turn_is_killed_and_replaced() -> None:
    fleet = Fleet().up()
    fleet.now += fleet.limits.janitor_stall_seconds
    assert fleet.turn() == [actions.KillJanitor()]
    assert fleet.turn() == []
    fleet.roster.note(events.JanitorExited(fleet.now, 0.5))
    assert fleet.turn() == [actions.SpawnJanitor()]


def test_a_janitor_that_was_killed_and_does_not_go_is_waited_for_without_a_busy_loop() -> None:
    fleet = Fleet().up()
    fleet.roster.note(events.JanitorDismissed(fleet.now))
    fleet.now += fleet.limits.farewell_seconds + 1
    assert fleet.turn() == []
    assert next_deadline(fleet.roster, fleet.desired, fleet.limits, fleet.now) > fleet.now


def test_a_held_slot_that_a_smaller_fleet_does_not_need_keeps_no_place() -> None:
    fleet = Fleet(count=3).up()
    for _ in range(fleet.limits.backoff.max_restarts + 1):
        fleet.now += 11
        fleet.die(2)
        fleet.settle()
    assert fleet.roster.slot_state(fleet.roster.slots[2], fleet.now) is SlotState.HELD
    fleet.desired.count = 2
    fleet.roster.note(events.Scaled(2, fleet.now))
    fleet.die(0)
    fleet.roster.note(events.JanitorTicked(fleet.now))
    assert fleet.turn() == [actions.Spawn(0, 1)]


def test_a_mold_that_does_not_fork_is_replaced() -> None:
    fleet = Fleet(count=1).up()
    fleet.roster.note(events.ChildExited(0, KILLED, fleet.now, 0.5))
    fleet.roster.note(events.ChildAsked(0, 1, fleet.now))
    fleet.now += fleet.limits.boot_seconds
    fleet.roster.note(events.JanitorTicked(fleet.now))
    assert fleet.turn() == [actions.KillMold(1), actions.Kill(0, Reason.BOOT_TIMEOUT)]


def test_stopping_climbs_the_ladder_one_step_at_a_time() -> None:
    fleet = Fleet(count=1).up()
    fleet.desired.stop_level = StopLevel.DRAIN
    until = fleet.now + fleet.limits.drain_seconds
    assert fleet.turn() == [actions.Drain(0, Reason.STOPPING, until)]
    assert fleet.turn() == []
    fleet.now = until
    kill_at = until + fleet.limits.kill_after_seconds
    fleet.roster.note(events.JanitorTicked(kill_at))
    assert fleet.turn() == [actions.Interrupt(0, Reason.DRAIN_TIMEOUT, kill_at)]
    assert fleet.turn() == []
    fleet.now = kill_at
    assert fleet.turn() == [actions.Kill(0, Reason.DRAIN_TIMEOUT)]
    assert fleet.turn() == []


def test_the_janitor_leaves_after_the_children_and_the_daemon_is_finished_last() -> None:
    fleet = Fleet(count=1).up()
    fleet.desired.stop_level = StopLevel.DRAIN
    fleet.turn()
    fleet.die(0, ExitStatus(code=0))
    assert fleet.turn() == [actions.DismissJanitor(), actions.KillMold(1)]
    fleet.roster.note(events.MoldExited(1, KILLED, fleet.now, 0.5))
    assert not is_finished(fleet.roster, fleet.desired)
    fleet.roster.note(events.JanitorExited(fleet.now, 0.5))
    assert is_finished(fleet.roster, fleet.desired)


def test_a_second_stop_interrupts_and_a_third_kills() -> None:
    fleet = Fleet(count=1).up()
    fleet.desired.stop_level = StopLevel.DRAIN
    fleet.turn()
    fleet.desired.stop_level = StopLevel.INTERRUPT
    assert fleet.turn() == [actions.Interrupt(0, Reason.STOPPING, fleet.now + fleet.limits.kill_after_seconds)]
    fleet.desired.stop_level = StopLevel.KILL
    assert fleet.turn() == [actions.Kill(0, Reason.STOPPING)]
    assert fleet.turn() == []


def _hello(fleet: Fleet) -> None:
    fleet.turn()
    fleet.roster.note(events.MoldReady(1))
    fleet.turn()


def _reloading(fleet: Fleet) -> None:
    fleet.up().desired.generation = 2
    fleet.turn()


def _busy_for_ever(fleet: Fleet) -> None:
    for slot in range(fleet.up().count):
        fleet.seen(slot, Activity.BUSY)


def _surplus(fleet: Fleet) -> None:
    _busy_for_ever(fleet)
    fleet.desired.count = 1
    fleet.turn()


def _in_backoff(fleet: Fleet) -> None:
    fleet.up()
    for _ in range(20):
        fleet.die(0)
        fleet.settle()


def _without_janitor(fleet: Fleet) -> None:
    fleet.up().roster.note(events.JanitorExited(fleet.now, 0.5))


@pytest.mark.parametrize("level", [StopLevel.DRAIN, StopLevel.INTERRUPT, StopLevel.KILL])
@pytest.mark.parametrize("come_about", [Fleet.turn, _hello, Fleet.up, _reloading, _busy_for_ever, _surplus, _in_backoff, _without_janitor])
def test_a_stop_ends_in_time_from_every_state_though_nobody_obeys(come_about: Callable[[Fleet], object], level: StopLevel) -> None:
    """Nobody ends but by a kill, which comes once; nothing happens but that deadlines pass (gunicorn#1421, uvicorn#2943)."""
    fleet = Fleet(count=3)
    come_about(fleet)
    fleet.log.clear()
    fleet.desired.stop_level, begun = level, fleet.now
    for _ in range(200):
        for action in fleet.turn():
            match action:
                case actions.Kill(slot, _):
                    fleet.die(slot)
                case actions.KillMold(generation):
                    fleet.roster.note(events.MoldExited(generation, KILLED, fleet.now, 0.5))
                case actions.KillJanitor():
                    fleet.roster.note(events.JanitorExited(fleet.now, 0.5))
        if is_finished(fleet.roster, fleet.desired):
            break
        fleet.now = max(fleet.now + 0.001, next_deadline(fleet.roster, fleet.desired, fleet.limits, fleet.now))
    limits = fleet.limits
    assert is_finished(fleet.roster, fleet.desired)
    assert fleet.now - begun <= limits.drain_seconds + limits.kill_after_seconds + limits.farewell_seconds + 3 * limits.look_seconds
    orders = [(type(action), action.slot) for action in fleet.log if isinstance(action, actions.Drain | actions.Interrupt | actions.Kill)]
    assert len(orders) == len(set(orders))


def test_while_a_drain_goes_on_the_janitor_is_replaced_and_after_it_no_more() -> None:
    fleet = Fleet(count=1).up()
    fleet.desired.stop_level = StopLevel.DRAIN
    fleet.turn()
    fleet.now += 20
    fleet.roster.note(events.JanitorExited(fleet.now, 0.0))
    assert fleet.turn() == [actions.SpawnJanitor()]
    fleet.die(0, ExitStatus(code=0))
    fleet.roster.note(events.JanitorExited(fleet.now, 0.0))
    assert fleet.turn() == [actions.KillMold(1)]


def test_an_event_about_a_child_that_is_gone_changes_nothing() -> None:
    fleet = Fleet(count=1).up()
    fleet.die(0)
    fleet.die(0)
    fleet.roster.note(events.ChildBooted(0, fleet.now))
    fleet.roster.note(events.KillSent(0, Reason.STOPPING, fleet.now))
    assert fleet.roster.slots[0].restarts == 1
    assert fleet.roster.slots[0].child is None


def test_a_restarted_child_is_replaced_before_it_is_drained_and_for_that_reason() -> None:
    fleet = Fleet(count=2).up()
    fleet.roster.note(events.RestartAsked(frozenset({0})))
    assert fleet.turn() == [actions.Spawn(2, 1)]
    fleet.boot(2)
    assert fleet.turn() == [actions.Drain(0, Reason.RESTART_ASKED)]
    fleet.die(0, ExitStatus(code=0))
    assert fleet.turn() == []
    assert fleet.roster.slots[0].restarts == 0


def test_a_restart_of_all_replaces_one_at_a_time_and_never_falls_below_the_target() -> None:
    fleet = Fleet(count=3).up()
    before = {child.pid for child in fleet.roster.children()}
    fleet.roster.note(events.RestartAsked(frozenset({0, 1, 2})))
    for _ in range(50):
        fleet.turn()
        assert len(fleet.roster.able()) >= 3
        assert len(fleet.roster.serving()) <= 4
        for child in list(fleet.roster.children()):
            if child.phase is Phase.STARTING:
                fleet.boot(child.slot)
            elif child.phase is Phase.DRAINING:
                fleet.die(child.slot, ExitStatus(code=0))
    assert len(fleet.roster.able()) == 3
    assert not before & {child.pid for child in fleet.roster.children()}


def test_a_second_restart_of_the_same_child_gives_no_second_order() -> None:
    fleet = Fleet(count=1).up()
    for _ in range(2):
        fleet.roster.note(events.RestartAsked(frozenset({0})))
        fleet.settle()
    assert fleet.log.count(actions.Drain(0, Reason.RESTART_ASKED)) == 1
    assert fleet.turn() == []


def test_a_busy_child_that_is_restarted_finishes_its_run_without_a_deadline() -> None:
    fleet = Fleet(count=1).up()
    fleet.seen(0, Activity.BUSY)
    fleet.roster.note(events.RestartAsked(frozenset({0})))
    fleet.settle()
    fleet.now += 3600
    fleet.roster.note(events.JanitorTicked(fleet.now))
    assert fleet.turn() == []
    assert fleet.phases()[0] is Phase.DRAINING


def test_a_restart_of_a_held_slot_tries_at_once() -> None:
    fleet = Fleet().up()
    for _ in range(fleet.limits.backoff.max_restarts + 1):
        fleet.now += 11
        fleet.die(0)
        fleet.settle()
    assert fleet.roster.slot_state(fleet.roster.slots[0], fleet.now) is SlotState.HELD
    fleet.roster.note(events.RestartAsked(frozenset({0})))
    assert fleet.turn() == [actions.Spawn(0, 1)]


def test_a_child_that_the_operator_kills_is_replaced_at_once_however_often() -> None:
    fleet = Fleet(count=1).up()
    for _ in range(20):
        fleet.roster.note(events.KillSent(0, Reason.KILL_ASKED, fleet.now))
        fleet.die(0)
        assert fleet.turn() == [actions.Spawn(0, 1)]
        fleet.settle()


def test_a_mold_that_cannot_be_killed_is_given_up_and_another_one_makes_the_children() -> None:
    fleet = Fleet(count=1).up()
    fleet.roster.note(events.MoldKilled(1, fleet.now))
    fleet.die(0)
    assert fleet.turn() == []
    fleet.now = next_deadline(fleet.roster, fleet.desired, fleet.limits, fleet.now)
    fleet.roster.note(events.JanitorTicked(fleet.now))
    assert fleet.turn() == [actions.AbandonMold(1), actions.SpawnMold(1)]


def test_a_janitor_that_cannot_be_killed_is_given_up_and_replaced() -> None:
    fleet = Fleet(count=1).up()
    fleet.roster.note(events.JanitorKilled(fleet.now))
    fleet.now = next_deadline(fleet.roster, fleet.desired, fleet.limits, fleet.now)
    assert fleet.turn() == [actions.AbandonJanitor(), actions.SpawnJanitor()]


def test_the_daemon_ends_although_no_mold_and_no_janitor_can_be_killed() -> None:
    fleet = Fleet(count=1).up()
    fleet.desired.stop_level = StopLevel.KILL
    fleet.turn()
    fleet.die(0)
    for _ in range(40):
        fleet.turn()
        fleet.now += 1
    assert is_finished(fleet.roster, fleet.desired)


def test_a_child_that_is_drained_before_it_has_come_up_has_the_time_of_its_boot() -> None:
    fleet = Fleet(count=1).up()
    fleet.desired.count = 2
    fleet.turn()
    fleet.desired.count = 1
    assert fleet.turn() == [actions.Drain(1, Reason.SURPLUS)]
    fleet.pass_time(fleet.limits.boot_seconds)
    assert fleet.turn() == [actions.Kill(1, Reason.SURPLUS)]


def test_a_child_that_was_replaced_for_its_memory_keeps_no_place() -> None:
    limits = Limits(backoff=Backoff(), janitor_backoff=Backoff(), boots_at_once=64, max_rss_bytes=1000)
    fleet = Fleet(count=2, limits=limits).up()
    for _ in range(3):
        for _ in range(2):
            fleet.seen(0, rss_bytes=1500)
        fleet.settle()
        fleet.die(0, ExitStatus(code=0))
        fleet.settle()
        fleet.roster.note(events.RestartAsked(frozenset()))
    assert not any(fleet.roster.slot_state(slot, fleet.now) is SlotState.BACKOFF for slot in fleet.roster.slots)


def test_whoever_was_born_as_a_freeze_ended_is_not_younger_than_now() -> None:
    fleet = Fleet(count=1).up()
    fleet.now += 28_800
    fleet.roster.note(events.Thawed(28_800, fleet.now))
    fleet.roster.note(events.ChildAsked(1, 1, fleet.now))
    fleet.boot(1)
    fleet.roster.note(events.Thawed(28_800, fleet.now))
    child = fleet.roster.slots[1].child
    assert child
    assert child.booted_at == fleet.now
