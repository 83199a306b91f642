"""No-op runs a second with two children, and what a run costs in CPU; hand-written workers on the same Postgres take turns.

The turns are short and many, because a shared disk has good and bad moments.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from bench import proc
from bench.handwritten import WAYS, Connection
from bench.report import Goal, Row
from bench.rig import Rig, pids_by_role
from bench.stamps import now
from orbitd.store import admin
from tests.support.daemon import Daemon, eventually

_WORKERS = 2
_BACKLOG_RUNS_A_SECOND = 6000
_WARM_RUNS = 100
_CHUNK = 1000
_BESIDE = {"state": "2 commits a job", "lock": "1 commit a job"}
_FIGURES = (
    ("no-op runs/s, 2 children", "runs_a_second", None),
    ("CPU µs a run: Postgres", "postgres_us_a_run", None),
    ("CPU µs a run: workers, and all else of orbitd", "worker_us_a_run", None),
    ("CPU µs a run: together", "all_us_a_run", Goal("≤", 28)),
)


@dataclass(frozen=True, slots=True)
class Contender:
    """Something that works off a backlog. `at_work` yields the pids of those who do."""

    fill: Callable[[int], None]
    waiting: Callable[[], int]
    at_work: Callable[[], AbstractContextManager[Sequence[int]]]


@dataclass(frozen=True, slots=True)
class Pace:
    """What one turn has shown."""

    runs_a_second: float
    postgres_us_a_run: float
    worker_us_a_run: float

    @property
    def all_us_a_run(self) -> float:
        """CPU microseconds a run, in all."""
        return self.postgres_us_a_run + self.worker_us_a_run


def measure(rig: Rig) -> list[Row]:
    """Turns of orbitd and of each hand-written way."""
    with ExitStack() as stack:
        daemon = stack.enter_context(rig.daemon(**{"children.count": _WORKERS}))
        daemon.ask("pause")
        contenders = {"orbitd": _orbitd(daemon, stack.enter_context(rig.connect(daemon.dsn)))}
        for way in WAYS:
            jobs = stack.enter_context(rig.jobs())
            contenders[way] = _handwritten(rig, jobs, stack.enter_context(rig.connect(jobs)), way)
        paces: dict[str, list[Pace]] = {name: [] for name in contenders}
        for _ in range(rig.effort.rounds * rig.effort.turns):
            for name, contender in contenders.items():
                paces[name].append(_pace(rig, contender))
    return list(_rows(paces))


def _rows(paces: dict[str, list[Pace]]) -> Iterator[Row]:
    for what, name, goal in _FIGURES:
        own = [getattr(pace, name) for pace in paces["orbitd"]]
        for way, beside_name in _BESIDE.items():
            yield Row("B1", what, own, [getattr(pace, name) for pace in paces[way]], beside_name, goal)


def _pace(rig: Rig, contender: Contender) -> Pace:
    """Look twice at a backlog that shrinks and does not end: neither a start nor an end is in the figure."""
    contender.fill(int(_BACKLOG_RUNS_A_SECOND * rig.effort.turn_seconds) - contender.waiting())
    backlog = contender.waiting()
    with contender.at_work() as pids:
        eventually(contender.waiting, lambda waiting: waiting < backlog - _WARM_RUNS)
        server, workers, waiting, at = _cpu(rig), sum(map(proc.cpu_seconds, pids)), contender.waiting(), now()
        time.sleep(rig.effort.turn_seconds)
        seconds, done = now() - at, waiting - contender.waiting()
        server, workers = _cpu(rig) - server, sum(map(proc.cpu_seconds, pids)) - workers
    if done >= waiting:
        raise RuntimeError(f"a backlog of {backlog} runs was too small")
    return Pace(done / seconds, server / done * 1e6, workers / done * 1e6)


def _cpu(rig: Rig) -> float:
    """CPU seconds of the server with all its processes."""
    return proc.tree_cpu_seconds(rig.cluster.pid)


def _orbitd(daemon: Daemon, connection: Connection) -> Contender:
    def fill(runs: int) -> None:
        for _ in range(0, runs, _CHUNK):
            admin.enqueue_many(connection, [{"pipeline": "noop"}] * _CHUNK)

    @contextmanager
    def at_work() -> Iterator[Sequence[int]]:
        daemon.ask("unpause")
        yield [pid for pids in pids_by_role(daemon).values() for pid in pids]
        daemon.ask("pause")
        daemon.await_status(lambda status: all(slot["state"] == "idle" for slot in status["slots"]))

    def waiting() -> int:
        return int(connection.execute("select count(*) from orbit.live where state = 0").fetchall()[0][0])

    return Contender(fill, waiting, at_work)


def _handwritten(rig: Rig, jobs: str, connection: Connection, way: str) -> Contender:
    def fill(runs: int) -> None:
        payload = json.dumps({"task": "noop", "args": {}})
        connection.execute("insert into jobs (payload) select %s::jsonb from generate_series(1, %s)", [payload, runs])

    def waiting() -> int:
        return int(connection.execute("select count(*) from jobs where state = 'pending'").fetchall()[0][0])

    return Contender(fill, waiting, lambda: rig.workers(jobs, _WORKERS, way))
