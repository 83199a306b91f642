"""Many runs under one statement and one commit: claimed, reported."""

from __future__ import annotations

import dataclasses

import pytest

from orbitd import store
from orbitd.rules.states import Charge, RunState
from orbitd.store import Ask, Claimed, Failure, Report, admin
from tests.store.fleet import FAILURE, Child, Fleet


def claim_many(child: Child, want: int) -> list[Claimed]:
    return list(store.claim(child.conn, child.child_id, Ask.of(child.lanes, want)).runs)


def test_a_claim_brings_as_many_as_were_wanted_in_order_under_one_token(fleet: Fleet) -> None:
    child, other = fleet.worker("p"), fleet.worker("p")
    ids = [fleet.enqueue("p") for _ in range(7)]
    first, second, rest = claim_many(child, 3), claim_many(other, 3), claim_many(child, 3)
    assert [run.run_id for run in [*first, *second, *rest]] == ids
    assert [len({run.token for run in runs}) for runs in (first, second, rest)] == [1, 1, 1]
    assert first[0].token != rest[0].token
    assert claim_many(child, 3) == []


def test_a_claim_brings_runs_of_one_lane_and_of_each_as_many_as_is_said_for_it(fleet: Fleet) -> None:
    child = fleet.worker("a", "b")
    lanes = {lane.pipeline: lane.id for lane in store.lanes_of(fleet.conn, ["a", "b"])}
    ids = {name: [fleet.enqueue(name) for _ in range(3)] for name in ("a", "b")}

    def claimed(*names: str) -> list[int]:
        ask = dataclasses.replace(Ask.of(lanes[name] for name in names), wants={lanes["a"]: 2})
        return [run.run_id for run in store.claim(child.conn, child.child_id, ask).runs]

    assert claimed("a", "b") == ids["a"][:2]
    assert claimed("b", "a") == ids["b"][:1]
    assert claimed("a", "b") == ids["a"][2:]


def test_a_batch_goes_each_its_way_and_brings_the_next(fleet: Fleet) -> None:
    child = fleet.worker("p")
    ids = [fleet.enqueue("p", key=str(n)) for n in range(7)]
    runs = claim_many(child, 6)
    admin.cancel(fleet.conn, ids[5], "anna")
    reports = [
        Report.succeeded(runs[0].fence, '{"text": "a \\"quoted\\\\ {word}\\""}'),
        Report.retry(runs[1].fence, 3600, FAILURE),
        Report.failed(runs[2].fence, FAILURE),
        Report.snoozed(runs[3].fence, 3600),
        Report.succeeded(runs[4].fence, "null", seconds=60.0),
        Report.interrupted(runs[5].fence, FAILURE),
    ]
    answer = store.finish_and_claim(child.conn, child.child_id, reports[::-1], Ask.of(child.lanes, 6))
    assert (answer.finished.fenced, answer.finished.refused) == ([], {})
    assert [run.run_id for run in answer.offer.runs] == ids[6:]
    assert [fleet.state(run_id) for run_id in ids] == [
        RunState.SUCCEEDED,
        RunState.SCHEDULED,
        RunState.FAILED,
        RunState.SCHEDULED,
        RunState.SUCCEEDED,
        RunState.CANCELLED,
        RunState.RUNNING,
    ]
    assert admin.describe(fleet.conn, ids[0])["result"] == {"text": 'a "quoted\\ {word}"'}
    took = fleet.rows("SELECT round(extract(epoch FROM finished_at - started_at)) FROM orbit.outcomes ORDER BY run_id")
    assert took[4] == (60,)
    assert fleet.value("SELECT count(*) FROM orbit.outcomes") == 6
    assert [fleet.ask("p", key=str(n)).created for n in (0, 1, 2)] == [True, False, True]
    fleet.check()


def test_a_fenced_report_in_a_batch_is_named_and_its_neighbours_count(fleet: Fleet) -> None:
    child = fleet.worker("p")
    ids = [fleet.enqueue("p") for _ in range(3)]
    runs = claim_many(child, 3)
    reports = [Report.succeeded(run.fence, "1") for run in runs]
    stale = dataclasses.replace(runs[1].fence, token=1)
    answer = store.finish_and_claim(child.conn, child.child_id, [reports[0], Report.succeeded(stale, "1"), reports[2]], Ask.of(child.lanes))
    assert (answer.finished.fenced, answer.offer.runs) == ([ids[1]], [])
    assert [fleet.state(run_id) for run_id in ids] == [RunState.SUCCEEDED, RunState.RUNNING, RunState.SUCCEEDED]
    assert store.finish(child.conn, reports).fenced == []  # all of it again, as after a lost reply: what counted counts
    assert fleet.value("SELECT count(*) FROM orbit.outcomes") == 3
    fleet.check()


def test_a_result_that_cannot_be_stored_does_not_fail_its_neighbours(fleet: Fleet) -> None:
    child = fleet.worker("p")
    ids = [fleet.enqueue("p") for _ in range(5)]
    runs = claim_many(child, 4)
    results = ["1", '"\\u0000"', "[" * 100_000 + "]" * 100_000, "2"]
    reports = [Report.succeeded(run.fence, result) for run, result in zip(runs, results, strict=True)]
    answer = store.finish_and_claim(child.conn, child.child_id, reports, Ask.of(child.lanes, 4))
    assert (answer.finished.fenced, list(answer.finished.refused)) == ([], ids[1:3])
    assert [run.run_id for run in answer.offer.runs] == ids[4:]
    assert [fleet.state(run_id) for run_id in ids[:4]] == [RunState.SUCCEEDED, RunState.FAILED, RunState.FAILED, RunState.SUCCEEDED]
    fleet.check()


