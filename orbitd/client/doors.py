"""One statement on whatever kind of connection a program has: psycopg's, SQLAlchemy's or Django's, synchronous or not.

The kind is told by the package that the connection's class comes from, and each package is imported only for connections of
its own. A driver's errors come wrapped by its package; what Postgres said is looked for inside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

from orbitd.errors import UsageError

Parameters = Mapping[str, str | float | None]
Read = Callable[[Sequence[Any]], Any]

_REFUSED = "OR003"
_NOT_STORABLE = "22"
_PARAMETER = re.compile(r"%\((\w+)\)s::(\w+)")


def ask(conn: Any, statement: str, parameters: Parameters, read: Read) -> Any:
    """The one row of a statement of this folder, as `read` makes it; to be awaited on an asynchronous connection.

    Raises UsageError for what Postgres refuses, and for what is no connection.
    """
    packages = {kind.__module__.partition(".")[0] for kind in type(conn).__mro__}
    for package, door in _DOORS.items():
        if package in packages:
            return door(conn, statement, parameters, read)
    raise _no_connection(conn)


def _psycopg(conn: Any, statement: str, parameters: Parameters, read: Read) -> Any:
    import psycopg
    from psycopg.rows import tuple_row

    # Cursors of our own: the program's may take other parameters and give other rows.
    if isinstance(conn, psycopg.AsyncConnection):
        return _awaited_psycopg(psycopg.AsyncCursor(conn, row_factory=tuple_row), statement, parameters, read)
    if not isinstance(conn, psycopg.Connection):
        raise _no_connection(conn)
    with _told(), psycopg.Cursor(conn, row_factory=tuple_row) as cursor:
        return read(cursor.execute(_text(statement).encode(), parameters).fetchall()[0])


async def _awaited_psycopg(cursor: Any, statement: str, parameters: Parameters, read: Read) -> Any:
    with _told():
        async with cursor:
            await cursor.execute(_text(statement).encode(), parameters)
            return read((await cursor.fetchall())[0])


def _sqlalchemy(conn: Any, statement: str, parameters: Parameters, read: Read) -> Any:
    is_session = hasattr(conn, "begin_nested") and hasattr(conn, "add_all")
    if not (is_session or hasattr(conn, "exec_driver_sql")):
        raise _no_connection(conn)
    if iscoroutinefunction(conn.execute):
        return _awaited_sqlalchemy(conn, statement, parameters, read, is_session=is_session)
    with _told():
        connection = _speaks_to_postgres(conn.connection() if is_session else conn)
        return read(connection.execute(_sqlalchemy_text(statement), parameters).one())


async def _awaited_sqlalchemy(conn: Any, statement: str, parameters: Parameters, read: Read, *, is_session: bool) -> Any:
    with _told():
        connection = _speaks_to_postgres(await conn.connection() if is_session else conn)
        return read((await connection.execute(_sqlalchemy_text(statement), parameters)).one())


def _speaks_to_postgres(connection: Any) -> Any:
    if connection.dialect.name != "postgresql":
        raise _no_connection(connection)
    return connection


def _django(conn: Any, statement: str, parameters: Parameters, read: Read) -> Any:
    if getattr(conn, "vendor", None) != "postgresql":
        raise _no_connection(conn)
    with _told(), conn.cursor() as cursor:
        cursor.execute(_text(statement), parameters)
        return read(cursor.fetchone())


_DOORS: Mapping[str, Callable[[Any, str, Parameters, Read], Any]] = {
    "psycopg": _psycopg,
    "sqlalchemy": _sqlalchemy,
    "django": _django,
}


@cache
def _text(statement: str) -> str:
    return (Path(__file__).parent / f"{statement}.sql").read_text("utf-8").partition("\n")[2].strip()


@cache
def _sqlalchemy_text(statement: str) -> Any:
    from sqlalchemy import text

    return text(_PARAMETER.sub(r"CAST(:\1 AS \2)", _text(statement)))


def _no_connection(conn: Any) -> UsageError:
    return UsageError(
        f"{type(conn).__module__}.{type(conn).__qualname__} is no connection to Postgres that a run can be asked for on",
        "give a connection of psycopg 3, a Connection or Session of SQLAlchemy, or Django's connection",
    )


@contextmanager
def _told() -> Iterator[None]:
    """Turn what Postgres refuses to make or to store into UsageError."""
    try:
        yield
    except Exception as error:
        state, message, hint = _said(error)
        if state == _REFUSED:
            raise UsageError(message, hint) from error
        if state.startswith(_NOT_STORABLE):
            raise UsageError(f"the request cannot be stored: {message}") from error
        raise


def _said(error: BaseException) -> tuple[str, str, str | None]:
    """What Postgres said: SQLSTATE, message, hint. The innermost error knows best."""
    inner = getattr(error, "orig", None) or error.__cause__
    if inner is not None and inner is not error:
        said = _said(inner)
        if said[0]:
            return said
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None) or ""
    told = getattr(error, "diag", error)  # asyncpg keeps these on the error itself
    message = getattr(told, "message_primary", None) or getattr(told, "message", None) or str(error)
    return state, message, getattr(told, "message_hint", None) or getattr(told, "hint", None) or None
