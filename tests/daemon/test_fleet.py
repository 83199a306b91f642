"""Several hosts on one database, and databases that answer late or never."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orbitd.store import admin
from orbitd.system import process
from orbitd.system.postgres import Cluster
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually, kill_process_of

pytestmark = pytest.mark.daemon

WORK = """
    import time
    from pathlib import Path

    @pipeline("holds", max_crashes=1000)
    def holds(ctx: Context, until: str) -> int:
        while not Path(until).exists():
            time.sleep(0.01)
        return ctx.attempt

    @pipeline("quick")
    def quick(ctx: Context) -> int:
        return ctx.attempt
"""
LEASES = {"host.lease": "2s", "host.beat": "200ms"}


def test_the_runs_of_a_lost_host_are_rescued_by_another_after_its_lease(begin: Begin, tmp_path: Path) -> None:
    lost = begin(WORK, **LEASES)
    run_id = lost.enqueue("holds", until=str(tmp_path / "done"))
    lost.slot_running(run_id)
    other = begin(WORK, **LEASES)
    lost.signal(signal.SIGKILL)
    lost.await_exit()
    other.slot_running(run_id)
    (tmp_path / "done").touch()
    attempts = other.await_run(run_id, "succeeded")["attempts"]
    assert [(attempt["outcome"], attempt["cause"]) for attempt in attempts] == [("interrupted", "host_lost"), ("succeeded", None)]


def test_a_host_that_was_taken_for_dead_cannot_finish_what_was_rescued_and_joins_anew(begin: Begin, tmp_path: Path) -> None:
    frozen = begin(WORK, **LEASES)
    run_id = frozen.enqueue("holds", until=str(tmp_path / "done"))
    frozen.slot_running(run_id)
    tree = [frozen.pid, frozen.pid_of("mold"), frozen.pid_of("janitor"), *frozen.child_pids()]
    other = begin(WORK, **LEASES)
    _signal_all(frozen, tree, signal.SIGSTOP)
    other.slot_running(run_id)
    (tmp_path / "done").touch()
    other.await_run(run_id, "succeeded")
    _signal_all(frozen, tree, signal.SIGCONT)
    eventually(lambda: frozen.events("zombie_rejected"))
    assert frozen.query("select outcome, cause from orbit.outcomes order by finished_at") == [
        {"outcome": "interrupted", "cause": "host_lost"},
        {"outcome": "succeeded", "cause": None},
    ]
    other.stop()
    frozen.await_status(lambda status: status["state"] == "running")
    frozen.await_run(frozen.enqueue("quick"), "succeeded")


def _signal_all(daemon: Daemon, pids: list[int], number: int) -> None:
    """The arbiter last when stopping, first when going on: it must not see the others stand still."""
    if number == signal.SIGCONT:
        daemon.signal(number)
    for pid in pids:
        facts = process.stat(pid)
        if pid != daemon.pid and facts and facts.parent_pid == daemon.pid:
            os.kill(pid, number)
    if number == signal.SIGSTOP:
        daemon.signal(number)


def test_two_daemons_share_the_work_and_one_stops_without_a_gap(begin: Begin) -> None:
    first, second = begin(WORK), begin(WORK)
    with first.database() as connection:
        admin.enqueue_many(connection, [{"pipeline": "quick"}] * 300)
    assert first.stop() == 0
    eventually(
        lambda: first.query("select count(*) as n from orbit.outcomes where outcome = 'succeeded'"), lambda rows: rows == [{"n": 300}]
    )
    assert second.status()["state"] == "running"


@pytest.fixture
def deaf() -> Iterator[str]:
    """The address of a server that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"postgresql://nobody@127.0.0.1:{server.getsockname()[1]}/none"


def test_an_address_that_never_answers_is_waited_for_and_can_be_left(begin: Begin, deaf: str) -> None:
    daemon = begin(WORK, start=False)
    daemon.use_database(deaf)
    daemon.configure(**{"database.connect_timeout": "1s", "database.call_timeout": "1s"})
    daemon.start(wait=False)
    daemon.await_status(lambda status: status["state"] == "waiting_database" and "timeout" in str(status["problems"]))
    assert daemon.stop() == 0


def test_a_server_session_that_freezes_is_given_up_and_the_run_is_reported_once(
    begin_apart: Begin, own_cluster: Cluster, tmp_path: Path
) -> None:
    daemon = begin_apart(WORK, **{"database.call_timeout": "1s", "children.count": 1})
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    slot = daemon.slot_running(run_id)["slot"]
    (backend,) = daemon.query("select pid from pg_stat_activity where application_name like %s", [f"orbitd% slot {slot} %"])
    assert own_cluster.is_ours(backend["pid"])
    os.kill(backend["pid"], signal.SIGSTOP)
    try:
        (tmp_path / "done").touch()
        assert daemon.await_run(run_id, "succeeded")["result"] == 1
    finally:
        os.kill(backend["pid"], signal.SIGCONT)
    assert daemon.query("select count(*) as n from orbit.outcomes") == [{"n": 1}]


def test_a_missing_function_is_waited_for_and_the_children_stay(begin: Begin) -> None:
    daemon = begin(WORK)
    before = daemon.child_pids()
    daemon.execute("alter function orbit.claim rename to claim_gone")
    run_id = daemon.enqueue("quick")
    eventually(lambda: daemon.events("database_call_failed"))
    daemon.execute("alter function orbit.claim_gone rename to claim")
    daemon.await_run(run_id, "succeeded")
    assert daemon.child_pids() == before


def test_a_killed_child_leaves_no_claim_behind_whatever_it_was_doing(begin: Begin) -> None:
    daemon = begin(WORK, **{"children.count": 1})
    for _ in range(15):
        run_id = daemon.enqueue("quick")
        kill_process_of(
            daemon, daemon.await_status(lambda status: bool(status["slots"]) and bool(status["slots"][0]["pid"]))["slots"][0]["pid"]
        )
        daemon.await_run(run_id, "succeeded")
