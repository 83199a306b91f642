"""Asking a database beforehand whether a daemon could work on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from orbitd import store
from orbitd.config.libpq import named
from orbitd.config.model import Database
from orbitd.errors import DatabaseUnavailable, ExitCode, OrbitError
from orbitd.store.migrate import schema_version
from orbitd.store.rights import lacking_rights, may_use_schema, partitions_of_others, who_we_are
from orbitd.store.words import in_words

_OLDEST_SERVER = 130000


@dataclass(frozen=True)
class Fault:
    """What is wrong with the database, or with what it thinks of us."""

    message: str
    hint: str | None = None
    exit_code: ExitCode = ExitCode.CONFIG


@dataclass
class Answer:
    """What it has said: facts for the document, and faults."""

    facts: dict[str, Any]
    faults: list[Fault] = field(default_factory=list)


def ask(database: Database, option: str) -> Answer:
    """Connect to the address in this option, and ask for all that a daemon, or for admin_url `orbitd migrate`, would need."""
    address = database.addresses[option]
    answer = Answer({"database": named(address), "server": None, "user": None, "schema_version": None})
    try:
        with (
            in_words(f"database.{option}"),
            store.connect(
                address,
                connect_timeout_seconds=database.connect_timeout,
                call_timeout_seconds=database.call_timeout,
                application_name="orbitd check",
            ) as conn,
        ):
            answer.faults += _faults(conn, answer.facts, is_admin=option == "admin_url")
    except DatabaseUnavailable as error:
        answer.faults.append(Fault(error.message, error.hint, ExitCode.DATABASE_UNAVAILABLE))
    except OrbitError as error:
        answer.faults.append(Fault(error.message, error.hint))
    return answer


def _faults(conn: store.Connection, facts: dict[str, Any], *, is_admin: bool) -> Iterator[Fault]:
    we = who_we_are(conn)
    facts.update(server=we.server, user=we.user)
    if we.server_number < _OLDEST_SERVER:
        yield Fault(f"PostgreSQL {we.server} is too old: orbitd needs {_OLDEST_SERVER // 10000} or newer")
    if we.is_standby:
        yield Fault("this server is a standby, which takes no writes", "name the primary's address")
    if is_admin and not we.may_create:
        yield Fault(f"user {we.user} may not create a schema here", f"grant create on database {we.typed_database} to {we.typed_user}")
    if not may_use_schema(conn):
        yield Fault(f"user {we.user} may not use the schema orbit", f"grant usage on schema orbit to {we.typed_user}")
        return
    lacking = {} if is_admin else lacking_rights(conn)
    for table, rights in lacking.items():
        listed = ", ".join(rights)
        yield Fault(f"user {we.user} may not {listed} on orbit.{table}", f"grant {listed} on orbit.{table} to {we.typed_user}")
    for table, owner in () if is_admin else partitions_of_others(conn):
        yield Fault(
            f"user {we.user} cannot make the coming days' partitions of orbit.{table}, which belongs to {owner}",
            f"grant {owner} to {we.typed_user}",
        )
    if "select" not in lacking.get("meta", ()):
        facts["schema_version"] = schema_version(conn) or None
        try:
            store.check_schema(conn)
        except store.SchemaMismatch as error:
            yield Fault(error.message, error.hint)
