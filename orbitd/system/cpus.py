"""How many CPUs this process may use: its affinity, cut by the CPU limits of its control groups (v1 and v2)."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import TYPE_CHECKING

from orbitd.system.cgroup import CGROUPS, MEMBERSHIP, own_folders, read

if TYPE_CHECKING:
    from collections.abc import Iterator


def usable_cpus(membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> int:
    """At least 1. A control group that cannot be read sets no limit."""
    limits = [len(os.sched_getaffinity(0)), *(math.ceil(cpus) for cpus in _limits(membership, cgroups))]
    return max(1, min(limits))


def _limits(membership: Path, cgroups: Path) -> Iterator[float]:
    for version, folder in own_folders("cpu", membership, cgroups):
        if version == 2:
            yield from _quota(read(folder / "cpu.max").split())
        else:
            yield from _quota([read(folder / "cpu.cfs_quota_us").strip(), read(folder / "cpu.cfs_period_us").strip()])


def _quota(words: list[str]) -> Iterator[float]:
    """`max 100000` and `-1` mean no limit, `150000 100000` means one and a half."""
    if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
        yield int(words[0]) / int(words[1])
