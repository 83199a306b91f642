"""How many CPUs this process may use: its affinity, cut by the CPU limits of its control groups (v1 and v2)."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_MEMBERSHIP = Path("/proc/self/cgroup")
_CGROUPS = Path("/sys/fs/cgroup")


def usable_cpus(membership: Path = _MEMBERSHIP, cgroups: Path = _CGROUPS) -> int:
    """At least 1. A control group that cannot be read sets no limit."""
    limits = [len(os.sched_getaffinity(0)), *(math.ceil(cpus) for cpus in _limits(membership, cgroups))]
    return max(1, min(limits))


def _limits(membership: Path, cgroups: Path) -> Iterator[float]:
    for line in _read(membership).splitlines():
        _, controllers, group = line.split(":", 2)
        for folder in (group, *map(str, Path(group).parents)):
            if not controllers:
                yield from _quota(_read(cgroups / folder.lstrip("/") / "cpu.max").split())
            elif "cpu" in controllers.split(","):
                place = cgroups / "cpu" / folder.lstrip("/")
                yield from _quota([_read(place / "cpu.cfs_quota_us").strip(), _read(place / "cpu.cfs_period_us").strip()])


def _quota(words: list[str]) -> Iterator[float]:
    """`max 100000` and `-1` mean no limit, `150000 100000` means one and a half."""
    if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
        yield int(words[0]) / int(words[1])


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
