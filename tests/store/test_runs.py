from __future__ import annotations

import pytest

from orbitd import store
from orbitd.errors import NoSuchObject
from orbitd.rules.states import RunState
from orbitd.store import Failure, Report
from tests.store.fleet import FAILURE, Fleet

ITEM_FIELDS = ["id", "pipeline", "queue", "state", "tenant", "attempt", "created_at", "started_at", "finished_at", "host", "slot", "error"]


@pytest.fixture
def one_of_each(fleet: Fleet) -> dict[RunState, int]:
    """A run in each state, made in the order of the states."""
    child = fleet.worker("p")
    runs: dict[RunState, int] = {}
    for state in RunState:
        if state is RunState.SCHEDULED:
            runs[state] = fleet.enqueue("p", in_seconds=3600)
            continue
        runs[state] = fleet.enqueue("later" if state is RunState.PENDING else "p")
        if state is RunState.PENDING:
            continue
        fence = child.must_claim().fence
        match state:
            case RunState.INTERRUPTED:
                fleet.crash(child, fence, mode="hold")
                child = fleet.worker("p")
            case RunState.SUCCEEDED:
                child.succeed(fence)
            case RunState.FAILED:
                child.finish(Report.failed(fence, FAILURE))
            case RunState.CANCELLED:
                child.finish(Report.cancelled(fence))
    return runs


def test_a_runs_place_is_told_in_every_state(fleet: Fleet, one_of_each: dict[RunState, int]) -> None:
    assert {state: fleet.state(run_id) for state, run_id in one_of_each.items()} == {state: state for state in RunState}
    with pytest.raises(NoSuchObject):
        store.place(fleet.conn, 42)
    fleet.check()


def test_a_place_names_the_row_of_a_live_run_only(fleet: Fleet, one_of_each: dict[RunState, int]) -> None:
    for state, run_id in one_of_each.items():
        place = store.place(fleet.conn, run_id)
        assert (place.lane is not None) == (place.seq is not None) == (state in {RunState.PENDING, RunState.RUNNING})


def test_a_place_costs_the_same_however_many_runs_there_are(own_fleet: Fleet) -> None:
    own_fleet.host("p")
    own_fleet.conn.execute(
        "SELECT orbit.enqueue_many((SELECT jsonb_agg(jsonb_build_object('pipeline', 'p')) FROM generate_series(1, 2000)))"
    )
    explain = f"EXPLAIN SELECT state FROM orbit.runs_view WHERE id = {own_fleet.enqueue('p')}"
    fresh = str(own_fleet.rows(explain))
    own_fleet.conn.execute("ANALYZE")
    for plan in (fresh, str(own_fleet.rows(explain))):
        assert "Seq Scan on live" not in plan
        assert "Seq Scan on runs" not in plan


def test_a_list_has_the_documents_fields_the_newest_first(fleet: Fleet, one_of_each: dict[RunState, int]) -> None:
    items, following = store.list_runs(fleet.conn)
    assert following is None
    assert [item["id"] for item in items] == [str(run_id) for run_id in sorted(one_of_each.values(), reverse=True)]
    assert all(list(item) == ITEM_FIELDS for item in items)
    by_state = {item["state"]: item for item in items}
    running, failed = by_state["running"], by_state["failed"]
    assert running["host"].startswith("host-")
    assert (running["slot"], running["attempt"], running["finished_at"]) == (0, 1, None)
    assert running["started_at"].endswith("Z")
    assert failed["error"] == FAILURE.error
    assert failed["finished_at"].endswith("Z")


@pytest.mark.parametrize("state", list(RunState))
def test_a_list_of_one_state_has_only_that(fleet: Fleet, one_of_each: dict[RunState, int], state: RunState) -> None:
    items, _ = store.list_runs(fleet.conn, states=[state])
    assert [item["id"] for item in items] == [str(one_of_each[state])]


def test_a_list_of_several_states_has_them_all(fleet: Fleet, one_of_each: dict[RunState, int]) -> None:
    for states in ([RunState.FAILED, RunState.RUNNING], [RunState.FAILED, RunState.SUCCEEDED]):
        items, _ = store.list_runs(fleet.conn, states=states)
        assert {item["state"] for item in items} == set(states)


@pytest.mark.parametrize(("glob", "found"), [("in*", 2), ("invoice.*", 1), ("in_oice.*", 0), ("*e.syn?", 1), ("%", 0), (None, 3)])
def test_a_list_is_filtered_by_a_glob_of_the_pipelines_name(fleet: Fleet, glob: str | None, found: int) -> None:
    for name in ("invoice.sync", "intake", "mail"):
        fleet.enqueue(name)
    assert len(store.list_runs(fleet.conn, pipeline_glob=glob)[0]) == found


