"""Who is replaced although nobody asked for it: one at a time, the replacement first."""

from __future__ import annotations

from dataclasses import replace

from orbitd.rules import actions, events
from orbitd.rules.exits import Ender, Exit, ExitStatus
from orbitd.rules.limits import Backoff, Limits
from orbitd.rules.recycling import excess, most_runs, refusal
from orbitd.rules.states import Activity, Phase, Reason
from orbitd.rules.supervise import next_deadline
from tests.support.simulated import KILLED, Fleet

LIMITS = Limits(backoff=Backoff(), janitor_backoff=Backoff(), boots_at_once=64)
MIB = 2**20


def test_children_that_have_run_enough_are_replaced_one_at_a_time_the_replacement_first() -> None:
    """Complaint 10: gunicorn#3427."""
    fleet = Fleet(count=3, limits=LIMITS).up()
    for slot in range(3):
        fleet.roster.note(events.ChildWorn(slot))
    replaced = 0
    while any(child.is_worn for child in fleet.roster.children()):
        (spawn,) = fleet.turn()
        assert isinstance(spawn, actions.Spawn)
        fleet.boot(spawn.slot)
        (drain,) = fleet.turn()
        assert isinstance(drain, actions.Drain)
        assert drain.reason is Reason.MAX_RUNS
        assert len(fleet.roster.able()) == 3
        assert fleet.turn() == [], "the token is not free before the old one has gone"
        fleet.die(drain.slot, ExitStatus(code=0))
        replaced += 1
    assert replaced == 3
    assert all(slot.restarts == 0 for slot in fleet.roster.slots), "a planned end is no trouble"


def test_a_child_that_is_old_enough_is_replaced_when_its_time_comes_and_each_at_a_time_of_its_own() -> None:
    limits = replace(LIMITS, max_lifetime_seconds=100.0, jitter=0.1)
    fleet = Fleet(count=1, limits=limits).up()
    due = next_deadline(fleet.roster, fleet.desired, replace(limits, janitor_stall_seconds=1e9), fleet.now)
    assert due == fleet.now + 100
    fleet.pass_time(100)
    (spawn,) = fleet.turn()
    assert isinstance(spawn, actions.Spawn)
    fleet.boot(spawn.slot)
    assert fleet.turn() == [actions.Drain(0, Reason.MAX_LIFETIME)]


def test_the_jitter_spreads_what_was_born_together() -> None:
    limits = replace(LIMITS, max_runs=1000, jitter=0.1)
    assert [most_runs(limits, draw) for draw in (0.0, 0.5, 0.999999)] == [900, 1000, 1100]
    assert most_runs(replace(limits, max_runs=1), 0.0) == 1
    assert most_runs(replace(limits, max_runs=0), 0.7) == 0


def test_own_memory_over_its_limit_in_two_samples_replaces_the_child_shared_pages_do_not_count() -> None:
    """Complaint 23: celery#4125: a child that has just been forked shows all of its mold as resident."""
    limits = replace(LIMITS, max_own_bytes=50 * MIB)
    fleet = Fleet(count=1, limits=limits).up()
    for own in (1, 60, 60):
        assert fleet.turn() == []
        fleet.roster.note(events.MemorySeen(0, 400 * MIB, own * MIB, fleet.now))
    assert fleet.turn() == [actions.Spawn(1, 1)]
    fleet.boot(1)
    assert fleet.turn() == [actions.Drain(0, Reason.OVER_MEMORY)]


def test_a_child_far_over_its_limit_is_interrupted_in_its_run_and_killed_if_it_goes_on() -> None:
    limits = replace(LIMITS, max_own_bytes=50 * MIB, memory_hard_factor=2.0)
    fleet = Fleet(count=1, limits=limits).up()
    fleet.seen(0, Activity.BUSY)
    fleet.roster.note(events.MemorySeen(0, 400 * MIB, 101 * MIB, fleet.now))
    child = fleet.roster.slots[0].child
    assert child
    assert excess(child, limits) == "its child has 101MiB of its own, more than 2 times children.max_own_memory, 50MiB"
    resident = replace(limits, max_own_bytes=0, max_rss_bytes=150 * MIB)
    assert excess(child, resident) == "its child has 400MiB resident, more than 2 times children.max_rss, 150MiB"
    until = fleet.now + limits.kill_after_seconds
    assert actions.Interrupt(0, Reason.OVER_MEMORY, until) in fleet.turn()
    fleet.pass_time(limits.kill_after_seconds)
    assert actions.Kill(0, Reason.OVER_MEMORY) in fleet.turn()


def test_a_limit_that_a_child_reaches_by_being_there_is_refused_with_the_figure() -> None:
    fleet = Fleet(count=1).up()
    fleet.roster.note(events.MemorySeen(0, 100 * MIB, 40 * MIB, fleet.now))
    child = fleet.roster.slots[0].child
    assert child
    assert refusal(child, replace(LIMITS, max_own_bytes=61 * MIB, max_rss_bytes=151 * MIB)) is None
    told = refusal(child, replace(LIMITS, max_own_bytes=50 * MIB)) or ""
    assert "children.max_own_memory: 50MiB is too little, a child that has run nothing yet has 40MiB: write at least 60MiB" in told
    assert "children.max_rss: 100MiB is too little" in (refusal(child, replace(LIMITS, max_rss_bytes=100 * MIB)) or "")


