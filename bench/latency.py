"""From the producer's call to the first line of user code, with everybody idle; one run at a time."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable

from bench.report import Goal, Row, percentile
from bench.rig import Rig
from bench.stamps import Stamps, listening, now
from orbitd.store import admin

_WORKERS = 2
_PAUSE_SECONDS = (0.01, 0.05)


def measure(rig: Rig) -> list[Row]:
    """Rounds of orbitd and of polling hand-written workers, in turn."""
    own: list[float] = []
    beside: list[float] = []
    inserts: list[float] = []
    with (
        rig.daemon(**{"children.count": _WORKERS}) as daemon,
        rig.jobs() as jobs,
        rig.connect(daemon.dsn) as orbit_connection,
        rig.connect(jobs) as jobs_connection,
        listening() as stamps,
    ):

        def enqueue() -> None:
            admin.enqueue(orbit_connection, "stamp", {"pipe": stamps.path})

        def insert() -> None:
            payload = {"task": "stamp", "args": {"pipe": stamps.path}}
            jobs_connection.execute("insert into jobs (payload) values (%s)", [json.dumps(payload)])

        for _ in range(rig.effort.rounds):
            own += [_milliseconds_to_start(enqueue, stamps, inserts) for _ in range(rig.effort.enqueues)]
            with rig.workers(jobs, _WORKERS):
                beside += [_milliseconds_to_start(insert, stamps, []) for _ in range(rig.effort.enqueues // 2)]
    polling = "polls each 100 ms"
    return [
        Row("B3", "enqueue → start, ms: p50", [percentile(own, 50)], [percentile(beside, 50)], polling, Goal("≤", 2)),
        Row("B3", "enqueue → start, ms: p95", [percentile(own, 95)], [percentile(beside, 95)], polling),
        Row("B3", "enqueue → start, ms: p99", [percentile(own, 99)], [percentile(beside, 99)], polling, Goal("≤", 8)),
        Row("B3", "of it the enqueue itself, ms: p50", [percentile(inserts, 50)]),
    ]


def _milliseconds_to_start(produce: Callable[[], None], stamps: Stamps, calls: list[float]) -> float:
    """From before the call, so that the producer's own commit is in it; how long the call took goes to `calls`."""
    time.sleep(random.uniform(*_PAUSE_SECONDS))  # the worker goes to sleep again
    before = now()
    produce()
    calls.append((now() - before) * 1000)
    return (stamps.next().at - before) * 1000
