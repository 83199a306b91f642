"""The stop ladder: it always ends in time, whatever the user's code does, and whoever asks meanwhile is answered."""

from __future__ import annotations

import json
import signal
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orbitd.errors import Conflict
from orbitd.system import process
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually, kill_process_of

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(60)]

HOSTILE = """
    import atexit, os, signal, subprocess, sys, threading, time
    from pathlib import Path

    def is_here() -> None:
        Path(os.environ["PLACE"], sys._getframe(1).f_code.co_name).touch()

    @pipeline("blocks_every_signal")
    def blocks_every_signal(ctx: Context) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        is_here()
        while True:
            signal.sigwait({signal.SIGUSR2})

    @pipeline("catches_everything")
    def catches_everything(ctx: Context) -> None:
        is_here()
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass

    @pipeline("ignores_every_signal")
    def ignores_every_signal(ctx: Context) -> None:
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
            signal.signal(number, signal.SIG_IGN)
        is_here()
        time.sleep(600)

    @pipeline("hangs_at_exit_in_thread_and_handler")
    def hangs_at_exit_in_thread_and_handler(ctx: Context) -> None:
        threading.Thread(target=time.sleep, args=[600]).start()
        atexit.register(time.sleep, 600)
        is_here()

    @pipeline("leaves_grandchildren_in_sessions_of_their_own")
    def leaves_grandchildren_in_sessions_of_their_own(ctx: Context) -> None:
        for _ in range(3):
            if os.fork():
                break
            os.setsid()
        else:
            time.sleep(600)
        subprocess.Popen([sys.executable, "-c", "import os, time; os.fork() or os.setsid(); time.sleep(600)"], start_new_session=True)
        is_here()
        subprocess.run(["sleep", "600"])

    @pipeline("stops_itself")
    def stops_itself(ctx: Context) -> None:
        is_here()
        os.kill(os.getpid(), signal.SIGSTOP)

    @pipeline("holds_the_interpreter")
    def holds_the_interpreter(ctx: Context) -> None:
        import ctypes
        is_here()
        ctypes.PyDLL(None).sleep(600)
"""

TERMS = """
    import os, signal, time
    from pathlib import Path

    @pipeline("notes")
    def notes(ctx: Context, place: str) -> None:
        def note(what: str) -> None:
            with open(place, "a") as file:
                file.write(what + "\\n")
        signal.signal(signal.SIGTERM, lambda *_: note("SIGTERM"))
        note("begun")
        while True:
            try:
                time.sleep(60)
            except BaseException as error:
                note(type(error).__name__)

    @pipeline("holds")
    def holds(ctx: Context, until: str) -> str:
        while not Path(until).exists():
            time.sleep(0.01)
        return "done"
"""


def processes_of(daemon: Daemon) -> set[int]:
    """Every process whose working directory is the daemon's: it is handed on by fork and exec, whoever the parent is by now."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                state = process.stat(int(entry.name))
                if (entry / "cwd").readlink() == daemon.folder and state and state.state != "Z":
                    found.add(int(entry.name))
            except OSError:
                continue
    return found


def test_it_ends_in_time_whatever_user_code_does_and_leaves_nobody(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Complaints 22 (celery#4185) and 28 (Supervisor#1101, circus#1044), and uvicorn#2943: nothing is joined without an end."""
    monkeypatch.setenv("PLACE", str(tmp_path))
    names = [line.split('"')[1] for line in HOSTILE.splitlines() if "@pipeline" in line]
    daemon = begin(HOSTILE, **{"children.count": len(names), "shutdown.drain_timeout": "200ms", "runs.kill_after": "200ms"})
    runs = {name: daemon.enqueue(name) for name in names}
    eventually(lambda: {path.name for path in tmp_path.iterdir()}, lambda seen: seen >= set(names))
    assert daemon.stop() == 0
    eventually(lambda: processes_of(daemon), lambda left: not left)
    states = {name: daemon.describe(run)["state"] for name, run in runs.items()}
    assert states.pop("hangs_at_exit_in_thread_and_handler") == "succeeded"
    assert set(states.values()) == {"pending"}
    assert daemon.query("select distinct crashes, errors from orbit.live") == [{"crashes": 0, "errors": 0}]


