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
import logging
import select
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from orbitd.control.commands import Role
from orbitd.control.listener import Listener, ListenerEstate
from orbitd.control.peer import Access, Peer, peer_of
from orbitd.control.wire import LONGEST_ANSWER_BYTES, LONGEST_REQUEST_BYTES, Answer, Garbled, Request, encode_answer, parse_request
from orbitd.errors import OrbitError, Refused

if TYPE_CHECKING:
    from pathlib import Path

MOST_CONNECTIONS = 64
MOST_CONNECTIONS_OF_OTHERS = 48
"""The rest is kept for root and the daemon's own user."""
MOST_CONNECTIONS_OF_A_USER = 16
"""Of one who is neither of the two."""
_WRITE_STALL_SECONDS = 1.0
_READ_SILENCE_SECONDS = 30.0
_ACCEPT_PAUSE_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pending:
    """An answer that is not known yet: `check(now)` returns it once it is."""

    check: Callable[[float], Answer | None]
    is_repeatable: bool = False
    """Whether the request may be asked once more: of the program that an upgrade brings."""


Handler = Callable[[Request], Answer | Pending]


@dataclass(eq=False)
class _Connection:
    socket: socket.socket
    peer: Peer
    role: Role
    deadline: float
    inbound: bytearray = field(default_factory=bytearray)
    outbound: bytes = b""
    pending: Pending | None = None
    asked: bytes = b""
    """The line that `pending` will answer."""
    last: bool = False
    """Whether it is closed after the answer in hand."""

    def has_request(self) -> bool:
        return not self.outbound and self.pending is None and b"\n" in self.inbound

    def is_repeatable(self) -> bool:
        return self.pending is None or self.pending.is_repeatable

    def unanswered(self) -> bytes:
        return (self.asked + b"\n" if self.pending else b"") + bytes(self.inbound)


@dataclass(frozen=True, slots=True)
class ConnectionEstate:
    """A connection as it is handed over: what has been read of it and is to be answered."""

    fd: int
    inbound: bytes
    last: bool


@dataclass(frozen=True, slots=True)
class ServerEstate:
    """What a server hands over to the next program, so that nobody is refused meanwhile."""

    listener: ListenerEstate
    connections: list[ConnectionEstate]


