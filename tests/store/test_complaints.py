"""What users of other queues have suffered from claims and rescues (the thirty complaints of the store's design): not here."""

from __future__ import annotations

import pytest

from orbitd import store
from orbitd.rules.states import Charge, RunState
from orbitd.store import LeaseLost, Report, admin
from tests.store.fleet import FAILURE, Fleet

LONG_AGO = "UPDATE orbit.live SET claimed_at = clock_timestamp() - interval '91 days' WHERE state = 1"
SILENT = "UPDATE orbit.hosts SET lease = '10 ms', lease_until = clock_timestamp() - interval '1 hour' WHERE id = %s"
STEADY = "UPDATE orbit.hosts SET lease = '10 ms', steady_since = clock_timestamp() - interval '1 day' WHERE id = %s"


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_rescue_never_brings_back_a_run_that_has_just_finished(fleet: Fleet, ending: str) -> None:
    """Complaint 1: riverqueue/river#1302: the rescuer had read "running", and wrote by id."""
    child, rescuer = fleet.worker("p"), fleet.connect()
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    with child.conn.transaction(force_rollback=ending == "rollback"):
        assert child.succeed(fence)
        store.end_host(rescuer, fleet.boot_id(child.host_id), "host_lost", "resume")
    store.reconcile(rescuer, "resume")
    assert fleet.state(run_id) is (RunState.SUCCEEDED if ending == "commit" else RunState.PENDING)
    assert admin.audit(fleet.conn).counts == {}


def test_a_run_of_a_lost_host_is_listed_with_the_reason_however_long_it_may_run(fleet: Fleet) -> None:
    """Complaint 2: riverqueue/river#1258: thousands of runs stood as running for months."""
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    child.must_claim()
    assert admin.check_interrupted(fleet.conn) == []
    fleet.conn.execute(SILENT.encode(), [child.host_id])
    (listed,) = admin.check_interrupted(fleet.conn)
    assert (listed["id"], listed["state"], listed["cause"]) == (str(run_id), "running", "host_lost")


def test_no_run_is_taken_for_its_length(fleet: Fleet) -> None:
    """Complaints 3 (riverqueue/river#682, #347) and 16 (oban-bg/oban#1141): long runs were rescued, and started twice."""
    child, other = fleet.worker("p"), fleet.worker("p")
    fleet.enqueue("p")
    fence = child.must_claim().fence
    fleet.conn.execute(LONG_AGO.encode())
    fleet.conn.execute(STEADY.encode(), [other.host_id])
    assert store.rescue(fleet.conn, other.host_id, "resume") == 0
    assert store.reconcile(fleet.conn, "resume") == 0
    assert admin.recover(fleet.conn, auto_resume=True, by="anna").taken_back == []
    assert other.claim() is None
    assert child.succeed(fence)


def test_crashes_and_restarts_never_use_up_attempts(fleet: Fleet) -> None:
    """Complaint 4: riverqueue/river#1165: a restart discarded runs that had attempts left."""
    fleet.limits = (1, 3)
    run_id = fleet.enqueue("p")
    for charge in (Charge.CRASH, Charge.NONE, Charge.NONE, Charge.CRASH):
        child = fleet.worker("p")
        if fleet.value("SELECT lane FROM orbit.live") == 1:
            store.beat(fleet.conn, child.host_id, 20)
        fleet.crash(child, child.must_claim().fence, charge=charge)
        assert fleet.state(run_id) is RunState.PENDING
    assert fleet.rows("SELECT attempt, errors, crashes FROM orbit.live") == [(4, 0, 2)]


def test_a_host_that_comes_again_under_its_name_is_another_host(fleet: Fleet) -> None:
    """Complaints 14 (rails/solid_queue#735) and 15 (oban-bg/oban#862): who took over a name, took over its orphans as alive.

    The new one ends the one before it first, and only then has children that claim.
    """
    before = fleet.worker("p")
    run_id = fleet.enqueue("p")
    stale = before.must_claim().fence
    after = fleet.host("p")
    fleet.conn.execute("UPDATE orbit.hosts SET name = 'pod-0', pid = 1")
    assert after != before.host_id
    assert store.end_host(fleet.conn, fleet.boot_id(before.host_id), "host_lost", "resume") == 1
    child = fleet.child(after, "p")
    again = child.must_claim()
    assert again.run_id == run_id
    assert not before.succeed(stale)
    assert child.succeed(again.fence)


def test_a_late_finisher_gives_free_nothing_that_is_not_its_own(fleet: Fleet) -> None:
    """Complaint 12: rails/solid_queue#761: a pruned process finished late, and released what its replacement held."""
    late, replacement = fleet.worker("p"), fleet.worker("p")
    run_id = fleet.enqueue("p", key="k")
    stale = late.must_claim().fence
    fleet.crash(late, stale)
    fence = replacement.must_claim().fence
    assert not late.finish(Report.failed(stale, FAILURE))
    assert fleet.enqueue("p", key="k") == run_id, "the key is still its run's"
    assert replacement.succeed(fence)
    assert fleet.enqueue("p", key="k") != run_id


def test_what_a_rescue_cannot_move_is_moved_by_the_next_one(fleet: Fleet) -> None:
    """Complaint 29 (dbos-transact-py#716, #742): an error was swallowed, and runs stayed pending for ever."""
    child = fleet.worker("p")
    held, free = fleet.enqueue("p"), fleet.enqueue("p")
    fence = child.must_claim().fence
    child.must_claim()
    with child.conn.transaction():
        store.record_step(child.conn, fence, "step", "1", 0.1)
        store.end_host(fleet.conn, fleet.boot_id(child.host_id), "host_lost", "resume")
        assert (fleet.state(held), fleet.state(free)) == (RunState.RUNNING, RunState.PENDING)
    assert store.reconcile(fleet.conn, "resume") == 1
    assert fleet.state(held) is RunState.PENDING


def test_a_claim_that_does_not_commit_leaves_its_run_where_it_was(fleet: Fleet) -> None:
    """Complaint 30: hatchet#4494: an item left the queue before it was in anybody's hands."""
    child, other = fleet.worker("p"), fleet.worker("p")
    run_id = fleet.enqueue("p")
    with child.conn.transaction(force_rollback=True):
        child.must_claim()
    assert admin.audit(fleet.conn).counts == {}
    assert other.must_claim().run_id == run_id


def test_who_has_lapsed_ends_nobody_and_who_was_ended_has_no_children(fleet: Fleet) -> None:
    """Complaint 15 (oban-bg/oban#862): each is judged as itself, whoever else may be well."""
    steady, lapsed, lost, ended = (fleet.host("p") for _ in range(4))
    for host_id in (steady, lapsed):
        fleet.conn.execute(STEADY.encode(), [host_id])
    for host_id in (lapsed, lost):
        fleet.conn.execute(SILENT.encode(), [host_id])
    store.end_host(fleet.conn, fleet.boot_id(ended), "stopped", "resume")
    assert fleet.value("SELECT orbit.rescue(%s)", lapsed) == 0
    assert fleet.value("SELECT orbit.rescue(%s)", ended) == 0
    with pytest.raises(LeaseLost):
        fleet.child(ended, "p")
    assert fleet.child(steady, "p").claim() is None
