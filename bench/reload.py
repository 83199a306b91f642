"""Reload of 16 children whose application takes half a second of CPU to import."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from bench import proc
from bench.report import Goal, Row
from bench.rig import Rig
from bench.slow_pipelines import IMPORT_CPU_SECONDS
from bench.stamps import now
from tests.support.daemon import Daemon

_CHILDREN = 16
_LOOK_SECONDS = 0.02


def measure(rig: Rig) -> list[Row]:
    """Each round reloads twice: once for the time, once to be looked at, which slows it down."""
    seconds, cpu, lowest = [], [], []
    with rig.daemon(**{"children.count": _CHILDREN, "app.pipelines": ["bench.slow_pipelines"]}) as daemon:
        for _ in range(rig.effort.rounds):
            at, before = now(), proc.tree_cpu_seconds(daemon.pid)
            daemon.ask("reload", wait=True)
            seconds.append(now() - at)
            _await_calm(daemon)
            cpu.append(proc.tree_cpu_seconds(daemon.pid) - before)
            with _able_to_claim(daemon) as seen:
                daemon.ask("reload", wait=True)
            _await_calm(daemon)
            lowest.append(float(min(seen)))
    what = f"reload of {_CHILDREN} children, {IMPORT_CPU_SECONDS:g} s import"
    return [
        Row("B9", f"{what}: wall s", seconds, goal=Goal("≤", 1.2)),
        Row("B9", f"{what}: CPU s in all", cpu),
        Row("B9", f"{what}: fewest able to claim", lowest, goal=Goal("≥", _CHILDREN)),
    ]


def _await_calm(daemon: Daemon) -> None:
    """Until the old children and their mold have gone."""
    daemon.await_status(
        lambda status: (
            len(status["slots"]) == status["children"]["ready"] == _CHILDREN
            and sum(process["role"] == "mold" for process in status["processes"]) == 1
        )
    )


@contextmanager
def _able_to_claim(daemon: Daemon) -> Iterator[list[int]]:
    """How many were able, each time we looked."""
    seen: list[int] = []
    is_over = threading.Event()

    def look() -> None:
        while not is_over.wait(_LOOK_SECONDS):
            seen.append(daemon.status()["children"]["ready"])

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()
