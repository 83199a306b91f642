"""Who is measured: orbitd in two ways, its peers, and the hand-written loop; each with its own database for each measurement."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

from bench import handwritten
from bench.rig import ROOT, Rig, end, pids_by_role
from bench.stamps import now
from bench.store import packages
from bench.store.packages import Found
from orbitd.store import admin
from tests.support.daemon import Daemon

_PEERS = Path(__file__).parent / "peers"
_CHUNK = 10_000
_BAD_CONFIGURATION = 78
NO_ARGS = "{}"


class Producer(Protocol):
    """Who asks for jobs as a program of the contender's users would."""

    def singly(self, jobs: int) -> float:
        """Ask for so many no-ops, each in its own transaction; the seconds that it took."""

    def at_once(self, jobs: int) -> float:
        """Ask for so many no-ops by whatever is meant for many; the seconds that it took."""

    def start(self, task: str, pipe: str) -> float:
        """Ask for one job; when the call began, on the clock of bench.stamps."""


@dataclass(frozen=True, slots=True)
class Sql:
    """How the bench itself fills a queue, quickly, and looks into it. `fill` takes %(task)s, %(args)s, a JSON object, and %(jobs)s."""

    fill: str
    waiting: str
    unfinished: str


class Queue:
    """A contender's jobs, in one database."""

    def __init__(self, dsn: str, connection: handwritten.Connection, sql: Sql) -> None:
        self.dsn, self.connection, self._sql = dsn, connection, sql

    @property
    def looker(self) -> int:
        """The server process that answers us: its CPU time is nobody's work."""
        return self.connection.info.backend_pid

    def fill(self, jobs: int, *, args: str = NO_ARGS, task: str = "noop") -> None:
        """Add so many jobs."""
        for begin in range(0, jobs, _CHUNK):
            self.connection.execute(self._sql.fill.encode(), {"args": args, "task": task, "jobs": min(_CHUNK, jobs - begin)})

    def analyze(self) -> None:
        """Let the planner know what is there, as autovacuum does within a minute."""
        self.connection.execute("analyze")

    def waiting(self) -> int:
        """Jobs that nobody has yet."""
        return self._count(self._sql.waiting)

    def unfinished(self) -> int:
        """Jobs that wait or run."""
        return self._count(self._sql.unfinished)

    def _count(self, statement: str) -> int:
        return int(self.connection.execute(statement.encode()).fetchall()[0][0])


Pids = Callable[[], Sequence[int]]
"""All processes of the workers at work, at this moment."""


class Contender(Protocol):
    """Who is measured. `missing` says why it cannot be, or is empty; `settings` what it was told; `guess` its runs/s, roughly."""

    name: str
    version: str
    missing: str
    settings: str
    guess: float

    def queue(self) -> AbstractContextManager[Queue]:
        """A new, empty queue."""

    def at_work(self, queue: Queue, count: int, *, tuned: bool = False) -> AbstractContextManager[Pids]:
        """So many worker processes; `tuned` for the quickest recovery from a kill."""

    def producing(self, queue: Queue) -> AbstractContextManager[Producer]:
        """A producer, connected."""


# ------------------------------------------------------------------------------------------------------------------ orbitd


