"""A host that cannot reach the database: what becomes of its lease, and of its runs."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orbitd import store
from orbitd.system.postgres import Cluster
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually, kill_process_of

pytestmark = pytest.mark.daemon

WORK = """
    import time
    from pathlib import Path

    def wait_for(path: str) -> None:
        while not Path(path).exists():
            time.sleep(0.01)

    @pipeline("quick")
    def quick(ctx: Context) -> None: ...

    @pipeline("patient")
    def patient(ctx: Context, until: str) -> None:
        wait_for(until)

    @pipeline("careful", on_lease_lost="interrupt")
    def careful(ctx: Context, until: str, mark: str) -> None:
        try:
            wait_for(until)
        finally:
            Path(mark).touch()
"""
SHORT = {"host.lease": "2s", "host.beat": "500ms", "poll.interval": "200ms"}


def lease_of(daemon: Daemon) -> tuple[datetime, datetime]:
    """Until when it holds, and since when it is steady."""
    (row,) = daemon.query("select lease_until, steady_since from orbit.hosts where ended_at is null")
    return row["lease_until"], row["steady_since"]


def test_a_run_ends_with_the_lease_where_its_pipeline_says_so_and_only_there(
    begin_apart: Begin, own_cluster: Cluster, tmp_path: Path
) -> None:
    daemon = begin_apart(WORK, **SHORT)
    done, mark = tmp_path / "done", tmp_path / "mark"
    careful = daemon.enqueue("careful", until=str(done), mark=str(mark))
    patient = daemon.enqueue("patient", until=str(done))
    for run_id in (careful, patient):
        daemon.slot_running(run_id)
    own_cluster.stop("fast")
    eventually(mark.exists)
    done.touch()
    own_cluster.start()
    run = daemon.await_run(careful, "succeeded")
    assert [(attempt["outcome"], attempt["cause"]) for attempt in run["attempts"]] == [("interrupted", "interrupted"), ("succeeded", None)]
    assert [attempt["outcome"] for attempt in daemon.await_run(patient, "succeeded")["attempts"]] == ["succeeded"]


def test_children_keep_the_lease_while_the_janitor_stands_still(begin: Begin) -> None:
    """Complaint 27: what holds up the beat of one process must not cost the host its runs."""
    daemon = begin(WORK, **SHORT, **{"database.call_timeout": "60s"})  # so long that the arbiter does not replace it
    before, steady_since = lease_of(daemon)
    assert kill_process_of(daemon, daemon.pid_of("janitor"), signal.SIGSTOP)
    eventually(lambda: lease_of(daemon)[0], lambda until: until > before + timedelta(seconds=5))
    assert lease_of(daemon)[1] == steady_since
    daemon.await_run(daemon.enqueue("quick"), "succeeded")


def test_a_run_that_holds_the_interpreter_for_longer_than_the_lease_runs_once(begin: Begin) -> None:
    """Complaint 27: pgqueuer#430, a busy event loop delayed the heartbeat, and the job was picked again while it ran."""
    daemon = begin(
        """
        import ctypes

        @pipeline("selfish")
        def selfish(ctx: Context) -> int:
            ctypes.PyDLL(None).usleep(3_000_000)  # the GIL is not let go
            return ctx.attempt
        """,
        **{"host.lease": "2s", "host.beat": "500ms"},
    )
    with daemon.database() as other:
        judge = store.register(other, boot_id="judge", name="judge", pid=1, version="1", lease_seconds=60)
        other.execute("update orbit.hosts set steady_since = now() - interval '1 day' where id = %s", [judge])
        run_id = daemon.enqueue("selfish")

        def state_while_judged() -> str:
            store.rescue(other, judge, "resume")
            return str(daemon.describe(run_id)["state"])

        eventually(state_while_judged, lambda state: state == "succeeded")
    assert daemon.describe(run_id)["result"] == 1


def test_what_an_arbiter_left_behind_is_taken_back_before_anything_is_claimed(begin: Begin, tmp_path: Path) -> None:
    """Complaint 14: solid_queue#735, after a SIGKILL limits were passed over at boot, because claiming began before recovery."""
    daemon = begin(WORK, **{"children.count": 1})
    held = daemon.enqueue("patient", until=str(tmp_path / "done"))
    daemon.slot_running(held)
    later = [daemon.enqueue("patient", until=str(tmp_path / "done")) for _ in range(2)]
    daemon.signal(signal.SIGKILL)
    daemon.await_exit()
    daemon.start()
    daemon.slot_running(held)
    (tmp_path / "done").touch()
    for run_id in later:
        daemon.await_run(run_id, "succeeded")
    order = daemon.query("select run_id from orbit.outcomes where outcome = 'succeeded' order by started_at")
    assert [row["run_id"] for row in order] == [held, *later]


@pytest.mark.parametrize("duty", ["beat", "find_work"])
def test_an_error_in_a_duty_of_the_janitor_stops_none_of_them_for_good(begin: Begin, duty: str) -> None:
    """Complaint 28: TkTech/chancy#88, one error of the driver, and the queue was never polled again."""
    daemon = begin(WORK, start=False, **SHORT)
    (arguments,) = daemon.query("select pg_get_function_identity_arguments(oid) as those from pg_proc where proname = %s", [duty])
    there, away = f"orbit.{duty}({arguments['those']})", f"orbit.{duty}_away({arguments['those']})"
    daemon.execute(f"alter function {there} rename to {duty}_away")
    daemon.start(wait=False)
    eventually(lambda: "does not exist" in daemon.log())
    daemon.execute(f"alter function {away} rename to {duty}")
    run_id = daemon.enqueue("quick")
    daemon.await_run(run_id, "succeeded")
    pid = daemon.child_pids()[0]
    assert kill_process_of(daemon, pid)
    eventually(daemon.child_pids, lambda pids: len(pids) == 2 and pid not in pids)
    daemon.await_run(daemon.enqueue("quick"), "succeeded")
