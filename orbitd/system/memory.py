"""How much memory a process has."""

from __future__ import annotations

import psutil


class Samples:
    """Looks at processes through kept psutil objects: about 10 µs a look. A pid that is reused is noticed by psutil."""

    def __init__(self) -> None:
        self._processes: dict[int, psutil.Process] = {}

    def rss_bytes(self, pid: int) -> int:
        """The resident set; 0 when the process is gone."""
        try:
            process = self._processes.get(pid) or self._processes.setdefault(pid, psutil.Process(pid))
            return int(process.memory_info().rss)
        except psutil.Error:
            self.forget(pid)
            return 0

    def forget(self, pid: int) -> None:
        """The process has ended."""
        self._processes.pop(pid, None)


def own_bytes(pid: int) -> int:
    """What would be freed if the process ended (USS); 0 when it is gone. Costs milliseconds under a large mold.

    A fresh child of a 400 MB mold shows 400 MB of resident set and owns less than one.
    """
    try:
        return int(psutil.Process(pid).memory_full_info().uss)
    except psutil.Error:
        return 0
