"""Upgrade in place: another program in the same process, with the same children and the runs that they have in hand.

The new program is broken, held up or killed by a `sitecustomize` of the test's: Python runs it before anything else. It knows
the rehearsal from the successor by their pids.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from orbitd import __version__
from orbitd.control.client import connected
from orbitd.errors import Conflict, OrbitError
from orbitd.system import process
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually, kill_process_of

pytestmark = pytest.mark.daemon

HOLDS = """
    import os, subprocess, time
    from pathlib import Path

    @pipeline("leaves")
    def leaves(ctx: Context) -> list[int]:
        return [os.getpid(), subprocess.Popen(["/bin/sleep", "300"], env={}, start_new_session=True).pid]

    @pipeline("holds")
    def holds(ctx: Context, until: str) -> int:
        while not Path(until).exists():
            time.sleep(0.01)
        return os.getpid()
"""

CUSTOM = """
    import os, pathlib, sys, time
    here = pathlib.Path(__file__).parent
    pid_file = here / "arbiter"
    if "_ORBITD_ESTATE" in os.environ and pid_file.exists():
        is_successor = os.getpid() == int(pid_file.read_text())
        exec((here / "do").read_text())
"""


@pytest.fixture
def custom(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the `sitecustomize`: `here` in the code that `_meddle` puts there."""
    path = folder / "custom"
    path.mkdir()
    (path / "sitecustomize.py").write_text(textwrap.dedent(CUSTOM))
    monkeypatch.setenv("PYTHONPATH", str(path))
    return path


@pytest.fixture
def daemon(begin: Begin, custom: Path) -> Daemon:
    return begin(HOLDS)


def _meddle(daemon: Daemon, custom: Path, code: str) -> None:
    """Have this done at the start of rehearsal and successor; `is_successor` tells which."""
    (custom / "do").write_text(textwrap.dedent(code))
    (custom / "arbiter").write_text(str(daemon.pid))


def _orbitctl(daemon: Daemon, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "orbitd.ctl.main", "--socket", str(daemon.socket), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20)


def _descriptors(daemon: Daemon) -> list[str]:
    kinds = []
    for entry in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            kinds.append(str(entry.readlink()).split(":")[0])
    return sorted(kinds)


def _descriptors_at_rest(daemon: Daemon) -> list[str]:
    """With no connection left of those that asked for the status: listener, wake-up pair, mold, janitor and two children."""
    return eventually(lambda: _descriptors(daemon), lambda kinds: kinds.count("socket") == 7)


def _assert_stops_clean(daemon: Daemon) -> None:
    """Exit 0, nobody left, and nothing for the next arbiter to take over."""
    status = daemon.status()
    pids = [each["pid"] for each in (*status["processes"], *status["slots"]) if each["pid"]]
    assert daemon.stop() == 0
    assert [pid for pid in pids if process.stat(pid)] == []
    assert not (daemon.folder / "state" / "incarnation.json").exists()
    assert not daemon.socket.exists()


def test_a_run_in_flight_is_finished_by_the_child_that_began_it_while_the_new_code_takes_over(daemon: Daemon, tmp_path: Path) -> None:
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    old = daemon.slot_running(run_id)["pid"]
    janitor, mold, before = daemon.pid_of("janitor"), daemon.pid_of("mold"), daemon.pid
    called = _orbitctl(daemon, "upgrade", "--wait")
    assert called.returncode == 0, called.stderr
    assert called.stdout == f"orbitd {__version__} serves, generation 2; it was {__version__}\n"
    status = daemon.await_status(lambda status: status["generation"] == 2 and status["children"]["ready"] == 2)
    assert (status["pid"], status["problems"]) == (before, [])
    assert {slot["pid"]: slot["generation"] for slot in status["slots"]}[old] == 1
    child, stray = daemon.await_run(daemon.enqueue("leaves"), "succeeded")["result"]
    assert kill_process_of(daemon, child)
    eventually(lambda: process.stat(stray) is None)
    (tmp_path / "done").touch()
    run = daemon.await_run(run_id, "succeeded")
    assert (run["result"], [attempt["outcome"] for attempt in run["attempts"]]) == (old, ["succeeded"])
    eventually(daemon.child_pids, lambda pids: old not in pids)
    assert daemon.pid_of("janitor") != janitor
    eventually(lambda: daemon.pid_of("mold"), lambda pid: pid != mold)
    booted = eventually(
        lambda: [each["gen"] for each in daemon.ask("events")["items"] if each["event"] == "child_booted"], lambda g: len(g) == 5
    )
    assert booted.count(1) == 2, "the events before it are kept"
    _assert_stops_clean(daemon)


