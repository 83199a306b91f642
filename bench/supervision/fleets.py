"""The contenders: how each is started, who of its workers can work, and how it is told to reload."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib import metadata
from pathlib import Path
from typing import Protocol

from bench.rig import ROOT, Rig
from bench.supervision.work import Marks, Work
from orbitd.rules.states import Activity
from orbitd.system import process
from orbitd.system.slots import SharedSlots
from tests.support.daemon import Daemon, eventually

_HERE = Path(__file__).parent
_PATIENCE_SECONDS = 120.0
_CAN_WORK = (Activity.IDLE, Activity.BUSY)


class Fleet(Protocol):
    """A supervisor with its workers."""

    @property
    def root(self) -> int:
        """The supervisor's pid."""

    @property
    def marks(self) -> Marks:
        """What its workers have left."""

    def able(self) -> set[Hashable]:
        """The workers that can work at this moment, each by something that no later one has. Costs the fleet nothing."""

    def pids(self) -> list[int]:
        """The processes of these workers."""

    def reload(self) -> None:
        """Order that all workers be replaced by such with newly loaded code."""


class Contender(Protocol):
    """Who is measured. `missing` says why it cannot be; empty when it can."""

    name: str
    version: str
    missing: str

    def fleet(self, work: Work, count: int, *, wait: bool = True) -> AbstractContextManager[Fleet]:
        """A context in which there is a Fleet with so many workers, all of them able if we `wait`."""


class Orbitd:
    """What this tree is."""

    name, version, missing = "orbitd", "", ""

    def __init__(self, rig: Rig, folders: Callable[[], Path], **options: object) -> None:
        self._rig, self._folders, self._options = rig, folders, options

    @contextmanager
    def fleet(self, work: Work, count: int, *, wait: bool = True) -> Iterator[Fleet]:
        """A daemon with its restarts as in the field, and with reloads that go straight on."""
        marks = Marks(self._folders())
        environment = marks.folder / "environment"
        environment.write_text("".join(f"{name}={value}\n" for name, value in work.environment(marks).items()))
        options: dict[str, object] = {
            "app.pipelines": ["bench.supervision.pipelines"],
            "app.env_file": str(environment),
            "children.count": count,
        }
        with self._rig.daemon_with(options | _OPTIONS | self._options, wait=wait) as daemon:
            yield _OrbitdFleet(daemon, marks)


# as shipped, where the daemon of the tests is more hasty; and no wait for what the others have not
_OPTIONS = {
    "restart.backoff_first": "500ms",
    "restart.backoff_longest": "60s",
    "restart.max_restarts": 10,
    "reload.canary_time": "0",
    "reload.probation": "0",
}


class _OrbitdFleet:
    def __init__(self, daemon: Daemon, marks: Marks) -> None:
        self._daemon, self.root, self.marks = daemon, daemon.pid, marks

    @cached_property
    def _slots(self) -> SharedSlots:
        """The memory that the children write their state into, as the arbiter has it."""
        folder = Path(f"/proc/{self.root}/fd")
        memory = next(path for path in folder.iterdir() if str(path.readlink()).startswith("/memfd:orbitd-slots"))
        return SharedSlots(os.open(memory, os.O_RDWR), (), (), None)

    def able(self) -> set[Hashable]:
        records = enumerate(self._slots.records)
        return {(slot, record.child_id) for slot, record in records if record.child_id and record.read_activity() in _CAN_WORK}

    def pids(self) -> list[int]:
        return self._daemon.child_pids()

    def reload(self) -> None:
        self._daemon.ask("reload")


class Gunicorn:
    """gunicorn with sync workers, on a Unix socket."""

    name = "gunicorn"

    def __init__(self, folders: Callable[[], Path], *, preloads: bool = False) -> None:
        self._folders, self._preloads = folders, preloads
        self.missing = "" if importlib.util.find_spec("gunicorn") else "no gunicorn"
        self.version = "" if self.missing else metadata.version("gunicorn")

    @contextmanager
    def fleet(self, work: Work, count: int, *, wait: bool = True) -> Iterator[Fleet]:
        """A master and its workers."""
        marks = Marks(self._folders())
        command = [sys.executable, "-m", "gunicorn", "--config", str(_HERE / "gunicorn_conf.py"), "--workers", str(count)]
        command += ["--bind", f"unix:{marks.folder}/http", "--control-socket", f"{marks.folder}/control"]
        command += ["--preload"] * self._preloads
        with (marks.folder / "log").open("w") as log:
            environment = os.environ | work.environment(marks)
            master = subprocess.Popen([*command, "bench.supervision.wsgi"], cwd=ROOT, env=environment, stdout=log, stderr=log)
        fleet = _MarkedFleet(master.pid, marks)
        try:
            if wait:
                _await_able(fleet, count)
            yield fleet
        finally:
            master.send_signal(signal.SIGQUIT)
            master.wait()


class Pm2:
    """PM2 with Node's cluster. Fetched for this run, if there is an npm that gets it."""

    name = "PM2"

    def __init__(self, folders: Callable[[], Path]) -> None:
        self._folders = folders
        self.version = ""
        self.missing = self._fetch()

    def _fetch(self) -> str:
        if not (shutil.which("npm") and shutil.which("node")):
            return "no npm"
        folder = self._folders()
        command = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", str(folder), "pm2"]
        if subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode:
            return "npm could not fetch it"
        self._program = folder / "node_modules" / ".bin" / "pm2"
        self.version = json.loads((folder / "node_modules" / "pm2" / "package.json").read_text())["version"]
        return ""

    @contextmanager
    def fleet(self, work: Work, count: int, *, wait: bool = True) -> Iterator[Fleet]:
        """A daemon of its own and its workers; it is no child of ours, and ends when it is told to."""
        marks = Marks(self._folders())
        environment = os.environ | {"PM2_HOME": str(marks.folder)}
        app = {"name": "app", "script": str(_HERE / "app.cjs"), "exec_mode": "cluster", "instances": count, "wait_ready": True}
        ecosystem = marks.folder / "ecosystem.json"
        ecosystem.write_text(json.dumps({"apps": [app | {"env": work.environment(marks), "listen_timeout": 60_000}]}))

        def pm2(*arguments: str) -> None:
            subprocess.run([self._program, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False)

        try:
            pm2("start", str(ecosystem))
            fleet = _Pm2Fleet(int((marks.folder / "pm2.pid").read_text()), marks, lambda: pm2("reload", "all"))
            if wait:
                _await_able(fleet, count)
            yield fleet
        finally:
            pm2("kill")


@dataclass(frozen=True)
class _MarkedFleet:
    """One whose workers leave marks. A reload is a HUP."""

    root: int
    marks: Marks

    def able(self) -> set[Hashable]:
        return set(self.pids())

    def pids(self) -> list[int]:
        """The workers that have left their mark, and live."""
        facts = {pid: process.stat(pid) for pid in self.marks.ready()}
        return [pid for pid, each in facts.items() if each and each.parent_pid == self.root and each.state != "Z"]

    def reload(self) -> None:
        os.kill(self.root, signal.SIGHUP)


@dataclass(frozen=True)
class _Pm2Fleet(_MarkedFleet):
    order_reload: Callable[[], None]

    def reload(self) -> None:
        self.order_reload()


def _await_able(fleet: Fleet, count: int) -> None:
    eventually(fleet.able, lambda able: len(able) == count, seconds=_PATIENCE_SECONDS)
