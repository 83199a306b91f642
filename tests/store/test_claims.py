from __future__ import annotations

import dataclasses
from collections.abc import Callable

import psycopg
import pytest

from orbitd import store
from orbitd.rules.states import RunState
from orbitd.store import Ask, Connection, Failure, Fence, LeaseLost, Report, admin
from orbitd.system.postgres import Cluster
from tests.store.fleet import FAILURE, Child, Fleet, name_of


def test_an_empty_poll_writes_nothing_and_needs_no_lease(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.settle()
    assert child.claim() is None
    assert child.conn.execute("SELECT pg_current_xact_id_if_assigned()").fetchone() == (None,)


def test_runs_are_claimed_in_order_and_each_only_once(fleet: Fleet) -> None:
    children = [fleet.worker("p"), fleet.worker("p")]
    ids = [fleet.enqueue("p") for _ in range(6)]
    claimed = [children[i % 2].must_claim() for i in range(6)]
    assert [run.run_id for run in claimed] == ids
    assert children[0].claim() is None
    assert {run.attempt for run in claimed} == {1}


def test_lanes_are_asked_in_the_order_given(fleet: Fleet) -> None:
    child = fleet.worker("a", "b")
    lane_of = {lane.pipeline: lane.id for lane in store.lanes_of(fleet.conn, ["a", "b"])}
    first_a, first_b = fleet.enqueue("a"), fleet.enqueue("b")
    child.lanes = [lane_of["b"], lane_of["a"]]
    assert [child.must_claim().run_id, child.must_claim().run_id] == [first_b, first_a]


def test_two_children_do_not_stand_in_each_others_way(fleet: Fleet) -> None:
    one, other = fleet.worker("p"), fleet.worker("p")
    ids = [fleet.enqueue("p"), fleet.enqueue("p")]
    with one.conn.transaction():
        assert one.must_claim().run_id == ids[0]
        assert other.must_claim().run_id == ids[1]
        assert other.claim() is None


def test_a_child_claims_only_what_nobody_is_locking(fleet: Fleet) -> None:
    child = fleet.worker("a", "b")
    lane_of = {lane.pipeline: lane.id for lane in store.lanes_of(fleet.conn, ["a", "b"])}
    child.lanes = [lane_of["a"], lane_of["b"]]
    other = fleet.worker("a", "b")
    fleet.enqueue("a")
    fleet.enqueue("b")
    with child.conn.transaction():
        child.must_claim()
        other.must_claim()  # the first claim has not locked the head of the second lane
    fleet.check()


@pytest.mark.parametrize("how", ["child ended", "host ended", "lease lapsed", "no such child"])
def test_who_has_been_ended_claims_nothing_but_may_report(fleet: Fleet, how: str) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    in_hand = child.must_claim()
    waiting = fleet.enqueue("p")
    match how:
        case "child ended":
            fleet.crash(child)
        case "host ended":
            fleet.conn.execute("SELECT orbit.end_host(%s, 'stopped')", [child.host_id])
        case "lease lapsed":
            fleet.conn.execute("UPDATE orbit.hosts SET lease_until = clock_timestamp()")
        case _:
            child.child_id = 999_999
    with pytest.raises(LeaseLost):
        child.claim()
    answer = child.go_on(Report.succeeded(in_hand.fence, "1"))
    assert (answer.finished.fenced, answer.lease_ok, answer.offer.claimed) == ([], False, None)
    assert fleet.state(in_hand.run_id) is RunState.SUCCEEDED
    assert fleet.state(waiting) is RunState.PENDING
    fleet.check_settled()


def test_a_beat_revives_a_lapsed_lease(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    fleet.conn.execute("UPDATE orbit.hosts SET lease_until = clock_timestamp()")
    assert store.beat(fleet.conn, child.host_id, 20).alive
    child.must_claim()


def test_finish_and_claim_reports_and_goes_on_in_one_commit(fleet: Fleet) -> None:
    child = fleet.worker("p")
    first, second = fleet.enqueue("p"), fleet.enqueue("p")
    claimed = child.must_claim()
    ask = Ask.of(child.lanes)
    answer = child.go_on(Report.succeeded(claimed.fence, "1"), ask)
    assert not answer.finished.fenced
    assert answer.offer.claimed is not None
    assert (answer.offer.claimed.run_id, answer.offer.claimed.token) == (second, ask.token)
    assert fleet.state(first) is RunState.SUCCEEDED
    last = child.go_on(Report.succeeded(answer.offer.claimed.fence, "1"), ask)
    assert (last.finished.fenced, last.lease_ok, last.offer.claimed) == ([], True, None)


def test_a_fenced_report_still_brings_the_next_run(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    stale = dataclasses.replace(child.must_claim().fence, token=1)
    waiting = fleet.enqueue("p")
    answer = child.go_on(Report.succeeded(stale, "1"))
    assert answer.finished.fenced == [stale.run_id]
    assert answer.offer.claimed is not None
    assert answer.offer.claimed.run_id == waiting


@pytest.mark.parametrize("want", [1, 3])
def test_a_run_whose_request_is_gone_can_be_failed_and_does_not_stop_its_lane(fleet: Fleet, want: int) -> None:
    child = fleet.worker("p")
    damaged, whole = fleet.enqueue("p"), fleet.enqueue("p")
    fleet.conn.execute("DELETE FROM orbit.runs WHERE id = %s", [damaged])
    runs = [*store.claim(child.conn, child.child_id, Ask.of(child.lanes, want)).runs]
    assert (runs[0].run_id, runs[0].pipeline, runs[0].args) == (damaged, "p", None)
    runs += child.go_on(Report.failed(runs[0].fence, FAILURE)).offer.runs
    assert [run.run_id for run in runs] == [damaged, whole]
    assert child.succeed(runs[1].fence)
    assert fleet.rows("SELECT run_id, outcome, cause FROM orbit.outcomes ORDER BY run_id") == [
        (damaged, "failed", "error"),
        (whole, "succeeded", None),
    ]
    assert fleet.value("SELECT count(*) FROM orbit.live") == 0


# --- the fence ---


def test_a_late_report_of_a_run_that_was_taken_back_is_rejected(fleet: Fleet) -> None:
    ghost, heir = fleet.worker("p"), fleet.worker("p")
    run_id = fleet.enqueue("p")
    fence = ghost.must_claim().fence
    fleet.crash(ghost, fence)
    assert not ghost.succeed(fence)
    again = heir.must_claim()
    assert (again.run_id, again.attempt, again.crashes) == (run_id, 2, 1)
    assert not ghost.succeed(fence)
    assert heir.succeed(again.fence)
    assert not ghost.succeed(fence)
    assert fleet.state(run_id) is RunState.SUCCEEDED
    fleet.check_settled()


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Fence)])
def test_each_part_of_the_fence_counts(fleet: Fleet, field: str) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    wrong = dataclasses.replace(fence, **{field: getattr(fence, field) + 1})
    assert not child.succeed(wrong)
    assert not child.finish(Report.retry(wrong, 0, FAILURE))
    assert fleet.crash(child, wrong) == []
    assert fleet.state(run_id) is RunState.RUNNING


