"""What is measured of each fleet: one look gives figures by name."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from bench import proc
from bench.stamps import now
from bench.supervision.fleets import Contender, Fleet
from bench.supervision.work import Work
from orbitd.system import process

Figures = Mapping[str, float]

_MB = 1e6
_LOOK_SECONDS = 0.005
_QUICK_LOOK_SECONDS = 0.0005
_WEIGH_SECONDS = 0.25
_SETTLE_SECONDS = 1.0
_PATIENCE_SECONDS = 120.0


def reload(contender: Contender, count: int) -> Figures:
    """One reload: until as many new workers can work as there were, and what it took until the old ones were gone."""
    with contender.fleet(Work("slow"), count) as fleet:
        time.sleep(_SETTLE_SECONDS)
        old, cpu, before = fleet.able(), proc.tree_cpu_seconds(fleet.root), _pss_mb(fleet)
        fewest, taken = len(old), 0.0
        with _weighing(fleet) as peaks:
            at = now()
            order = threading.Thread(target=fleet.reload)  # it may be long in returning
            order.start()
            while not taken or fleet.able() & old:
                able = fleet.able()
                fewest = min(fewest, len(able))
                if not taken and len(able - old) >= count:
                    taken = now() - at
                _look_again(at, "the reload has not ended")
        order.join()
        cpu = proc.tree_cpu_seconds(fleet.root) - cpu
        time.sleep(_SETTLE_SECONDS)
        pss = {"pss before": before, "pss peak": max(peaks), "pss after": _pss_mb(fleet)}
        return {"wall": taken, "cpu": cpu, "fewest": fewest, **pss}


def kills(contender: Contender, count: int, times: int) -> list[float]:
    """Milliseconds from a worker's SIGKILL until another can work in its place, each time."""
    with contender.fleet(Work(), count) as fleet:
        return [_kill(fleet, count) for _ in range(times)]


def _kill(fleet: Fleet, count: int) -> float:
    before, victim = fleet.able(), random.choice(fleet.pids())
    at = now()
    _kill_worker(fleet, victim)
    while not (able := fleet.able()) - before or len(able) < count:
        _look_again(at, "no other worker has come", _QUICK_LOOK_SECONDS)
    return (now() - at) * 1000


def _kill_worker(fleet: Fleet, pid: int) -> None:
    """After making sure that it is the fleet's own."""
    pidfd = os.pidfd_open(pid)
    try:
        facts = process.stat(pid)
        if facts is None or facts.parent_pid != fleet.root:
            raise RuntimeError(f"process {pid} is no worker of the fleet")
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def spawns(contenders: Mapping[str, Contender], fates: Mapping[str, Work], count: int, seconds: float) -> dict[tuple[str, str], int]:
    """How many workers each contender starts in so many seconds when each of them dies, by contender and fate: all at once."""
    with ExitStack() as stack:
        started = {
            (name, fate): stack.enter_context(contender.fleet(work, count, wait=False)).marks
            for fate, work in fates.items()
            for name, contender in contenders.items()
        }
        time.sleep(seconds)
        for marks in started.values():  # those that were started later have a later end
            while (born := marks.born()) and now() < born[0] + seconds:
                time.sleep(_WEIGH_SECONDS)
        births = {key: marks.born() for key, marks in started.items()}
    return {key: sum(at < born[0] + seconds for at in born) for key, born in births.items()}


def idle(contenders: Mapping[str, Contender], count: int, rounds: int, seconds: float) -> Mapping[str, list[Figures]]:
    """What each supervisor costs while nothing happens: side by side, for none of them does anything."""
    with ExitStack() as stack:
        roots = {name: stack.enter_context(contender.fleet(Work(), count)).root for name, contender in contenders.items()}
        time.sleep(_SETTLE_SECONDS)
        looks: dict[str, list[Figures]] = {name: [] for name in roots}
        for _ in range(rounds):
            before = {name: (proc.cpu_seconds(pid), proc.wake_ups([pid])) for name, pid in roots.items()}
            time.sleep(seconds)
            for name, pid in roots.items():
                cpu, wakes = before[name]
                looks[name].append(
                    {
                        "cpu": (proc.cpu_seconds(pid) - cpu) / seconds * 100,
                        "wake-ups": (proc.wake_ups([pid]) - wakes) / seconds,
                        "rss": proc.rss_bytes(pid) / _MB,
                        "pss": proc.pss_bytes(pid) / _MB,
                    }
                )
        return looks


def memory(contender: Contender, count: int) -> Figures:
    """PSS of everything, with so many workers of an import of some 100 MB."""
    with contender.fleet(Work("science"), count) as fleet:
        time.sleep(_SETTLE_SECONDS)
        return {"pss": _pss_mb(fleet)}


def _pss_mb(fleet: Fleet) -> float:
    return sum(map(proc.pss_bytes, proc.tree(fleet.root))) / _MB


@contextmanager
def _weighing(fleet: Fleet) -> Iterator[list[float]]:
    """The memory of everything, again and again while the block lasts."""
    seen = [_pss_mb(fleet)]
    is_over = threading.Event()

    def weigh() -> None:
        while not is_over.wait(_WEIGH_SECONDS):
            seen.append(_pss_mb(fleet))

    thread = threading.Thread(target=weigh)
    thread.start()
    try:
        yield seen
    finally:
        is_over.set()
        thread.join()


def _look_again(since: float, otherwise: str, seconds: float = _LOOK_SECONDS) -> None:
    if now() > since + _PATIENCE_SECONDS:
        raise TimeoutError(f"{otherwise} in {_PATIENCE_SECONDS:g}s")
    time.sleep(seconds)
