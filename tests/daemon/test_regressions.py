"""Faults that two reviews of the first version found, most of them by a reproduction that these tests were made from."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psycopg
import pytest

from orbitd.control import client
from orbitd.errors import OrbitError, WaitTimeout
from orbitd.store import admin
from orbitd.system import process
from orbitd.system.postgres import Cluster
from tests.daemon.conftest import Begin
from tests.support.addresses import around
from tests.support.daemon import Daemon, eventually, kill_process_of

pytestmark = pytest.mark.daemon

WORK = """
    import os, time
    from pathlib import Path

    @pipeline("quick")
    def quick(ctx: Context) -> str:
        return "done"

    @pipeline("dies", max_crashes=1)
    def dies(ctx: Context) -> None:
        os.kill(os.getpid(), 9)

    @pipeline("holds", max_crashes=1000)
    def holds(ctx: Context, until: str) -> int:
        while not Path(until).exists():
            time.sleep(0.01)
        return ctx.attempt

    @pipeline("long_sql", max_crashes=1)
    def long_sql(ctx: Context, seconds: int) -> None:
        with ctx.transaction() as conn:
            conn.execute("select pg_sleep(%s)", [seconds])

    @pipeline("swallows", timeout="1h", max_attempts=1)
    def swallows(ctx: Context) -> None:
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass

    @pipeline("steps", timeout="1s", max_attempts=1)
    def steps(ctx: Context, until: str) -> int:
        while not Path(until).exists():
            time.sleep(0.01)
        return ctx.step("one", lambda: 1)

    @pipeline("scribbles", max_crashes=1)
    def scribbles(ctx: Context) -> None:
        for fd in os.listdir("/proc/self/fd"):
            if os.path.exists(f"/proc/self/fd/{fd}") and "orbitd-slots" in os.readlink(f"/proc/self/fd/{fd}"):
                for slot in range(64):
                    os.pwrite(int(fd), (99).to_bytes(8, "little"), 4096 + 256 * slot)
        time.sleep(0.5)
