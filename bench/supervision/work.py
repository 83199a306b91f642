"""What the workers of every contender are: the same import, and the same way to die, as the environment says.

The environment goes through whoever supervises, so that each of them starts the very same work.
"""

from __future__ import annotations

import importlib
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from bench.stamps import now

IMPORT_CPU_SECONDS = 0.5
SCIENCE = ("numpy", "scipy.optimize", "pandas")

_LOAD, _DIES_AFTER, _MARKS = "BENCH_LOAD", "BENCH_DIES_AFTER", "BENCH_MARKS"
_LEAST_SECONDS = 0.001


@dataclass(frozen=True)
class Work:
    """Which import a worker does, and how many seconds after its birth it dies, if it does: 0 is before it can work."""

    load: str = "light"
    dies_after: float | None = None

    def environment(self, marks: Marks) -> dict[str, str]:
        """How a worker learns of it. One thread for OpenBLAS, so that its memory is not the number of CPUs."""
        dies_after = "" if self.dies_after is None else str(self.dies_after)
        return {_LOAD: self.load, _DIES_AFTER: dies_after, _MARKS: str(marks.folder), "OPENBLAS_NUM_THREADS": "1"}


class Marks:
    """What workers leave in a folder: a line with their pid and the time at their birth, and one when they can work."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, name: str) -> None:
        """Leave one, in a worker."""
        with (self.folder / name).open("a") as file:
            file.write(f"{os.getpid()} {now()!r}\n")

    def ready(self) -> set[int]:
        """The pids of all that could work at any time."""
        return {pid for pid, _ in self._read("ready")}

    def born(self) -> list[float]:
        """When a worker was born, each time."""
        return sorted(at for _, at in self._read("born"))

    def _read(self, name: str) -> list[tuple[int, float]]:
        path = self.folder / name
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(pid), float(at)) for pid, at in map(str.split, lines)]


def marks() -> Marks:
    """Those of this worker's contender."""
    return Marks(Path(os.environ[_MARKS]))


def be_born() -> None:
    """In a new worker: leave the mark, and wind up the clock that kills it."""
    marks().write("born")
    wind_up()


def wind_up() -> None:
    """Die of SIGALRM in time; as one that the kernel kills, it says nothing before."""
    if after := os.environ[_DIES_AFTER]:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, max(_LEAST_SECONDS, float(after)))


def load() -> object:
    """Do the import; whoever called keeps what it returns."""
    return _LOADS[os.environ[_LOAD]]()


def _light() -> object:
    return None


def _slow() -> object:
    until = time.process_time() + IMPORT_CPU_SECONDS
    while time.process_time() < until:
        sum(range(1000))
    return [{"a": number, "b": str(number)} for number in range(140_000)]  # some 40 MB


def _science() -> object:
    return [importlib.import_module(name) for name in SCIENCE]


_LOADS: Mapping[str, Callable[[], object]] = MappingProxyType({"light": _light, "slow": _slow, "science": _science})
