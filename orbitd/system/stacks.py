"""A child's stack file: a memfd into which faulthandler writes the Python stacks of all threads.

    a crash             whatever ends the process by a fault of its own, such as SIGSEGV
    DUMP_SIGNAL         somebody asks from outside; written in C by the signal's handler, so also while a C call holds the GIL
    `dump`              the process asks itself

faulthandler sets SA_RESTART, so that a dump interrupts no system call that can be restarted. Reader and writer share one file
offset: what is written comes after what is there, and `cut` moves it back for both.
"""

from __future__ import annotations

import faulthandler
import os
import signal

DUMP_SIGNAL = signal.SIGRTMIN + 7
_MOST_BYTES = 32 * 1024


class StackFile:
    """One slot's file, as its child or the arbiter sees it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def arm(self) -> None:
        """In the child: have crashes, and whoever sends DUMP_SIGNAL, write here."""
        faulthandler.enable(self._fd)
        faulthandler.register(DUMP_SIGNAL, self._fd, all_threads=True)

    def dump(self) -> None:
        """In the child: write the stacks of all threads."""
        faulthandler.dump_traceback(self._fd)

    @property
    def size(self) -> int:
        """How much is written."""
        return os.fstat(self._fd).st_size

    def read(self, start: int = 0) -> str:
        """What is written from there on, within a bound; empty if nothing."""
        return os.pread(self._fd, _MOST_BYTES, start).decode("ascii", "backslashreplace")

    def cut(self, start: int = 0) -> None:
        """Forget what is written from there on."""
        if os.lseek(self._fd, 0, os.SEEK_CUR) > start:
            os.ftruncate(self._fd, start)
            os.lseek(self._fd, start, os.SEEK_SET)
