"""What a daemon must not leave behind: zombies, strays, descriptors."""

from __future__ import annotations

import contextlib
from pathlib import Path

from orbitd.system import process
from tests.support.daemon import Daemon, eventually


def open_descriptors(daemon: Daemon) -> int:
    """How many the arbiter has open."""
    return len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))


def descendants(pid: int) -> set[int]:
    """All processes below one, in /proc's words."""
    found: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in map(int, task.read_text().split()):
                found |= {child} | descendants(child)
    return found


def known_pids(daemon: Daemon) -> set[int]:
    """The processes that the daemon tells of, itself left out."""
    status = daemon.status()
    pids = [each["pid"] for each in status.get("processes", [])] + [slot["pid"] for slot in status.get("slots", [])]
    return {pid for pid in pids if pid} - {daemon.pid}


def assert_nothing_is_left_over(daemon: Daemon, *, count: int, descriptors: int = 1000, molds: int = 1) -> None:
    """One mold (none without preloading), one janitor and so many children are all there is, with no more `descriptors` open.

    A mold to go back to, and whoever is just being reaped, are waited for.
    """

    def seen() -> tuple[list[str], int, bool, bool]:
        pids = descendants(daemon.pid)
        zombies = [f"zombie {pid}" for pid in pids if (stat := process.stat(pid)) and stat.state == "Z"]
        return zombies, len(pids), pids == known_pids(daemon), open_descriptors(daemon) <= descriptors

    eventually(seen, lambda seen: seen == ([], molds + 1 + count, True, True))


def living_in(folder: Path) -> list[int]:
    """The processes that work in this folder, as all of a daemon's do that are not told otherwise."""
    return [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _works_in(path, folder)]


def _works_in(path: Path, folder: Path) -> bool:
    try:
        return (path / "cwd").readlink() == folder
    except OSError:  # it is gone, a zombie, or not ours to look at
        return False
