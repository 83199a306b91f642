"""Asking a running daemon. Standard library only: `orbitctl status` has to be quick."""

from __future__ import annotations

import contextlib
import math
import os
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from orbitd.control.wire import LONGEST_ANSWER_BYTES, encode_request, parse_answer
from orbitd.errors import DaemonNotRunning, OrbitError, Refused, WaitTimeout, why

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_PEER_CREDENTIALS = struct.Struct("iII")
_TIMEVAL = struct.Struct("ll")
_CHUNK_BYTES = 64 * 1024
_TICK_SECONDS = 1.0
_SILENT = "it is overloaded or stopped; what its children do: orbitctl status --offline"


class Conversation:
    """One connection to a daemon."""

    def __init__(self, connection: socket.socket, path: Path) -> None:
        self._socket = connection
        self._path = path

    @property
    def daemon_pid(self) -> int:
        """The process that listens; 0 when it is in a pid namespace that we cannot see."""
        credentials = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
        pid: int = _PEER_CREDENTIALS.unpack(credentials)[0]
        return pid

    def ask(
        self, command: str, args: Mapping[str, Any], timeout_seconds: float | None = None, tick: Callable[[], None] = lambda: None
    ) -> dict[str, Any]:
        """The result of a command; `tick` is called about each second of waiting for it.

        Raises the daemon's error as it is there, WaitTimeout when no answer came in time, DaemonNotRunning when the daemon ended.
        """
        deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
        try:
            # A daemon that refuses us may have hung up already; its answer says why, and can still be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._socket.settimeout(timeout_seconds)
                self._socket.sendall(encode_request(command, args))
            return parse_answer(self._line(deadline, tick))
        except TimeoutError:
            raise WaitTimeout(
                f"orbitd listens on {self._path}, and did not answer {command} within {timeout_seconds:g}s", _SILENT
            ) from None
        except OSError as error:
            raise DaemonNotRunning(f"orbitd ended while it was asked: {why(error)}", "see its log") from error

    def _line(self, deadline: float, tick: Callable[[], None]) -> bytes:
        received = bytearray()
        while not received.endswith(b"\n"):
            self._await_readable(deadline, tick)
            chunk = self._socket.recv(_CHUNK_BYTES)
            if not chunk:
                raise DaemonNotRunning("orbitd ended while it was asked", "see its log")
            received += chunk
            if len(received) > LONGEST_ANSWER_BYTES:
                raise OrbitError(f"what answers on {self._path} does not sound like orbitd")
        return bytes(received)

    def _await_readable(self, deadline: float, tick: Callable[[], None]) -> None:
        while not select.select([self._socket], [], [], max(0.0, min(_TICK_SECONDS, deadline - time.monotonic())))[0]:
            if time.monotonic() >= deadline:
                raise TimeoutError
            tick()


@contextlib.contextmanager
def connected(path: Path, timeout_seconds: float | None = None) -> Iterator[Conversation]:
    """A conversation with the daemon that listens on `path`.

    Raises DaemonNotRunning when nobody does, Refused when we may not speak to it.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
        if timeout_seconds is not None:
            # Not settimeout(): that would not wait for room in a full backlog.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _timeval(timeout_seconds))
        try:
            connection.connect(os.fspath(path))
        except PermissionError:
            raise Refused(
                f"the control socket {path} is not for user {os.geteuid()}",
                "ask as root, as the user that orbitd runs as, or as a member of its control.group or control.viewers",
            ) from None
        except BlockingIOError:
            raise WaitTimeout(f"orbitd does not accept connections on {path}", _SILENT) from None
        except OSError as error:
            hint = "start it with `orbitd`, or name its socket: orbitctl --socket PATH"
            raise DaemonNotRunning(f"orbitd is not running: nobody listens on {path} ({why(error)})", hint) from error
        yield Conversation(connection, path)


def _timeval(seconds: float) -> bytes:
    """At least a microsecond: 0 would be for ever."""
    whole, part = divmod(max(1, int(seconds * 1e6)), 1_000_000)
    return _TIMEVAL.pack(whole, part)


def call(socket_path: Path, command: str, args: Mapping[str, Any], timeout_seconds: float | None = None) -> dict[str, Any]:
    """The result of one command; raises what `connected` and `Conversation.ask` raise."""
    with connected(socket_path, timeout_seconds) as conversation:
        return conversation.ask(command, args, timeout_seconds)
