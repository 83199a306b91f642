"""How fast a backlog is worked off, and what a run costs in CPU: on its own, deep, beside old snapshots, with more children."""

from __future__ import annotations

import itertools
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bench import proc
from bench.handwritten import NAP_SECONDS
from bench.report import Goal, short
from bench.rig import Rig
from bench.stamps import now
from bench.store.contenders import Contender, Pids, Queue
from bench.store.contest import GRAPHILE, ORBITD, PYTHON_PEERS, Contest, Figures, Line, Results, Verdict
from tests.support.daemon import eventually

_WARM_JOBS = 100
_WARM_SECONDS = 0.5
_AHEAD = 1.6  # a backlog for so many times the jobs that we think will be done
_TRIES = 4
_PATIENCE_SECONDS = 60.0
_STEP_SECONDS = 1.0
RATE = "no-op runs/s"
THROUGHPUT = f"{RATE}, 2 worker processes"
_WITHIN = 0.95


@dataclass(frozen=True, slots=True)
class _Sight:
    """A queue and everybody's clocks at one moment. What the count itself costs is left out."""

    at: float
    waiting: int
    server: float
    workers: float


def _see(rig: Rig, queue: Queue, pids: Pids) -> _Sight:
    at, waiting = now(), queue.waiting()
    server = proc.tree_cpu_seconds(rig.cluster.pid) - proc.cpu_seconds(queue.looker)
    return _Sight(at, waiting, server, sum(map(proc.tree_cpu_seconds, _roots(pids()))))


def _roots(pids: Sequence[int]) -> Sequence[int]:
    """Those of them that are below no other: each process is counted once."""
    below = {each for pid in pids for each in proc.tree(pid) if each != pid}
    return [pid for pid in pids if pid not in below]


def _pace(contest: Contest, contender: Contender, queue: Queue, *, count: int = 2, fills: bool = True, task: str = "noop") -> Figures:
    """Look twice at a backlog that shrinks and does not end: no start and no end is in the figure."""
    seconds, name = contest.effort.seconds, contender.name
    rate = contest.rates[name] if task == "noop" else count / NAP_SECONDS
    for _ in range(_TRIES):
        if fills:
            queue.fill(max(contest.effort.small, int(rate * (seconds + _WARM_SECONDS) * _AHEAD)) - queue.waiting(), task=task)
        with contender.at_work(queue, count) as pids:
            backlog = queue.waiting()
            eventually(queue.waiting, lambda waiting: waiting < backlog - _WARM_JOBS, seconds=_PATIENCE_SECONDS)
            time.sleep(_WARM_SECONDS)
            before = _see(contest.rig, queue, pids)
            time.sleep(seconds)
            after = _see(contest.rig, queue, pids)
        done = before.waiting - after.waiting
        rate = max(rate, done / (after.at - before.at)) * (1 if after.waiting else 2)
        if after.waiting and done:
            contest.rates[name] = done / (after.at - before.at) if task == "noop" and count == 2 else contest.rates[name]
            return {
                "rate": done / (after.at - before.at),
                "server": (after.server - before.server) / done * 1e6,
                "workers": (after.workers - before.workers) / done * 1e6,
                "cpu": (after.server + after.workers - before.server - before.workers) / done * 1e6,
            }
    raise RuntimeError(f"a backlog of {backlog} jobs was too small")


def throughput(contest: Contest) -> Results:
    """No-ops, two worker processes."""
    with contest.queues() as queues:
        seen = contest.in_turns(lambda each: _pace(contest, each, queues[each.name]), rounds=contest.effort.rounds)
    yield Line(THROUGHPUT, seen.of("rate"))
    yield Line("CPU µs a run: Postgres", seen.of("server"))
    yield Line("CPU µs a run: workers, and all else of orbitd", seen.of("workers"))
    yield Line("CPU µs a run: together", seen.of("cpu"))
    own = seen.median("rate", contest.best)
    yield Verdict("B1", f"{contest.best}: runs/s by graphile-worker's", own / seen.median("rate", GRAPHILE), Goal("≥", 1), "×")
    for peer in PYTHON_PEERS:
        yield Verdict("B1", f"{contest.best}: runs/s by {peer}'s", own / seen.median("rate", peer), Goal("≥", 2), "×")
    yield Verdict("B1", f"{contest.best}: CPU µs a run, Postgres + children", seen.median("cpu", contest.best), Goal("≤", 28))


