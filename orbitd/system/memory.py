"""How much memory a process has: the cheap look (some 10 µs) and the dear one (milliseconds under a large mold)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import psutil


@dataclass(frozen=True, slots=True)
class Share:
    """What of a process's memory is its own, and its fair part of all that it has.

    `own_bytes` (USS) would be free if it ended: a fresh child of a 400 MB mold shows 400 MB of resident set and owns less than
    one. `pss_bytes` counts each shared page by its part: it may be summed over processes.
    """

    own_bytes: int
    pss_bytes: int


@lru_cache(maxsize=64)
def _process(pid: int) -> psutil.Process:
    """Kept, for to make one costs more than a look. Each look reads by the pid, and so is right for whoever has it now."""
    return psutil.Process(pid)


def rss_bytes(pid: int) -> int:
    """The resident set; 0 when the process is gone."""
    try:
        return int(_process(pid).memory_info().rss)
    except psutil.Error:
        return 0


def share_of(pid: int) -> Share | None:
    """The dear look: the kernel walks all pages. None when the process is gone, or not ours to look into."""
    try:
        full = _process(pid).memory_full_info()
    except psutil.Error:
        return None
    return Share(int(full.uss), int(full.pss))
