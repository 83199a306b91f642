from __future__ import annotations

import dataclasses
import secrets
from typing import Any, cast

import psycopg
import pytest
from psycopg.rows import dict_row

from orbitd import store
from orbitd.rules.states import RunState
from orbitd.store import Claimed, Fence, Fenced, admin
from tests.store.fleet import Child, Fleet


@pytest.fixture
def child(fleet: Fleet) -> Child:
    return fleet.worker("p")


@pytest.fixture
def run(fleet: Fleet, child: Child) -> Claimed:
    fleet.enqueue("p")
    return child.must_claim()


def test_a_step_is_read_back_exactly_as_it_was_recorded(child: Child, run: Claimed) -> None:
    text = '{"b":1,  "a":"\\u0000\\ud800", "a": 1.0, "big": 1e999}'
    assert store.record_step(child.conn, run.fence, "load#2", text, 1.5) == text
    assert store.load_steps(child.conn, run.run_id) == {"load#2": text}


def test_the_first_recorded_output_wins(child: Child, run: Claimed) -> None:
    store.record_step(child.conn, run.fence, "load", "1", 0.1)
    assert store.record_step(child.conn, run.fence, "load", "2", 0.1) == "1"


def test_what_is_not_json_is_no_output(child: Child, run: Claimed) -> None:
    with pytest.raises(psycopg.DataError):
        store.record_step(child.conn, run.fence, "load", "{", 0.1)
    with pytest.raises(psycopg.DataError):
        store.record_step(child.conn, run.fence, secrets.token_hex(10_000), "1", 0.1)


def test_a_fenced_child_records_nothing(fleet: Fleet, child: Child, run: Claimed) -> None:
    fleet.crash(child, run.fence)
    with pytest.raises(Fenced):
        store.record_step(child.conn, run.fence, "load", "1", 0.1)
    with pytest.raises(Fenced), child.conn.transaction():
        store.hold_run(child.conn, run.fence)
    assert not store.record_progress(child.conn, run.fence, 0.5, "half")
    assert store.append_logs(child.conn, run.fence, [("2026-01-01T00:00:00Z", "info", "x")]) is None
    assert store.load_steps(child.conn, run.run_id) == {}


def test_the_ghost_of_a_former_attempt_records_nothing_for_the_next(fleet: Fleet, child: Child, run: Claimed) -> None:
    fleet.crash(child, run.fence)
    heir = fleet.worker("p")
    assert heir.must_claim().run_id == run.run_id
    with pytest.raises(Fenced):
        store.record_step(child.conn, run.fence, "load", "1", 0.1)
    with pytest.raises(Fenced), child.conn.transaction():
        store.hold_run(child.conn, run.fence)
    assert not store.record_progress(child.conn, run.fence, 0.5, "half")
    assert store.append_logs(child.conn, run.fence, [("2026-01-01T00:00:00Z", "info", "x")]) is None


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Fence)])
def test_each_part_of_the_fence_counts(fleet: Fleet, child: Child, run: Claimed, field: str) -> None:
    wrong = dataclasses.replace(run.fence, **{field: getattr(run.fence, field) + 1})
    with pytest.raises(Fenced):
        store.record_step(child.conn, wrong, "load", "1", 0.1)
    with pytest.raises(Fenced), child.conn.transaction():
        store.hold_run(child.conn, wrong)
    assert not store.record_progress(child.conn, wrong, 0.5, "half")
    assert store.append_logs(child.conn, wrong, [("2026-01-01T00:00:00Z", "info", "x")]) is None
    assert store.release(child.conn, [wrong]) == []
    fleet.come_again(child, wrong)
    assert fleet.value("SELECT child FROM orbit.live") != child.child_id


def test_a_step_and_the_users_rows_commit_together(fleet: Fleet, child: Child, run: Claimed) -> None:
    child.conn.execute("CREATE TABLE mine (n int)")
    with child.conn.transaction(force_rollback=True):
        store.hold_run(child.conn, run.fence)
        child.conn.execute("INSERT INTO mine VALUES (1)")
        store.record_step(child.conn, run.fence, "write", "1", 0.1)
    assert store.load_steps(fleet.conn, run.run_id) == {}
    with child.conn.transaction():
        store.hold_run(child.conn, run.fence)
        child.conn.execute("INSERT INTO mine VALUES (1)")
        store.record_step(child.conn, run.fence, "write", "1", 0.1)
    assert child.conn.execute("SELECT n FROM mine").fetchall() == [(1,)]
    assert store.load_steps(fleet.conn, run.run_id) == {"write": "1"}
    child.conn.execute("DROP TABLE mine")


