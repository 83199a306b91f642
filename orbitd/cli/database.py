"""`orbitd migrate`: the schema of the database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from orbitd import store
from orbitd.cli.call import Act, Call
from orbitd.config import Settings
from orbitd.errors import ExitCode
from orbitd.store.connection import Connection, connect
from orbitd.store.migrate import missing, schema_version
from orbitd.store.words import in_words

_SCHEMA = "orbit.migrations/1"


def migrate(call: Call) -> int:
    """`orbitd migrate`."""
    settings = call.survey().settings
    if call.args["dry-run"]:
        return _dry_run(call, settings)
    with in_words(f"database.{settings.database.admin_option}"):
        applied = store.migrate(settings.database.admin_address)
    lines = [f"applied {name}" for name in applied] or ["the schema is up to date"]
    call.out.document({"schema": _SCHEMA, "applied": applied, "missing": []}, lines)
    return ExitCode.OK


def status(call: Call) -> int:
    """`orbitd migrate status`."""
    with _admin_connection(call.survey().settings) as conn:
        found, lacking = schema_version(conn), missing(conn)
    version = f"schema version {found}" if found else "no schema of orbitd"
    advice = ["bring it up to date with: orbitd migrate"] if lacking else []
    lines = [f"the database has {version}", *(f"missing {name}" for name in lacking), *advice]
    call.out.document({"schema": _SCHEMA, "version": found, "applied": [], "missing": lacking}, lines)
    return ExitCode.FAILED if lacking else ExitCode.OK


@contextlib.contextmanager
def _admin_connection(settings: Settings) -> Iterator[Connection]:
    """A connection for an operator's questions. Raises ConfigError, Refused, DatabaseUnavailable."""
    with (
        in_words(f"database.{settings.database.admin_option}"),
        connect(
            settings.database.admin_address,
            connect_timeout_seconds=settings.database.connect_timeout,
            call_timeout_seconds=settings.database.call_timeout,
            application_name="orbitd",
        ) as conn,
    ):
        yield conn


def _dry_run(call: Call, settings: Settings) -> int:
    with _admin_connection(settings) as conn:
        lacking = missing(conn)
    lines = [f"would apply {name}" for name in lacking] or ["the schema is up to date"]
    call.out.document({"schema": _SCHEMA, "applied": [], "missing": lacking}, lines)
    return ExitCode.FAILED if lacking else ExitCode.OK


ACTS: Mapping[str, Act] = {"migrate": migrate, "migrate status": status}