class Orbitd:
    """What this tree is."""

    sql = Sql(
        fill="""select orbit.enqueue_many(jsonb_agg(jsonb_build_object('pipeline', %(task)s::text, 'args', %(args)s::jsonb)))
                  from generate_series(1, %(jobs)s)""",
        waiting="select count(*) from orbit.live where state = 0",
        unfinished="select count(*) from orbit.live",
    )

    def __init__(self, rig: Rig, name: str, settings: str, guess: float, **options: object) -> None:
        self.name, self.settings, self.guess = name, settings, guess
        self.version = ""
        self._rig, self._given = rig, options
        self._options = {"app.pipelines": ["bench.pipelines"], "app.path": [str(ROOT)], **options}
        self.missing = self._refusal()

    def in_many_lanes(self, sql: Sql) -> Orbitd:
        """The same with many pipelines, between which `sql` chooses."""
        other = Orbitd(self._rig, self.name, self.settings, self.guess, **self._given, **{"app.pipelines": ["bench.store.many_pipelines"]})
        other.sql = sql
        return other

    def _refusal(self) -> str:
        """What the daemon says to these settings, if it does not take them."""
        daemon = Daemon(self._rig.new_folder(), self._rig.cluster.dsn(), "", **self._options)
        checked = subprocess.run(daemon.command("check"), capture_output=True, text=True, check=False, cwd=ROOT)
        return "not available" if checked.returncode == _BAD_CONFIGURATION else ""

    @cached_property
    def _template(self) -> str:
        """A daemon has once registered the pipelines in it: jobs that are asked for before one starts find their lanes."""
        return self._rig.template(_database(f"{self.name} {self._options['app.pipelines']}"), self._register, self._rig.orbit)

    def _register(self, dsn: str) -> None:
        with self._rig.daemon_on(dsn, self._options):
            pass

    @contextmanager
    def queue(self) -> Iterator[Queue]:
        """A copy of that."""
        with _queue(self._rig, self._template, self.sql) as queue:
            yield queue

    @contextmanager
    def at_work(self, queue: Queue, count: int, *, tuned: bool = False) -> Iterator[Pids]:
        """A daemon with so many children. It needs no tuning, but kills one after the other must not look like a crash loop."""
        options = self._options | ({"restart.min_uptime": "0", "runs.max_crashes": 1000} if tuned else {})
        with self._rig.daemon_on(queue.dsn, options | {"children.count": count}) as daemon:
            yield lambda: [pid for pids in pids_by_role(daemon).values() for pid in pids]

    @contextmanager
    def producing(self, queue: Queue) -> Iterator[Producer]:
        """Ourselves."""
        with self._rig.connect(queue.dsn) as connection:
            yield _OrbitdProducer(connection)


class _OrbitdProducer:
    def __init__(self, connection: handwritten.Connection) -> None:
        self._connection = connection

    def singly(self, jobs: int) -> float:
        return _seconds(lambda: [admin.enqueue(self._connection, "noop", {}) for _ in range(jobs)])

    def at_once(self, jobs: int) -> float:
        return _seconds(lambda: admin.enqueue_many(self._connection, [{"pipeline": "noop"}] * jobs))

    def start(self, task: str, pipe: str) -> float:
        at = now()
        admin.enqueue(self._connection, task, {"pipe": pipe})
        return at


# ------------------------------------------------------------------------------------------------------------ hand-written


class Handwritten:
    """The loop of bench/handwritten.py that commits once a job."""

    name = "hand-written"
    version, missing = "", ""
    settings = "`bench/handwritten.py`: one table, one job at a time, its row locked while it runs; no history, no retries, no fence"
    guess = 3000.0
    sql = Sql(
        fill="""insert into jobs (payload)
                select jsonb_build_object('task', %(task)s::text, 'args', %(args)s::jsonb) from generate_series(1, %(jobs)s)""",
        waiting="select count(*) from jobs where state = 'pending'",  # as are those in hand: only their lock tells
        unfinished="select count(*) from jobs",
    )

    def __init__(self, rig: Rig) -> None:
        self._rig = rig

    @contextmanager
    def queue(self) -> Iterator[Queue]:
        """An empty table."""
        with _queue(self._rig, self._rig.jobs_template, self.sql) as queue:
            yield queue

    @contextmanager
    def at_work(self, queue: Queue, count: int, *, tuned: bool = False) -> Iterator[Pids]:  # noqa: ARG002
        """Nothing can be tuned."""
        with self._rig.workers(queue.dsn, count, "lock") as pids:
            yield lambda: pids

    @contextmanager
    def producing(self, queue: Queue) -> Iterator[Producer]:
        """Plain inserts: the rate that the others' are judged by."""
        with self._rig.connect(queue.dsn) as connection:
            yield _HandwrittenProducer(connection)


