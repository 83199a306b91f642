"""What a host with four children costs while there is nothing to do: statements, CPU, memory, wake-ups; and its arbiter alone."""

from __future__ import annotations

import statistics
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from bench import proc
from bench.report import Goal, Row
from bench.rig import Rig, database_of, pids_by_role

_CHILDREN = 4
_MB = 1e6
CPU_WINDOW_SECONDS = 20.0
SETTLE_SECONDS = 11.0  # Postgres counts what an idle session has done up to 10 s late
_SHARE_OF_WORKERS = 0.25  # of the time; they poll so often that a short look is enough
_POLLING = "4 polling workers"

_KINDS = ("arbiter", "mold", "janitor", "child")


def measure(rig: Rig) -> list[Row]:
    """Rounds of an idle daemon and of idle hand-written workers, in turn."""
    own: dict[str, list[float]] = defaultdict(list)
    beside: dict[str, list[float]] = defaultdict(list)
    with without_autovacuum(rig):
        for _ in range(rig.effort.rounds):
            _collect(own, _idle_daemon(rig))
            _collect(beside, _idle_workers(rig))
    return list(_rows(own, beside))


def _rows(own: Mapping[str, Sequence[float]], beside: Mapping[str, Sequence[float]]) -> Iterator[Row]:
    yield Row("B5", "idle host, 4 children: statements/s", own["statements"], beside["statements"], _POLLING, Goal("≤", 0.25))
    yield Row("B5", "idle host: CPU s per 20 s, ours", own["cpu"], beside["cpu"], _POLLING, Goal("≤", 0.1))
    yield Row("B5", "idle host: CPU s per 20 s, its Postgres backends", own["backends"], beside["backends"], _POLLING)
    yield Row("B5", "idle host: wake-ups/s of all processes", own["wake-ups"], beside["wake-ups"], _POLLING)
    yield Row("B5", "idle host: PSS MB, all processes", own["pss"], beside["pss"], _POLLING, Goal("≤", 60))
    for kind in _KINDS:
        yield Row("B5", f"idle host: PSS MB, {'each child' if kind == 'child' else kind}", own[f"pss {kind}"])
    yield Row("B5", "idle host: PSS MB, one child more", own["one more"], goal=Goal("≤", 6))
    yield Row("B10", "arbiter, idle: RSS MB", own["arbiter rss"], goal=Goal("≤", 20))
    yield Row("B10", "arbiter, idle: % of a CPU", own["arbiter cpu"], goal=Goal("≤", 0.05))
    yield Row("B10", "arbiter, idle: wake-ups/s", own["arbiter wake-ups"], goal=Goal("≤", 1))


def _idle_daemon(rig: Rig) -> dict[str, float]:
    with rig.daemon(**{"children.count": _CHILDREN}) as daemon:
        pids = pids_by_role(daemon)
        arbiter = pids["arbiter"][0]
        everybody = [pid for each in pids.values() for pid in each]
        time.sleep(SETTLE_SECONDS)
        wakes, cpu = proc.wake_ups([arbiter]), proc.cpu_seconds(arbiter)
        seconds = rig.effort.idle_seconds
        seen = watch(rig, daemon.dsn, everybody, seconds)
        seen["arbiter wake-ups"] = (proc.wake_ups([arbiter]) - wakes) / seconds
        seen["arbiter cpu"] = (proc.cpu_seconds(arbiter) - cpu) / seconds * 100
        seen["arbiter rss"] = proc.rss_bytes(arbiter) / _MB
        for kind in _KINDS:
            seen[f"pss {kind}"] = statistics.median(map(proc.pss_bytes, pids[kind])) / _MB
        daemon.ask("scale", amount="+1", wait=True)
        everybody = [pid for each in pids_by_role(daemon).values() for pid in each]
        seen["one more"] = _pss(everybody) - seen["pss"]
        return seen


def _idle_workers(rig: Rig) -> dict[str, float]:
    with rig.jobs() as jobs, rig.workers(jobs, _CHILDREN) as pids:
        return watch(rig, jobs, pids, rig.effort.idle_seconds * _SHARE_OF_WORKERS)


def watch(rig: Rig, dsn: str, pids: Sequence[int], seconds: float) -> dict[str, float]:
    """What these processes and their sessions in the database do for a while. We ask from another database: not to count ourselves."""
    backends = rig.sessions(dsn)
    statements, cpu, served, wakes = _statements(rig, dsn), _cpu(pids), _cpu(backends), proc.wake_ups(pids)
    time.sleep(seconds)
    wakes, cpu, served = proc.wake_ups(pids) - wakes, _cpu(pids) - cpu, _cpu(backends) - served
    return {
        "statements": (_statements(rig, dsn) - statements) / seconds,
        "cpu": cpu / seconds * CPU_WINDOW_SECONDS,
        "backends": served / seconds * CPU_WINDOW_SECONDS,
        "wake-ups": wakes / seconds,
        "pss": _pss(pids),
    }


def _pss(pids: Sequence[int]) -> float:
    return sum(map(proc.pss_bytes, pids)) / _MB


def _cpu(pids: Sequence[int]) -> float:
    return sum(map(proc.cpu_seconds, pids))


def _statements(rig: Rig, dsn: str) -> int:
    """Transactions of a database so far; ours and the daemon's statements are one each."""
    with rig.connect(rig.cluster.dsn()) as connection:
        asked = "select xact_commit + xact_rollback from pg_stat_database where datname = %s"
        return int(connection.execute(asked, [database_of(dsn)]).fetchall()[0][0])


def without_autovacuum(rig: Rig) -> AbstractContextManager[None]:
    """Its transactions would count as statements."""
    return rig.without("autovacuum")


def _collect(into: dict[str, list[float]], seen: Mapping[str, float]) -> None:
    for name, value in seen.items():
        into[name].append(value)
