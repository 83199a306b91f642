"""A log file that all processes of the daemon append to, and that begins anew at a size: NAME, NAME.1, …, the oldest last.

Each line opens the file by its name and appends itself in one write. So nobody has to be told that the file was renamed,
truncated, deleted or replaced, by us or by logrotate: the next line of whatever process finds or makes the file that has the
name now. A process that opened the old one just before appends to it as it moves to NAME.1: no line is lost.

Who finds the file too large moves it, under a lock on the file; who does not get the lock goes on writing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from orbitd.system import clock
from orbitd.system.log.entry import Entry, fitted
from orbitd.system.log.jsonline import json_of, prepare
from orbitd.system.log.sink import Sink

LONGEST_LINE_BYTES = 64 * 1024

_COMPLAIN_EVERY_SECONDS = 60.0
_AT_WORK_SECONDS = 1.0
_FILE_MODE, _FOLDER_MODE = 0o640, 0o750
# A symbolic link could lead anywhere, and a FIFO without a reader would have us wait.
_FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


class Complain(Protocol):
    """How a file tells that something is wrong with it."""

    def __call__(self, name: str, **fields: object) -> None:
        """An event that does not go to the file."""


class File(Sink):
    """JSON lines in a file of at most `max_bytes`, of which `max_files` are kept, the one being written included."""

    def __init__(self, path: Path, max_bytes: int, max_files: int, *, complain: Complain) -> None:
        super().__init__()
        self._path, self._max_bytes, self._max_files = path, max_bytes, max_files
        self._complain = complain
        prepare()
        self._complain_next = 0.0

    def _write(self, entry: Entry) -> None:
        try:
            self._put(fitted(entry, json_of, LONGEST_LINE_BYTES), after_loss="dropped_lines" in entry)
        except OSError as error:
            self._complain_sometimes("log_not_written", error, entry.get("dropped_lines", 0) + 1)
            raise

    def _put(self, line: bytes, *, after_loss: bool) -> None:
        with self._opened() as fd:
            if not self._is_full(fd, line):
                _append(fd, line, after_loss=after_loss)
                return
            self._begin_anew(fd)
        with self._opened() as fd:
            _append(fd, line, after_loss=after_loss)

    def _is_full(self, fd: int, line: bytes) -> bool:
        size = os.fstat(fd).st_size
        return size > 0 and size + len(line) > self._max_bytes

    @contextlib.contextmanager
    def _opened(self) -> Iterator[int]:
        try:
            fd = os.open(self._path, _FLAGS, _FILE_MODE)
        except FileNotFoundError:
            self._path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
            fd = os.open(self._path, _FLAGS, _FILE_MODE)
        try:
            facts = os.fstat(fd)
            if not stat.S_ISREG(facts.st_mode):
                raise OSError(errno.EINVAL, "this is no regular file")
            if facts.st_uid == 0 == os.geteuid() and facts.st_nlink == 1:
                self._give_to_owner(fd)
            yield fd
        finally:
            os.close(fd)

    def _give_to_owner(self, fd: int) -> None:
        """What root writes in somebody's folder is his: children that have become that user write it too."""
        owner = self._path.parent.stat()
        if owner.st_uid != 0:
            os.fchown(fd, owner.st_uid, owner.st_gid)

    # --- beginning anew ---

    def _begin_anew(self, fd: int) -> None:
        """Move the full file out of the way, if nobody does so already. Where it cannot be moved, it grows on."""
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(fd), self._path.stat()):
                self._move()
        except (BlockingIOError, FileNotFoundError):  # somebody else is at it
            return
        except OSError as error:
            self._complain_sometimes("log_not_rotated", error)

    def _move(self) -> None:
        """Every file takes the next number, up to the first that is free: so one who is killed half way has lost nothing."""
        free = next((number for number in range(1, self._max_files) if not os.path.lexists(self._old(number))), self._max_files - 1)
        for number in range(free, 1, -1):
            self._old(number - 1).replace(self._old(number))
        if self._max_files > 1:
            self._path.replace(self._old(1))
        else:
            self._path.unlink()
        self._drop_surplus()

    def _drop_surplus(self) -> None:
        """Of what was kept when more files were allowed."""
        for number in itertools.count(max(1, self._max_files)):
            try:
                self._old(number).unlink()
            except OSError:
                return

    def _old(self, number: int) -> Path:
        return self._path.with_name(f"{self._path.name}.{number}")

    def _complain_sometimes(self, name: str, error: OSError, dropped_lines: int | None = None) -> None:
        if clock.now() >= self._complain_next:
            self._complain_next = clock.now() + _COMPLAIN_EVERY_SECONDS
            self._complain(name, file=self._path, error=error.strerror, dropped_lines=dropped_lines)


def _append(fd: int, line: bytes, *, after_loss: bool) -> None:
    """Write the line in one piece, on a line of its own even after one that a full disk has torn. Raises OSError."""
    if os.write(fd, b"\n" + line if _is_torn(fd, after_loss=after_loss) else line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_torn(fd: int, *, after_loss: bool) -> bool:
    """True when the file ends within a line: one of ours, or one that is too old for somebody to be writing it just now."""
    facts = os.fstat(fd)
    if facts.st_size == 0 or not (after_loss or time.time() > facts.st_mtime + _AT_WORK_SECONDS):
        return False
    return os.pread(fd, 1, facts.st_size - 1) not in {b"", b"\n"}
