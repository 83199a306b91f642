from __future__ import annotations

import pytest

from orbitd import store
from orbitd.errors import NoSuchObject
from orbitd.rules.ids import short_id
from orbitd.rules.states import RunState
from orbitd.store import Failure, Report, admin
from tests.store.fleet import Fleet


def test_a_runs_place_is_told_in_every_state(fleet: Fleet, one_of_each: dict[RunState, int]) -> None:
    assert {state: fleet.state(run_id) for state, run_id in one_of_each.items()} == {state: state for state in RunState}
    with pytest.raises(NoSuchObject):
        admin.place(fleet.conn, 42)
    fleet.check()


def test_a_place_names_the_row_of_a_live_run_only(fleet: Fleet, one_of_each: dict[RunState, int]) -> None:
    for state, run_id in one_of_each.items():
        place = admin.place(fleet.conn, run_id)
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


def test_everything_about_a_run(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = admin.enqueue(fleet.conn, "p", {"a": [1, None]}, key="k", tenant="t", priority=1).id
    store.beat(fleet.conn, child.host_id, 20)
    child.lanes = [lane.id for lane in store.lanes_of(fleet.conn, ["p"])]
    fence = child.must_claim().fence
    store.record_step(child.conn, fence, "load", "1", 0.5)
    store.record_step(child.conn, fence, "save", "2", 0.25)
    store.record_progress(child.conn, fence, 0.5, "half")
    child.finish(Report.retry(fence, 0, Failure("timeout", "too slow", "trace", "stack")))
    store.beat(fleet.conn, child.host_id, 20)
    child.finish(Report.succeeded(child.must_claim().fence, "null"))
    run = admin.describe(fleet.conn, run_id)
    assert run["schema"] == "orbit.run_detail/1"
    expected = {"id": str(run_id), "args": {"a": [1, None]}, "key": "k", "tenant": "t", "priority": 1, "state": "succeeded", "attempt": 2}
    assert expected.items() <= run.items()
    assert run["result"] is None
    assert run["usage"] == []
    assert (run["progress"]["fraction"], run["progress"]["note"]) == (0.5, "half")
    steps = [{"key": "load", "state": "done", "seconds": 0.5}, {"key": "save", "state": "done", "seconds": 0.25}]
    assert run["steps"] == steps
    assert (run["group"], run["cancel_asked"]) == (None, None)
    first, second = run["attempts"]
    shown = {"attempt": 1, "outcome": "retried", "cause": "timeout", "error": "too slow", "traceback": "trace", "stack": "stack", "slot": 0}
    assert shown.items() <= first.items()
    assert (second["attempt"], second["outcome"], second["error"]) == (2, "succeeded", None)
    with pytest.raises(NoSuchObject):
        admin.describe(fleet.conn, 42)


def test_a_run_that_is_asked_to_stop_says_so(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    child.must_claim()
    admin.cancel(fleet.conn, run_id, "anna", "too slow")
    asked = admin.describe(fleet.conn, run_id)["cancel_asked"]
    assert (asked["by"], asked["reason"]) == ("anna", "too slow")


def test_a_runs_log_is_read_from_where_one_left_off(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    store.append_logs(child.conn, fence, [("2026-01-01T00:00:00Z", "info", "one"), ("2026-01-01T00:00:01Z", "error", "two")])
    first, second = admin.read_logs(fleet.conn, run_id)
    assert first == {"line": 1, "ts": "2026-01-01T00:00:00.000Z", "attempt": 1, "level": "info", "message": "one"}
    assert admin.read_logs(fleet.conn, run_id, limit=1) == [first]
    assert admin.read_logs(fleet.conn, run_id, after_line=1) == [second]
    assert admin.read_logs(fleet.conn, run_id, after_line=2) == admin.read_logs(fleet.conn, 42) == []


def test_an_id_is_found_by_its_full_and_its_short_form(fleet: Fleet) -> None:
    with pytest.raises(NoSuchObject):
        admin.resolve(fleet.conn, "1")
    run_id = fleet.enqueue("p")
    assert admin.resolve(fleet.conn, str(run_id)) == run_id
    assert admin.resolve(fleet.conn, short_id(run_id)) == run_id


def test_a_short_id_is_found_on_whichever_day_its_run_was_made(fleet: Fleet) -> None:
    number = 0
    for day in (10, 11, 2000):
        number += 7
        query = "INSERT INTO orbit.runs (id, pipeline, lane, args) VALUES ((%s::bigint << 39) | %s, 'p', 1, '{}')"
        fleet.conn.execute(query, [day, number])
    assert admin.resolve(fleet.conn, "14") == (11 << 39) | 14


@pytest.mark.parametrize("text", ["", "abc", "-1", "1.0", "١", "9" * 5000, str(2**63), str(2**62), "123", " 1", "0x1"])
def test_what_is_no_id_of_a_run_is_said_to_be_none(unwritten: Fleet, text: str) -> None:
    with pytest.raises(NoSuchObject, match="no run"):
        admin.resolve(unwritten.conn, text)