@pytest.mark.parametrize(
    "report",
    [
        lambda fence: Report.succeeded(fence, "1"),
        lambda fence: Report.retry(fence, 60, FAILURE),
        lambda fence: Report.snoozed(fence, 60),
        lambda fence: Report.failed(fence, FAILURE),
        Report.cancelled,
        lambda fence: Report.interrupted(fence, FAILURE),
    ],
)
def test_a_report_repeated_after_a_lost_reply_is_accepted_and_counts_once(fleet: Fleet, report: object) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p", key="k")
    made: Report = report(child.must_claim().fence)  # type: ignore[operator]
    assert child.finish(made)
    state = fleet.state(run_id)
    assert child.finish(made)
    assert child.go_on(made, Ask.of([])).finished.fenced == []
    assert fleet.state(run_id) is state
    assert fleet.value("SELECT count(*) FROM orbit.outcomes") == 1
    fleet.check()


def finish(child: Child, conn: Connection, report: Report) -> bool:
    return not store.finish(conn, [report]).fenced


def finish_and_claim(child: Child, conn: Connection, report: Report) -> bool:
    return not store.finish_and_claim(conn, child.child_id, [report], Ask.of(child.lanes)).finished.fenced


@pytest.mark.parametrize("tell", [finish, finish_and_claim])
def test_a_report_behind_a_lock_gives_up_leaves_nobody_waiting_and_counts_once_when_repeated(
    fleet: Fleet, tell: Callable[[Child, Connection, Report], bool]
) -> None:
    child, locker, hasty = fleet.worker("p"), fleet.connect(), fleet.connect(call_timeout_seconds=0.1)
    run_id = fleet.enqueue("p")
    report = Report.succeeded(child.must_claim().fence, "1")
    hasty_name = name_of(hasty)
    with locker.transaction():
        store.hold_run(locker, report.fence)
        with pytest.raises(psycopg.OperationalError, match="did not answer"):
            tell(child, hasty, report)
        with pytest.raises(psycopg.errors.LockNotAvailable) as given_up:
            tell(child, child.conn, report)
        assert store.is_outage(given_up.value)
        fleet.until_not_blocked(hasty_name)
    assert tell(child, child.conn, report)
    assert tell(child, child.conn, report)
    assert fleet.state(run_id) is RunState.SUCCEEDED
    assert fleet.value("SELECT count(*) FROM orbit.outcomes") == 1
    fleet.check()


