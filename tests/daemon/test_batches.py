"""Children that claim many runs at once: what waits in a hand must not suffer from what is in front of it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from orbitd.store import admin, queries
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually

WORK = """
import os, pathlib, signal, time
from orbitd import hand, pipeline

@pipeline("short")
def short(ctx, n=0):
    return n

@pipeline("gate", timeout="60s")
def gate(ctx, path=None):
    while path and not pathlib.Path(path).exists():
        time.sleep(0.01)

@pipeline("cutter", timeout="60s")
def cutter(ctx, path=None):
    if path:
        with ctx.transaction() as conn:
            ours = "datname = current_database() and application_name like '% slot 0%' and pid <> pg_backend_pid()"
            assert conn.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where {ours}").fetchall()
    gate.function(ctx, path)

@pipeline("brief")
def brief(ctx):
    time.sleep(0.1)

@pipeline("urgent", priority=2, batch=1)
def urgent(ctx):
    pass

@pipeline("deadly", max_crashes=2)
def deadly(ctx, at=None):
    if at is not None:
        os.kill(os.getpid(), signal.SIGKILL)

@pipeline("saboteur", max_crashes=2)
def saboteur(ctx, n):
    if n == 0 and ctx.attempt == 1:
        hand.Hand._look = lambda self: {}["nothing"]
        time.sleep(60)