class Server:
    """Listens on `path` and answers with what `handler` says to those who have `access`. All times are those of `clock`.

    Raises Conflict when another daemon listens there, ConfigError when the socket cannot be made.
    """

    def __init__(
        self,
        path: Path,
        selector: selectors.BaseSelector,
        handler: Handler,
        *,
        access: Access | None = None,
        clock: Callable[[], float] = time.monotonic,
        estate: ServerEstate | None = None,
    ) -> None:
        self._selector = selector
        self._handler = handler
        self._clock = clock
        self._access = access or Access()
        self._connections: set[_Connection] = set()
        self._accept_again_at: float | None = None
        self._listener = Listener(path, self._access, estate.listener if estate else None)
        self._watch_listener()
        for left in estate.connections if estate else ():
            self._go_on(left)

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
            self._watch_listener()

    def settle(self, now: float) -> None:
        """Answer the pending requests that are done, and take up one further request of each connection that sent more."""
        for connection in list(self._connections):
            if connection.pending is not None:
                self._reply(connection, self._guarded(partial(connection.pending.check, now)))
            elif connection.has_request():
                self._handle(connection)

    def ensure_bound(self) -> None:
        """Make the socket anew if its file is gone. Raises what the construction raises."""
        if self._listener.is_gone:
            self._forget_listener()
            self._listener.socket.close()
            self._listener.bind()
            self._watch_listener()

    def hand_over(self, keep: Callable[[int], int]) -> ServerEstate:
        """What the constructor of the next program's server needs; each descriptor goes through `keep`.

        A waiting request is asked again there, if that changes nothing more: whoever asks to read, or for the very upgrade.
        """
        taken = [connection for connection in self._connections if not connection.outbound and connection.is_repeatable()]
        connections = [ConnectionEstate(keep(each.socket.fileno()), each.unanswered(), each.last) for each in taken]
        return ServerEstate(self._listener.hand_over(keep), connections)

    def dismiss(self, error: OrbitError) -> None:
        """Tell those whose waiting requests cannot be handed over."""
        for connection in list(self._connections):
            if not connection.is_repeatable():
                connection.last = True
                self._reply(connection, Answer(error=error))

    def close(self) -> None:
        """Drop everyone, and remove the socket's file if it is still ours."""
        for connection in list(self._connections):
            self._drop(connection)
        self._forget_listener()
        self._listener.remove()

    def _watch_listener(self) -> None:
        self._accept_again_at = None
        self._selector.register(self._listener.socket, selectors.EVENT_READ, data=self._accept)

    def _forget_listener(self) -> None:
        # Not registered while accepting is paused; closed already when an earlier attempt to bind anew has failed.
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(self._listener.socket)

    def _accept(self) -> None:
        try:
            accepted, _ = self._listener.socket.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            # Out of descriptors, most likely: the listener stays readable, and would turn the loop into a spin.
            _log.warning("control connections are not accepted for %.0fs: %s", _ACCEPT_PAUSE_SECONDS, error)
            self._forget_listener()
            self._accept_again_at = self._clock() + _ACCEPT_PAUSE_SECONDS
            return
        peer = peer_of(accepted)
        connection = self._welcome(accepted, peer)
        refusal = self._access.refusal(peer) or self._crowding(connection)
        self._connections.add(connection)
        if refusal:
            connection.last = True
            self._reply(connection, Answer(error=refusal))
        else:
            self._watch(connection, selectors.EVENT_READ)

    def _welcome(self, accepted: socket.socket, peer: Peer) -> _Connection:
        accepted.setblocking(False)
        return _Connection(accepted, peer, self._access.role_of(peer), self._clock() + _READ_SILENCE_SECONDS)

    def _go_on(self, left: ConnectionEstate) -> None:
        accepted = socket.socket(fileno=left.fd)
        connection = self._welcome(accepted, peer_of(accepted))
        connection.inbound, connection.last = bytearray(left.inbound), left.last
        self._connections.add(connection)
        self._watch(connection, 0 if connection.last or connection.has_request() else selectors.EVENT_READ)

    def _crowding(self, connection: _Connection) -> Refused | None:
        """Why one more would be too many. However many others there are, they leave room for the admins."""
        others = [each.peer.uid for each in self._connections if each.role < Role.ADMIN]
        is_crowded = len(self._connections) >= MOST_CONNECTIONS
        if connection.role < Role.ADMIN:
            if others.count(connection.peer.uid) >= MOST_CONNECTIONS_OF_A_USER:
                return Refused(f"user {connection.peer.uid} has {MOST_CONNECTIONS_OF_A_USER} connections already", "end one of them")
            is_crowded |= len(others) >= MOST_CONNECTIONS_OF_OTHERS
        return Refused(f"the daemon talks to {len(self._connections)} others already", "try again in a moment") if is_crowded else None

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
        connection.asked, connection.inbound = line, bytearray(rest)
        outcome = self._guarded(lambda: self._answer(connection.peer, line))
        if isinstance(outcome, Pending):
            connection.pending = outcome
        else:
            connection.last |= outcome is not None and isinstance(outcome.error, Garbled)
            self._reply(connection, outcome)

    def _answer(self, peer: Peer, line: bytes) -> Answer | Pending:
        request = parse_request(line, peer.uid)
        if refusal := self._access.refusal(peer, request.command):
            raise refusal
        return self._handler(request)

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


def _is_gone(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, 0)
    return any(events & (select.POLLHUP | select.POLLERR) for _, events in poll.poll(0))
