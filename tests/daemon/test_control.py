"""What an operator sees and does over the control socket of a real daemon, whatever else goes on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from array import array
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from orbitd.control import client
from orbitd.errors import ConfigError, Conflict, UsageError, WaitTimeout
from orbitd.system import process
from orbitd.system.slots import SlotMemory
from tests.ctl.schemas import check
from tests.daemon.conftest import Begin
from tests.support.daemon import PATIENCE_SECONDS, Daemon, eventually, kill_process_of

pytestmark = pytest.mark.daemon

STRANGER = 54321
WORK = """
    import time
    from pathlib import Path

    @pipeline("holds")
    def holds(ctx: Context, until: str) -> None:
        while not Path(until).exists():
            time.sleep(0.01)

    @pipeline("nothing")
    def nothing(ctx: Context) -> None:
        pass
"""


@pytest.fixture
def daemon(begin: Begin) -> Daemon:
    return begin(WORK)


# --- reload --dry-run ---


def test_a_reload_on_trial_tells_each_change_with_its_class_and_changes_nothing(daemon: Daemon) -> None:
    before = set(daemon.child_pids())
    assert daemon.ask("reload", **{"dry-run": True})["items"] == []

    (daemon.folder / "env").write_text("GREETING=hello\n")
    changed = {
        "children.count": 3,
        "runs.timeout": "90s",
        "poll.interval": "7s",
        "control.group": "staff",
        "database.admin_url": daemon.dsn,
    }
    daemon.configure(**changed, **{"app.env_file": str(daemon.folder / "env")})
    plan = daemon.ask("reload", **{"dry-run": True})
    found = {item["key"]: (item["reload"], item["new"]) for item in plan["items"]}
    assert found["children.count"] == ("live", 3)
    assert found["runs.timeout"] == ("new runs", "90s")
    assert found["control.group"] == ("restart", "staff")
    assert found["database.admin_url"][1].startswith("********")
    assert set(found) == {*changed, "app.env_file"}
    assert plan["variables"] == ["GREETING"]
    assert (set(daemon.child_pids()), daemon.status()["generation"], daemon.status()["last_reload"]) == (before, 1, None)

    daemon.ask("reload", wait=True)
    again = daemon.ask("reload", **{"dry-run": True})
    assert [item["key"] for item in again["items"]] == ["database.admin_url", "control.group"], "what waits for a restart still differs"
    assert again["items"][1]["old"] == "orbitd"


def test_a_reload_on_trial_of_a_broken_file_tells_its_faults_and_is_no_reload(daemon: Daemon) -> None:
    daemon.configure(**{"children.count": "many"})
    with pytest.raises(ConfigError, match=r"orbitd.toml:\d+:\d+: children.count"):
        daemon.ask("reload", **{"dry-run": True})
    status = daemon.status()
    assert (status["last_reload"], status["problems"]) == (None, [])
    with pytest.raises(UsageError, match="exclude each other"):
        daemon.ask("reload", wait=True, **{"dry-run": True})


# --- the age of what is told ---


def test_an_answer_tells_how_old_its_facts_are(begin: Begin) -> None:
    daemon = begin(WORK, **{"poll.interval": "200ms"})
    for command in ("status", "list", "health", "metrics"):
        assert 0 <= daemon.ask(command)["age_seconds"] < PATIENCE_SECONDS
    janitor = daemon.pid_of("janitor")
    eventually(lambda: daemon.ask("health")["age_seconds"], lambda age: age < 0.2)
    kill_process_of(daemon, janitor, signal.SIGSTOP)  # from here on nobody tells anything new of the database
    old = eventually(lambda: daemon.ask("health")["age_seconds"], lambda age: age > 1)
    assert daemon.ask("status")["age_seconds"] >= old
    kill_process_of(daemon, janitor, signal.SIGCONT)
    eventually(lambda: daemon.ask("health")["age_seconds"], lambda age: age < 0.2)


# --- an arbiter that does not answer ---


def offline(daemon: Daemon, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from orbitd.ctl.main import main; raise SystemExit(main())", "-c", str(daemon.config), "status"]
    return subprocess.run([*command, "--offline", *words], capture_output=True, text=True, timeout=20, check=False)


def may_read(user: int, pid: int) -> bool:
    """Whether another user may read the memory that a process shares with its children."""
    if not (child := os.fork()):
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        try:
            SlotMemory.of_process(pid)
        except PermissionError:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_the_children_of_a_stopped_arbiter_do_is_read_from_shared_memory(daemon: Daemon, tmp_path: Path) -> None:
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    busy = daemon.slot_running(run_id)
    pids = daemon.child_pids()
    daemon.signal(signal.SIGSTOP)
    try:
        with pytest.raises(WaitTimeout) as silent:
            client.call(daemon.socket, "status", {}, 0.2)
        assert "orbitctl status --offline" in str(silent.value.hint)
        told = offline(daemon, "--json")
        daemon.socket.unlink()  # now only the state directory knows it
        again = offline(daemon, "--json")
        people = offline(daemon)
        is_private = os.geteuid() != 0 or not may_read(STRANGER, daemon.pid)
    finally:
        daemon.signal(signal.SIGCONT)
    assert is_private
    document = json.loads(told.stdout)
    check(document)
    assert (document["state"], document["offline"], document["pid"], document["generation"]) == ("unknown", True, daemon.pid, 1)
    assert document["problems"][0]["command"] == f"kill -CONT {daemon.pid}"
    assert document["processes"] == [{"role": "arbiter", "pid": daemon.pid, "state": "stopped", "generation": None}]
    assert sorted(slot["pid"] for slot in document["slots"]) == sorted(pids)
    slot = next(slot for slot in document["slots"] if slot["pid"] == busy["pid"])
    assert (slot["slot"], slot["state"], slot["run"], slot["pipeline"]) == (busy["slot"], "busy", str(run_id), "holds")
    assert document["last_beat_at"]
    assert json.loads(again.stdout)["pid"] == daemon.pid
    assert people.stdout.startswith("✗ the arbiter is stopped") or people.stdout.startswith("x the arbiter is stopped")
    (tmp_path / "done").touch()
    daemon.await_run(run_id, "succeeded")


def test_without_a_daemon_there_is_nothing_to_read_offline(begin: Begin) -> None:
    daemon = begin(WORK, start=False)
    assert offline(daemon).returncode == 3


def test_a_dead_arbiter_that_nobody_has_reaped_is_not_running(daemon: Daemon) -> None:
    daemon.signal(signal.SIGKILL)
    eventually(lambda: process.stat(daemon.pid), lambda facts: facts is not None and facts.state == "Z")
    told = offline(daemon)
    assert (told.returncode, "is not running" in told.stderr) == (3, True), told.stderr


# --- verbs that take long ---


def test_no_verb_that_takes_long_holds_up_another(daemon: Daemon, tmp_path: Path) -> None:
    """Complaint 29: circus#847, #690: a long graceful timeout blocked every command."""
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    daemon.slot_running(run_id)
    with ThreadPoolExecutor() as threads:
        drained = threads.submit(daemon.ask, "drain", wait=True)
        daemon.await_status(lambda status: status["state"] == "paused")
        assert daemon.ask("scale", amount="3", wait=True)["children"] == 3
        assert daemon.ask("reload", wait=True)["generation"] == 2
        assert daemon.ask("loglevel", level="debug")["changed"]
        daemon.write_code("import time; time.sleep(60)", "slow.py")
        reloaded = threads.submit(daemon.ask, "reload", wait=True)
        daemon.await_status(lambda status: status["last_reload"]["ok"] is None)
        assert not drained.done()
        daemon.ask("stop")
        for awaited in (drained, reloaded):
            with pytest.raises(Conflict, match="the daemon is stopping"):  # what a stop has overtaken is not waited for
                awaited.result()
        assert daemon.status()["state"] == "draining"
        assert daemon.slot_running(run_id)["state"] == "draining"
    (tmp_path / "done").touch()
    assert daemon.await_exit() == 0
    assert daemon.describe(run_id)["state"] == "succeeded"