def test_children_are_kept_and_looked_after_even_if_the_new_generation_fails(daemon: Daemon) -> None:
    """Complaint 1, gunicorn#371: nobody is orphaned by a new program that finds the code broken."""
    before = daemon.child_pids()
    daemon.write_code("raise RuntimeError('no such table')")
    with pytest.raises(
        OrbitError,
        match=rf"(?s)^orbitd was upgraded from {__version__} to {__version__}; but the reload .*generation 1 goes on.*no such table",
    ) as caught:
        daemon.ask("upgrade", wait=True)
    assert caught.value.exit_code == 1
    assert daemon.child_pids() == before
    assert kill_process_of(daemon, before[0])
    status = daemon.await_status(lambda status: status["children"]["ready"] == 2 and before[0] not in daemon.child_pids())
    assert {slot["generation"] for slot in status["slots"]} == {1}, "forked from the mold that was there before"
    assert before[1] in daemon.child_pids()
    _assert_stops_clean(daemon)


def test_descriptors_stay_as_many_however_often_it_is_upgraded_and_connections_outlive_it(daemon: Daemon) -> None:
    """Complaint 8, gunicorn#3648: nothing leaks from one program to the next."""
    before = _descriptors_at_rest(daemon)
    for generation in (2, 3):
        assert daemon.ask("upgrade", wait=True)["generation"] == generation
    with connected(daemon.socket, 20.0) as other:
        last = other.ask("events", {"limit": 1000})["next"]
        daemon.signal(signal.SIGUSR2)
        daemon.signal(signal.SIGUSR2)
        assert daemon.ask("upgrade", wait=True)["generation"] == 4, "it joins the one that is under way"
        names = [event["event"] for event in other.ask("events", {"after": last, "limit": 1000})["items"]]
    assert names.count("upgraded") == 1
    eventually(lambda: _descriptors(daemon), lambda seen: seen == before)


BROKEN = [
    ("sys.modules['orbitd.arbiter'] = None", "ModuleNotFoundError: import of orbitd.arbiter halted"),
    ("os._exit(0)", "self check failed"),  # a version that knows of no upgrade says nothing
    ("time.sleep(60)", "self check took too long"),
    ("os.unlink(sys.executable)", "cannot be started"),  # execve itself fails: the rehearsal has removed the interpreter
    ("", "self check could not begin"),
]


def test_a_new_program_that_is_broken_changes_nothing_and_says_why(begin: Begin, custom: Path, folder: Path) -> None:
    daemon = begin(HOLDS, start=False, **{"children.boot_timeout": "4s"})
    python = _own_python(folder / "python")
    with daemon.log_file.open("ab") as log:
        command = [str(python), "-m", "orbitd", "-c", str(daemon.config), "--allow-root"]
        daemon.adopt(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=daemon.folder))
    daemon.await_status(lambda status: status["children"]["ready"] == 2)
    children, before = daemon.child_pids(), _descriptors_at_rest(daemon)
    for code, says in BROKEN:
        _meddle(daemon, custom, code)
        called = _orbitctl(daemon, "upgrade", "--wait")
        assert (called.returncode, says in called.stderr) == (1, True), called.stderr
        status = daemon.status()
        assert [problem["code"] for problem in status["problems"]] == ["upgrade_failed"]
        assert (daemon.child_pids(), status["generation"]) == (children, 1)
        assert says in daemon.events("upgrade_failed")[-1]["error"]
    assert eventually(lambda: _descriptors(daemon), lambda seen: seen == before)
    _meddle(daemon, custom, "")
    python.symlink_to(Path(sys.executable).resolve())
    daemon.ask("upgrade", wait=True)
    assert daemon.status()["problems"] == []
    _assert_stops_clean(daemon)