@pytest.mark.parametrize("states", [[], [RunState.FAILED, RunState.SCHEDULED], [RunState.RUNNING], [RunState.PENDING]])
def test_pages_join_without_gap_or_overlap(fleet: Fleet, states: list[RunState]) -> None:
    child = fleet.worker("p")
    for i in range(40):
        fleet.enqueue("p", in_seconds=3600 if i % 4 == 0 else None)
    for i in range(20):
        fence = child.must_claim().fence
        if i % 2:
            child.finish(Report.failed(fence, FAILURE))
    everything, end = store.list_runs(fleet.conn, states=states, limit=100)
    assert end is None
    paged: list[object] = []
    before, pages = None, 0
    while pages == 0 or before:
        items, before = store.list_runs(fleet.conn, states=states, limit=3, before=before)
        paged, pages = paged + items, pages + 1
    assert paged == everything
    assert len(paged) == {0: 40, 1: 10}.get(len(states), 20)


def test_a_list_stops_after_20000_runs_and_says_where(own_fleet: Fleet) -> None:
    first = own_fleet.enqueue("rare")
    many = "SELECT orbit.enqueue_many((SELECT jsonb_agg(jsonb_build_object('pipeline', 'p')) FROM generate_series(1, 20100)))"
    own_fleet.conn.execute(many)
    items, following = store.list_runs(own_fleet.conn, pipeline_glob="rare")
    assert items == []
    assert following is not None
    items, following = store.list_runs(own_fleet.conn, pipeline_glob="rare", before=following)
    assert [item["id"] for item in items] == [str(first)]
    assert following is None


def test_running_runs_are_found_in_front_of_a_deep_backlog(own_fleet: Fleet) -> None:
    child = own_fleet.worker("p")
    own_fleet.conn.execute(
        "SELECT orbit.enqueue_many((SELECT jsonb_agg(jsonb_build_object('pipeline', 'p')) FROM generate_series(1, 3000)))"
    )
    running = child.must_claim()
    items, _ = store.list_runs(own_fleet.conn, states=[RunState.RUNNING])
    assert [item["id"] for item in items] == [str(running.run_id)]


def test_everything_about_a_run(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = store.enqueue(fleet.conn, "p", {"a": [1, None]}, key="k", tenant="t", priority=1).id
    store.beat(fleet.conn, child.host_id, 20)
    child.lanes = [lane.id for lane in store.lanes_of(fleet.conn, ["p"])]
    fence = child.must_claim().fence
    store.record_step(child.conn, fence, "load", "1", 0.5)
    store.record_step(child.conn, fence, "save", "2", 0.25)
    store.record_progress(child.conn, fence, 0.5, "half")
    child.finish(Report.retry(fence, 0, Failure("timeout", "too slow", "trace", "stack")))
    store.beat(fleet.conn, child.host_id, 20)
    child.finish(Report.succeeded(child.must_claim().fence, "null"))
    run = store.describe(fleet.conn, run_id)
    assert run["schema"] == "orbit.run_detail/1"
    expected = {"id": str(run_id), "args": {"a": [1, None]}, "key": "k", "tenant": "t", "priority": 1, "state": "succeeded", "attempt": 2}
    assert expected.items() <= run.items()
    assert run["result"] is None
    assert run["usage"] == []
    assert (run["progress"]["fraction"], run["progress"]["note"]) == (0.5, "half")
    steps = [{"key": "load", "state": "done", "seconds": 0.5}, {"key": "save", "state": "done", "seconds": 0.25}]
    assert run["steps"] == steps
    first, second = run["attempts"]
    shown = {"attempt": 1, "outcome": "retried", "cause": "timeout", "error": "too slow", "traceback": "trace", "stack": "stack", "slot": 0}
    assert shown.items() <= first.items()
    assert (second["attempt"], second["outcome"], second["error"]) == (2, "succeeded", None)
    with pytest.raises(NoSuchObject):
        store.describe(fleet.conn, 42)


def test_an_id_is_found_by_its_full_and_its_short_form(fleet: Fleet) -> None:
    with pytest.raises(NoSuchObject):
        store.resolve(fleet.conn, "1")
    run_id = fleet.enqueue("p")
    assert store.resolve(fleet.conn, str(run_id)) == run_id
    assert store.resolve(fleet.conn, store.short_id(run_id)) == run_id


def test_a_short_id_is_found_on_whichever_day_its_run_was_made(fleet: Fleet) -> None:
    number = 0
    for day in (10, 11, 2000):
        number += 7
        query = "INSERT INTO orbit.runs (id, pipeline, lane, args) VALUES ((%s::bigint << 39) | %s, 'p', 1, '{}')"
        fleet.conn.execute(query, [day, number])
    assert store.resolve(fleet.conn, "14") == (11 << 39) | 14


@pytest.mark.parametrize("text", ["", "abc", "-1", "1.0", "١", "9" * 5000, str(2**63), str(2**62), "123", " 1", "0x1"])
def test_what_is_no_id_of_a_run_is_said_to_be_none(unwritten: Fleet, text: str) -> None:
    with pytest.raises(NoSuchObject, match="no run"):
        store.resolve(unwritten.conn, text)