"""


def test_a_newborn_that_dies_with_its_hello_unread_leaves_no_run_behind(begin: Begin) -> None:
    daemon = begin(WORK)
    mold = daemon.pid_of("mold")
    first, second = daemon.child_pids()
    daemon.ask("pause")
    run_id = daemon.enqueue("dies")
    assert kill_process_of(daemon, mold, signal.SIGSTOP)
    assert kill_process_of(daemon, first)
    daemon.await_status(lambda status: "starting" in [slot["state"] for slot in status["slots"]])
    daemon.signal(signal.SIGSTOP)
    assert kill_process_of(daemon, second)  # its end will be seen first, and everybody reaped on that occasion
    _unpause_behind_the_back_of(daemon)
    assert kill_process_of(daemon, mold, signal.SIGCONT)
    eventually(lambda: _has_zombie_that_claimed(daemon))
    daemon.signal(signal.SIGCONT)
    daemon.await_run(run_id, "failed")


def _unpause_behind_the_back_of(daemon: Daemon) -> None:
    fds = Path(f"/proc/{daemon.pid}/fd")
    slots = next(fd for fd in fds.iterdir() if "orbitd-slots" in str(fd.readlink()))
    with slots.open("r+b", buffering=0) as memory:
        memory.seek(5 * 8)
        memory.write(bytes(8))


def _has_zombie_that_claimed(daemon: Daemon) -> bool:
    rows = daemon.query("select c.pid from orbit.live l join orbit.children c on c.id = l.child where l.state = 1")
    return any((stat := process.stat(row["pid"])) and stat.state == "Z" for row in rows)


def test_a_child_that_cannot_be_watched_for_want_of_descriptors_does_not_stay(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(WORK, **{"children.count": 1})
    (pid,) = daemon.child_pids()
    soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (len(list(Path(f"/proc/{daemon.pid}/fd").iterdir())) - 1, hard))
    assert kill_process_of(daemon, pid)
    eventually(lambda: daemon.events("adoption_failed") or daemon.events("spawn_failed"))
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (soft, hard))
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    assert kill_process_of(daemon, daemon.slot_running(run_id)["pid"])
    (tmp_path / "done").touch()
    daemon.await_run(run_id, "succeeded")


def test_a_dead_childs_session_that_holds_its_run_keeps_nobody_else_waiting(begin: Begin) -> None:
    daemon = begin(WORK, **{"host.lease": "3s", "host.beat": "500ms"})
    run_id = daemon.enqueue("long_sql", seconds=20)
    slot = daemon.slot_running(run_id)
    sleeping = "select pid from pg_stat_activity where state = 'active' and query like '%%pg_sleep%%' and pid <> pg_backend_pid()"
    eventually(lambda: daemon.query(sleeping))
    assert kill_process_of(daemon, slot["pid"])
    daemon.await_run(daemon.enqueue("quick"), "succeeded", seconds=5)
    assert daemon.await_run(run_id, "failed")["attempts"][0]["cause"] == "crashed:SIGKILL"
    assert daemon.events("database_down") == []


def test_a_notification_that_makes_no_sense_ends_nobody(begin: Begin) -> None:
    daemon = begin(WORK)
    janitor = daemon.pid_of("janitor")
    daemon.execute("select pg_notify('orbit_work', 'hello')")
    daemon.execute("select pg_notify('orbit_cancel', '')")
    daemon.await_run(daemon.enqueue("quick"), "succeeded")
    assert daemon.pid_of("janitor") == janitor


def test_a_child_whose_row_was_ended_registers_anew(begin: Begin) -> None:
    daemon = begin(WORK)
    daemon.execute("update orbit.children set ended_at = now(), ended_cause = 'by hand'")
    before = daemon.child_pids()
    daemon.await_run(daemon.enqueue("quick"), "succeeded")
    assert daemon.child_pids() == before


def test_a_child_that_the_database_refuses_can_be_drained(begin: Begin) -> None:
    daemon = begin(WORK, **{"shutdown.drain_timeout": "60s"})
    daemon.execute("alter function orbit.claim rename to claim_away")
    daemon.enqueue("quick")
    eventually(lambda: len(daemon.events("database_call_failed")) > 1)
    assert daemon.stop() == 0


@pytest.mark.timeout(60)  # a pooler answers late that the server is gone
def test_a_pause_during_an_outage_holds_when_the_database_is_back(begin_apart: Begin, own_cluster: Cluster) -> None:
    daemon = begin_apart(WORK, **{"host.lease": "60s", "poll.interval": "200ms"})
    own_cluster.stop("fast")
    daemon.await_status(lambda status: {slot["state"] for slot in status["slots"]} == {"waiting"}, seconds=25)
    daemon.ask("pause")
    own_cluster.start()
    ids = [daemon.enqueue("quick") for _ in range(4)]
    daemon.await_status(lambda status: status["state"] == "paused" and {slot["state"] for slot in status["slots"]} == {"idle"})
    assert {daemon.describe(run_id)["state"] for run_id in ids} == {"pending"}
    daemon.ask("unpause")
    for run_id in ids:
        daemon.await_run(run_id, "succeeded")


def test_a_reload_that_fails_leaves_every_setting_as_it_was(begin: Begin) -> None:
    daemon = begin(WORK)
    daemon.write_code("import nothing_of_the_kind")
    daemon.configure(**{"children.count": 4})
    with pytest.raises(OrbitError):
        daemon.ask("reload", wait=True)
    assert daemon.status()["children"]["target"] == 2
    daemon.write_code(WORK)
    daemon.ask("reload", wait=True)
    assert daemon.status()["children"]["target"] == 4


def test_a_refused_configuration_does_not_disturb_a_reload_under_way(begin: Begin) -> None:
    daemon = begin(WORK)
    daemon.write_code("from pathlib import Path\nimport time\nwhile not Path('go').exists(): time.sleep(0.01)\n", "slow.py")
    daemon.configure(**{"children.count": 3})
    daemon.ask("reload")
    good = daemon.config.read_text()
    daemon.config.write_text(good + "\n[nonsense]\nx = 1\n")
    with pytest.raises(OrbitError, match="nonsense"):
        daemon.ask("reload", wait=True)
    (daemon.folder / "go").touch()
    daemon.await_status(lambda status: status["generation"] == 2 and status["children"]["ready"] == 3 and status["last_reload"]["ok"])


def test_a_mold_that_hangs_is_replaced(begin: Begin) -> None:
    daemon = begin(WORK, **{"children.boot_timeout": "1s"})
    mold = daemon.pid_of("mold")
    assert kill_process_of(daemon, mold, signal.SIGSTOP)
    assert kill_process_of(daemon, daemon.child_pids()[0])
    eventually(lambda: daemon.pid_of("mold"), lambda pid: pid != mold)
    daemon.await_status(lambda status: status["children"]["ready"] == 2)


def test_the_very_first_mold_may_be_killed(begin: Begin) -> None:
    daemon = begin("", start=False)
    daemon.write_code("from pathlib import Path\nimport time\nwhile not Path('go').exists(): time.sleep(0.01)\n", "slow.py")
    daemon.write_code(WORK)
    daemon.start(wait=False)
    mold = daemon.pid_of("mold")
    eventually(lambda: kill_process_of(daemon, mold))
    (daemon.folder / "go").touch()
    daemon.await_status(lambda status: status["state"] == "running")


def test_a_recorded_pid_that_names_a_thread_by_now_does_not_stop_the_next_start(begin: Begin) -> None:
    daemon = begin(WORK)
    daemon.signal(signal.SIGKILL)
    daemon.await_exit()
    ended = threading.Event()
    thread = threading.Thread(target=ended.wait)
    thread.start()
    record = daemon.folder / "state" / "incarnation.json"
    facts = json.loads(record.read_text())
    facts["processes"][0]["pid"] = thread.native_id
    record.write_text(json.dumps(facts))
    try:
        daemon.start()
    finally:
        ended.set()
        thread.join()


def test_a_child_that_scribbles_over_shared_memory_stops_nobody_else(begin: Begin) -> None:
    daemon = begin(WORK)
    run_id = daemon.enqueue("scribbles")
    daemon.await_run(run_id, "succeeded")
    daemon.await_run(daemon.enqueue("quick"), "succeeded")
    assert daemon.stop() == 0
    assert daemon.events("turn_failed") == []


def test_a_janitor_that_stands_still_is_replaced_before_the_lease_lapses(begin: Begin) -> None:
    options = {"host.lease": "6s", "host.beat": "500ms", "database.connect_timeout": "1s", "database.call_timeout": "1s"}
    daemon = begin(WORK, **options)
    janitor = daemon.pid_of("janitor")
    assert kill_process_of(daemon, janitor, signal.SIGSTOP)
    lapsed = "select lease_until < clock_timestamp() as lapsed from orbit.hosts"

    def look() -> tuple[bool, bool]:
        return daemon.query(lapsed)[0]["lapsed"], daemon.pid_of("janitor") != janitor

    assert eventually(look, any) == (False, True)


def test_a_janitor_that_waits_for_a_slow_import_is_not_taken_for_one_that_stands_still(begin: Begin) -> None:
    daemon = begin(WORK, start=False)
    daemon.configure(**{"host.lease": "2s", "host.beat": "500ms", "database.connect_timeout": "100ms", "database.call_timeout": "100ms"})
    daemon.write_code("from pathlib import Path\nimport time\nwhile not Path('go').exists(): time.sleep(0.01)\n", "slow.py")
    daemon.start(wait=False)
    janitor, until = daemon.pid_of("janitor"), time.monotonic() + 3
    eventually(lambda: time.monotonic() > until)
    assert daemon.pid_of("janitor") == janitor
    assert daemon.events("janitor_killed") == []
    (daemon.folder / "go").touch()
    daemon.await_status(lambda status: status["children"]["ready"] == 2)


def test_an_arbiter_that_stands_still_does_not_cost_the_host_its_lease(begin: Begin) -> None:
    daemon = begin(WORK, **{"host.lease": "3s", "host.beat": "200ms"})
    daemon.signal(signal.SIGSTOP)
    try:
        with psycopg.connect(around(daemon.dsn), autocommit=True) as connection:
            for _ in range(2000):
                connection.execute("select pg_notify('orbit_cancel', '1')")
        until = time.monotonic() + 5
        lapsed = "select lease_until < clock_timestamp() as lapsed from orbit.hosts"
        eventually(lambda: daemon.query(lapsed)[0]["lapsed"] or time.monotonic() > until)
        assert daemon.query(lapsed) == [{"lapsed": False}]
    finally:
        daemon.signal(signal.SIGCONT)


def test_a_cancelled_run_that_swallows_it_is_killed(begin: Begin) -> None:
    daemon = begin(WORK, **{"runs.kill_after": "500ms"})
    run_id = daemon.enqueue("swallows")
    daemon.slot_running(run_id)
    with daemon.database() as connection:
        admin.cancel(connection, run_id, "a test")
    daemon.await_run(run_id, "cancelled")


def test_the_time_of_a_run_stands_still_while_it_waits_for_the_database(begin_apart: Begin, own_cluster: Cluster) -> None:
    daemon = begin_apart(WORK, **{"runs.kill_after": "500ms"})
    before, go = daemon.child_pids(), daemon.folder / "go"
    run_id = daemon.enqueue("steps", until=str(go))
    daemon.slot_running(run_id)
    own_cluster.stop("fast")
    go.touch()
    stopped = time.monotonic()
    eventually(lambda: time.monotonic() - stopped > 4)
    own_cluster.start()
    assert daemon.await_run(run_id, "succeeded")["result"] == 1
    assert daemon.child_pids() == before


def test_a_lost_host_pays_by_the_pipelines_own_word(begin: Begin) -> None:
    daemon = begin(WORK, **{"host.lease": "2s", "host.beat": "200ms"})
    daemon.ask("pause")
    run_id = daemon.enqueue("dies")
    daemon.execute("""
        with host as (
            insert into orbit.hosts (boot_id, name, pid, version, lease, lease_until, steady_since)
            values ('lost', 'lost', 1, '0', interval '1s', now() - interval '1 min', now()) returning id
        ), child as (insert into orbit.children (host, slot, nonce, pid) select id, 0, 'n', 1 from host returning id)
        update orbit.live set state = 1, token = 5, child = (select id from child), claimed_at = now(), attempt = 1
    """)
    assert daemon.await_run(run_id, "failed")["attempts"][0]["cause"] == "host_lost"


def test_the_log_of_a_run_is_bounded_by_its_setting(begin: Begin) -> None:
    daemon = begin(
        """
        @pipeline("talks")
        def talks(ctx: Context) -> None:
            for _ in range(50):
                ctx.log.info("x" * 100)
        """,
        **{"runs.max_log": "1KiB"},
    )
    daemon.await_run(daemon.enqueue("talks"), "succeeded")
    kept = daemon.query("select sum(length(message)) as size from orbit.run_logs")[0]["size"]
    assert 1000 < kept < 1200  # with a last line that says that there was more


def test_what_a_child_printed_is_there_when_it_is_gone(begin: Begin) -> None:
    daemon = begin("""
        import os
        print("imported")

        @pipeline("prints", max_crashes=1)
        def prints(ctx: Context) -> None:
            print("printed")
            os._exit(3)
    """)
    daemon.await_run(daemon.enqueue("prints"), "failed")
    assert (daemon.log().count("imported\n"), daemon.log().count("printed\n")) == (1, 1)


def test_after_a_scale_down_an_idle_child_is_still_woken_at_once(begin: Begin) -> None:
    daemon = begin(WORK, **{"poll.interval": "60s", "host.beat": "60s", "host.lease": "10m"})
    daemon.ask("scale", amount="8", wait=True)
    daemon.ask("scale", amount="1", wait=True)
    for _ in range(10):
        daemon.await_run(daemon.enqueue("quick"), "succeeded", seconds=5)


def test_a_run_that_closes_our_descriptors_ends_its_child_and_writes_into_nothing_of_ours(begin: Begin) -> None:
    daemon = begin(
        """
        import os

        @pipeline("closes", max_crashes=1)
        def closes(ctx: Context) -> None:
            os.closerange(3, 1000)

        @pipeline("quick")
        def quick(ctx: Context) -> str:
            return "done"
        """,
        **{"children.count": 1},
    )
    (before,) = daemon.child_pids()
    run = daemon.await_run(daemon.enqueue("closes"), "failed")
    assert [attempt["cause"] for attempt in run["attempts"]] == ["exited:71"]
    daemon.await_run(daemon.enqueue("quick"), "succeeded")
    assert daemon.child_pids() != [before]
    assert len(daemon.events("runtime_channel_lost")) == 1
    assert daemon.stop() == 0


def test_a_second_stop_over_the_socket_changes_nothing(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(WORK)
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    daemon.slot_running(run_id)
    assert daemon.ask("stop", now=False)["changed"] is True
    assert daemon.ask("stop", now=False)["changed"] is False
    with pytest.raises(OrbitError, match="stopping"):
        daemon.ask("scale", amount="5", wait=False)
    (tmp_path / "done").touch()
    assert daemon.await_exit() == 0
    assert daemon.describe(run_id)["state"] == "succeeded"


def test_a_scale_down_that_waits_waits_for_the_run_in_hand(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(WORK, **{"children.count": 1})
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    daemon.slot_running(run_id)
    with pytest.raises(WaitTimeout):
        client.call(daemon.socket, "scale", {"amount": "0", "wait": True}, 0.5)
    (tmp_path / "done").touch()
    daemon.ask("scale", amount="0", wait=True)
    assert daemon.child_pids() == []


def test_who_cancelled_a_running_run_and_why_stands_with_it(begin: Begin) -> None:
    daemon = begin(WORK)
    run_id = daemon.enqueue("holds", until="never")
    daemon.slot_running(run_id)
    with daemon.database() as connection:
        admin.cancel(connection, run_id, "ann", "no longer wanted")
    assert daemon.await_run(run_id, "cancelled")["error"] == "cancelled by ann: no longer wanted"


def test_migrate_tells_what_is_wrong_in_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "orbitd", "migrate", "--set", f"database.url=postgresql://nobody@/none?host={tmp_path}"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 69
    assert ended.stderr.startswith("orbitd: the database does not answer: ")
    assert "Traceback" not in ended.stderr


def test_a_daemon_started_with_nothing_open_works_and_no_file_of_ours_takes_a_standard_number(begin: Begin) -> None:
    daemon = begin(WORK, start=False)
    shell = 'exec "$0" -m orbitd -c "$1" --allow-root <&- >&- 2>&-'
    with subprocess.Popen(["sh", "-c", shell, sys.executable, str(daemon.config)], start_new_session=True) as started:
        daemon.adopt(started)
        daemon.await_status(lambda status: status["state"] == "running")
        for pid in (daemon.pid, *daemon.child_pids()):
            assert {str(Path(f"/proc/{pid}/fd/{fd}").readlink()) for fd in (0, 1, 2)} == {"/dev/null"}
        daemon.await_run(daemon.enqueue("quick"), "succeeded")
        assert daemon.stop() == 0
