"""A process in front of a real terminal: what it shows can be awaited, and it can be typed to."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
_PATIENCE_SECONDS = 20.0


class Terminal:
    """One terminal and the process in it."""

    def __init__(self, process: subprocess.Popen[bytes], master: int) -> None:
        self.process = process
        self._master = master
        self.shown = ""

    def expect(self, text: str) -> str:
        """All that was shown, when the text stands there."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while text not in self.shown:
            assert self._read(deadline - time.monotonic()), f"{text!r} was not shown, but {self.shown!r}"
        return self.shown

    def type(self, keys: str) -> None:
        """Press these keys."""
        os.write(self._master, keys.encode())

    def end(self) -> int:
        """Its exit code, when it has ended; what it shows until then is kept."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(_PATIENCE_SECONDS)

    def _read(self, seconds: float) -> bool:
        """Whether there was more to read."""
        if not select.select([self._master], [], [], max(seconds, 0.0))[0]:
            return False
        try:
            read = os.read(self._master, 65536)
        except OSError:  # nobody has the other end open any more
            return False
        self.shown += read.decode(errors="replace").replace("\r\n", "\n")
        return bool(read)


@contextlib.contextmanager
def terminal(command: Sequence[str], *, rows: int = 24, columns: int = 80, **environ: str) -> Iterator[Terminal]:
    """The command in a terminal of its own, whose foreground process it is."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    kept = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    env = {**kept, "TERM": "xterm-256color", "LANG": "C.UTF-8", "PYTHONPATH": str(ROOT), **environ}
    with subprocess.Popen(  # the hook is one system call, and safe beside threads
        command,
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env=env,
        start_new_session=True,
        preexec_fn=_take_terminal,  # noqa: PLW1509
    ) as process:
        os.close(slave)
        try:
            yield Terminal(process, master)
        finally:
            process.kill()
            os.close(master)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
