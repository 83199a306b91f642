"""Connections to the database that cannot hang and leave no trace in a pooler.

Each call has a deadline of its own, kept on this side: a server that is stopped, or a network that swallows packets, ends
in an OperationalError and a closed connection. A query is never cancelled: it might be a COMMIT.

No startup options, no prepared statements unless whoever connects asks for them, and behind a transaction pooler no session
settings either, so that one in between changes nothing but that no bell is heard. Every statement is its own transaction unless
the caller opens one.
"""

from __future__ import annotations

import math
import select
import time
from collections import deque
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg.waiting import Ready, Wait

from orbitd.errors import ConfigError
from orbitd.store import queries

WORK_CHANNEL = "orbit_work"
CANCEL_CHANNEL = "orbit_cancel"

T = TypeVar("T")

_SQL = queries.load("connection")
_LONGEST_NAME = 63
_POLL_MASKS = {Wait.R: select.POLLIN, Wait.W: select.POLLOUT, Wait.RW: select.POLLIN | select.POLLOUT}


class Connection(psycopg.Connection[TupleRow]):
    """A psycopg connection whose calls end in time, and that keeps the bells it hears."""

    call_timeout_seconds: float | None = None
    before_call: Callable[[], None] | None = None
    is_pooled = False

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bells: deque[psycopg.Notify] = deque()

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **kwargs: Any) -> T:
        """Carry out one call. Raises OperationalError, and closes the connection, when the deadline passes.

        What breaks into the wait (Ctrl-C, a timeout raised by a signal handler) closes it too: an answer that is still to
        come would be taken for the answer to the next call.
        """
        if self.before_call:
            self.before_call()
        if args or kwargs:  # psycopg has an idea of its own how long to wait here
            return super().wait(gen, *args, **kwargs)
        try:
            return self._drive(gen)
        except BaseException:
            if self.pgconn.transaction_status == TransactionStatus.ACTIVE:
                self.close()
            raise

    def listen(self) -> None:
        """Hear the bells for work and for cancels from now on, and our own probe; poll once after this, for what rang before."""
        self.add_notify_handler(self._bells.append)
        self.execute("LISTEN orbit_work")
        self.execute("LISTEN orbit_cancel")
        self.execute(f"LISTEN orbit_probe_{self.info.backend_pid}".encode())

    def is_rung(self) -> bool:
        """Whether a bell has rung while a call was under way: then there is nothing to be read that would tell of it."""
        while bell := self.pgconn.notifies():
            self._bells.append(psycopg.Notify(bell.relname.decode(), bell.extra.decode(), bell.be_pid))
        return bool(self._bells)

    def heard(self) -> list[psycopg.Notify]:
        """The bells that have rung since the last call, without waiting. Raises OperationalError."""
        self.pgconn.consume_input()
        self.is_rung()
        bells = list(self._bells)
        self._bells.clear()
        return bells

    def _drive(self, gen: Generator[Any, Any, T]) -> T:
        deadline = math.inf if self.call_timeout_seconds is None else time.monotonic() + self.call_timeout_seconds
        poll = select.poll()
        try:
            wanted = next(gen)
            while True:
                poll.register(self.pgconn.socket, _POLL_MASKS[wanted])
                left_seconds = deadline - time.monotonic()
                events = poll.poll(None if left_seconds == math.inf else max(0.0, left_seconds) * 1000)
                if not events:
                    gen.close()
                    self.close()
                    raise psycopg.OperationalError(f"the database did not answer within {self.call_timeout_seconds:g}s")
                wanted = gen.send(_readiness(events[0][1], wanted))
        except StopIteration as end:
            value: T = end.value
            return value
        except psycopg.InternalError as error:
            if error.sqlstate is not None:
                raise
            # The driver expects one answer: a pooler that loses its server passes that one's last word on and adds its own.
            self.close()
            raise psycopg.OperationalError(f"the connection was lost: {error}") from error


def _readiness(event_mask: int, wanted: Wait) -> Ready:
    """What psycopg is told; a broken socket counts as ready for all it waits for, so that libpq finds the error."""
    if not event_mask & (select.POLLIN | select.POLLOUT):
        return Ready(wanted)
    return Ready((Ready.R if event_mask & select.POLLIN else 0) | (Ready.W if event_mask & select.POLLOUT else 0))


def application_name(instance: str, purpose: str) -> str:
    """By which the server knows a session of this host. It keeps 63 ASCII characters: a long name gives way to the purpose."""
    name = instance.encode("ascii", "replace").decode()
    return f"orbitd {name[: _LONGEST_NAME - len('orbitd  ') - len(purpose)]} {purpose}"


def name_of_child(instance: str, slot: int, nonce: str) -> str:
    """The name of all sessions of one child, and of no other's."""
    return application_name(instance, f"slot {slot} {nonce}")


def connect(
    dsn: str,
    *,
    connect_timeout_seconds: float,
    call_timeout_seconds: float | None,
    application_name: str,
    pooled: str = "auto",
    before_call: Callable[[], None] | None = None,
) -> Connection:
    """A new connection; autocommit. Raises OperationalError in time, and ConfigError for a DSN that cannot be read.

    `pooled`: "yes" or "no", or "auto" to find out whether a transaction pooler is in between. Of several hosts it is the one that
    takes writes: each is given its share of the time, though no less than the driver's two seconds.
    `call_timeout_seconds` None means that a call may take as long as it likes: a migration. `before_call` is called before each.
    """
    try:
        given = conninfo_to_dict(dsn)
        hosts = 1 + max(str(given.get(key, "")).count(",") for key in ("host", "hostaddr"))
        conninfo = make_conninfo(
            dsn,
            connect_timeout=max(1, math.ceil(connect_timeout_seconds / hosts)),
            application_name=application_name,
            client_encoding="UTF8",
            keepalives_idle=10,
            keepalives_interval=5,
            keepalives_count=3,
            tcp_user_timeout=math.ceil((call_timeout_seconds or 0) * 1000),
            target_session_attrs=given.get("target_session_attrs") or ("read-write" if hosts > 1 else "any"),
        )
    except psycopg.ProgrammingError:  # its text repeats the DSN, which may hold a password
        raise ConfigError("the database url is not a connection string", 'write "postgresql://user@host/database"') from None
    connection = Connection.connect(conninfo, autocommit=True, prepare_threshold=None)
    try:
        connection.call_timeout_seconds, connection.before_call = connect_timeout_seconds, before_call
        connection.is_pooled = _greet(connection, pooled)
    except BaseException:
        connection.close()
        raise
    connection.call_timeout_seconds = call_timeout_seconds
    return connection


def _greet(connection: Connection, pooled: str) -> bool:
    """Find out whether there is a pooler; if not, have the server watch whether we live."""
    parameters = {"pid": connection.info.backend_pid, "is_pooled": None if pooled == "auto" else pooled == "yes"}
    return bool(connection.execute(_SQL["greet"], parameters).fetchall()[0][0])
