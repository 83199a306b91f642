"""Reading a small text file that may turn out to be anything: a fifo, a device, a directory, a film."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from orbitd.errors import why

if TYPE_CHECKING:
    from pathlib import Path

_KINDS = {
    stat.S_IFIFO: "a fifo",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def read_text_file(path: Path, largest_bytes: int) -> str:
    """The text of a UTF-8 file, without a byte order mark.

    Raises ValueError, with words that follow the file's name, for whatever cannot be read so. Never waits.
    """
    try:
        # O_NONBLOCK: opening a fifo without a writer would wait for one.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(descriptor, "rb") as file:
            kind = stat.S_IFMT(os.fstat(descriptor).st_mode)
            if kind != stat.S_IFREG:
                raise ValueError(f"{path} is {_KINDS.get(kind, 'something')}, not a file")
            content = file.read(largest_bytes + 1)
    except OSError as error:
        reason = why(error)
        raise ValueError(f"{path} cannot be read: {reason}") from error
    if len(content) > largest_bytes:
        raise ValueError(f"{path} has more than {largest_bytes} bytes")
    return _decoded(path, content)


def _decoded(path: Path, content: bytes) -> str:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ValueError(f"{path} is UTF-16 text: save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = len(content[content.rfind(b"\n", 0, error.start) + 1 : error.start].decode()) + 1
        raise ValueError(f"{path}:{line}:{column}: byte {content[error.start]:#04x} is not UTF-8 text") from None
