"""Under systemd and as process 1: what the service manager hears, strangers who are reaped, signals that are heeded."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orbitd.errors import OrbitError
from orbitd.system.postgres import Cluster
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(60)]

CODE = """
    import os, time
    from pathlib import Path

    @pipeline("holds")
    def holds(ctx: Context, until: str) -> list[str]:
        while not Path(until).exists():
            time.sleep(0.01)
        return [name for name in ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID") if name in os.environ]
"""


class Manager:
    """Stands in for systemd: hears what is said, in order."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(15)
        self.socket.bind(str(path))
        self.heard: list[str] = []

    def until(self, line: str) -> list[str]:
        """The lines up to a packet with one that begins so."""
        lines: list[str] = []
        while not any(each.startswith(line) for each in lines):
            lines += self.socket.recv(4096).decode().splitlines()
        self.heard += lines
        return lines


@pytest.fixture
def manager(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    manager = Manager(folder / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    yield manager
    manager.socket.close()


def test_the_service_manager_hears_of_start_work_reload_and_stop(begin: Begin, manager: Manager, tmp_path: Path) -> None:
    daemon = begin(CODE)
    before = manager.until("READY=1")
    assert "EXTEND_TIMEOUT_USEC=30000000" in before
    assert "RELOADING=1" not in before
    assert manager.until("STATUS=2 of 2 children ready, 0 busy")
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    assert manager.until("STATUS=2 of 2 children ready, 1 busy")
    assert daemon.ask("reload", wait=True)
    assert any(line.startswith("MONOTONIC_USEC=") for line in manager.until("RELOADING=1"))
    assert manager.until("READY=1")
    daemon.write_code("this is no Python")
    with pytest.raises(OrbitError, match="the reload failed"):
        daemon.ask("reload", wait=True)
    assert manager.until("RELOADING=1")
    assert manager.until("READY=1")
    assert manager.until("WATCHDOG=1")
    daemon.signal(signal.SIGTERM)
    assert "EXTEND_TIMEOUT_USEC=30000000" in manager.until("STOPPING=1")
    assert manager.until("STATUS=draining: 1 child is left")
    assert manager.until("WATCHDOG=1")
    (tmp_path / "done").touch()
    assert daemon.await_exit() == 0
    assert daemon.describe(run_id)["result"] == []
    assert not any(line.startswith("MAINPID") for line in manager.heard)


def test_a_database_that_is_down_is_a_state_and_the_service_is_ready(begin: Begin, manager: Manager, own_cluster: Cluster) -> None:
    daemon = begin(CODE, start=False)
    daemon.use_database(own_cluster.dsn())
    own_cluster.stop()
    daemon.start(wait=False)
    assert "READY=1" in manager.until("STATUS=waiting for the database: ")
    assert daemon.stop() == 0


def test_a_service_manager_that_is_gone_is_one_warning_and_no_harm(begin: Begin, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(folder / "nobody"))
    daemon = begin(CODE)
    daemon.ask("reload", wait=True)
    assert daemon.stop() == 0
    assert len(daemon.events("service_manager_unreachable")) == 1


# --- as process 1 ---


def begin_as_init(daemon: Daemon) -> int:
    """Start it as process 1 of a pid namespace of its own; the pid that we know it by."""
    alone = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    with daemon.log_file.open("ab") as log:
        started = subprocess.Popen(
            [*alone, sys.executable, "-m", "orbitd", "--allow-root", "-c", str(daemon.config)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=daemon.folder,
        )
    daemon.adopt(started)
    daemon.await_status(lambda status: status["state"] == "running")
    [pid] = map(int, Path(f"/proc/{started.pid}/task/{started.pid}/children").read_text().split())
    return pid


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a pid namespace")
def test_as_process_1_it_reaps_strangers_whatever_they_exit_with_and_stops_with_0(begin: Begin) -> None:
    """Complaint 7: gunicorn#3220: an unrelated orphan that exited with 3 halted the server."""
    daemon = begin(CODE, start=False)
    init = begin_as_init(daemon)
    end = daemon.folder / "end"
    orphan = (
        f"import os, time\nos.fork() and os._exit(0)\nos.setsid()\nwhile not os.path.exists({str(end)!r}): time.sleep(0.01)\nos._exit({{}})"
    )
    for code in (3, 78):
        subprocess.run(["nsenter", "-t", str(init), "-p", "-m", sys.executable, "-c", orphan.format(code)], check=True)
    children = Path(f"/proc/{init}/task/{init}/children")
    eventually(lambda: len(children.read_text().split()), lambda number: number == 6)
    end.touch()
    eventually(lambda: len(children.read_text().split()), lambda number: number == 4)
    assert daemon.await_status(lambda status: status["children"]["ready"] == 2)["pid"] == 1
    assert not daemon.events("child_exited")
    run_id = daemon.enqueue("holds", until="for ever")
    daemon.slot_running(run_id)
    os.kill(init, signal.SIGINT)
    daemon.await_status(lambda status: status["state"] == "draining")
    os.kill(init, signal.SIGTERM)
    assert daemon.await_exit() == 0
    assert daemon.describe(run_id)["state"] == "pending"
