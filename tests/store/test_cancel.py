from __future__ import annotations

from collections.abc import Callable

import pytest

from orbitd import store
from orbitd.errors import NoSuchObject
from orbitd.rules.states import RunState
from orbitd.store import Fence, Report, admin
from tests.store.fleet import FAILURE, Child, Fleet


def held(fleet: Fleet, child: Child, fence: Fence) -> None:
    fleet.crash(child, fence, mode="hold")


def retried(fleet: Fleet, child: Child, fence: Fence) -> None:
    child.finish(Report.retry(fence, 60, FAILURE))


def taken_back(fleet: Fleet, child: Child, fence: Fence) -> None:
    fleet.crash(child, fence)


@pytest.mark.parametrize("before", [None, held, retried, taken_back])
def test_a_waiting_run_is_cancelled_at_once(fleet: Fleet, before: Callable[[Fleet, Child, Fence], None] | None) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p", key="k")
    if before:
        before(fleet, child, child.must_claim().fence)
    assert admin.cancel(fleet.conn, run_id, "anna", "a mistake") == "cancelled"
    assert fleet.state(run_id) is RunState.CANCELLED
    assert fleet.worker("p").claim() is None
    run = admin.describe(fleet.conn, run_id)
    assert (run["cause"], run["error"]) == ("cancelled", "cancelled by anna: a mistake")
    assert len(run["attempts"]) == (before is not None)
    assert admin.cancel(fleet.conn, run_id, "otto") == "cancelled"
    assert fleet.ask("p", key="k").created
    fleet.check_settled()


def test_a_scheduled_run_is_cancelled_at_once(fleet: Fleet) -> None:
    run_id = fleet.enqueue("p", in_seconds=60)
    assert admin.cancel(fleet.conn, run_id, "anna") == "cancelled"
    assert admin.describe(fleet.conn, run_id)["error"] == "cancelled by anna"
    fleet.check()


def test_the_child_of_a_running_run_is_told_and_may_say_that_it_stopped(fleet: Fleet) -> None:
    child, foreign = fleet.worker("p"), fleet.host("p")
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    assert admin.cancel(fleet.conn, run_id, "anna", "too slow") == "cancelling"
    assert admin.cancel(fleet.conn, run_id, "otto") == "cancelling"
    assert store.beat(fleet.conn, child.host_id, 20).cancels == [(run_id, child.child_id)]
    assert store.beat(fleet.conn, foreign, 20).cancels == []
    assert child.finish(Report.cancelled(fence))
    run = admin.describe(fleet.conn, run_id)
    assert (run["state"], run["error"]) == ("cancelled", "cancelled by anna: too slow")
    assert store.beat(fleet.conn, child.host_id, 20).cancels == []
    fleet.check_settled()


def test_a_promoted_run_is_found_by_a_beats_cancels_too(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p", in_seconds=3600)
    fleet.conn.execute("UPDATE orbit.delayed SET due_at = clock_timestamp()")
    store.beat(fleet.conn, child.host_id, 20)
    child.must_claim()
    admin.cancel(fleet.conn, run_id, "anna")
    assert store.beat(fleet.conn, child.host_id, 20).cancels == [(run_id, child.child_id)]


@pytest.mark.parametrize(
    "end",
    [
        lambda _, child, fence: child.finish(Report.retry(fence, 0, FAILURE)),
        lambda _, child, fence: child.finish(Report.snoozed(fence, 0)),
        lambda _, child, fence: child.finish(Report.interrupted(fence, FAILURE)),
        lambda fleet, child, fence: fleet.come_again(child, asked=(fence.token, child.lanes)),
        lambda fleet, child, fence: fleet.crash(child, fence),
        lambda fleet, child, fence: fleet.crash(child, fence, begun=False),
        lambda fleet, child, fence: fleet.crash(child, fence, mode="hold"),
        lambda fleet, child, fence: fleet.settle(),
    ],
)
def test_a_run_whose_cancel_was_asked_for_is_never_queued_again(fleet: Fleet, end: Callable[[Fleet, Child, Fence], object]) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p", key="k")
    fence = child.must_claim().fence
    admin.cancel(fleet.conn, run_id, "anna")
    end(fleet, child, fence)
    assert fleet.state(run_id) is RunState.CANCELLED
    fleet.check_settled()


def test_a_run_that_succeeds_or_fails_in_spite_of_a_cancel_has_done_so(fleet: Fleet) -> None:
    child = fleet.worker("p")
    ids = [fleet.enqueue("p"), fleet.enqueue("p")]
    fences = [child.must_claim().fence for _ in ids]
    for run_id in ids:
        admin.cancel(fleet.conn, run_id, "anna")
    child.succeed(fences[0])
    child.finish(Report.failed(fences[1], FAILURE))
    assert [fleet.state(run_id) for run_id in ids] == [RunState.SUCCEEDED, RunState.FAILED]
    assert [admin.cancel(fleet.conn, run_id, "anna") for run_id in ids] == ["succeeded", "failed"]
    fleet.check_settled()


def test_a_run_that_does_not_exist_cannot_be_cancelled(fleet: Fleet) -> None:
    with pytest.raises(NoSuchObject, match="no run"):
        admin.cancel(fleet.conn, 42, "anna")


def test_a_cancel_does_not_wait_for_the_transaction_of_a_step(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    with child.conn.transaction():
        store.hold_run(child.conn, fence)
        assert admin.cancel(fleet.conn, run_id, "anna") == "cancelling"


def test_a_finish_waits_for_a_cancel_in_flight_and_obeys_it(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    with fleet.conn.transaction():
        assert admin.cancel(fleet.conn, run_id, "anna") == "cancelling"
        report = fleet.in_background(child.conn, lambda: child.finish(Report.retry(fence, 0, FAILURE)))
        report.until_blocked()
    assert report.result()
    assert fleet.state(run_id) is RunState.CANCELLED
    fleet.check_settled()


def test_a_cancel_waits_for_a_finish_in_flight_and_sees_what_became_of_the_run(fleet: Fleet) -> None:
    child, operator = fleet.worker("p"), fleet.connect()
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    with child.conn.transaction():
        child.finish(Report.retry(fence, 60, FAILURE))
        cancel = fleet.in_background(operator, lambda: admin.cancel(operator, run_id, "anna"))
        cancel.until_blocked()
    assert cancel.result() == "cancelled"
    assert fleet.state(run_id) is RunState.CANCELLED
    fleet.check_settled()
