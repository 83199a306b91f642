"""What a person does to one run, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orbitd import store
from orbitd.errors import Conflict, NoSuchObject, UsageError
from orbitd.rules.ids import short_id
from orbitd.rules.states import Charge, RunState
from orbitd.store import Fence, Report, admin
from orbitd.store.admin import Pinned
from tests.store.fleet import FAILURE, Child, Fleet

HOSTILE = ["a\0b", "\ud800", "%s %(x)s {}", "'; drop table orbit.runs; --", "x" * 100_000, "\u2028\x1b[2J", ""]

Doing = Callable[[Fleet, int, Pinned | None], object]

ACTS: dict[str, Doing] = {
    "cancel": lambda fleet, run_id, expect: admin.cancel(fleet.conn, run_id, "anna", expect=expect),
    "retry": lambda fleet, run_id, expect: admin.retry(fleet.conn, run_id, "anna", expect=expect),
    "resume": lambda fleet, run_id, expect: admin.resume(fleet.conn, run_id, "anna", expect=expect),
    "rerun": lambda fleet, run_id, expect: admin.rerun(fleet.conn, run_id, "anna", expect=expect),
    "resolve": lambda fleet, run_id, expect: admin.dlq_resolve(fleet.conn, run_id, "anna", expect=expect),
    "delete": lambda fleet, run_id, expect: admin.dlq_delete(fleet.conn, run_id, expect=expect),
}

ALLOWED = {
    "cancel": set(RunState),
    "retry": {RunState.FAILED, RunState.INTERRUPTED, RunState.PENDING, RunState.RUNNING},
    "resume": {RunState.INTERRUPTED, RunState.PENDING, RunState.RUNNING, RunState.SCHEDULED},
    "rerun": {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED},
    "resolve": {RunState.FAILED},
    "delete": {RunState.FAILED},
}


def failed_run(fleet: Fleet, child: Child, **how: Any) -> int:
    run_id = admin.enqueue(fleet.conn, "p", {"n": 1}, **how).id
    child.finish(Report.failed(child.must_claim().fence, FAILURE))
    return run_id


def log(fleet: Fleet, run_id: int) -> list[str]:
    return [line["message"] for line in admin.read_logs(fleet.conn, run_id)]


def pin(fleet: Fleet, run_id: int) -> Pinned:
    (pinned,) = admin.pins_of(fleet.conn, [run_id])
    return pinned


# --- which acts in which states ---


@pytest.mark.parametrize("state", list(RunState))
@pytest.mark.parametrize("act", ACTS)
def test_an_act_is_done_in_the_states_for_it_and_refused_in_all_others(
    fleet: Fleet, one_of_each: dict[RunState, int], act: str, state: RunState
) -> None:
    run_id = one_of_each[state]
    if state in ALLOWED[act]:
        ACTS[act](fleet, run_id, pin(fleet, run_id))
    else:
        with pytest.raises(Conflict) as refusal:
            ACTS[act](fleet, run_id, None)
        assert f"run {short_id(run_id)} " in refusal.value.message
        assert state in refusal.value.message
        assert refusal.value.hint
        assert fleet.state(run_id) is state
    fleet.check()


@pytest.mark.parametrize("state", list(RunState))
@pytest.mark.parametrize("act", ACTS)
def test_an_act_is_refused_when_the_run_is_no_longer_as_it_was_chosen(
    fleet: Fleet, one_of_each: dict[RunState, int], act: str, state: RunState
) -> None:
    now = pin(fleet, one_of_each[state])
    other = RunState.PENDING if state is not RunState.PENDING else RunState.FAILED
    for then in (replace(now, state=other), replace(now, attempt=now.attempt + 1)):
        with pytest.raises(Conflict, match="has changed") as refusal:
            ACTS[act](fleet, now.run_id, then)
        assert refusal.value.hint == f"see `orbitctl describe {short_id(now.run_id)}`"
    assert pin(fleet, now.run_id) == now
    fleet.check()


@pytest.mark.parametrize("act", ACTS)
def test_nothing_is_done_to_a_run_that_does_not_exist(unwritten: Fleet, act: str) -> None:
    with pytest.raises(NoSuchObject, match='no run "42"'):
        ACTS[act](unwritten, 42, None)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_person_writes_with_an_act_may_be_any_text(fleet: Fleet, text: str) -> None:
    child = fleet.worker("p")
    run_id = failed_run(fleet, child)
    admin.dlq_resolve(fleet.conn, run_id, text, text)
    admin.rerun(fleet.conn, run_id, text, text)
    admin.retry(fleet.conn, run_id, text, text)
    admin.cancel(fleet.conn, run_id, text, text)
    assert log(fleet, run_id)[0].startswith("retried by ")
    fleet.check_settled()


# --- retry ---


def test_a_failed_run_is_tried_again_with_all_its_attempts_and_its_steps(fleet: Fleet) -> None:
    fleet.limits = (2, 2)
    child = fleet.worker("p")
    run_id = admin.enqueue(fleet.conn, "p", {"n": 1}, tenant="t").id
    fence = child.must_claim().fence
    store.record_step(child.conn, fence, "load", "[1]", 0.5)
    child.finish(Report.failed(fence, FAILURE))
    assert admin.retry(fleet.conn, run_id, "anna", "mended") == "pending"
    assert admin.dlq_list(fleet.conn).items == []
    again = child.must_claim()
    assert (again.run_id, again.attempt, again.errors, again.crashes, again.tenant) == (run_id, 2, 0, 0, "t")
    assert store.load_steps(fleet.conn, run_id) == {"load": "[1]"}
    fleet.crash(child, again.fence, charge=Charge.ERROR)
    assert fleet.state(run_id) is RunState.PENDING
    assert log(fleet, run_id) == ["retried by anna: mended"]
    fleet.check_settled()


def test_a_run_that_fails_again_is_in_the_dead_letter_queue_again_with_all_its_attempts(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = failed_run(fleet, child)
    admin.retry(fleet.conn, run_id, "anna")
    child.finish(Report.failed(child.must_claim().fence, FAILURE))
    letter = admin.dlq_show(fleet.conn, run_id)
    assert [attempt["attempt"] for attempt in letter["attempts"]] == [1, 2]
    assert (letter["attempt"], letter["errors"], letter["resolved"]) == (2, 1, False)
    admin.retry(fleet.conn, run_id, "anna")
    assert child.succeed(child.must_claim().fence)
    assert fleet.state(run_id) is RunState.SUCCEEDED
    fleet.check_settled()


def test_a_retried_run_goes_to_the_lane_it_came_from(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.host("another")
    for pipeline, priority, queue in (("another", 2, "special"), ("p", 2, "other"), ("p", 1, "special")):
        admin.enqueue(fleet.conn, pipeline, priority=priority, queue=queue)
    run_id = admin.enqueue(fleet.conn, "p", priority=2, queue="special").id
    store.beat(fleet.conn, child.host_id, 20)
    lane = admin.place(fleet.conn, run_id).lane
    assert lane is not None
    child.lanes = [lane]
    child.finish(Report.failed(child.must_claim().fence, FAILURE))
    admin.retry(fleet.conn, run_id, "anna")
    assert admin.place(fleet.conn, run_id).lane == lane
    assert admin.describe(fleet.conn, run_id)["priority"] == 2


def test_a_retried_run_takes_its_key_again(fleet: Fleet) -> None:
    run_id = failed_run(fleet, fleet.worker("p"), key="k")
    admin.retry(fleet.conn, run_id, "anna")
    assert fleet.ask("p", key="k") == admin.Enqueued(run_id, False, RunState.PENDING)
    child = fleet.worker("p")
    child.succeed(child.must_claim().fence)
    assert fleet.ask("p", key="k").created
    fleet.check_settled()


def test_a_failed_run_whose_key_another_one_has_now_is_left_where_it_is(fleet: Fleet) -> None:
    run_id = failed_run(fleet, fleet.worker("p"), key="k")
    rival = fleet.enqueue("p", key="k")
    with pytest.raises(Conflict, match=f'its key "k" belongs to run {short_id(rival)} now') as refusal:
        admin.retry(fleet.conn, run_id, "anna")
    assert refusal.value.hint == f"`orbitctl rerun {short_id(run_id)}` makes a new run of it, without the key"
    assert fleet.state(run_id) is RunState.FAILED
    fleet.check_settled()


def test_a_run_that_waits_out_a_delay_is_due_at_once_and_keeps_its_counters(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    child.finish(Report.retry(child.must_claim().fence, 3600, FAILURE))
    assert admin.retry(fleet.conn, run_id, "anna") == "pending"
    assert child.must_claim().errors == 1


def test_an_act_done_twice_is_done_once(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = failed_run(fleet, child)
    assert [admin.retry(fleet.conn, run_id, "anna") for _ in range(2)] == ["pending", "pending"]
    child.must_claim()
    assert admin.retry(fleet.conn, run_id, "anna") == admin.resume(fleet.conn, run_id, "anna") == "running"
    assert log(fleet, run_id) == ["retried by anna"]
    fleet.check()


def test_a_held_run_is_resumed_with_a_line_in_its_log(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    store.append_logs(child.conn, fence, [("2026-01-01T00:00:00Z", "info", "its own")])
    fleet.crash(child, fence, mode="hold")
    assert admin.resume(fleet.conn, run_id, "anna") == "pending"
    assert log(fleet, run_id) == ["its own", "resumed by anna"]
    child = fleet.worker("p")
    store.append_logs(child.conn, child.must_claim().fence, [("2026-01-01T00:00:00Z", "info", "and again")])
    assert log(fleet, run_id) == ["its own", "resumed by anna", "and again"]


def test_a_line_of_a_ghost_does_not_hinder_an_act(fleet: Fleet) -> None:
    child, operator = fleet.worker("p"), fleet.connect()
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    with child.conn.transaction():
        store.append_logs(child.conn, fence, [("2026-01-01T00:00:00Z", "info", "late")])
        store.interrupt(
            fleet.conn,
            child_id=child.child_id,
            held=[(fence, True)],
            asked=None,
            cause="x",
            error="x",
            stack=None,
            charge=Charge.NONE,
            mode="hold",
        )
        resumed = fleet.in_background(operator, lambda: admin.resume(operator, run_id, "anna"))
        resumed.until_blocked()
    assert resumed.result() == "pending"
    assert log(fleet, run_id) == ["late", "resumed by anna"]


# --- rerun ---


def test_a_rerun_is_a_new_run_of_the_same_work(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("other", in_seconds=3600)
    how: dict[str, Any] = {"tenant": "t", "priority": 1, "queue": "special", "key": "k"}
    run_id = admin.enqueue(fleet.conn, "p", {"a": [1, None]}, **how).id
    admin.cancel(fleet.conn, run_id, "anna")
    new = admin.rerun(fleet.conn, run_id, "otto", "wanted after all")
    before, after = admin.describe(fleet.conn, run_id), admin.describe(fleet.conn, new)
    same = ("pipeline", "queue", "priority", "tenant", "args")
    assert [after[name] for name in same] == [before[name] for name in same]
    assert (after["state"], after["key"], before["key"], before["state"]) == ("pending", None, "k", "cancelled")
    assert log(fleet, new) == [f"asked for, as run {short_id(run_id)} again, by otto: wanted after all"]
    store.beat(fleet.conn, child.host_id, 20)
    child.lanes = [lane.id for lane in store.lanes_of(fleet.conn, ["p"])]
    assert child.must_claim().run_id == new
    fleet.check()


def test_a_rerun_whose_arguments_its_pipeline_takes_no_more_is_refused(fleet: Fleet) -> None:
    host = fleet.host("p")
    run_id = fleet.enqueue("p")
    admin.cancel(fleet.conn, run_id, "anna")
    store.register_pipelines(fleet.conn, host, [store.PipelineSpec("p", "default", 0, '{"required": ["m"]}', 3, 3)])
    with pytest.raises(UsageError, match='"p" needs the argument "m"'):
        admin.rerun(fleet.conn, run_id, "anna")


# --- two at once ---


def test_a_pinned_cancel_lets_a_run_be_that_was_claimed_meanwhile(fleet: Fleet) -> None:
    child, operator = fleet.worker("p"), fleet.connect()
    chosen = pin(fleet, fleet.enqueue("p"))
    with child.conn.transaction():
        child.must_claim()
        cancel = fleet.in_background(operator, lambda: admin.cancel(operator, chosen.run_id, "anna", expect=chosen))
        cancel.until_blocked()
    with pytest.raises(Conflict, match="from pending, attempt 0, to running, attempt 1"):
        cancel.result()
    assert fleet.state(chosen.run_id) is RunState.RUNNING


def go_to(fleet: Fleet, child: Child, state: RunState) -> None:
    """The child claims its run and brings it into the state."""
    fence = child.must_claim().fence
    match state:
        case RunState.FAILED:
            child.finish(Report.failed(fence, FAILURE))
        case RunState.SCHEDULED:
            child.finish(Report.retry(fence, 3600, FAILURE))
        case RunState.PENDING:
            child.finish(Report.interrupted(fence, FAILURE))
        case RunState.INTERRUPTED:
            fleet.crash(child, fence, mode="hold", conn=child.conn)


@pytest.mark.parametrize(
    ("act", "state", "table"),
    [
        ("retry", RunState.FAILED, "failed"),
        ("retry", RunState.SCHEDULED, "delayed"),
        ("resume", RunState.INTERRUPTED, "interrupted"),
        ("delete", RunState.FAILED, "failed"),
        ("resolve", RunState.FAILED, "failed"),
        ("cancel", RunState.RUNNING, "live"),
        ("cancel", RunState.PENDING, "live"),
        ("cancel", RunState.SCHEDULED, "delayed"),
        ("cancel", RunState.INTERRUPTED, "interrupted"),
    ],
)
def test_a_later_attempt_in_the_same_place_is_not_taken_for_the_chosen_one(fleet: Fleet, act: str, state: RunState, table: str) -> None:
    child, after = fleet.worker("p"), fleet.worker("p")
    run_id = fleet.enqueue("p", key="k")
    go_to(fleet, child, state)
    chosen = pin(fleet, run_id)
    assert (chosen.state, chosen.attempt) == (state, 1)
    fleet.conn, usual = fleet.connect(), fleet.conn
    with after.conn.transaction():
        after.conn.execute(f"LOCK TABLE orbit.{table} IN EXCLUSIVE MODE".encode())  # reading is allowed
        doing = fleet.in_background(fleet.conn, lambda: ACTS[act](fleet, chosen.run_id, chosen))
        doing.until_blocked()
        if state is RunState.RUNNING:
            query = "SELECT lane, seq, run_id, token FROM orbit.live"
            after.finish(Report.interrupted(Fence(*after.conn.execute(query).fetchall()[0]), FAILURE))
        elif state is not RunState.PENDING:
            admin.retry(after.conn, chosen.run_id, "otto")
        go_to(fleet, after, state)
    with pytest.raises(Conflict, match=f"from {state}, attempt 1, to {state}, attempt 2"):
        doing.result()
    fleet.conn = usual
    fleet.check()


def test_of_two_retries_at_once_one_moves_the_run_and_the_pinned_other_is_refused(fleet: Fleet) -> None:
    one, other = fleet.connect(), fleet.connect()
    run_id = failed_run(fleet, fleet.worker("p"), key="k")
    chosen = pin(fleet, run_id)
    with one.transaction():
        assert admin.retry(one, run_id, "anna", expect=chosen) == "pending"
        second = fleet.in_background(other, lambda: admin.retry(other, run_id, "otto", expect=chosen))
        second.until_blocked()
    with pytest.raises(Conflict, match="has changed"):
        second.result()
    assert log(fleet, run_id) == ["retried by anna"]
    fleet.check_settled()


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_a_retry_waits_for_a_producer_with_its_key(fleet: Fleet, ending: str) -> None:
    producer, operator = fleet.connect(), fleet.connect()
    run_id = failed_run(fleet, fleet.worker("p"), key="k")
    with producer.transaction(force_rollback=ending == "rollback"):
        admin.enqueue(producer, "p", {"n": 1}, key="k")
        retry = fleet.in_background(operator, lambda: admin.retry(operator, run_id, "anna"))
        retry.until_blocked()
    if ending == "rollback":
        assert retry.result() == "pending"
    else:
        with pytest.raises(Conflict, match="its key"):
            retry.result()
    fleet.check_settled()


def test_a_ghost_cannot_report_a_run_that_was_retried(fleet: Fleet) -> None:
    fleet.limits = (3, 1)
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    fence: Fence = child.must_claim().fence
    fleet.crash(child, fence)
    assert fleet.state(run_id) is RunState.FAILED
    admin.retry(fleet.conn, run_id, "anna")
    assert not child.succeed(fence)
    assert fleet.state(run_id) is RunState.PENDING
