"""The control socket's server: lives in the arbiter's selector loop, has no thread, and never waits.

A connection has one request in hand at a time, so that ten thousand pipelined ones cannot hold up the loop:

    READING --a whole line--> handler --Answer--> WRITING --all written--> READING      (_handle, _reply, _write)
                              handler --Pending--> WAITING --check() has it--> WRITING  (settle)
    any --hang-up, garbled line, deadline, other user--> closed                          (_drop)

The loop owes the server four things: to call the selector's callbacks, to wake up at `next_deadline()`, and then to call
`expire(now)` and `settle(now)`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import grp
import logging
import os
import select
import selectors
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from orbitd.control.wire import LONGEST_ANSWER_BYTES, LONGEST_REQUEST_BYTES, Answer, Garbled, Request, encode_answer, parse_request
from orbitd.errors import ConfigError, Conflict, OrbitError, Refused, why

if TYPE_CHECKING:
    from pathlib import Path

MOST_CONNECTIONS = 64
_LONGEST_PATH_BYTES = 107
_WRITE_STALL_SECONDS = 1.0
_READ_SILENCE_SECONDS = 30.0
_ACCEPT_PAUSE_SECONDS = 1.0
_SOCKET_UMASK = 0o177
_PEER_CREDENTIALS = struct.Struct("iII")
_GROUP_SOCKET_MODE = 0o660
_GROUP_FOLDER_MODE = 0o710
_SO_PEERGROUPS = 59
_MOST_GROUP_BYTES = 1024

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pending:
    """An answer that is not known yet: `check(now)` returns it once it is."""

    check: Callable[[float], Answer | None]


Handler = Callable[[Request], Answer | Pending]


@dataclass(eq=False)
class _Connection:
    socket: socket.socket
    uid: int
    deadline: float
    inbound: bytearray = field(default_factory=bytearray)
    outbound: bytes = b""
    pending: Pending | None = None
    last: bool = False
    """Whether it is closed after the answer in hand."""

    def has_request(self) -> bool:
        return not self.outbound and self.pending is None and b"\n" in self.inbound


class Server:
    """Listens on `path` and answers with what `handler` says. All times are those of `clock`.

    Root, the daemon's own user and the members of `group` may ask; without such a group, or when we may not give it the
    socket, the first two.

    Raises Conflict when another daemon listens there, ConfigError when the socket cannot be made.
    """

    def __init__(
        self,
        path: Path,
        selector: selectors.BaseSelector,
        handler: Handler,
        *,
        group: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._path = path
        self._selector = selector
        self._handler = handler
        self._clock = clock
        self._group = group
        self._known_group_id = _group_id(group)  # once: the group database may be a server that does not answer
        self._group_id: int | None = None
        self._connections: set[_Connection] = set()
        self._accept_again_at: float | None = None
        self._listen()

    def next_deadline(self) -> float | None:
        """When the loop must turn next for the server's sake; None when only its callbacks matter."""
        if any(connection.has_request() for connection in self._connections):
            return self._clock()
        deadlines = [connection.deadline for connection in self._connections if connection.pending is None]
        if self._accept_again_at is not None:
            deadlines.append(self._accept_again_at)
        return min(deadlines, default=None)

    def expire(self, now: float) -> None:
        """Close the connections that are late."""
        for connection in list(self._connections):
            if connection.pending is None and connection.deadline <= now:
                self._drop(connection)
        if self._accept_again_at is not None and self._accept_again_at <= now:
            self._accept_again_at = None
            self._selector.register(self._listener, selectors.EVENT_READ, data=self._accept)

    def settle(self, now: float) -> None:
        """Answer the pending requests that are done, and take up one further request of each connection that sent more."""
        for connection in list(self._connections):
            if connection.pending is not None:
                self._reply(connection, self._guarded(partial(connection.pending.check, now)))
            elif connection.has_request():
                self._handle(connection)

    def ensure_bound(self) -> None:
        """Make the socket anew if its file is gone. Raises what the construction raises."""
        if not os.path.lexists(self._path):
            self._stop_listening()
            self._listen()

    def close(self) -> None:
        """Drop everyone, and remove the socket's file if it is still ours."""
        for connection in list(self._connections):
            self._drop(connection)
        self._stop_listening()
        with contextlib.suppress(OSError):
            if self._identity == _identity(self._path):
                self._path.unlink()

    def _listen(self) -> None:
        is_new_folder = not self._path.parent.exists()
        self._listener = _bound(self._path)
        is_shared = self._known_group_id is not None and _share(self._path, self._known_group_id, is_new_folder=is_new_folder)
        self._group_id = self._known_group_id if is_shared else None
        self._identity = _identity(self._path)
        self._accept_again_at = None
        self._selector.register(self._listener, selectors.EVENT_READ, data=self._accept)

    def _stop_listening(self) -> None:
        # Not registered while accepting is paused; closed already when an earlier attempt to bind anew has failed.
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            # Out of descriptors, most likely: the listener stays readable, and would turn the loop into a spin.
            _log.warning("control connections are not accepted for %.0fs: %s", _ACCEPT_PAUSE_SECONDS, error)
            self._selector.unregister(self._listener)
            self._accept_again_at = self._clock() + _ACCEPT_PAUSE_SECONDS
            return
        accepted.setblocking(False)
        connection = _Connection(accepted, _peer(accepted)[1], self._clock() + _READ_SILENCE_SECONDS)
        self._connections.add(connection)
        refusal = self._refusal(connection)
        if refusal:
            connection.last = True
            self._reply(connection, Answer(error=refusal))
        else:
            self._watch(connection, selectors.EVENT_READ)

    def _refusal(self, connection: _Connection) -> OrbitError | None:
        if connection.uid not in {0, os.geteuid()} and not self._is_member(connection.socket):
            others = "" if self._group_id is None else f", or as a member of group {self._group}"
            return Refused(f"user {connection.uid} may not operate this daemon", f"ask as root or as user {os.geteuid()}{others}")
        if len(self._connections) > MOST_CONNECTIONS:
            return Refused(f"the daemon talks to {MOST_CONNECTIONS} others already", "try again in a moment")
        return None

    def _is_member(self, connection: socket.socket) -> bool:
        return self._group_id is not None and self._group_id in _peer_groups(connection)

    def _read(self, connection: _Connection) -> None:
        try:
            # Never recvmsg: descriptors that somebody attaches are closed by the kernel.
            received = connection.socket.recv(LONGEST_REQUEST_BYTES)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        if not received:
            self._hung_up(connection)
            return
        connection.inbound += received
        if connection.has_request():
            self._handle(connection)
        elif len(connection.inbound) > LONGEST_REQUEST_BYTES:
            self._overflowed(connection)

    def _hung_up(self, connection: _Connection) -> None:
        """Whoever only stopped sending (`nc`) still gets the answer to what was asked."""
        if connection.pending is None or _is_gone(connection.socket):
            self._drop(connection)
        else:
            connection.last = True
            self._watch(connection, 0)

    def _overflowed(self, connection: _Connection) -> None:
        """Too much was sent: for one request, or ahead of the answer to a pending one, where it can wait in the kernel."""
        if connection.pending is not None:
            self._watch(connection, 0)
        else:
            connection.last = True
            self._reply(connection, Answer(error=Garbled(f"a request has at most {LONGEST_REQUEST_BYTES} bytes")))

    def _handle(self, connection: _Connection) -> None:
        line, _, rest = bytes(connection.inbound).partition(b"\n")
        connection.inbound = bytearray(rest)
        outcome = self._guarded(lambda: self._handler(parse_request(line, connection.uid)))
        if isinstance(outcome, Pending):
            connection.pending = outcome
        else:
            connection.last |= outcome is not None and isinstance(outcome.error, Garbled)
            self._reply(connection, outcome)

    def _guarded(self, act: Callable[[], Answer | Pending | None]) -> Answer | Pending | None:
        """What the act returns, or its error as an answer: no request may end the arbiter."""
        try:
            return act()
        except OrbitError as error:
            return Answer(error=error)
        except Exception as error:  # noqa: BLE001 -- the edge: logged, and told to the asker
            return _internal_error(error)

    def _reply(self, connection: _Connection, answer: Answer | Pending | None) -> None:
        if not isinstance(answer, Answer):
            return
        connection.pending = None
        connection.outbound = _encoded(answer)
        connection.deadline = self._clock() + _WRITE_STALL_SECONDS
        self._write(connection)

    def _write(self, connection: _Connection) -> None:
        try:
            sent = connection.socket.send(connection.outbound, socket.MSG_NOSIGNAL)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._drop(connection)
            return
        connection.outbound = connection.outbound[sent:]
        if sent:
            connection.deadline = self._clock() + (_WRITE_STALL_SECONDS if connection.outbound else _READ_SILENCE_SECONDS)
        if connection.outbound:
            self._watch(connection, selectors.EVENT_WRITE)
        elif connection.last:
            self._drop(connection)
        else:
            self._watch(connection, 0 if connection.has_request() else selectors.EVENT_READ)

    def _watch(self, connection: _Connection, events: int) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(connection.socket)
        if events:
            act = self._write if events == selectors.EVENT_WRITE else self._read
            self._selector.register(connection.socket, events, data=lambda: act(connection))

    def _drop(self, connection: _Connection) -> None:
        self._watch(connection, 0)
        self._connections.discard(connection)
        connection.socket.close()