def _own_python(home: Path) -> Path:
    """An interpreter that a test may remove."""
    (home / "bin").mkdir(parents=True)
    shutil.copy(Path(sys.prefix) / "pyvenv.cfg", home)
    (home / "lib").symlink_to(Path(sys.prefix) / "lib")
    (home / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    return home / "bin" / "python"


HELD = """
    if is_successor:
        (here / "begun").touch()
        while not (here / "go").exists():
            time.sleep(0.01)
"""


def test_signals_that_arrive_at_the_exec_are_heeded_by_the_new_program(daemon: Daemon, custom: Path) -> None:
    """A HUP between the exec and the handlers kills every process that does not hold it back."""
    victim, _ = daemon.child_pids()
    _meddle(daemon, custom, HELD)
    daemon.signal(signal.SIGUSR2)
    eventually((custom / "begun").exists)
    for number in (signal.SIGHUP, signal.SIGTTIN, signal.SIGCHLD, signal.SIGUSR1):
        daemon.signal(number)
    assert kill_process_of(daemon, victim)
    (custom / "go").touch()
    daemon.await_status(lambda status: status["generation"] == 3 and status["children"]["ready"] == 3 == len(status["slots"]))
    assert "crashed:SIGKILL" in [event["cause"] for event in daemon.events("child_exited")]
    (custom / "begun").unlink()
    (custom / "go").unlink()
    daemon.signal(signal.SIGUSR2)
    eventually((custom / "begun").exists)
    daemon.signal(signal.SIGTERM)
    (custom / "go").touch()
    assert daemon.await_exit() == 0
    assert not daemon.socket.exists()


@pytest.mark.parametrize(("code", "ends_by"), [("os.kill(os.getpid(), 9)", signal.SIGKILL), ("time.sleep(60)", signal.SIGALRM)])
def test_a_new_program_that_dies_or_hangs_before_it_takes_over_is_a_dead_arbiter_like_any_other(
    begin: Begin, custom: Path, tmp_path: Path, code: str, ends_by: signal.Signals
) -> None:
    daemon = begin(HOLDS, **{"children.boot_timeout": "4s"})
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    daemon.slot_running(run_id)
    status = daemon.status()
    pids = [each["pid"] for each in (*status["processes"], *status["slots"])]
    _meddle(daemon, custom, f"if is_successor: {code}")
    daemon.signal(signal.SIGUSR2)
    assert daemon.await_exit() == -ends_by
    eventually(lambda: [process.stat(pid) for pid in pids], lambda stats: all(stat is None or stat.state == "Z" for stat in stats))
    daemon.start()
    daemon.slot_running(run_id)
    (tmp_path / "done").touch()
    run = daemon.await_run(run_id, "succeeded")
    assert [attempt["outcome"] for attempt in run["attempts"]] == ["interrupted", "succeeded"]


def test_a_daemon_that_stops_is_not_upgraded_and_a_stop_is_not_held_up(daemon: Daemon, custom: Path, tmp_path: Path) -> None:
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    daemon.slot_running(run_id)
    _meddle(daemon, custom, "time.sleep(60)")
    daemon.signal(signal.SIGUSR2)
    (rehearsed,) = eventually(lambda: daemon.events("upgrade_rehearsed"))
    daemon.ask("stop")
    with pytest.raises(Conflict, match="stopping"):
        daemon.ask("upgrade")
    (tmp_path / "done").touch()
    assert daemon.await_exit() == 0
    eventually(lambda: process.stat(rehearsed["pid"]), lambda stat: stat is None or stat.state == "Z")
