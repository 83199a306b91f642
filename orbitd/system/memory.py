"""How much memory a process has: the cheap look (some 10 µs) and the dear one (milliseconds under a large mold)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Share:
    """What of a process's memory is its own, and its fair part of all that it has.

    `own_bytes` (USS) would be free if it ended: a fresh child of a 400 MB mold shows 400 MB of resident set and owns less than
    one. `pss_bytes` counts each shared page by its part: it may be summed over processes.
    """

    own_bytes: int
    pss_bytes: int


def rss_bytes(pid: int) -> int:
    """The resident set; 0 when the process is gone."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * _PAGE_BYTES
    except OSError:
        return 0


def share_of(pid: int) -> Share | None:
    """The dear look: the kernel walks all pages. None when the process is gone, or not ours to look into."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    kilobytes = {words[0]: int(words[1]) for line in lines if (words := line.split())[-1:] == ["kB"]}
    own = sum(size for name, size in kilobytes.items() if name.startswith("Private_"))
    return Share(own * 1024, kilobytes.get("Pss:", 0) * 1024)
