"""The real orbitd for tests, with an operator's verbs: start, scale, reload, enqueue, kill, await a state.

Nothing here sleeps for a guess: `eventually` looks again until the state is there, or says what it saw instead.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psycopg
from psycopg.rows import dict_row

from orbitd import store
from orbitd.control import client
from orbitd.errors import DaemonNotRunning
from orbitd.store import admin
from orbitd.system import process
from tests.support.addresses import around

T = TypeVar("T")

_LOOK_AGAIN_SECONDS = 0.01
PATIENCE_SECONDS = 15.0


def eventually(look: Callable[[], T], wanted: Callable[[T], bool] = bool, *, seconds: float = PATIENCE_SECONDS) -> T:
    """What `look` sees once it is `wanted`. Raises AssertionError with the last sight when that does not come."""
    deadline = time.monotonic() + seconds
    while True:
        seen = look()
        if wanted(seen):
            return seen
        assert time.monotonic() < deadline, f"after {seconds}s still: {seen!r}"
        time.sleep(_LOOK_AGAIN_SECONDS)


class Daemon:
    """One orbitd in a folder of its own: configuration, pipelines, state, socket, log."""

    def __init__(self, folder: Path, dsn: str, pipelines: str, **options: object) -> None:
        self.folder, self.dsn = folder, dsn
        self.code, self.config = folder / "code", folder / "orbitd.toml"
        self.socket, self.log_file = folder / "run" / "orbitd.sock", folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self.code.mkdir(parents=True, exist_ok=True)
        self.write_code(pipelines)
        self._options = {
            **_addresses(dsn),
            "app.pipelines": [f"{self.code}/"],
            "children.count": 2,
            "instance.state_dir": str(folder / "state"),
            "control.socket": str(self.socket),
            "logging.format": "json",
            "restart.backoff_first": "50ms",
            "restart.backoff_longest": "500ms",
            "restart.max_restarts": 100_000,
            "reload.canary_time": "0",
            "reload.probation": "1s",
            "runs.backoff": ["10ms"],
            **options,
        }
        self.configure()

    # --- files ---

    def write_code(self, text: str, name: str = "work.py") -> None:
        """Write the pipelines; a reload takes them up."""
        (self.code / name).write_text("from orbitd import Context, Permanent, Retry, Snooze, pipeline\n" + textwrap.dedent(text))

    def configure(self, **options: object) -> None:
        """Change options; a reload takes them up."""
        self._options.update(options)
        sections: dict[str, list[str]] = {}
        for key, value in self._options.items():
            section, name = key.split(".")
            sections.setdefault(section, []).append(f"{name} = {json.dumps(value)}")
        self.config.write_text("\n".join(f"[{section}]\n" + "\n".join(lines) for section, lines in sections.items()) + "\n")

    def use_database(self, dsn: str) -> None:
        """Work on another database than the test's own."""
        self.dsn = dsn
        self.configure(**_addresses(dsn))

    def log(self) -> str:
        """Everything that the daemon and its processes have written."""
        return self.log_file.read_text(errors="replace") if self.log_file.exists() else ""

    def events(self, name: str) -> list[dict[str, Any]]:
        """The logged events of that name."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == name]

    # --- life ---

    @property
    def pid(self) -> int:
        """The arbiter's."""
        assert self._process, "not started"
        return self._process.pid

    def start(self, *arguments: str, wait: bool = True) -> Daemon:
        """Start the arbiter; wait until all children are ready."""
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                self.command(*arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
            )
        if wait:
            self.await_status(lambda status: status["state"] == "running" and status["children"]["ready"] == status["children"]["target"])
        return self

    def command(self, *arguments: str) -> list[str]:
        """How it is started."""
        return [sys.executable, "-m", "orbitd", "-c", str(self.config), "--allow-root", *arguments]

    def adopt(self, started: subprocess.Popen[bytes]) -> None:
        """Take over an arbiter that the test has started in a way of its own."""
        self._process = started

    def signal(self, number: int) -> None:
        """Signal the arbiter."""
        os.kill(self.pid, number)

    def await_exit(self, seconds: float = PATIENCE_SECONDS) -> int:
        """The arbiter's exit code (negative: signal), once it has ended."""
        assert self._process
        return self._process.wait(seconds)

    def stop(self) -> int:
        """TERM, and the exit code."""
        self.signal(signal.SIGTERM)
        return self.await_exit()

    def destroy(self) -> None:
        """End whatever is left of it, for the test's end."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    # --- the operator's questions ---

    def status(self) -> dict[str, Any]:
        """`orbitctl status --json`, over the socket; {} when it does not answer."""
        assert self._process
        assert self._process.poll() is None, f"the daemon has ended with {self._process.returncode}:\n{self.log()[-4000:]}"
        try:
            return client.call(self.socket, "status", {}, 5.0)
        except DaemonNotRunning:
            return {}

    def await_status(self, wanted: Callable[[dict[str, Any]], bool], *, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The status once it is as wanted."""
        try:
            return eventually(self.status, lambda status: bool(status) and wanted(status), seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-6000:]}") from None

    def await_status_or_exit(self, *states: str) -> None:
        """Wait for one of the daemon's states, or its end."""
        assert self._process
        ended = self._process
        eventually(lambda: ended.poll() is not None or self.status().get("state") in states)

    def ask(self, command: str, **args: object) -> dict[str, Any]:
        """A command over the socket."""
        return client.call(self.socket, command, args, 20.0)

    def slots(self) -> list[dict[str, Any]]:
        """The slots that have a child."""
        return [slot for slot in self.status()["slots"] if slot["pid"]]

    def child_pids(self) -> list[int]:
        """The children's."""
        return [slot["pid"] for slot in self.slots()]

    def pid_of(self, role: str) -> int:
        """The pid of the mold or the janitor."""
        status = self.await_status(lambda status: any(each["role"] == role for each in status["processes"]))
        return int(next(each["pid"] for each in status["processes"] if each["role"] == role))

    def slot_running(self, run_id: int) -> dict[str, Any]:
        """The slot that has the run in hand, once there is one."""
        status = self.await_status(lambda status: any(slot["run"] == str(run_id) for slot in status["slots"]))
        return next(slot for slot in status["slots"] if slot["run"] == str(run_id))

    # --- runs ---

    @contextlib.contextmanager
    def database(self) -> Iterator[store.Connection]:
        """A store connection; a test's own questions go around a pooler."""
        with store.connect(around(self.dsn), connect_timeout_seconds=5, call_timeout_seconds=10, application_name="test") as connection:
            yield connection

    def enqueue(self, pipeline: str, **args: object) -> int:
        """Enqueue one run."""
        with self.database() as connection:
            return admin.enqueue(connection, pipeline, args).id

    def describe(self, run_id: int) -> dict[str, Any]:
        """`orbitctl describe RUN --json`."""
        with self.database() as connection:
            return admin.describe(connection, run_id)

    def await_run(self, run_id: int, *states: str, seconds: float = PATIENCE_SECONDS) -> dict[str, Any]:
        """The run's description once it is in one of the states."""
        try:
            return eventually(lambda: self.describe(run_id), lambda run: run["state"] in states, seconds=seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log()[-6000:]}") from None

    def execute(self, sql: str) -> None:
        """Statements without an answer."""
        with psycopg.connect(around(self.dsn), autocommit=True) as connection:
            connection.execute(sql.encode())

    def query(self, sql: str, parameters: Sequence[object] = ()) -> list[dict[str, Any]]:
        """Rows of any query."""
        with psycopg.connect(around(self.dsn), autocommit=True, row_factory=dict_row) as connection:
            return connection.execute(sql.encode(), parameters).fetchall()


def _addresses(dsn: str) -> dict[str, object]:
    """The options for a database, which may be behind a pooler."""
    return {"database.url": dsn, "database.direct_url": around(dsn) if around(dsn) != dsn else ""}


def kill_process_of(daemon: Daemon, pid: int, number: int = signal.SIGKILL) -> bool:
    """Signal a process after making sure that it is the daemon's own; False if it is gone already."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        facts = process.stat(pid)
        if facts is None or facts.parent_pid != daemon.pid:
            return False
        signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        return False
    finally:
        os.close(pidfd)
    return True
