"""`orbitd migrate`: the schema of the database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import psycopg

from orbitd import config, store
from orbitd.cli.call import Act, Call
from orbitd.config import Settings
from orbitd.errors import DatabaseUnavailable, ExitCode
from orbitd.store.connection import Connection, connect
from orbitd.store.migrate import missing, schema_version

_SCHEMA = "orbit.migrations/1"


def migrate(call: Call) -> int:
    """`orbitd migrate`."""
    settings = call.survey().settings
    if call.args["dry-run"]:
        return _dry_run(call, settings)
    config.require_database(settings)
    with _told_if_it_fails("migrated", "mend that, then run it again: nothing is half done"):
        applied = store.migrate(config.admin_address(settings))
    lines = [f"applied {name}" for name in applied] or ["the schema is up to date"]
    call.out.document({"schema": _SCHEMA, "applied": applied, "missing": []}, lines)
    return ExitCode.OK


def status(call: Call) -> int:
    """`orbitd migrate status`."""
    with admin_connection(call.survey().settings) as conn:
        found, lacking = schema_version(conn), missing(conn)
    version = f"schema version {found}" if found else "no schema of orbitd"
    lines = [f"the database has {version}", *(f"missing {name}" for name in lacking)]
    if lacking:
        call.out.note("bring it up to date with: orbitd migrate")
    call.out.document({"schema": _SCHEMA, "version": found, "applied": [], "missing": lacking}, lines)
    return ExitCode.OK


@contextlib.contextmanager
def admin_connection(settings: Settings) -> Iterator[Connection]:
    """A connection for an operator's questions. Raises ConfigError, DatabaseUnavailable."""
    config.require_database(settings)
    with (
        _told_if_it_fails("asked", "see that it runs, and that database.url is right"),
        connect(
            config.admin_address(settings),
            connect_timeout_seconds=settings.database.connect_timeout,
            call_timeout_seconds=settings.database.call_timeout,
            application_name="orbitd",
        ) as conn,
    ):
        yield conn


def _dry_run(call: Call, settings: Settings) -> int:
    with admin_connection(settings) as conn:
        lacking = missing(conn)
    lines = [f"would apply {name}" for name in lacking] or ["the schema is up to date"]
    call.out.document({"schema": _SCHEMA, "applied": [], "missing": lacking}, lines)
    return ExitCode.FAILED if lacking else ExitCode.OK


@contextlib.contextmanager
def _told_if_it_fails(what: str, hint: str) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        why = " ".join(str(error).split())
        raise DatabaseUnavailable(f"the database cannot be {what}: {why}", hint) from error


ACTS: Mapping[str, Act] = {"migrate": migrate, "migrate status": status}
