"""The rate beside what holds the transaction horizon: an open snapshot, an idle writer, pg_dump."""

from __future__ import annotations

import itertools
import os
import signal
import statistics
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bench.report import Goal
from bench.rig import Rig
from bench.stamps import now
from bench.store.contenders import Contender, Queue
from bench.store.contest import RATE, WITHIN, Contest, Figures, Line, Results, Verdict
from bench.store.pace import AHEAD, await_work

_STEP_SECONDS = 1.0
_BESIDE = MappingProxyType(
    {"reader": "beside an open snapshot", "writer": "beside an idle open transaction that has written", "dump": "beside pg_dump"}
)


def held(contest: Contest) -> Results:
    """Churn beside an open snapshot, beside an idle writer, and beside pg_dump, against churn alone."""
    seen = contest.in_turns(lambda contender: _beside_all(contest, contender))
    yield Line(f"{RATE}, queue kept filled", seen.of("free"))
    for what, words in _BESIDE.items():
        yield Line(f"the same {words}", seen.of(what))
    for own in contest.ours:
        for what, words in _BESIDE.items():
            ratio = seen.median(what, own.name) / seen.median("free" if what == "reader" else "free again", own.name)
            yield Verdict("B7", f"{own.name}: rate {words} by the free rate", ratio, Goal("≥", WITHIN), "×")


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
        self._target = max(contest.effort.small, int(contest.rates[contender.name] * _STEP_SECONDS * AHEAD))
        queue.fill(self._target)
        queue.analyze()
        await_work(queue)

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
    command = [str(Path(rig.cluster.psql).with_name("pg_dump")), "--format=custom", "--compress=0", "--dbname", queue.dsn]
    loop = ["sh", "-c", 'while "$@" > /dev/null; do :; done', "sh", *command]
    with subprocess.Popen(loop, start_new_session=True) as process:
        try:
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)
