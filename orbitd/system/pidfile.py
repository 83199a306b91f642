"""The pid file: for programs that want to know, or to signal, the process of a daemon.

Whoever wrote it holds a lock on it for as long as he lives: so a file that was left behind is told from one in use, whatever
process has got the number since. It appears whole, and with its lock, by a rename.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orbitd.errors import ConfigError, Conflict, why

if TYPE_CHECKING:
    from collections.abc import Callable

_LONGEST_BYTES = 64
_PID = re.compile(rb"\s*[0-9]{1,10}\s*")
_WORLD_READABLE = 0o644


@dataclass(frozen=True, slots=True)
class PidFileEstate:
    """What a pid file hands over to the program that goes on with it."""

    path: str
    descriptor: int


@dataclass(frozen=True, slots=True)
class PidFile:
    """Our own pid file. `descriptor` holds its lock until we end, however we end."""

    path: Path
    descriptor: int

    @classmethod
    def write(cls, path: Path) -> PidFile:
        """Make the file, in the place of one that was left behind.

        Raises Conflict when a living orbitd holds it, ConfigError when it cannot be written or is something else than a pid file.
        """
        draft = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            _refuse_what_is_there(path)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, _WORLD_READABLE)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            os.write(descriptor, f"{os.getpid()}\n".encode())
            draft.replace(path)
        except OSError as error:
            with contextlib.suppress(OSError):
                draft.unlink()
            raise ConfigError(
                f"the pid file {path} cannot be written: {why(error)}",
                "set instance.pid_file (--pid) to a file where orbitd may write",
            ) from error
        return cls(path, descriptor)

    def hand_over(self, keep: Callable[[int], int]) -> PidFileEstate:
        """What `inherit` needs, the lock too: it is never let go of."""
        return PidFileEstate(str(self.path), keep(self.descriptor))

    @classmethod
    def inherit(cls, estate: PidFileEstate) -> PidFile:
        """The same file, in another program."""
        return cls(Path(estate.path), estate.descriptor)

    def remove(self) -> None:
        """Remove the file if it is still ours, and let go of it."""
        with contextlib.suppress(OSError):
            if os.path.samestat(self.path.lstat(), os.fstat(self.descriptor)):
                self.path.unlink()
        os.close(self.descriptor)


def _refuse_what_is_there(path: Path) -> None:
    """Nothing but a pid file that nobody holds may be replaced. Raises Conflict, ConfigError, OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    except FileNotFoundError:
        return
    content = b""
    try:
        content = os.read(descriptor, _LONGEST_BYTES) if stat.S_ISREG(os.fstat(descriptor).st_mode) else b"?"
        if content.strip() and not _PID.fullmatch(content):
            raise ConfigError(f"{path} exists and is no pid file", "set instance.pid_file (--pid) to a path of its own")
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = content.decode().strip()
        raise Conflict(
            f"another orbitd runs as process {pid}: it holds the pid file {path}",
            "see `orbitctl status`, or give this one its own --pid",
        ) from None
    finally:
        os.close(descriptor)