def test_what_was_taken_back_is_no_report_of_the_child(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    fence = child.must_claim().fence
    fleet.crash(child, fence)
    assert not child.finish(Report.interrupted(fence, FAILURE))


# --- how attempts end ---


def test_a_success_keeps_its_result(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    child.finish(Report.succeeded(child.must_claim().fence, '{"pages": 3}'))
    run = admin.describe(fleet.conn, run_id)
    assert (run["state"], run["result"]) == ("succeeded", {"pages": 3})
    assert [(attempt["attempt"], attempt["outcome"], attempt["slot"]) for attempt in run["attempts"]] == [(1, "succeeded", 0)]
    assert fleet.value("SELECT count(*) FROM orbit.live") == 0


def test_a_retry_costs_an_error_and_waits(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    child.finish(Report.retry(child.must_claim().fence, 0.0, FAILURE))
    assert fleet.state(run_id) is RunState.SCHEDULED
    assert child.claim() is None
    store.beat(fleet.conn, child.host_id, 20)
    again = child.must_claim()
    assert (again.run_id, again.attempt, again.errors, again.crashes) == (run_id, 2, 1, 0)
    attempt = admin.describe(fleet.conn, run_id)["attempts"][0]
    assert (attempt["outcome"], attempt["cause"], attempt["error"]) == ("retried", "error", FAILURE.error)


def test_a_snooze_costs_no_error(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    child.finish(Report.snoozed(child.must_claim().fence, 0.0))
    store.beat(fleet.conn, child.host_id, 20)
    assert child.must_claim().errors == 0


def test_an_operators_interrupt_puts_the_run_back_where_it_stood(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    first = child.must_claim()
    behind = fleet.enqueue("p")
    child.finish(Report.interrupted(first.fence, Failure("interrupted", "the daemon stops")))
    again = child.must_claim()
    assert (again.run_id, again.seq) == (run_id, first.seq)
    assert (again.attempt, again.errors, again.crashes) == (2, 0, 0)
    assert child.must_claim().run_id == behind


def test_a_failed_run_is_in_the_dead_letter_queue_with_all_that_is_known(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = admin.enqueue(fleet.conn, "p", {"n": 1}, tenant="t", key="k").id
    child.finish(Report.retry(child.must_claim().fence, 0.0, FAILURE))
    store.beat(fleet.conn, child.host_id, 20)
    child.finish(Report.failed(child.must_claim().fence, Failure("permanent", "gone", "trace")))
    query = "SELECT run_id, pipeline, queue, tenant, args, attempt, errors, crashes, cause, error, resolved_at FROM orbit.failed"
    assert fleet.rows(query) == [(run_id, "p", "default", "t", {"n": 1}, 2, 2, 0, "permanent", "gone", None)]
    attempts = fleet.value("SELECT attempts FROM orbit.failed")
    assert [(a["outcome"], a["error"]) for a in attempts] == [("retried", FAILURE.error), ("failed", "gone")]  # type: ignore[attr-defined]
    assert fleet.ask("p", key="k").created
    fleet.check()


@pytest.mark.parametrize("result", ['"\\u0000"', '"\\ud800"', "{", "[" * 100_000 + "]" * 100_000, "1e9999999"])
def test_a_result_that_the_database_cannot_store_fails_its_run(fleet: Fleet, result: str) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    report = Report.succeeded(child.must_claim().fence, result)
    finished = store.finish(child.conn, [report])
    assert (list(finished.fenced), list(finished.refused)) == ([], [run_id])
    assert fleet.state(run_id) is RunState.FAILED
    assert fleet.rows("SELECT cause FROM orbit.failed") == [("bad_result",)]


def test_any_error_text_can_be_stored(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    failure = Failure("error", "NUL \0 and lone \ud800 and \U0001f600", "t" * 200_000, "s\0")
    child.finish(Report.failed(child.must_claim().fence, failure))
    attempt = admin.describe(fleet.conn, run_id)["attempts"][0]
    assert attempt["error"] == "NUL \ufffd and lone \ufffd and \U0001f600"
    assert len(attempt["traceback"]) <= 64 * 1024
    assert "cut here" in attempt["traceback"]
    assert attempt["stack"] == "s\ufffd"


def test_an_error_text_that_the_databases_encoding_cannot_hold_becomes_a_constant(cluster: Cluster) -> None:
    with psycopg.connect(cluster.dsn(), autocommit=True) as superuser:
        superuser.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C'")
        store.migrate(cluster.dsn("latin"))
        with Fleet(cluster.dsn("latin")) as fleet:
            child = fleet.worker("p")
            run_id = fleet.enqueue("p")
            assert child.finish(Report.failed(child.must_claim().fence, Failure("error", "\U0001f600", "\U0001f600")))
            attempt = admin.describe(fleet.conn, run_id)["attempts"][0]
            assert (attempt["cause"], attempt["error"], attempt["traceback"]) == ("error", "(this text cannot be stored)", None)
        superuser.execute("DROP DATABASE latin WITH (FORCE)")


def test_counters_stop_counting_and_do_not_stop_the_lane(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    fleet.conn.execute("UPDATE orbit.live SET attempt = 32767, errors = 32767, crashes = 32767")
    claimed = child.must_claim()
    assert claimed.attempt == 32767
    assert child.finish(Report.retry(claimed.fence, 0, FAILURE))
    store.beat(fleet.conn, child.host_id, 20)
    again = child.must_claim()
    assert (again.attempt, again.errors, again.crashes) == (32767, 32767, 32767)
    assert fleet.crash(child, again.fence)[0][1] is RunState.FAILED
