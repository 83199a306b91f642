"""What the kernel says of other processes: CPU, memory, wake-ups. A process that has gone counts as nothing."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

_TICKS_A_SECOND = os.sysconf("SC_CLK_TCK")
_REAPED_USER, _REAPED_SYSTEM = 13, 14  # fields of /proc/PID/stat after the name, from 0
_CPU_CLOCK_OF_PROCESS = 2  # the kernel's CPUCLOCK_SCHED


def cpu_seconds(pid: int) -> float:
    """CPU time of a process with all its threads, ended ones too. Its CPU clock, since /proc counts in ticks of 10 ms."""
    try:
        return time.clock_gettime(~pid << 3 | _CPU_CLOCK_OF_PROCESS)
    except OSError:
        return 0.0


def tree_cpu_seconds(root: int) -> float:
    """CPU time of a process and of all below it, those that have ended and were reaped included."""
    return sum(cpu_seconds(pid) + _reaped_cpu_seconds(pid) for pid in tree(root))


def tree(root: int) -> Iterator[int]:
    """A process and all below it, the deepest first: one that ends meanwhile is then found among the reaped."""
    for pid in children(root):
        yield from tree(pid)
    yield root


def children(pid: int) -> list[int]:
    """The direct children of a process, whichever of its threads started them."""
    texts = (_read(task / "children") for task in Path(f"/proc/{pid}/task").glob("*"))
    return [int(child) for text in texts for child in text.split()]


def pss_bytes(pid: int) -> int:
    """Memory of a process, each shared page divided by the number of its users."""
    return _kib(f"/proc/{pid}/smaps_rollup", "Pss") * 1024


def rss_bytes(pid: int) -> int:
    """Memory of a process, shared pages counted in full."""
    return _kib(f"/proc/{pid}/status", "VmRSS") * 1024


def wake_ups(pids: Iterable[int]) -> int:
    """How often the threads of these processes have gone to sleep, and so been woken."""
    statuses = (task / "status" for pid in pids for task in Path(f"/proc/{pid}/task").glob("*"))
    return sum(_number(_read(path), "voluntary_ctxt_switches") for path in statuses)


def _reaped_cpu_seconds(pid: int) -> float:
    fields = _read(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return (int(fields[_REAPED_USER]) + int(fields[_REAPED_SYSTEM])) / _TICKS_A_SECOND if fields else 0.0


def _kib(path: str, name: str) -> int:
    return _number(_read(Path(path)), name)


def _number(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else 0


def _read(path: Path) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return path.read_text()
    return ""