def test_each_escalation_comes_once_and_a_child_gets_no_signal_but_the_last(begin: Begin, tmp_path: Path) -> None:
    """Complaint 4: gunicorn#3274, #3050; complaint 28: circus#1044: a second stop loses nobody.

    Complaint 29: circus#847: a long drain answers, and refuses what it cannot do.
    """
    daemon = begin(TERMS, **{"shutdown.drain_timeout": "1h", "runs.kill_after": "1h", "children.count": 1})
    noted = tmp_path / "noted"
    run_id = daemon.enqueue("notes", place=str(noted))
    eventually(noted.exists)
    daemon.signal(signal.SIGTERM)
    daemon.await_status(lambda status: status["state"] == "draining")
    daemon.ask("status")
    for command, amount in (("scale", {"amount": "3"}), ("reload", {}), ("pause", {}), ("drain", {}), ("restart", {})):
        with pytest.raises(Conflict, match="the daemon is stopping"):
            daemon.ask(command, **amount)
    daemon.signal(signal.SIGINT)
    status = daemon.await_status(lambda status: status["state"] == "stopping")
    assert [slot["run"] for slot in status["slots"]] == [str(run_id)]
    eventually(noted.read_text, lambda text: text == "begun\nRunInterrupted\n")
    daemon.signal(signal.SIGTERM)
    assert daemon.await_exit() == 0
    assert noted.read_text() == "begun\nRunInterrupted\n"
    assert not processes_of(daemon)
    assert [len(daemon.events(name)) for name in ("child_drained", "child_interrupted", "child_killed")] == [1, 1, 1]


def test_a_term_for_every_process_is_a_drain(begin: Begin, tmp_path: Path) -> None:
    """Complaint 24: celery#2700, #4795: heroku, and a unit with KillMode=control-group, signal all of them, and more than once."""
    daemon = begin(TERMS)
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    child = daemon.slot_running(run_id)["pid"]
    others = [daemon.pid_of("janitor"), daemon.pid_of("mold"), *daemon.child_pids()]
    for pid in [*others, child]:
        kill_process_of(daemon, pid, signal.SIGTERM)
    daemon.signal(signal.SIGTERM)
    daemon.await_status(lambda status: status["state"] == "draining" and len(daemon.slots()) == 1)
    (tmp_path / "done").touch()
    assert daemon.await_exit() == 0
    assert daemon.describe(run_id)["state"] == "succeeded"
    assert not daemon.events("janitor_exited")


def test_a_child_that_is_sent_a_term_finishes_its_run_and_is_replaced(begin: Begin, tmp_path: Path) -> None:
    """Complaint 24: celery#2700."""
    daemon = begin(TERMS, **{"children.count": 1})
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    child = daemon.slot_running(run_id)["pid"]
    for _ in range(2):
        assert kill_process_of(daemon, child, signal.SIGTERM)
    (tmp_path / "done").touch()
    assert daemon.await_run(run_id, "succeeded")["attempt"] == 1
    daemon.await_status(lambda status: [slot["pid"] for slot in status["slots"] if slot["state"] == "idle"] not in ([], [child]))
    assert daemon.events("child_exited")[0]["cause"] == "exited:0"


def test_a_janitor_that_dies_during_a_long_drain_is_replaced_and_the_run_is_finished(begin: Begin, tmp_path: Path) -> None:
    """Else the host's lease would lapse under the run in hand."""
    daemon = begin(TERMS, **{"children.count": 1, "host.lease": "2s", "host.beat": "200ms"})
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    daemon.slot_running(run_id)
    daemon.signal(signal.SIGTERM)
    daemon.await_status(lambda status: status["state"] == "draining")
    before = daemon.pid_of("janitor")
    assert kill_process_of(daemon, before)
    eventually(lambda: daemon.pid_of("janitor"), lambda pid: pid != before)
    (tmp_path / "done").touch()
    assert daemon.await_exit() == 0
    assert daemon.describe(run_id)["state"] == "succeeded"


