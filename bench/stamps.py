"""How work that has started tells the bench so: a line with its pid and the time, through a named pipe."""

from __future__ import annotations

import os
import select
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PATIENCE_SECONDS = 30.0


def now() -> float:
    """Seconds of CLOCK_BOOTTIME, the same for all processes of a machine."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def stamp(pipe: str) -> None:
    """Say that this process has just entered user code."""
    at = now()
    fd = os.open(pipe, os.O_WRONLY)
    os.write(fd, f"{os.getpid()} {at!r}\n".encode())
    os.close(fd)


@dataclass(frozen=True, slots=True)
class Stamp:
    """Who has started work, and when."""

    pid: int
    at: float


class Stamps:
    """The reading end."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = str(path)
        self._pipe = os.fdopen(os.open(path, os.O_RDWR), "rb", buffering=0)  # a writer of our own: no end of file between two stamps

    def next(self, patience: float = _PATIENCE_SECONDS) -> Stamp:
        """The next start. Raises TimeoutError after so many seconds."""
        if not select.select([self._pipe], [], [], patience)[0]:
            raise TimeoutError(f"no work was started within {patience:g}s")
        pid, at = self._pipe.readline().split()
        return Stamp(int(pid), float(at))

    def close(self) -> None:
        """Stop reading."""
        self._pipe.close()


@contextmanager
def listening() -> Iterator[Stamps]:
    """A new pipe, for the time of one measurement."""
    with tempfile.TemporaryDirectory(prefix="orbitd-bench-") as folder:
        stamps = Stamps(Path(folder) / "stamps")
        try:
            yield stamps
        finally:
            stamps.close()
