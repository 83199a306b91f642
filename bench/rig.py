"""What the measurements stand on: a durable Postgres, real daemons on it, and hand-written workers beside them."""

from __future__ import annotations

import itertools
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from bench import handwritten
from orbitd.store.migrate import migrate
from orbitd.system.postgres import Cluster
from tests.support.daemon import Daemon, eventually

ROOT = Path(__file__).parent.parent

# As installed, and written down: what a commit promises is what we measure.
_SETTINGS = {"fsync": "on", "synchronous_commit": "on"}


@dataclass(frozen=True)
class Effort:
    """How long to measure; all but the first are for one round."""

    rounds: int = 3
    turns: int = 3
    turn_seconds: float = 2.0
    idle_seconds: float = 20.0
    enqueues: int = 70
    kills: int = 10
    calls: int = 10


QUICK = Effort(rounds=1, turns=1, turn_seconds=1.5, idle_seconds=6.0, enqueues=30, kills=5, calls=5)


class Rig:
    """One Postgres, and a database of its own for whoever is measured: nobody finds what another has left."""

    def __init__(self, cluster: Cluster, folder: Path, effort: Effort) -> None:
        self.cluster, self.effort = cluster, effort
        self.folder = folder
        self._numbers = itertools.count(1)

    def new_folder(self) -> Path:
        """An empty one, with a short path: sockets are made in it."""
        folder = self.folder / str(next(self._numbers))
        folder.mkdir()
        return folder

    @cached_property
    def orbit(self) -> str:
        """A template with our schema."""
        return self.template("orbit", migrate)

    @cached_property
    def jobs_template(self) -> str:
        """A template with the hand-written table."""
        return self.template("jobs", self._make_jobs)

    def _make_jobs(self, dsn: str) -> None:
        with self.connect(dsn) as connection:
            connection.execute(handwritten.SCHEMA.encode())

    @contextmanager
    def without(self, setting: str) -> Iterator[None]:
        """The server with this setting turned off."""
        with self.connect(self.cluster.dsn()) as connection:
            connection.execute(f"alter system set {setting} = off".encode())
            connection.execute("select pg_reload_conf()")
            yield
            connection.execute(f"alter system reset {setting}".encode())
            connection.execute("select pg_reload_conf()")

    @contextmanager
    def copy_of(self, template: str) -> Iterator[str]:
        """The DSN of a new database, dropped afterwards whoever is still connected."""
        name = f"{template}_{next(self._numbers)}"
        self.cluster.create_database(name, template)
        yield self.cluster.dsn(name)
        with self.connect(self.cluster.dsn()) as connection:
            connection.execute(f"drop database {name} with (force)".encode())

    def template(self, name: str, prepare: Callable[[str], object], of: str = "template1") -> str:
        """A database to be copied, made ready by `prepare`, which is given its DSN. Nobody may be connected to it afterwards."""
        self.cluster.create_database(name, of)
        prepare(self.cluster.dsn(name))
        return name

    def connect(self, dsn: str) -> handwritten.Connection:
        """A plain autocommit connection."""
        return psycopg.connect(dsn, autocommit=True)

    def server_version(self) -> str:
        """Postgres's own word."""
        with self.connect(self.cluster.dsn()) as connection:
            return str(connection.execute("show server_version").fetchall()[0][0])

    def daemon(self, **options: object) -> AbstractContextManager[Daemon]:
        """A daemon with all children ready; `options` as `section.key`. At the end it interrupts what it has in hand."""
        return self.daemon_with(options)

    @contextmanager
    def daemon_with(self, options: Mapping[str, object], *, wait: bool = True) -> Iterator[Daemon]:
        """The same; unless we `wait`, its children may never be ready."""
        with self.copy_of(self.orbit) as dsn, self.daemon_on(dsn, options, wait=wait) as daemon:
            yield daemon

    @contextmanager
    def daemon_on(self, dsn: str, options: Mapping[str, object], *, wait: bool = True) -> Iterator[Daemon]:
        """The same, on a database that there is already."""
        settings = {"app.pipelines": ["bench.pipelines"], "app.path": [str(ROOT)], **options}
        daemon = Daemon(self.new_folder(), dsn, "", **settings)
        try:
            daemon.start(wait=wait)
            yield daemon
            daemon.signal(signal.SIGQUIT)
            daemon.await_exit()
        finally:
            daemon.destroy()

    @contextmanager
    def jobs(self) -> Iterator[str]:
        """The DSN of a database for hand-written workers."""
        with self.copy_of(self.jobs_template) as dsn:
            yield dsn

    @contextmanager
    def workers(self, jobs: str, count: int, holding: str = "state") -> Iterator[list[int]]:
        """The pids of hand-written workers at work in that database."""
        command = [sys.executable, "-m", "bench.handwritten", jobs, holding]
        others = len(self.sessions(jobs))
        processes = [subprocess.Popen(command, cwd=ROOT) for _ in range(count)]
        try:
            eventually(lambda: self.sessions(jobs), lambda sessions: len(sessions) == others + count)
            yield [process.pid for process in processes]
        finally:
            end(processes)

    def sessions(self, dsn: str) -> list[int]:
        """The pids of the server's processes that serve a database's clients, asked from another database."""
        with self.connect(self.cluster.dsn()) as connection:
            asked = "select pid from pg_stat_activity where datname = %s and backend_type = 'client backend'"
            return [pid for (pid,) in connection.execute(asked, [database_of(dsn)]).fetchall()]


def database_of(dsn: str) -> str:
    """The database's name."""
    return str(conninfo_to_dict(dsn)["dbname"])


def end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill them, and see them gone."""
    for process in processes:
        process.kill()
    for process in processes:
        process.wait()


def pids_by_role(daemon: Daemon) -> dict[str, list[int]]:
    """All processes of a daemon, by kind."""
    status = daemon.status()
    pids: dict[str, list[int]] = {"child": [slot["pid"] for slot in status["slots"] if slot["pid"]]}
    for process in status["processes"]:
        pids.setdefault(process["role"], []).append(process["pid"])
    return pids


@contextmanager
def rigged(effort: Effort = Effort()) -> Iterator[Rig]:
    """A rig of its own, gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="orbitd-bench-"))
    cluster = Cluster(folder / "postgres", settings=_SETTINGS)
    try:
        cluster.start()
        yield Rig(cluster, folder, effort)
    finally:
        cluster.stop("immediate")
        shutil.rmtree(cluster.home, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
