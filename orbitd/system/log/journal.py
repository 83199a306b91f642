"""systemd's journal, in its own protocol: one datagram an event, with fields to search by (`journalctl ORBIT_RUN_ID=7`).

The names of the fields are all ours; a value, whatever is in it, ends where its length says.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from orbitd.system.log.console import Console
from orbitd.system.log.entry import Entry, cut
from orbitd.system.log.sink import Sink
from orbitd.system.log.text import message_of

SOCKET_PATH = "/run/systemd/journal/socket"

_PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}
_NAMES = {
    "event": "ORBIT_EVENT",
    "host": "ORBIT_HOST",
    "role": "ORBIT_ROLE",
    "slot": "ORBIT_SLOT",
    "gen": "ORBIT_GENERATION",
    "run": "ORBIT_RUN_ID",
    "pipeline": "ORBIT_PIPELINE",
    "step": "ORBIT_STEP",
    "attempt": "ORBIT_ATTEMPT",
}
_LONGEST_VALUE = 32 * 1024  # as MESSAGE: a datagram has some 200 KiB
_LENGTH = struct.Struct("<Q")


def is_journal(environ: Mapping[str, str]) -> bool:
    """True when our standard error is the stream that systemd has connected to the journal."""
    try:
        facts = os.fstat(2)
    except OSError:
        return False
    return environ.get("JOURNAL_STREAM") == f"{facts.st_dev}:{facts.st_ino}"


class Journal(Sink):
    """The journal; standard error, which it reads too, when its socket is gone."""

    def __init__(self, path: str = SOCKET_PATH) -> None:
        super().__init__()
        self._path = path
        self._instead = Console("text")

    def _write(self, entry: Entry) -> None:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as ours:
                ours.sendto(datagram(entry), self._path)
        except (FileNotFoundError, ConnectionRefusedError, PermissionError):
            self._instead.take(entry)


def datagram(entry: Entry) -> bytes:
    """The entry in the journal's native protocol."""
    return b"".join(_framed(name, value) for name, value in _fields(entry))


def _fields(entry: Entry) -> Iterator[tuple[str, Any]]:
    yield "MESSAGE", cut(message_of(entry), _LONGEST_VALUE)
    yield "PRIORITY", _PRIORITIES[entry["level"]]
    yield "SYSLOG_IDENTIFIER", "orbitd"
    for field, name in _NAMES.items():
        if field in entry:
            yield name, entry[field]


def _framed(name: str, value: object) -> bytes:
    """`NAME=value`, or, for a value with a newline in it, its length in front."""
    data = str(value).encode(errors="backslashreplace")
    if b"\n" not in data:
        return name.encode() + b"=" + data + b"\n"
    return name.encode() + b"\n" + _LENGTH.pack(len(data)) + data + b"\n"