def test_a_kill_that_is_waited_for_ends_when_another_child_is_there(daemon: Daemon) -> None:
    before = daemon.slots()[0]
    answer = daemon.ask("kill", slot=before["slot"], wait=True)
    assert (answer["changed"], answer["pid"]) == (True, before["pid"])
    assert [(given["command"], given["uid"]) for given in daemon.events("command_given")] == [("kill", os.geteuid())]
    status = daemon.status()
    assert status["children"]["ready"] == 2
    assert before["pid"] not in {slot["pid"] for slot in status["slots"]}


def held(daemon: Daemon, kind: str) -> int:
    return len(list(Path(f"/proc/{daemon.pid}/{kind}").iterdir()))


def settled_descriptors(daemon: Daemon) -> int:
    """Those of the arbiter when no process is on its way out, or in."""
    daemon.await_status(lambda status: (len(status["processes"]), len(status["slots"])) == (3, 2))
    return held(daemon, "fd")


def test_hostile_clients_hold_up_nothing_and_leave_nothing(daemon: Daemon) -> None:
    before = settled_descriptors(daemon)
    said = [b"", b'{"command": "sta', b"\0" * 60_000, b"[" * 60_000 + b"\n", b'{"command": "status"}\n' * 20_000]
    with ExitStack() as crowd:
        for words in said * 8:
            client_ = crowd.enter_context(socket.socket(socket.AF_UNIX))
            client_.connect(os.fspath(daemon.socket))
            client_.setblocking(False)
            with suppress(BlockingIOError, ConnectionError):
                client_.sendmsg([words or b" "], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [client_.fileno()] * 8))])
        assert daemon.ask("restart", wait=True)["message"] == "2 children were replaced"
        slots = daemon.await_status(lambda status: len(status["slots"]) == 2)["slots"]
        daemon.ask("kill", slot=slots[0]["slot"], wait=True)
        daemon.await_run(daemon.enqueue("nothing"), "succeeded")
    eventually(lambda: settled_descriptors(daemon), lambda seen: seen == before)
    assert not daemon.events("turn_failed")


def test_reloads_and_hundreds_of_clients_leave_no_descriptor_and_no_thread(daemon: Daemon) -> None:
    """Complaint 8: gunicorn#3648: the control socket leaked a thread and two descriptors for each worker at each reload."""
    before = settled_descriptors(daemon)
    for _ in range(15):
        daemon.ask("reload")
        for _ in range(20):
            daemon.ask("events")
    daemon.ask("reload", wait=True)
    eventually(lambda: settled_descriptors(daemon), lambda seen: seen == before)
    assert held(daemon, "task") == 1