def _pressed(idle_own: tuple[int, ...]) -> Fleet:
    fleet = Fleet(count=len(idle_own), limits=LIMITS).up()
    for slot, own in enumerate(idle_own):
        fleet.roster.note(events.MemorySeen(slot, 100 * MIB, 10 * MIB, fleet.now))
        fleet.roster.note(events.MemorySeen(slot, 100 * MIB, own * MIB, fleet.now))
    fleet.pass_time(LIMITS.backoff.min_uptime_seconds)
    fleet.roster.note(events.MemoryPressure(95 * MIB, 100 * MIB, fleet.now))
    return fleet


def test_under_memory_pressure_the_largest_idle_child_goes_first() -> None:
    fleet = _pressed((30, 60, 50))
    fleet.seen(1, Activity.BUSY)
    (spawn,) = fleet.turn()
    assert isinstance(spawn, actions.Spawn)
    fleet.boot(spawn.slot)
    assert fleet.turn() == [actions.Drain(2, Reason.MEMORY_PRESSURE)]


def test_pressure_that_children_cannot_relieve_replaces_nobody() -> None:
    assert _pressed((10, 25)).turn() == []


def test_half_of_the_slots_dying_early_leaves_one_probe_at_a_time_until_one_has_lived() -> None:
    """Complaint 9: gunicorn#2504: a service that cannot start its children does not go round and round."""
    fleet = Fleet(count=6, limits=LIMITS).up()
    fleet.pass_time(1)
    for slot in (0, 1, 2):
        fleet.die(slot)
    assert fleet.roster.degraded_since is not None
    assert fleet.turn() == [actions.Spawn(0, 1)], "the survivors stay, one probe is tried"
    fleet.boot(0)
    assert fleet.turn() == []
    fleet.pass_time(LIMITS.backoff.min_uptime_seconds - 1)
    assert fleet.turn() == [], "the survivors prove nothing"
    fleet.now = next_deadline(fleet.roster, fleet.desired, fleet.limits, fleet.now)
    assert fleet.turn() == [actions.Spawn(1, 1), actions.Spawn(2, 1)]
    assert fleet.roster.degraded_since is None


def test_a_degraded_service_that_is_scaled_down_to_its_survivors_is_degraded_no_longer() -> None:
    fleet = Fleet(count=6, limits=LIMITS).up()
    fleet.pass_time(5)
    for slot in (0, 1, 2):
        fleet.die(slot)
    fleet.desired.count = 3
    fleet.roster.note(events.Scaled(3, fleet.now))
    fleet.settle()
    assert fleet.roster.degraded_since is not None
    fleet.now = max(next_deadline(fleet.roster, fleet.desired, replace(fleet.limits, janitor_stall_seconds=1e9), fleet.now), fleet.now + 60)
    fleet.settle()
    assert fleet.roster.degraded_since is None


def test_children_that_die_of_their_runs_make_no_degraded_service() -> None:
    fleet = Fleet(count=6, limits=LIMITS).up()
    fleet.pass_time(1)
    for slot in range(6):
        ended = Exit(fleet.now, 1, 1, "crashed:SIGSEGV", Ender.ITSELF, None, 1.0, 0, None, run_id=4711, pipeline="poison")
        fleet.roster.note(events.DeathJudged(slot, ended))
        fleet.die(slot)
    assert fleet.roster.degraded_since is None


def test_two_of_two_slots_are_no_degraded_service() -> None:
    fleet = Fleet(count=2, limits=LIMITS).up()
    fleet.die(0)
    fleet.die(1)
    assert fleet.turn() == [actions.Spawn(0, 1), actions.Spawn(1, 1)]


def test_a_crash_loop_spawns_a_bounded_number_of_children_an_hour() -> None:
    """Complaints 15 and 30: uwsgi#1052, pm2#1166: however a child dies, soon or after a second and a third."""
    windows = 3600 / LIMITS.backoff.window_seconds
    for lifetime in (0.0, 1.3, 11.0):
        fleet = Fleet(count=4, limits=LIMITS).up()
        spawned, end = 0, fleet.now + 3600
        while fleet.now < end:
            fleet.roster.note(events.JanitorTicked(fleet.now))
            for action in fleet.turn():
                spawned += isinstance(action, actions.Spawn)
            started = [child for child in fleet.roster.children() if child.phase is Phase.STARTING]
            for child in started:
                fleet.boot(child.slot)
            fleet.now += lifetime
            for child in list(fleet.roster.children()):
                fleet.die(child.slot, KILLED)
            if not started:
                fleet.now = max(next_deadline(fleet.roster, fleet.desired, fleet.limits, fleet.now), fleet.now + 0.01)
        assert spawned <= 4 * (windows + 1) * (LIMITS.backoff.max_restarts + 1), (lifetime, spawned)