@pytest.fixture
def aside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def test_a_stop_during_a_reload_ends_both_and_tells_who_waits(begin: Begin, aside: ThreadPoolExecutor, tmp_path: Path) -> None:
    daemon = begin(TERMS, **{"children.count": 1})
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    daemon.slot_running(run_id)
    daemon.write_code("import time\ntime.sleep(600)", "hangs.py")
    waits = aside.submit(daemon.ask, "reload", wait=True)
    daemon.await_status(lambda status: status["state"] == "reloading")
    daemon.signal(signal.SIGTERM)
    with pytest.raises(Conflict, match="reload will not be completed"):
        waits.result(timeout=15)
    assert daemon.status()["state"] == "draining"
    (tmp_path / "done").touch()
    assert daemon.await_exit() == 0
    assert daemon.describe(run_id)["state"] == "succeeded"


def test_a_hail_of_signals_while_children_die_keeps_nobody_from_an_answer(begin: Begin) -> None:
    """Complaint 6: gunicorn#3004, #3198: handlers do nothing, so none of them can find a lock held."""
    daemon = begin(TERMS)
    for child in daemon.child_pids():
        for _ in range(100):
            for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGCONT):
                daemon.signal(number)
        assert kill_process_of(daemon, child)
        assert daemon.status()["state"]
    daemon.await_status(lambda status: status["children"]["ready"] == 2)
    assert daemon.stop() == 0


def test_a_stop_during_the_first_import_ends_it(begin: Begin) -> None:
    daemon = begin("import time\ntime.sleep(600)", start=False).start(wait=False)
    daemon.await_status(lambda status: any(each["role"] == "mold" for each in status["processes"]))
    assert daemon.stop() == 0


def test_signals_that_come_too_early_are_heeded_once_it_listens(begin: Begin) -> None:
    """Complaint 5: gunicorn#1910. A predecessor's process that will not go keeps the start for two seconds."""
    daemon = begin(TERMS, start=False)
    with subprocess.Popen(["sleep", "600"]) as former:
        facts = process.stat(former.pid)
        assert facts
        recorded = {"pid": former.pid, "start_ticks": facts.start_ticks}
        state = daemon.folder / "state"
        state.mkdir()
        content = {"boot_id": str(uuid.uuid4()), "kernel_boot_id": process.kernel_boot_id(), "processes": [recorded]}
        (state / "incarnation.json").write_text(json.dumps(content))
        daemon.start(wait=False)
        eventually((state / "orbitd.lock").exists)
        for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
            daemon.signal(number)
        assert daemon.await_exit() == 0
    assert daemon.events("stopped")


def test_a_stop_ends_processes_that_are_themselves_stopped(begin: Begin) -> None:
    daemon = begin(TERMS, **{"shutdown.drain_timeout": "100ms", "runs.kill_after": "100ms"})
    for pid in [*daemon.child_pids(), daemon.pid_of("mold")]:
        assert kill_process_of(daemon, pid, signal.SIGSTOP)
    assert daemon.stop() == 0


def test_a_stop_while_children_wait_in_backoff_ends_at_once(begin: Begin) -> None:
    """Supervisor#1387: a restart during a crash loop killed the supervisor."""
    daemon = begin(
        """
        import os

        @pipeline("dies")
        def dies(ctx: Context) -> None:
            os._exit(3)
        """,
        **{"children.count": 1, "restart.backoff_first": "1h", "restart.backoff_longest": "1h", "runs.max_crashes": 99},
    )
    daemon.enqueue("dies")
    daemon.await_status(lambda status: [slot["state"] for slot in status["slots"]] == ["backoff"])
    daemon.ask("restart", slots=[])
    daemon.await_status(lambda status: [slot["state"] for slot in status["slots"]] == ["backoff"])
    assert daemon.stop() == 0
