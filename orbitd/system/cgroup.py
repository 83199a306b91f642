"""The control groups that this process is in (v1, v2, and both at once), and what they say of its memory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MEMBERSHIP = Path("/proc/self/cgroup")
CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED_FROM = 1 << 62
"""Version 1 writes "no limit" as the largest multiple of a page."""


def own_folders(controller: str, membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> Iterator[tuple[int, Path]]:
    """Our group of a controller and those above it, the innermost first, each with its version, 1 or 2.

    In a container /proc may name a path of the host's that is not there: then the files stand in the folders above.
    Folders are only named here; whether there is such a file in one is for the reader to see.
    """
    for line in read(membership).splitlines():
        _, controllers, group = line.split(":", 2)
        places: list[tuple[int, Path]] = []
        if not controllers:
            places = [(2, cgroups), (2, cgroups / "unified")]
        elif controller in controllers.split(","):
            places = [(1, cgroups / controller)]
        for folder in (group, *map(str, Path(group).parents)):
            yield from ((version, place / folder.lstrip("/")) for version, place in places)


def read(path: Path) -> str:
    """What stands in a file; nothing if it cannot be read."""
    try:
        return path.read_bytes().decode()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Usage:
    """A group's memory in use, without what the kernel can give back at once (inactive file pages), and its limit."""

    used_bytes: int
    limit_bytes: int


class MemoryGroup:
    """Our own memory group. Found once: a process seldom moves."""

    def __init__(self, membership: Path = MEMBERSHIP, cgroups: Path = CGROUPS) -> None:
        self._folders = [(version, folder) for version, folder in own_folders("memory", membership, cgroups) if _is_group(version, folder)]

    def usage(self) -> Usage | None:
        """Of the group, ours or above, that is nearest to its limit; None when none has a limit."""
        found = [usage for version, folder in self._folders if (usage := _usage(version, folder))]
        return max(found, key=lambda usage: usage.used_bytes / usage.limit_bytes, default=None)

    def oom_kills(self) -> int | None:
        """How many processes of our group the kernel has killed for want of memory; None when there is no such count."""
        if not self._folders:
            return None
        version, folder = self._folders[0]
        return _word(read(folder / ("memory.events" if version == 2 else "memory.oom_control")), "oom_kill")


def _is_group(version: int, folder: Path) -> bool:
    return (folder / ("memory.current" if version == 2 else "memory.usage_in_bytes")).exists()


def _usage(version: int, folder: Path) -> Usage | None:
    used_name, limit_name, idle_name = _FILES[version]
    limit = read(folder / limit_name).strip()
    if not limit.isdecimal() or not 0 < int(limit) < _UNLIMITED_FROM:  # so it is mostly, and then its use is no matter
        return None
    used = read(folder / used_name).strip()
    if not used.isdecimal():
        return None
    idle = _word(read(folder / "memory.stat"), idle_name) or 0
    return Usage(max(0, int(used) - idle), int(limit))


_FILES = {
    1: ("memory.usage_in_bytes", "memory.limit_in_bytes", "total_inactive_file"),
    2: ("memory.current", "memory.max", "inactive_file"),
}


def _word(text: str, name: str) -> int | None:
    """The number after a name, in a file of such lines."""
    for line in text.splitlines():
        if line.split()[:1] == [name]:
            return int(line.split()[1])
    return None