def test_of_a_batch_of_several_kinds_each_report_counts_once_and_for_itself(fleet: Fleet) -> None:
    child = fleet.worker("p")
    for _ in range(3):
        fleet.enqueue("p")
    done, failed, gone = claim_many(child, 3)
    store.release(child.conn, [gone.fence])
    reports = [Report.succeeded(done.fence, '"kept"'), Report.failed(failed.fence, FAILURE), Report.succeeded(gone.fence, "1")]
    assert store.finish(child.conn, reports).fenced == [gone.run_id]
    assert fleet.value("SELECT result FROM orbit.outcomes WHERE run_id = %s", done.run_id) == "kept"
    fleet.check()


def test_reports_lock_their_runs_in_the_order_in_which_everybody_does(fleet: Fleet) -> None:
    """Told in any order: else two who hold a part each would wait for each other (40P01)."""
    child, other = fleet.worker("p"), fleet.connect()
    for _ in range(3):
        fleet.enqueue("p")
    runs = claim_many(child, 3)
    reports = [Report.failed(run.fence, FAILURE) if run is runs[1] else Report.succeeded(run.fence, "1") for run in reversed(runs)]
    with other.transaction():
        store.hold_run(other, runs[0].fence)
        told = fleet.in_background(child.conn, lambda: store.finish(child.conn, reports))
        told.until_blocked()
        store.hold_run(other, runs[1].fence)
        store.hold_run(other, runs[2].fence)
    assert told.result().fenced == []
    fleet.check()


def test_who_may_claim_no_more_has_reported_his_batch_all_the_same(fleet: Fleet) -> None:
    child = fleet.worker("p")
    ids = [fleet.enqueue("p") for _ in range(4)]
    runs = claim_many(child, 3)
    fleet.crash(child)
    answer = store.finish_and_claim(child.conn, child.child_id, [Report.succeeded(run.fence, "1") for run in runs], Ask.of(child.lanes, 3))
    assert (answer.finished.fenced, answer.lease_ok, answer.offer.runs) == ([], False, [])
    assert [fleet.state(run_id) for run_id in ids] == [RunState.SUCCEEDED] * 3 + [RunState.PENDING]


def test_of_a_dead_childs_batch_only_the_run_that_was_begun_pays(fleet: Fleet) -> None:
    child, heir = fleet.worker("p"), fleet.worker("p")
    ids = [fleet.enqueue("p") for _ in range(3)]
    runs = claim_many(child, 3)
    held = [(run.fence, run is runs[0]) for run in runs]
    taken = store.interrupt(
        fleet.conn,
        child_id=child.child_id,
        held=held,
        asked=None,
        cause="crashed:SIGSEGV",
        error="",
        stack=None,
        charge=Charge.CRASH,
        mode="resume",
    )
    assert taken == [(run_id, RunState.PENDING) for run_id in ids]
    again = claim_many(heir, 3)
    assert [(run.attempt, run.crashes) for run in again] == [(2, 1), (1, 0), (1, 0)]
    assert fleet.value("SELECT count(*) FROM orbit.outcomes") == 1
    fleet.check_settled()


def test_what_a_lost_claim_brought_is_found_by_its_token_however_many_it_was(fleet: Fleet) -> None:
    child = fleet.worker("p")
    ids = [fleet.enqueue("p") for _ in range(4)]
    held = claim_many(child, 2)
    lost = claim_many(child, 2)
    fleet.come_again(child, *(run.fence for run in held), asked=(lost[0].token, child.lanes))
    assert [run.run_id for run in claim_many(child, 4)] == ids[2:]
    assert all(child.succeed(run.fence) for run in held)
    fleet.check()


def test_what_was_not_begun_is_handed_back_uncharged_and_in_its_old_place(fleet: Fleet) -> None:
    child, heir = fleet.worker("p"), fleet.worker("p")
    ids = [fleet.enqueue("p") for _ in range(4)]
    runs = claim_many(child, 3)
    assert store.release(child.conn, [run.fence for run in reversed(runs[1:])]) == ids[1:3]
    assert store.release(child.conn, [run.fence for run in runs[1:]]) == []
    assert [(run.run_id, run.attempt) for run in claim_many(heir, 4)] == [(run_id, 1) for run_id in ids[1:]]
    assert child.succeed(runs[0].fence)
    assert not child.succeed(runs[1].fence)
    fleet.check()


def test_a_run_that_is_handed_back_after_its_cancel_was_asked_for_ends_as_cancelled(fleet: Fleet) -> None:
    child = fleet.worker("p")
    ids = [fleet.enqueue("p") for _ in range(2)]
    runs = claim_many(child, 2)
    assert admin.cancel(fleet.conn, ids[1], "anna") == "cancelling"
    store.release(child.conn, [runs[1].fence])
    assert fleet.state(ids[1]) is RunState.CANCELLED
    fleet.check()


@pytest.mark.parametrize("failure", [FAILURE, Failure("error", 'text "quoted" \\ {a,b} NULL', "x", "y")])
def test_the_texts_of_a_failure_arrive_as_they_are(fleet: Fleet, failure: Failure) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    child.finish(Report.failed(child.must_claim().fence, failure))
    (attempt,) = admin.describe(fleet.conn, run_id)["attempts"]
    assert (attempt["error"], attempt["traceback"], attempt["stack"]) == (failure.error, failure.traceback, failure.stack)