def backlog(contest: Contest) -> Results:
    """A deep queue against a shallow one, which has as much as a look needs."""

    def look(contender: Contender) -> Figures:
        with contender.queue() as queue:
            shallow = _pace(contest, contender, queue)["rate"]
            queue.fill(contest.effort.backlog - queue.waiting())
            queue.connection.execute("analyze")
            deep = _pace(contest, contender, queue, fills=False)["rate"]
            return {"shallow": shallow, "deep": deep, "ratio": deep / shallow}

    seen = contest.in_turns(look)
    what = f"{short(contest.effort.backlog)} waiting"
    yield Line(f"{RATE}, shallow queue", seen.of("shallow"))
    yield Line(f"{RATE}, {what}", seen.of("deep"))
    for own in contest.ours:
        yield Verdict(
            "B6", f"{own.name}: rate with {what} by that of a shallow queue", seen.median("ratio", own.name), Goal("≥", _WITHIN), "×"
        )


def outcomes(contest: Contest) -> Results:
    """A long history, made by an insert of rows that look like ours."""

    def look(contender: Contender) -> Figures:
        with contender.queue() as queue:
            fresh = _pace(contest, contender, queue)["rate"]
            queue.connection.execute(_HISTORY.encode(), {"rows": contest.effort.outcomes})
            queue.connection.execute("analyze orbit.outcomes")
            old = _pace(contest, contender, queue)["rate"]
            return {"old": old, "ratio": old / fresh}

    seen = contest.in_turns(look, contest.ours)
    what = f"{short(contest.effort.outcomes)} outcomes"
    yield Line(f"{RATE}, {what} of runs that ended", seen.of("old"))
    for own in contest.ours:
        yield Verdict("B6", f"{own.name}: rate with {what} by that with few", seen.median("ratio", own.name), Goal("≥", _WITHIN), "×")


# The ids of one day, beyond those that its counter will reach.
_HISTORY = """
insert into orbit.outcomes (run_id, token, started_at, child, attempt, reported, outcome)
select (orbit.next_run_id() >> 39 << 39) + (1::bigint << 38) + each, each, clock_timestamp(), 1, 1, true, 'succeeded'
  from generate_series(1::bigint, %(rows)s) as each
"""


# ------------------------------------------------------------------------------------------------- what holds the horizon


def held(contest: Contest) -> Results:
    """Churn beside an open snapshot, beside an idle writer, and beside pg_dump, against churn alone."""
    seen = contest.in_turns(lambda contender: _beside_all(contest, contender))
    yield Line(f"{RATE}, queue kept filled", seen.of("free"))
    for what, words in _BESIDE.items():
        yield Line(f"the same {words}", seen.of(what))
    for own in contest.ours:
        for what, words in _BESIDE.items():
            ratio = seen.median(what, own.name) / seen.median("free" if what == "reader" else "free again", own.name)
            yield Verdict("B7", f"{own.name}: rate {words} by the free rate", ratio, Goal("≥", _WITHIN), "×")


_BESIDE = MappingProxyType(
    {"reader": "beside an open snapshot", "writer": "beside an idle open transaction that has written", "dump": "beside pg_dump"}
)


