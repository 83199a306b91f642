"""Signs of life by histories: who is told, killed or given up, and that a freeze of all of us makes nobody late."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orbitd.rules import actions, events, liveness
from orbitd.rules.health import News, troubles
from orbitd.rules.states import Activity, Phase, Reason, StopLevel
from orbitd.rules.supervise import is_finished, next_deadline
from tests.support.simulated import KILLED, Fleet


def fleet(count: int = 1, **limits: float) -> Fleet:
    made = Fleet(count=count)
    made.limits = made.roster.limits = replace(made.limits, **limits)  # type: ignore[arg-type]
    return made.up()


def seen(made: Fleet, activity: Activity, tick_at: float, deadline: float = 0.0, slot: int = 0) -> None:
    made.roster.note(events.JanitorTicked(made.now))
    made.roster.note(events.ChildSeen(slot, activity, deadline, tick_at))


def passing(made: Fleet, seconds: float, activity: Activity, *, ticks: bool) -> list[actions.Action]:
    """Everything that is decided while time passes, looked at twice a second."""
    done, last_tick = [], made.now
    for _ in range(int(seconds * 2)):
        made.now += 0.5
        seen(made, activity, made.now if ticks else last_tick)
        done += made.turn()
    return done


@pytest.mark.parametrize("activity", [Activity.BUSY, Activity.IDLE])
def test_who_ticks_is_never_stalled_however_long_it_takes(activity: Activity) -> None:
    assert passing(fleet(stall_kill_seconds=5.0), 3600, activity, ticks=True) == []


def test_a_run_that_drains_goes_on_ticking_and_is_no_stall() -> None:
    """Complaint 13: pypi/warehouse#19379."""
    made = fleet(stall_kill_seconds=5.0)
    seen(made, Activity.BUSY, made.now)
    made.desired.count = 0
    assert [type(action) for action in made.turn()] == [actions.Drain]
    assert passing(made, 600, Activity.BUSY, ticks=True) == []


def test_a_slow_boot_is_no_stall() -> None:
    """Complaint 12: gunicorn#2545, puma#817: only its boot timeout ends it."""
    made = Fleet(count=1)
    made.limits = made.roster.limits = replace(made.limits, stall_kill_seconds=1.0)
    made.turn()
    made.roster.note(events.MoldReady(1))
    made.turn()
    assert passing(made, 59, Activity.NONE, ticks=False) == []
    assert passing(made, 2, Activity.NONE, ticks=False)[0] == actions.Kill(0, Reason.BOOT_TIMEOUT)


def test_who_waits_for_the_database_needs_no_tick() -> None:
    assert passing(fleet(stall_kill_seconds=5.0), 3600, Activity.WAITING, ticks=False) == []


@pytest.mark.parametrize(("activity", "after_seconds"), [(Activity.BUSY, 5.0), (Activity.IDLE, 60.0)])
def test_who_does_not_tick_is_told_once(activity: Activity, after_seconds: float) -> None:
    made = fleet()
    assert passing(made, after_seconds - 0.5, activity, ticks=False) == []
    made = fleet()
    assert passing(made, 3600, activity, ticks=False) == [actions.TellStall(0)]


def test_one_that_stalls_again_and_again_is_told_once_a_minute() -> None:
    made, told = fleet(), []
    for _ in range(30):
        told += passing(made, 6, Activity.BUSY, ticks=False)
        told += passing(made, 1, Activity.BUSY, ticks=True)
    assert told == [actions.TellStall(0)] * 4


def test_who_does_not_tick_is_killed_after_the_stall_timeout_and_that_is_trouble() -> None:
    """Complaint 27: solid_queue#751, where one was kept for 34 hours."""
    made = fleet(stall_kill_seconds=30.0)
    assert passing(made, 31, Activity.BUSY, ticks=False) == [actions.TellStall(0), actions.Kill(0, Reason.STALLED)]
    made.die(0)
    assert made.roster.slots[0].restarts == 1


def test_before_a_run_is_killed_its_stacks_are_asked_for_once() -> None:
    made = fleet()
    seen(made, Activity.BUSY, made.now, deadline=made.now + 100)
    deadline = made.now + 100
    made.now = deadline + 9.0
    seen(made, Activity.BUSY, made.now, deadline=deadline)
    assert made.turn() == [actions.DumpStack(0)]
    assert made.turn() == []
    assert next_deadline(made.roster, made.desired, made.limits, made.now) == deadline + 10.0
    made.now = deadline + 10.0
    seen(made, Activity.BUSY, made.now, deadline=deadline)
    assert made.turn() == [actions.Kill(0, Reason.RUN_TIMEOUT)]


def test_without_a_grace_a_run_still_has_a_moment_to_write_its_stacks() -> None:
    made = fleet(kill_after_seconds=0.0)
    made.now += 1.0
    deadline = made.now
    seen(made, Activity.BUSY, made.now, deadline=deadline)
    assert made.turn() == [actions.DumpStack(0)]
    made.now = next_deadline(made.roster, made.desired, made.limits, made.now)
    seen(made, Activity.BUSY, made.now, deadline=deadline)
    assert made.turn() == [actions.Kill(0, Reason.RUN_TIMEOUT)]