class _HandwrittenProducer:
    def __init__(self, connection: handwritten.Connection) -> None:
        self._connection = connection

    def _insert(self, task: str, pipe: str) -> None:
        self._connection.execute("insert into jobs (payload) values (%s)", [json.dumps({"task": task, "args": {"pipe": pipe}})])

    def singly(self, jobs: int) -> float:
        def insert() -> None:
            for _ in range(jobs):
                self._insert("noop", "")

        return _seconds(insert)

    def at_once(self, jobs: int) -> float:
        payloads = [json.dumps({"task": "noop", "args": {}})] * jobs
        return _seconds(lambda: self._connection.execute("insert into jobs (payload) select unnest(%s::jsonb[])", [payloads]))

    def start(self, task: str, pipe: str) -> float:
        at = now()
        self._insert(task, pipe)
        return at


# ------------------------------------------------------------------------------------------------------------------- peers


class Peer:
    """A peer: its program in peers/ does the work and the asking, in processes of its own."""

    def __init__(self, rig: Rig, name: str, found: Found, program: str, *, sql: Sql, guess: float, settings: str) -> None:
        self.name, self.version, self.missing = name, found.version, found.missing
        self.sql, self.guess, self.settings = sql, guess, settings
        self._rig = rig
        self._command = [*found.command, program]

    @cached_property
    def _template(self) -> str:
        return self._rig.template(_database(self.name), self._set_up)

    def _set_up(self, dsn: str) -> None:
        done = subprocess.run([*self._command, "setup", dsn], cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{self.name} could not set up its tables: {done.stderr[-2000:]}")

    @contextmanager
    def queue(self) -> Iterator[Queue]:
        """Its own tables, empty."""
        with _queue(self._rig, self._template, self.sql) as queue:
            yield queue

    @contextmanager
    def at_work(self, queue: Queue, count: int, *, tuned: bool = False) -> Iterator[Pids]:
        """So many processes of its worker."""
        log = self._rig.new_folder() / "log"
        command = [*self._command, "work", queue.dsn, *["tuned"] * tuned]
        with log.open("wb") as out:
            processes = [subprocess.Popen(command, cwd=ROOT, env=_environment(), stdout=out, stderr=out) for _ in range(count)]
        try:
            yield lambda: [process.pid for process in processes]
            if all(process.poll() is not None for process in processes):
                raise RuntimeError(f"the workers of {self.name} have ended: {log.read_text()[-2000:]}")
        finally:
            end(processes)

    @contextmanager
    def producing(self, queue: Queue) -> Iterator[Producer]:
        """A process of its own library."""
        command = [*self._command, "produce", queue.dsn]
        with subprocess.Popen(command, cwd=ROOT, env=_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
            try:
                yield _PeerProducer(self.name, process)
            finally:
                process.kill()


class _PeerProducer:
    def __init__(self, name: str, process: subprocess.Popen[str]) -> None:
        self._name, self._process = name, process

    def _order(self, **order: object) -> dict[str, float]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"the producer of {self._name} has ended")
        return dict(json.loads(answer))

    def singly(self, jobs: int) -> float:
        return self._order(singly=jobs)["seconds"]

    def at_once(self, jobs: int) -> float:
        return self._order(**{"at once": jobs})["seconds"]

    def start(self, task: str, pipe: str) -> float:
        return self._order(task=task, pipe=pipe)["at"]


def everybody(rig: Rig) -> list[Contender]:
    """All of them, in the order of the columns."""
    return [
        Orbitd(rig, "orbitd", "as installed: one run at a time", 1500.0),
        Orbitd(rig, "orbitd, auto", '`poll.batch = "auto"`', 30_000.0, **{"poll.batch": "auto"}),
        Peer(
            rig,
            "graphile-worker",
            packages.node_package("graphile-worker"),
            f"{_PEERS}/graphile.mjs",
            sql=Sql(
                fill="""select count(*) from graphile_worker.add_jobs(array(
                            select row(%(task)s, %(args)s::json, null, null, null, null, null, null)::graphile_worker.job_spec
                              from generate_series(1, %(jobs)s)))""",
                waiting="select count(*) from graphile_worker._private_jobs where locked_at is null",
                unfinished="select count(*) from graphile_worker._private_jobs",
            ),
            guess=50_000.0,
            settings="as its page on performance: `concurrentJobs` 24, `localQueue.size` 500, `completeJobBatchDelay` 0; keeps no history",
        ),
        Peer(
            rig,
            "pg-boss",
            packages.node_package("pg-boss"),
            f"{_PEERS}/pgboss.mjs",
            sql=Sql(
                fill="insert into pgboss.job (name, data) select %(task)s, %(args)s::jsonb from generate_series(1, %(jobs)s)",
                waiting="select count(*) from pgboss.job where name = 'noop' and state < 'active'",
                unfinished="select count(*) from pgboss.job where name = 'noop' and state <= 'active'",
            ),
            guess=25_000.0,
            settings="`useListenNotify`, queues with `notify`, `batchSize` 500, `burstWhenBatchFull`; tuned: "
            "`heartbeatSeconds` 10 (the least), looked after each second",
        ),
        Peer(
            rig,
            "PgQueuer",
            packages.python_package("pgqueuer"),
            "bench.store.peers.pgqueuer",
            sql=Sql(
                fill="""insert into pgqueuer (priority, entrypoint, payload, status)
                        select 0, %(task)s, convert_to(%(args)s, 'UTF8'), 'queued' from generate_series(1, %(jobs)s)""",
                waiting="select count(*) from pgqueuer where status = 'queued'",
                unfinished="select count(*) from pgqueuer",
            ),
            guess=15_000.0,
            settings="as its page on tuning: `pgq autovac`, asyncpg, uvloop, `batch_size` 100; tuned: `heartbeat_timeout` 2 s",
        ),
        Peer(
            rig,
            "Procrastinate",
            packages.python_package("procrastinate"),
            "bench.store.peers.procrastinate",
            sql=Sql(
                fill="""insert into procrastinate_jobs (queue_name, task_name, args)
                        select 'default', %(task)s, %(args)s::jsonb || '{"pipe": ""}' from generate_series(1, %(jobs)s)""",
                waiting="select count(*) from procrastinate_jobs where status = 'todo'",
                unfinished="select count(*) from procrastinate_jobs where status in ('todo', 'doing')",
            ),
            guess=700.0,
            settings="`concurrency` 30, as in its how-to; tuned: its documents' task for stalled jobs each second, heartbeats each second",
        ),
        Peer(
            rig,
            "oban",
            packages.oban(),
            "bench.store.peers.oban",
            sql=Sql(
                fill="""insert into oban_jobs (worker, args)
                        select %(task)s, %(args)s::jsonb || '{"pipe": ""}' from generate_series(1, %(jobs)s)""",
                waiting="select count(*) from oban_jobs where state = 'available'",
                unfinished="select count(*) from oban_jobs where state in ('available', 'executing')",
            ),
            guess=3000.0,
            settings="as its CLI runs it (uvloop), queue limit 100; "
            "tuned: `lifeline` each second, which gives back whatever has run for 3 s",
        ),
        Handwritten(rig),
    ]


def _database(name: str) -> str:
    return re.sub("[^a-z]+", "_", name.lower())


@contextmanager
def _queue(rig: Rig, template: str, sql: Sql) -> Iterator[Queue]:
    with rig.copy_of(template) as dsn, rig.connect(dsn) as connection:
        yield Queue(dsn, connection, sql)


def _environment() -> dict[str, str]:
    return packages.node_environment(now() - time.monotonic())


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started