def _beside_all(contest: Contest, contender: Contender) -> Figures:
    effort = contest.effort
    with contender.queue() as queue, contender.at_work(queue, 2):
        churn = _Churn(contest, contender, queue)
        free = churn.samples(effort.free_seconds)
        with _reader(contest.rig, queue):
            beside_reader = churn.samples(effort.held_seconds)
    contest.series[contender.name] = churn.series(free, beside_reader)
    with contender.queue() as queue, contender.at_work(queue, 2):
        churn = _Churn(contest, contender, queue)
        free_again = churn.samples(effort.free_seconds)
        with _writer(contest.rig, queue):
            beside_writer = churn.samples(effort.aside_seconds)
        with _dump(contest.rig, queue):
            beside_dump = churn.samples(effort.aside_seconds)
    return {
        "free": _typical(free),
        "reader": _typical(beside_reader[len(beside_reader) // 2 :]),
        "free again": _typical(free_again),
        "writer": _typical(beside_writer[len(beside_writer) // 2 :]),
        "dump": _typical(beside_dump),
    }


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    rate: float


def _typical(samples: Sequence[_Sample]) -> float:
    return statistics.median(each.rate for each in samples)


class _Churn:
    """A queue that is filled up again and again while it is worked on."""

    def __init__(self, contest: Contest, contender: Contender, queue: Queue) -> None:
        self._queue = queue
        self._target = max(contest.effort.small, int(contest.rates[contender.name] * _STEP_SECONDS * _AHEAD))
        queue.fill(self._target)
        eventually(queue.waiting, lambda waiting: waiting < self._target - _WARM_JOBS, seconds=_PATIENCE_SECONDS)
        time.sleep(_WARM_SECONDS)

    def samples(self, seconds: float) -> list[_Sample]:
        """The rate, over and over: each between two fillings, over a second in which we only sleep."""
        until, found = now() + seconds, list[_Sample]()
        while now() < until or not found:
            self._queue.fill(self._target - self._queue.waiting())
            before_at, before = now(), self._queue.waiting()
            time.sleep(_STEP_SECONDS)
            at, after = now(), self._queue.waiting()
            if after:
                found.append(_Sample(at, (before - after) / (at - before_at)))
            else:
                self._target *= 2
        return found

    @staticmethod
    def series(free: Sequence[_Sample], beside: Sequence[_Sample]) -> list[tuple[float, float]]:
        """Rates by the seconds since the snapshot was taken."""
        begin = free[-1].at
        return [(each.at - begin, each.rate) for each in itertools.chain(free, beside)]


@contextmanager
def _reader(rig: Rig, queue: Queue) -> Iterator[None]:
    with rig.connect(queue.dsn) as connection:
        connection.execute("begin isolation level repeatable read")
        connection.execute("select count(*) from pg_class")
        yield


@contextmanager
def _writer(rig: Rig, queue: Queue) -> Iterator[None]:
    with rig.connect(queue.dsn) as connection:
        connection.execute("create table written_by_another (n int)")
        connection.execute("begin")
        connection.execute("insert into written_by_another values (1)")
        yield


@contextmanager
def _dump(rig: Rig, queue: Queue) -> Iterator[None]:
    """One dump after the other, thrown away."""
    command = [Path(rig.cluster.psql).with_name("pg_dump"), "--format=custom", "--compress=0", "--dbname", queue.dsn]
    loop = ["sh", "-c", 'while "$@" > /dev/null; do :; done', "sh", *command]
    with subprocess.Popen(loop, start_new_session=True) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)


# ------------------------------------------------------------------------------------------------------------ more children


def naps(contest: Contest) -> Results:
    """Runs of ten milliseconds, sixteen processes. The peers that sleep in coroutines have none to compare."""

    def look(contender: Contender) -> Figures:
        with contender.queue() as queue:
            return _pace(contest, contender, queue, count=most, task="nap")

    most = contest.effort.children[-1]
    ideal = most / NAP_SECONDS
    seen = contest.in_turns(look, contest.with_processes())
    what = f"runs of {NAP_SECONDS * 1000:g} ms, {most} processes"
    yield Line(f"{what}: runs/s", seen.of("rate"))
    yield Line(f"{what}: CPU µs a run, together", seen.of("cpu"))
    yield Verdict("B2", f"{what}: rate by the ideal {ideal:g}", seen.median("rate", ORBITD) / ideal, Goal("≥", 0.95), "×")
    yield Verdict("B2", f"{what}: CPU ms a run, in all", seen.median("cpu", ORBITD) / 1000, Goal("≤", 1))


def children(contest: Contest) -> Results:
    """No-ops with one process and with ever more: on few cores the rate must go flat, and not fall."""
    rates: dict[str, list[float]] = {each.name: [] for each in contest.with_processes()}
    for count in contest.effort.children:
        seen = contest.in_turns(_with_children(contest, count), contest.with_processes())
        yield Line(f"{RATE}, {count} {'process' if count == 1 else 'processes'}", seen.of("rate"))
        for name in rates:
            rates[name].append(seen.median("rate", name))
    for own in contest.ours:
        most = f"{own.name}: rate of {contest.effort.children[-1]} children by the best of fewer"
        yield Verdict("B14", most, rates[own.name][-1] / max(rates[own.name][:-1]), Goal("≥", 0.9), "×")


def _with_children(contest: Contest, count: int) -> Callable[[Contender], Figures]:
    def look(contender: Contender) -> Figures:
        with contender.queue() as queue:
            return _pace(contest, contender, queue, count=count)

    return look
