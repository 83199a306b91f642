"""What breaks around the runs: processes killed at any moment, the database gone, slow or restarted (P1–P10, DB1–DB4)."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from orbitd import store
from orbitd.store import admin
from orbitd.system import process
from orbitd.system.postgres import Cluster
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually, kill_process_of
from tests.support.leftovers import assert_nothing_is_left_over, open_descriptors

pytestmark = pytest.mark.daemon

WORK = """
    import time
    from pathlib import Path

    @pipeline("quick")
    def quick(ctx: Context) -> str:
        return "done"

    @pipeline("short", max_crashes=1000)
    def short(ctx: Context) -> int:
        time.sleep(0.005)
        return ctx.attempt

    @pipeline("holds", max_crashes=1000)
    def holds(ctx: Context, until: str) -> int:
        ctx.step("first", lambda: 1)
        while not Path(until).exists():
            time.sleep(0.01)
        return ctx.attempt
"""


@pytest.fixture
def daemon(begin: Begin) -> Daemon:
    return begin(WORK)


def test_a_killed_mold_is_replaced_and_no_child_notices(daemon: Daemon) -> None:
    """Complaint 19 (puma#3596): the children live on, and slots are filled from the new mold."""
    before, mold = daemon.child_pids(), daemon.pid_of("mold")
    assert kill_process_of(daemon, mold)
    eventually(lambda: daemon.pid_of("mold"), lambda pid: pid != mold)
    assert daemon.child_pids() == before
    daemon.ask("scale", amount="3", wait=True)


def test_a_killed_janitor_is_replaced_and_work_goes_on(daemon: Daemon, tmp_path: Path) -> None:
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    daemon.slot_running(run_id)
    janitor = daemon.pid_of("janitor")
    assert kill_process_of(daemon, janitor)
    eventually(lambda: daemon.pid_of("janitor"), lambda pid: pid != janitor)
    daemon.await_run(daemon.enqueue("quick"), "succeeded")
    (tmp_path / "done").touch()
    assert daemon.await_run(run_id, "succeeded")["result"] == 1
    assert daemon.query("select count(*) as n from orbit.hosts") == [{"n": 1}]


def test_a_child_that_died_while_there_was_no_janitor_is_buried_by_the_next(daemon: Daemon, tmp_path: Path) -> None:
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    slot = daemon.slot_running(run_id)
    janitor = daemon.pid_of("janitor")
    assert kill_process_of(daemon, janitor, signal.SIGSTOP)
    assert kill_process_of(daemon, slot["pid"])
    daemon.await_status(lambda status: slot["pid"] not in [each["pid"] for each in status["slots"]])
    assert kill_process_of(daemon, janitor)
    (tmp_path / "done").touch()
    run = daemon.await_run(run_id, "succeeded")
    assert run["attempts"][0]["cause"] == "crashed:SIGKILL"


def test_everything_dies_with_a_killed_arbiter_and_the_next_one_takes_its_runs_back(daemon: Daemon, tmp_path: Path) -> None:
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    daemon.slot_running(run_id)
    pids = [daemon.pid_of("mold"), daemon.pid_of("janitor"), *daemon.child_pids()]
    daemon.signal(signal.SIGKILL)
    assert daemon.await_exit() == -signal.SIGKILL
    eventually(lambda: [process.stat(pid) for pid in pids], lambda stats: all(stat is None or stat.state == "Z" for stat in stats))
    daemon.start()
    daemon.slot_running(run_id)
    (tmp_path / "done").touch()
    run = daemon.await_run(run_id, "succeeded")
    assert [(attempt["outcome"], attempt["cause"]) for attempt in run["attempts"]] == [("interrupted", "interrupted"), ("succeeded", None)]
    assert run["attempts"][0]["error"].endswith(" ended: its arbiter died")
    assert [step["key"] for step in run["steps"]] == ["first"]


def test_a_child_that_dies_at_birth_is_not_respawned_for_ever(begin: Begin) -> None:
    daemon = begin(
        WORK, **{"restart.max_restarts": 3, "restart.backoff_first": "10ms", "restart.backoff_longest": "60s", "children.count": 1}
    )
    for _ in range(4):
        daemon.await_status(lambda status: status["children"]["ready"] == 1)
        (pid,) = daemon.child_pids()
        assert kill_process_of(daemon, pid)
        _await_gone(daemon, pid)
    status = daemon.await_status(lambda status: status["state"] == "degraded")
    assert status["slots"][0]["state"] == "held"
    assert [problem["code"] for problem in status["problems"]] == ["crash_loop", "no_child"]
    daemon.ask("reload", wait=True)
    daemon.await_status(lambda status: status["state"] == "running" and status["children"]["ready"] == 1)


def test_a_daemon_without_a_database_waits_and_works_once_it_is_there(begin: Begin, own_cluster: Cluster) -> None:
    own_cluster.stop("fast")
    daemon = begin(WORK, start=False)
    daemon.use_database(own_cluster.dsn())
    daemon.start(wait=False)
    status = daemon.await_status(lambda status: status["state"] == "waiting_database" and len(status["slots"]) == 2)
    assert [problem["code"] for problem in status["problems"]] == ["database_down"]
    assert {slot["state"] for slot in status["slots"]} == {"waiting"}
    own_cluster.start()
    store.migrate(own_cluster.dsn())
    daemon.await_run(daemon.enqueue("quick"), "succeeded")
    daemon.await_status(lambda status: status["state"] == "running" and status["problems"] == [])


def test_a_database_without_a_schema_is_waited_for_and_named(begin: Begin, empty_dsn: str) -> None:
    daemon = begin(WORK, start=False)
    daemon.use_database(empty_dsn)
    daemon.start(wait=False)
    status = daemon.await_status(lambda status: status["state"] == "waiting_database" and "no orbit schema" in str(status["problems"]))
    assert [problem["command"] for problem in status["problems"]] == ["orbitd migrate"]
    store.migrate(empty_dsn)
    daemon.await_status(lambda status: status["state"] == "running")


def test_an_outage_longer_than_the_lease_ends_no_process_and_loses_nothing(
    begin_apart: Begin, own_cluster: Cluster, tmp_path: Path
) -> None:
    daemon = begin_apart(WORK, **{"host.lease": "2s", "host.beat": "500ms"})
    before = daemon.child_pids()
    held = daemon.enqueue("holds", until=str(tmp_path / "done"))
    slot = daemon.slot_running(held)
    own_cluster.stop("fast")
    daemon.await_status(lambda status: status["state"] == "waiting_database")
    stopped = time.monotonic()
    (tmp_path / "done").touch()  # it ends in the midst of the outage, and cannot say so
    eventually(lambda: time.monotonic() - stopped > 3)
    assert daemon.child_pids() == before
    assert daemon.status()["slots"][slot["slot"]]["state"] == "busy"
    own_cluster.start()
    run = daemon.await_run(held, "succeeded")
    assert [attempt["outcome"] for attempt in run["attempts"]] == ["succeeded"]
    daemon.await_run(daemon.enqueue("quick"), "succeeded")
    assert daemon.child_pids() == before


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_the_database_under_load_loses_nothing(
    begin_apart: Begin, own_cluster: Cluster, mode: Literal["fast", "immediate"]
) -> None:
    daemon = begin_apart(WORK)
    with daemon.database() as connection:
        admin.enqueue_many(connection, [{"pipeline": "short"}] * 400)
    for done in (50, 150):
        _await_outcomes(daemon, done)
        own_cluster.stop(mode)
        own_cluster.start()
    _await_all_done(daemon, 400)


def test_a_thousand_runs_survive_a_storm_of_kills(begin: Begin) -> None:
    daemon = begin(WORK, **{"runs.max_crashes": 1000, "children.count": 3, "restart.min_uptime": "50ms"})
    with daemon.database() as connection:
        admin.enqueue_many(connection, [{"pipeline": "short"}] * 1000)
    open_before = open_descriptors(daemon)
    kills = _storm(daemon, daemon.child_pids)
    _await_all_done(daemon, 1000)
    assert kills > 3
    daemon.await_status(lambda status: status["children"]["ready"] == 3)
    assert_nothing_is_left_over(daemon, count=3, descriptors=open_before)


def test_a_storm_that_also_hits_arbiter_janitor_and_mold_loses_nothing(begin: Begin) -> None:
    daemon = begin(WORK, **{"runs.max_crashes": 1000, "host.lease": "3s", "host.beat": "500ms"})
    with daemon.database() as connection:
        admin.enqueue_many(connection, [{"pipeline": "short"}] * 1000)
    for role in ("janitor", "mold", "arbiter", "janitor", "arbiter", "mold"):
        _storm(daemon, daemon.child_pids, strokes=2)
        if role == "arbiter":
            daemon.signal(signal.SIGKILL)
            daemon.await_exit()
            daemon.start()
        else:
            kill_process_of(daemon, daemon.pid_of(role))
    _await_all_done(daemon, 1000)
    daemon.await_status(lambda status: status["children"]["ready"] == 2)
    assert_nothing_is_left_over(daemon, count=2)


def _await_gone(daemon: Daemon, pid: int) -> None:
    eventually(daemon.child_pids, lambda pids: pid not in pids)


def _await_outcomes(daemon: Daemon, count: int) -> None:
    eventually(lambda: int(daemon.query("select count(*) as n from orbit.outcomes")[0]["n"]), lambda seen: seen >= count)


def _storm(daemon: Daemon, targets: Callable[[], list[int]], strokes: int = 1000) -> int:
    """Kill a random child each 200 ms while there is work, at most so many times; how often one was hit."""
    hits, next_stroke = 0, time.monotonic()
    while strokes and daemon.query("select exists (select from orbit.live) or exists (select from orbit.delayed) as busy")[0]["busy"]:
        if time.monotonic() >= next_stroke:
            next_stroke += 0.2
            strokes -= 1
            hits += any(kill_process_of(daemon, pid) for pid in random.sample(pids, 1)) if (pids := targets()) else 0
    return hits


def _await_all_done(daemon: Daemon, count: int) -> None:
    """Every run has succeeded, each with exactly one such outcome."""
    summary = "select count(*) as outcomes, count(distinct run_id) as runs from orbit.outcomes where outcome = 'succeeded'"
    eventually(lambda: daemon.query(summary)[0], lambda seen: seen["runs"] >= count, seconds=25)
    assert daemon.query(summary) == [{"outcomes": count, "runs": count}]
    assert daemon.query("select (select count(*) from orbit.live) + (select count(*) from orbit.failed) as n") == [{"n": 0}]