def _encoded(answer: Answer) -> bytes:
    try:
        line = encode_answer(answer)
    except (TypeError, ValueError) as error:
        return encode_answer(_internal_error(error))
    if len(line) > LONGEST_ANSWER_BYTES:
        return encode_answer(Answer(error=OrbitError("the answer is too long for the control socket")))
    return line


def _internal_error(error: Exception) -> Answer:
    _log.error("a control request failed", exc_info=error)
    return Answer(error=OrbitError(f"internal error: {type(error).__name__}: {error}", "the daemon's log has the details"))


def _peer(connection: socket.socket) -> tuple[int, int, int]:
    """Process, user and group of the asker at the time of connect(), as the kernel saw them."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    pid, uid, gid = _PEER_CREDENTIALS.unpack(credentials)
    return pid, uid, gid


def _peer_groups(connection: socket.socket) -> set[int]:
    """The asker's groups at the time of connect(), as the kernel saw them: the first alone where it does not tell the others."""
    _, _, gid = _peer(connection)
    try:
        told = connection.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MOST_GROUP_BYTES)
    except OSError:  # an old kernel, or more groups than fit
        return {gid}
    return {gid, *struct.unpack(f"{len(told) // 4}I", told)}


def _is_gone(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))


def _bound(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > _LONGEST_PATH_BYTES:
        raise ConfigError(f"the control socket {path} has a path of more than {_LONGEST_PATH_BYTES} bytes", "set another control.socket")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _sole_binder(path.parent):
            _make_way(path)
            with _umask(_SOCKET_UMASK):
                listener.bind(os.fspath(path))
            listener.listen(MOST_CONNECTIONS)
    except OSError as error:
        listener.close()
        raise ConfigError(f"the control socket {path} cannot be made: {why(error)}", "set another control.socket") from error
    except OrbitError:
        listener.close()
        raise
    return listener


def _group_id(name: str) -> int | None:
    """The id of a group; None when there is none of that name."""
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None


def _share(path: Path, group_id: int, *, is_new_folder: bool) -> bool:
    """Give the socket that we have just bound to a group; False if it stays our own.

    It was bound for us alone, and only now becomes another group's: at no time is it open to the group that we happen to have.
    The folder is opened only if we have just made it: another one may hold more than sockets.
    """
    try:
        if is_new_folder:
            os.chown(path.parent, -1, group_id)
            path.parent.chmod(_GROUP_FOLDER_MODE)
        os.chown(path, -1, group_id)
        path.chmod(_GROUP_SOCKET_MODE)
    except OSError as error:
        _log.warning("the control socket %s cannot be given to group %d: %s", path, group_id, why(error))
        return False
    return True


def _make_way(path: Path) -> None:
    """Remove the socket of a dead daemon. Raises Conflict when a living one answers."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{path} exists and is not a socket", "remove it, or set control.socket to another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as probe:
        found = probe.connect_ex(os.fspath(path))
    # EAGAIN: somebody listens, and has a full backlog.
    if found in {0, errno.EAGAIN}:
        raise Conflict(f"orbitd is already running: it answers on {path}", "see `orbitctl status`, or give this one its own control.socket")
    if found != errno.ECONNREFUSED:
        raise OSError(found, os.strerror(found))
    path.unlink()


@contextlib.contextmanager
def _sole_binder(folder: Path) -> Iterator[None]:
    """Two daemons that start at once must not each remove the other's new socket."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Conflict(f"another orbitd is just starting in {folder}", "see `orbitctl status`") from None
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