def test_a_killed_child_that_does_not_end_is_abandoned_once_and_another_slot_has_its_place() -> None:
    made = fleet()
    made.roster.note(events.KillSent(0, Reason.KILL_ASKED, made.now))
    assert passing(made, 9.5, Activity.BUSY, ticks=True) == []
    assert passing(made, 30, Activity.BUSY, ticks=True) == [actions.Abandon(0), actions.Spawn(1, 1)]
    made.die(0)
    made.settle()
    assert made.phases() == {1: Phase.UP}


def test_the_daemon_ends_although_a_child_does_not() -> None:
    made = fleet()
    made.desired.stop_level = StopLevel.KILL
    made.turn()
    made.now += 10.0
    assert made.turn() == [actions.Abandon(0), actions.DismissJanitor(), actions.KillMold(1)]
    made.roster.note(events.JanitorExited(made.now, 0.5))
    made.roster.note(events.MoldExited(1, KILLED, made.now, 0.5))
    assert is_finished(made.roster, made.desired)


def test_a_freeze_makes_nobody_late() -> None:
    made = fleet(count=3)
    made.roster.note(events.DrainSent(0, Reason.STOPPING, made.now + 30))
    made.roster.note(events.KillSent(2, Reason.KILL_ASKED, made.now))
    made.settle()
    seen(made, Activity.BUSY, made.now, deadline=made.now + 60, slot=1)
    deadline = made.now + 60
    made.now += 3600
    made.roster.note(events.Thawed(3600, made.now))
    assert made.turn() == []
    made.roster.note(events.ChildSeen(1, Activity.BUSY, deadline, 0.0))  # it has not yet looked at the clock
    assert made.turn() == []
    assert made.roster.slots[1].child
    assert made.roster.slots[1].child.run_deadline == deadline + 3600
    made.now += 30
    seen(made, Activity.BUSY, made.now, deadline=deadline, slot=1)
    assert made.turn() == [actions.Abandon(2), actions.Interrupt(0, Reason.DRAIN_TIMEOUT, made.now + 10.0), actions.Spawn(4, 1)]


def test_a_boot_that_was_frozen_has_all_its_time() -> None:
    made = Fleet(count=1)
    made.turn()
    made.now += 59
    made.roster.note(events.Thawed(58, made.now))
    made.now += 58
    made.roster.note(events.JanitorTicked(made.now))
    assert made.turn() == []
    made.now += 2
    assert actions.KillMold(1) in made.turn()


def test_frozen_time_counts_until_the_child_has_added_it_itself() -> None:
    made = fleet()
    child = made.roster.slots[0].child
    assert child
    seen(made, Activity.BUSY, made.now, deadline=2000.0)
    for _ in range(2):
        made.roster.note(events.Thawed(100, made.now))
        seen(made, Activity.BUSY, made.now, deadline=2000.0)
    assert child.run_deadline == 2200.0
    seen(made, Activity.BUSY, made.now, deadline=2200.0)
    assert child.run_deadline == 2200.0
    seen(made, Activity.BUSY, made.now, deadline=0.0)
    seen(made, Activity.BUSY, made.now, deadline=2000.0)
    assert child.run_deadline == 2000.0


def test_a_tick_from_after_the_freeze_stays_where_it_is() -> None:
    made = fleet()
    made.now += 3600
    seen(made, Activity.BUSY, made.now - 1)
    made.roster.janitor.tick_at = made.now - 1
    made.roster.note(events.Thawed(3600, made.now))
    child = made.roster.slots[0].child
    assert child
    assert (child.vigil.tick_at, made.roster.janitor.tick_at) == (made.now, made.now)


@pytest.mark.parametrize(
    ("slept_at", "due", "now", "seconds"),
    [
        (100.0, 102.0, 102.0, 0.0),
        (100.0, 102.0, 104.0, 0.0),  # a usual delay
        (100.0, 102.0, 101.0, 0.0),  # woken by something
        (100.0, 102.0, 4000.0, 3900.0),
        (100.0, 160.0, 4000.0, 3842.0),  # meant to sleep for long: frozen at the end of it, as far as anybody knows
        (100.0, 100.0, 103.0, 3.0),
    ],
)
def test_who_wakes_much_later_than_meant_was_frozen(slept_at: float, due: float, now: float, seconds: float) -> None:
    assert liveness.frozen_seconds(slept_at, due, now) == seconds


@pytest.mark.parametrize(
    ("state", "command"),
    [("T", "kill -CONT 4"), ("R", "orbitctl stack 0"), ("", "orbitctl stack 0")],
)
def test_health_says_who_is_stalled_and_what_to_type(state: str, command: str) -> None:
    made = fleet()
    seen(made, Activity.BUSY, made.now)
    made.roster.slots[0].child.pid = 4  # type: ignore[union-attr]
    made.roster.note(events.ProcessSeen(0, state, liveness.in_words(state, "")))
    assert list(troubles(made.roster, News(), made.now)) == []
    (finding,) = troubles(made.roster, News(), made.now + 7)
    assert (finding.code, finding.command) == ("stalled", command)
    assert "for 7 s" in finding.message


def test_health_says_who_cannot_be_killed() -> None:
    made = fleet()
    made.roster.note(events.KillSent(0, Reason.KILL_ASKED, made.now))
    made.roster.note(events.ProcessSeen(0, "D", liveness.in_words("D", "nfs_wait")))
    assert list(troubles(made.roster, News(), made.now + 9)) == []
    (finding,) = troubles(made.roster, News(), made.now + 10)
    assert finding.code == "unkillable"
    assert "(nfs_wait) (state D)" in finding.message
