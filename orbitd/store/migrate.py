"""Bring a database's schema to this program's version, and tell whether it is there.

Migrations are numbered files, forward only. Each runs in a transaction of its own under one lock, so that it does not matter
who is killed when, or how many start at once. The functions are made again each time, with the last migration.

A fleet is upgraded host by host, so a schema serves two versions of orbitd: the one that brought it, and the one before. What that
one calls or reads must stay as it is: a function that takes or returns other things gets another name, and a column or
function that is needed no longer is dropped by the migration after the next.
"""

from __future__ import annotations

import contextlib
import random
import time
from pathlib import Path
from typing import Any

import psycopg

from orbitd.errors import Conflict
from orbitd.store import queries
from orbitd.store.connection import connect
from orbitd.store.faults import SchemaMismatch
from orbitd.store.upkeep import make_partitions
from orbitd.system import clock

_FOLDER = Path(__file__).parent / "migrations"
_MIGRATIONS = {int(path.name.partition("_")[0]): path for path in sorted(_FOLDER.glob("*.sql"))}
_FUNCTIONS = sorted((queries.FOLDER / "functions").glob("*.sql"))
_VERSION = max(_MIGRATIONS)
_LOCK = 7001
_CONNECT_TIMEOUT_SECONDS = 10.0
_PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = (0.2, 1.0)


def migrate(database: str | psycopg.Connection[Any]) -> list[str]:
    """Apply what is missing, given a DSN or an autocommit connection; the names of what was applied.

    Raises SchemaMismatch when the schema is newer than this program, and Conflict when a table stays locked for a minute.
    """
    if not isinstance(database, str):
        return _migrate(database)
    with connect(
        database, connect_timeout_seconds=_CONNECT_TIMEOUT_SECONDS, call_timeout_seconds=None, application_name="orbitd migrate"
    ) as conn:
        return _migrate(conn)


def check_schema(conn: psycopg.Connection[Any]) -> None:
    """Raise SchemaMismatch unless this program can work with the database's schema: its own version, or the next one.

    The next one, because a fleet is upgraded host by host.
    """
    version = schema_version(conn)
    if version < _VERSION:
        what = f"has schema version {version}" if version else "has no orbit schema"
        raise SchemaMismatch(f"the database {what}, this orbitd needs {_VERSION}", "run `orbitd migrate`")
    if version > _VERSION + 1:
        raise SchemaMismatch(f"the database has schema version {version}, this orbitd knows {_VERSION}", "install a newer orbitd")


def schema_version(conn: psycopg.Connection[Any]) -> int:
    """The number of the last migration that was applied; 0 when there is no schema."""
    if conn.execute("SELECT to_regclass('orbit.meta')").fetchall()[0][0] is None:
        return 0
    return int(conn.execute("SELECT value::int FROM orbit.meta WHERE name = 'schema_version'").fetchall()[0][0])


def missing(conn: psycopg.Connection[Any]) -> list[str]:
    """The names of the migrations that `migrate` would apply."""
    version = schema_version(conn)
    return [path.stem for number, path in _MIGRATIONS.items() if number > version]


def _migrate(conn: psycopg.Connection[Any]) -> list[str]:
    applied = [path.stem for number, path in _MIGRATIONS.items() if _patiently(conn, number, path)]
    with contextlib.suppress(psycopg.errors.LockNotAvailable):  # then it is left to the fleet, whose duty it is
        make_partitions(conn)
    return applied


def _patiently(conn: psycopg.Connection[Any], number: int, path: Path) -> bool:
    """Apply one migration. Whoever works on a table meanwhile is not held up: the lock is asked for again and again, for a moment each."""
    give_up_at = clock.now() + _PATIENCE_SECONDS
    while True:
        try:
            return _apply(conn, number, path)
        except psycopg.errors.LockNotAvailable as error:
            if clock.now() >= give_up_at:
                what = f"migration {path.stem} was not applied, somebody holds a table that it changes"
                raise Conflict(
                    what, "end what has been open for long (`orbitctl health` names it), and run `orbitd migrate` again"
                ) from error
            time.sleep(random.uniform(*_PAUSE_SECONDS))


def _apply(conn: psycopg.Connection[Any], number: int, path: Path) -> bool:
    """Apply one migration, unless it has been; and make the functions anew with the last one: nobody sees one without the other."""
    with conn.transaction():
        conn.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        if (version := schema_version(conn)) > _VERSION:
            raise SchemaMismatch(f"the database has schema version {version}, this orbitd knows {_VERSION}", "install a newer orbitd")
        conn.execute("SET LOCAL lock_timeout = '100ms'")
        if version < number:
            if number == 1:
                conn.execute("CREATE SCHEMA IF NOT EXISTS orbit")
                conn.execute("CREATE TABLE orbit.meta (name text PRIMARY KEY, value jsonb NOT NULL)")
                conn.execute("INSERT INTO orbit.meta VALUES ('schema_version', '0')")
            conn.execute(path.read_bytes())
            conn.execute("UPDATE orbit.meta SET value = to_jsonb(%s::int) WHERE name = 'schema_version'", [number])
        if number == _VERSION:
            for function in _FUNCTIONS:
                conn.execute(function.read_bytes())
        return version < number
