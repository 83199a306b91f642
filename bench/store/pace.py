"""One look at how fast a backlog is worked off, and what a run costs in CPU."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from bench import proc
from bench.handwritten import NAP_SECONDS
from bench.rig import Rig
from bench.stamps import now
from bench.store.contenders import Contender, Pids, Queue
from bench.store.contest import Contest, Figures
from tests.support.daemon import eventually

AHEAD = 1.6
"""A backlog is for so many times the jobs that we think will be done."""

_WARM_JOBS = 100
_WARM_SECONDS = 1.0
_TRIES = 4
_PATIENCE_SECONDS = 60.0


def pace(contest: Contest, contender: Contender, queue: Queue, *, count: int = 2, task: str = "noop") -> Figures:
    """Look twice at a backlog that shrinks and does not end: no start and no end is in the figure."""
    seconds, name = contest.effort.seconds, contender.name
    rate = count / NAP_SECONDS if task == "nap" else contest.rates[name]
    for _ in range(_TRIES):
        queue.fill(max(contest.effort.small, int(rate * (seconds + _WARM_SECONDS) * AHEAD)) - queue.waiting(), task=task)
        queue.analyze()
        with contender.at_work(queue, count) as pids:
            await_work(queue)
            before = _see(contest.rig, queue, pids)
            time.sleep(seconds)
            after = _see(contest.rig, queue, pids)
        done, taken = before.waiting - after.waiting, after.at - before.at
        if after.waiting and done:
            if task == "noop":
                contest.rates[name] = done / taken
            server, workers = (after.server - before.server) / done * 1e6, (after.workers - before.workers) / done * 1e6
            return {"rate": done / taken, "server": server, "workers": workers, "cpu": server + workers}
        rate = max(rate, done / taken) * 2
    raise RuntimeError(f"{name} had done its backlog before we looked a second time")


def await_work(queue: Queue) -> None:
    """Until the workers are well under way."""
    backlog = queue.waiting()
    eventually(queue.waiting, lambda waiting: waiting < backlog - _WARM_JOBS, seconds=_PATIENCE_SECONDS)
    time.sleep(_WARM_SECONDS)


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