"""


def enqueue_together(daemon: Daemon, pipeline: str, *args: dict[str, Any]) -> list[int]:
    """All at once, so that one claim finds them all."""
    with daemon.database() as connection:
        return admin.enqueue_many(connection, [{"pipeline": pipeline, "args": each} for each in args])


def batch_of(daemon: Daemon, run_id: int) -> int:
    """How many runs its claim has brought in all."""
    query = "select count(*) as n from orbit.outcomes where token = (select token from orbit.outcomes where run_id = %s)"
    return int(daemon.query(query, [run_id])[0]["n"])


@pytest.mark.parametrize("batch", [10, "auto"])
def test_many_short_runs_are_claimed_together_and_each_runs_once(begin: Begin, batch: int | str) -> None:
    daemon = begin(WORK, **{"children.count": 1, "poll.batch": batch})
    ids = enqueue_together(daemon, "short", *({"n": n} for n in range(300)))
    for n in (0, 150, 299):
        assert daemon.await_run(ids[n], "succeeded")["result"] == n
    eventually(lambda: daemon.query("select count(*) as n from orbit.live") == [{"n": 0}])
    assert daemon.query("select count(*) as n, count(distinct run_id) as runs from orbit.outcomes") == [{"n": 300, "runs": 300}]
    assert batch_of(daemon, ids[150]) > 1


def test_those_behind_a_long_run_are_handed_back_uncharged_and_others_run_them(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(WORK, **{"children.count": 2, "poll.batch": 10})
    ids = enqueue_together(daemon, "gate", {"path": str(tmp_path / "open")}, *[{}] * 5)
    for run_id in ids[1:]:
        assert daemon.await_run(run_id, "succeeded")["attempt"] == 1
    assert daemon.describe(ids[0])["state"] == "running"
    (tmp_path / "open").touch()
    daemon.await_run(ids[0], "succeeded")


def test_those_behind_a_long_run_are_handed_back_although_the_connection_was_lost(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(WORK, **{"children.count": 1, "poll.batch": 10})
    ids = enqueue_together(daemon, "cutter", {"path": str(tmp_path / "open")}, {}, {})
    for run_id in ids[1:]:
        daemon.await_run(run_id, "pending")
    assert daemon.slot_running(ids[0])["run"]
    (tmp_path / "open").touch()
    for run_id in ids:
        assert daemon.await_run(run_id, "succeeded")["attempt"] == 1


def test_what_ended_before_a_long_run_is_told_at_once(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(WORK, **{"children.count": 1, "poll.batch": 10})
    ids = enqueue_together(daemon, "gate", {}, {}, {"path": str(tmp_path / "open")}, {})
    for run_id in ids[:2]:
        daemon.await_run(run_id, "succeeded")
    assert daemon.slot_running(ids[2])["run"]
    (tmp_path / "open").touch()
    for run_id in ids[2:]:
        assert daemon.await_run(run_id, "succeeded")["attempt"] == 1


def test_a_crash_is_charged_to_the_run_that_was_running_and_never_to_its_neighbours(begin: Begin) -> None:
    daemon = begin(WORK, **{"children.count": 1, "poll.batch": 10})
    ids = enqueue_together(daemon, "deadly", {}, {}, {"at": 1}, {}, {})
    assert daemon.await_run(ids[2], "failed")["cause"] == "crashed:SIGKILL"
    for run_id in ids[:2] + ids[3:]:
        run = daemon.await_run(run_id, "succeeded")
        assert [attempt["outcome"] for attempt in run["attempts"]] == ["succeeded"]


def test_a_keeper_that_fails_ends_its_child_and_others_run_what_it_held(begin: Begin) -> None:
    daemon = begin(WORK, **{"children.count": 1, "poll.batch": 10})
    ids = enqueue_together(daemon, "saboteur", *({"n": n} for n in range(3)))
    attempts = [daemon.await_run(run_id, "succeeded")["attempt"] for run_id in ids]
    assert attempts == [2, 1, 1]
    (failure,) = daemon.events("keeper_failed")
    assert "KeyError: 'nothing'" in failure["error"]


def test_what_the_keeper_tells_slowly_does_not_hold_up_the_next_run(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(WORK, **{"children.count": 1, "poll.batch": 10})
    doors = [tmp_path / f"open{n}" for n in range(3)]
    first = daemon.enqueue("gate", path=str(doors[0]))
    daemon.slot_running(first)
    ids = enqueue_together(daemon, "gate", {}, {"path": str(doors[1])}, {"path": str(doors[2])})
    with daemon.database() as other, other.transaction():
        other.execute("SELECT FROM orbit.live WHERE run_id = %s FOR KEY SHARE", [ids[0]])  # lets it be claimed, and not be told
        doors[0].touch()
        eventually(lambda: daemon.query("SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%%orbit.finish%%'"))
        doors[1].touch()
        daemon.slot_running(ids[2])
        assert not daemon.events("database_call_failed"), "it still waits for its first answer"
    doors[2].touch()
    for run_id in ids:
        assert daemon.await_run(run_id, "succeeded")["attempt"] == 1


def test_a_drain_hands_back_what_was_not_begun(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(WORK, **{"children.count": 1, "poll.batch": 10, "shutdown.drain_timeout": "60s"})
    ids = enqueue_together(daemon, "gate", {"path": str(tmp_path / "open")}, *[{}] * 3)
    eventually(lambda: daemon.describe(ids[0])["state"] == "running")
    daemon.signal(signal.SIGTERM)
    for run_id in ids[1:]:
        daemon.await_run(run_id, "pending")
        assert daemon.describe(run_id)["attempt"] == 0
    (tmp_path / "open").touch()
    daemon.await_exit()
    assert daemon.describe(ids[0])["state"] == "succeeded"


def test_what_waits_in_a_hand_is_shown_as_running_there_and_goes_back_at_a_pause(begin: Begin) -> None:
    daemon = begin(WORK, **{"children.count": 1, "poll.batch": 15})
    ids = enqueue_together(daemon, "brief", *[{}] * 15)
    seen = eventually(lambda: looked_at(daemon), lambda rows: rows[0]["state"] == "succeeded")
    assert [(row["state"], row["slot"], row["attempt"]) for row in seen[-5:]] == [("running", 0, 1)] * 5
    assert daemon.slots()[0]["run"] in map(str, ids[:-5]), "of all these the one that was begun"
    daemon.ask("pause")
    seen = eventually(lambda: looked_at(daemon), lambda rows: {row["state"] for row in rows} == {"succeeded", "pending"})
    assert {row["attempt"] for row in seen if row["state"] == "pending"} == {0}
    assert daemon.slots()[0]["state"] == "idle"
    daemon.ask("unpause")
    eventually(lambda: looked_at(daemon), lambda rows: [(row["state"], row["attempt"]) for row in rows] == [("succeeded", 1)] * 15)


def looked_at(daemon: Daemon) -> list[dict[str, Any]]:
    """All runs, as an operator sees them."""
    return daemon.query("select state, slot, attempt from orbit.runs_view order by id")


def test_a_child_that_is_worn_runs_no_more_of_its_batch_than_it_should(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(WORK, **{"children.count": 1, "children.max_runs": 3, "children.max_runs_jitter": 0, "poll.batch": 10})
    ids = enqueue_together(daemon, "gate", {}, {}, {"path": str(tmp_path / "open")}, {}, {})
    for run_id in ids[3:]:
        assert len(daemon.await_run(run_id, "succeeded")["attempts"]) == 1
    assert daemon.describe(ids[2])["state"] == "running"
    (tmp_path / "open").touch()
    daemon.await_run(ids[2], "succeeded")
    reasons = eventually(lambda: [event["reason"] for event in daemon.events("child_drained")])
    assert reasons == ["max_runs"]
    children = daemon.query("select array_agg(run_id order by run_id) as runs from orbit.outcomes group by child order by child")
    assert [row["runs"] for row in children] == [ids[:3], ids[3:]]


def test_a_run_that_waits_in_a_hand_can_be_cancelled(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(WORK, **{"children.count": 1, "poll.batch": 10})
    ids = enqueue_together(daemon, "gate", {"path": str(tmp_path / "open")}, {}, {})
    eventually(lambda: daemon.describe(ids[0])["state"] == "running")
    daemon.execute(f"select orbit.cancel({ids[1]})")
    daemon.await_run(ids[1], "cancelled")
    (tmp_path / "open").touch()
    daemon.await_run(ids[2], "succeeded")


def test_a_more_urgent_run_goes_before_those_that_wait_in_a_hand(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(WORK, **{"children.count": 1, "poll.batch": 10})
    daemon.await_run(daemon.enqueue("urgent"), "succeeded")
    ids = enqueue_together(daemon, "gate", *({"path": str(tmp_path / f"open{n}")} for n in range(3)))
    eventually(lambda: daemon.describe(ids[0])["state"] == "running")
    urgent = daemon.enqueue("urgent")
    eventually(lambda: {daemon.describe(run_id)["state"] for run_id in ids[1:]} == {"pending"})
    (tmp_path / "open0").touch()
    daemon.await_run(urgent, "succeeded")
    for n in (1, 2):
        (tmp_path / f"open{n}").touch()
        daemon.await_run(ids[n], "succeeded")


def test_a_child_with_many_in_hand_that_loses_its_connection_goes_on_with_all_of_them(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(WORK, **{"children.count": 1, "poll.batch": 10})
    ids = enqueue_together(daemon, "gate", {}, {"path": str(tmp_path / "open")})
    daemon.await_run(ids[0], "succeeded")
    ours = "datname = current_database() and application_name like '%% slot 0%%'"
    assert daemon.query(f"select pg_terminate_backend(pid) from pg_stat_activity where {ours}")
    (tmp_path / "open").touch()
    assert len(daemon.await_run(ids[1], "succeeded")["attempts"]) == 1


def test_a_child_whose_prepared_statement_fits_the_schema_no_more_connects_anew(begin: Begin) -> None:
    """As when an upgrade gives a function other columns: until then the server refuses what it has prepared, for ever."""
    daemon = begin(WORK, **{"children.count": 1})
    before = [daemon.enqueue("short") for _ in range(10)]
    for run_id in before:
        daemon.await_run(run_id, "succeeded")
    text = (queries.FOLDER / "functions" / "finish_and_claim.sql").read_text()
    with daemon.database() as owner, owner.transaction():
        owner.execute("DO $$ BEGIN EXECUTE 'DROP FUNCTION ' || 'orbit.finish_and_claim'::regproc::regprocedure; END $$")
        owner.execute(text.replace("attempt smallint", "attempt int").replace("n.attempt", "n.attempt::int").encode())
    after = [daemon.enqueue("short") for _ in range(3)]
    for run_id in after:
        assert daemon.await_run(run_id, "succeeded")["attempt"] == 1