def test_nobody_takes_the_run_while_a_step_commits(fleet: Fleet, child: Child, run: Claimed) -> None:
    janitor, second = fleet.connect(), fleet.connect()
    with second.transaction():
        store.record_step(second, run.fence, "write", "1", 0.1)
        burial = fleet.in_background(janitor, lambda: fleet.crash(child, run.fence, conn=janitor))
        burial.until_blocked()
    assert burial.result() == [(run.run_id, RunState.PENDING)]
    assert store.load_steps(fleet.conn, run.run_id) == {"write": "1"}


def test_a_child_may_connect_again_while_a_step_commits(fleet: Fleet, child: Child, run: Claimed) -> None:
    second = fleet.connect()
    with second.transaction():
        store.record_step(second, run.fence, "write", "1", 0.1)
        store.start_child(child.conn, host_id=child.host_id, slot=0, nonce=child.nonce, pid=2, held=[run.fence])
    assert child.succeed(run.fence)


def test_a_step_of_a_run_that_is_being_taken_back_waits_and_is_fenced(fleet: Fleet, child: Child, run: Claimed) -> None:
    with fleet.conn.transaction():
        fleet.crash(child, run.fence)
        step = fleet.in_background(child.conn, lambda: store.record_step(child.conn, run.fence, "write", "1", 0.1))
        step.until_blocked()
    with pytest.raises(Fenced):
        step.result()
    assert store.load_steps(fleet.conn, run.run_id) == {}


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_who_asks_for_the_last_commit_waits_for_one_that_is_under_way(fleet: Fleet, child: Child, run: Claimed, ending: str) -> None:
    second = fleet.connect()
    fleet.conn.execute("UPDATE orbit.live SET commits = 32767")
    with second.transaction(force_rollback=ending == "rollback"):
        store.hold_run(second, run.fence)
        number = store.count_commit(second, run.fence)
        asked = fleet.in_background(child.conn, lambda: store.last_commit(child.conn, run.fence))
        asked.until_blocked()
    assert (asked.result() == number) == (ending == "commit")
    fleet.crash(child, run.fence)
    for call in (store.count_commit, store.last_commit):
        with pytest.raises(Fenced):
            call(child.conn, run.fence)


def test_a_transaction_is_counted_whatever_its_author_has_made_of_the_connection(fleet: Fleet, child: Child, run: Claimed) -> None:
    second = fleet.session()
    second.row_factory = cast("Any", dict_row)
    with second.transaction():
        second.execute("SET LOCAL ROLE pg_monitor")
        number = store.count_commit(second, run.fence)
    assert store.last_commit(child.conn, run.fence) == number
    with second.transaction():
        second.execute("SET TRANSACTION READ ONLY")
        assert store.count_commit(second, run.fence) is None


def test_progress_and_logs_do_not_wait_for_the_transaction_of_a_step(fleet: Fleet, child: Child, run: Claimed) -> None:
    with child.conn.transaction():
        store.hold_run(child.conn, run.fence)
        assert store.record_progress(fleet.conn, run.fence, 0.5, "half")
        assert store.append_logs(fleet.conn, run.fence, [("2026-01-01T00:00:00Z", "info", "x")]) == 1


def test_progress_keeps_what_is_not_said_again(fleet: Fleet, child: Child, run: Claimed) -> None:
    store.record_progress(child.conn, run.fence, 0.25, "a quarter\0")
    store.record_progress(child.conn, run.fence, 7.0, None)
    progress = admin.describe(fleet.conn, run.run_id)["progress"]
    assert (progress["fraction"], progress["note"]) == (1.0, "a quarter\ufffd")
    store.record_progress(child.conn, run.fence, None, "done")
    progress = admin.describe(fleet.conn, run.run_id)["progress"]
    assert (progress["fraction"], progress["note"]) == (1.0, "done")


def test_a_log_goes_on_over_attempts_and_stops_at_its_limit(fleet: Fleet, child: Child, run: Claimed) -> None:
    at = "2026-01-01T00:00:00+00:00"
    assert store.append_logs(child.conn, run.fence, []) == 0
    assert store.append_logs(child.conn, run.fence, [(at, "info", "12345"), (at, "error", "\0")], max_bytes=15) == 2
    fleet.crash(child, run.fence)
    heir = fleet.worker("p")
    fence = heir.must_claim().fence
    assert store.append_logs(heir.conn, fence, [(at, "info", "12345"), (at, "info", "12345"), (at, "info", "x")], max_bytes=15) == 1
    assert store.append_logs(heir.conn, fence, [(at, "info", "x")], max_bytes=15) == 0
    lines = fleet.rows("SELECT line, attempt, level, message FROM orbit.run_logs ORDER BY line")
    assert lines == [
        (1, 1, "info", "12345"),
        (2, 1, "error", "\ufffd"),
        (3, 2, "info", "12345"),
        (4, 2, "warning", "the log is cut here: it has reached 15 bytes"),
    ]
