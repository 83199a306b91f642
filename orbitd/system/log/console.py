"""Standard error, whatever it is: a terminal, a pipe, a file, a socket. Others share it, and someone may have stopped reading."""

from __future__ import annotations

import errno
import os
import select
import socket
import stat
from collections.abc import Callable, Mapping

from orbitd.system.log.entry import Entry, fitted
from orbitd.system.log.jsonline import json_of, prepare
from orbitd.system.log.sink import Sink
from orbitd.system.log.text import text_of

LONGEST_LINE_BYTES = 4096  # what a pipe takes at once or not at all

_STDERR = 2


class Console(Sink):
    """Lines on standard error. `style` is "json", "text", or "auto": text on a terminal."""

    def __init__(self, style: str) -> None:
        super().__init__()
        is_terminal = os.isatty(_STDERR)
        has_colours = is_terminal and wants_colours(os.environ)
        self._render: Callable[[Entry], str] = json_of
        if style == "text" or (style == "auto" and is_terminal):
            self._render = lambda entry: text_of(entry, colour=has_colours)
        else:
            prepare()
        self._is_torn = False

    def _write(self, entry: Entry) -> None:
        line = fitted(entry, self._render, LONGEST_LINE_BYTES - 1)
        sent = write_at_once(b"\n" + line if self._is_torn else line)
        self._is_torn = sent < len(line)
        if self._is_torn:
            raise BlockingIOError(errno.EAGAIN, "only a part was taken")


def wants_colours(environ: Mapping[str, str]) -> bool:
    """True where a terminal may be given colours."""
    return not environ.get("NO_COLOR") and environ.get("TERM", "dumb") not in {"", "dumb"}


def write_at_once(data: bytes) -> int:
    """Write what standard error takes now; how many bytes that were. Raises OSError, and never waits.

    O_NONBLOCK on the descriptor itself would be seen by all who share it: so a pipe or terminal is opened once more.
    """
    mode = os.fstat(_STDERR).st_mode
    if stat.S_ISREG(mode):
        return os.write(_STDERR, data)
    if stat.S_ISSOCK(mode):
        with socket.socket(fileno=os.dup(_STDERR)) as connection:
            return connection.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
    try:
        fd = os.open(f"/proc/self/fd/{_STDERR}", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:  # another user's terminal, no /proc, no descriptor left
        return _write_if_ready(data)
    try:
        return os.write(fd, data)
    finally:
        os.close(fd)


def _write_if_ready(data: bytes) -> int:
    """The second best: between the look and the write somebody else may have filled the pipe."""
    poll = select.poll()
    poll.register(_STDERR, select.POLLOUT)
    if not any(events & select.POLLOUT for _, events in poll.poll(0)):
        raise BlockingIOError(errno.EAGAIN, "nobody reads standard error")
    return os.write(_STDERR, data)
