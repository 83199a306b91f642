"""What it costs to be there, and what a run costs on disk."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from bench.idle import SETTLE_SECONDS, watch, without_autovacuum
from bench.report import Goal
from bench.store.contenders import Contender, Queue
from bench.store.contest import Contest, Figures, Line, Results, Seen, Verdict
from tests.support.daemon import eventually

_WORKERS = 4
_WARM_JOBS = 200
_ARGS_BYTES = 250
_ARGS = '{"pipe": "%s"}' % ("x" * (_ARGS_BYTES - len('{"pipe": ""}')))
_PATIENCE_SECONDS = 120.0
_FLUSH_SECONDS = 0.5
_FIGURES = {
    "statements": "transactions/s",
    "connections": "connections",
    "pss": "PSS MB, all processes",
    "cpu": "CPU s per 20 s, workers and all else",
    "backends": "CPU s per 20 s, their Postgres backends",
}


def idle(contest: Contest) -> Results:
    """Four workers each with nothing to do, everybody side by side."""
    seen, rig = Seen(), contest.rig
    with without_autovacuum(rig), ExitStack() as stack:
        at_work = {}
        for name, contender in contest.contenders.items():
            with contest.forgiving(name):
                queue = stack.enter_context(contender.queue())
                queue.connection.close()
                at_work[name] = queue, stack.enter_context(contender.at_work(queue, _WORKERS))
        time.sleep(SETTLE_SECONDS)
        with ThreadPoolExecutor(len(at_work)) as pool:
            seconds = contest.effort.idle_seconds
            looks = {name: pool.submit(watch, rig, queue.dsn, pids(), seconds) for name, (queue, pids) in at_work.items()}
        for name, look in looks.items():
            seen.add(name, look.result() | {"connections": len(rig.sessions(at_work[name][0].dsn))})
    for figure, words in _FIGURES.items():
        yield Line(f"idle, {_WORKERS} workers: {words}", seen.of(figure))
    for own in contest.ours[:1]:
        for figure, most in (("statements", 0.25), ("cpu", 0.1), ("pss", 60)):
            yield Verdict("B5", f"idle, {_WORKERS} children: {_FIGURES[figure]}", seen.median(figure, own.name), Goal("≤", most))


def wal(contest: Contest) -> Results:
    """Bytes of write-ahead log from enqueue to end. Without full page images, whose number depends on checkpoints."""

    def look(contender: Contender) -> Figures:
        with contender.queue() as queue, contender.at_work(queue, 2):
            _do(queue, _WARM_JOBS)
            before = _lsn(queue)
            _do(queue, contest.effort.wal_jobs)
            return {"wal": (_lsn(queue) - before) / contest.effort.wal_jobs}

    with contest.rig.without("full_page_writes"):
        seen = contest.in_turns(look)
    yield Line(f"WAL bytes a run, args of {_ARGS_BYTES} bytes", seen.of("wal"))
    for own in contest.ours:
        yield Verdict("B13", f"{own.name}: WAL bytes a run, args of {_ARGS_BYTES} bytes", seen.median("wal", own.name), Goal("≤", 1000))


def _do(queue: Queue, jobs: int) -> None:
    queue.fill(jobs, args=_ARGS)
    eventually(queue.unfinished, lambda unfinished: unfinished == 0, seconds=_PATIENCE_SECONDS)
    time.sleep(_FLUSH_SECONDS)


def _lsn(queue: Queue) -> int:
    return int(queue.connection.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchall()[0][0])
