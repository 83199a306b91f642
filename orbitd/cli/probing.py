"""Asking a database beforehand whether a daemon could work on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg

from orbitd import store
from orbitd.cli.announce import database_named
from orbitd.config import Settings
from orbitd.errors import ConfigError, ExitCode, OrbitError
from orbitd.store.connection import Connection
from orbitd.store.migrate import schema_version

_OLDEST_SERVER = 130000
_RIGHTS = ("select", "insert", "update", "delete")
_LACKING_RIGHTS = """
    select c.relname, array_agg(needed.right order by needed.right)
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    cross join unnest(%s::text[]) as needed("right")
    where n.nspname = 'orbit' and c.relkind in ('r', 'p') and not c.relispartition
      and not has_table_privilege(c.oid, needed.right)
    group by c.relname order by c.relname
"""
_UNUSABLE_SCHEMA = "select from pg_namespace where nspname = 'orbit' and not has_schema_privilege(oid, 'usage')"
_FOREIGN_PARTITIONED = """
    select c.relname, pg_get_userbyid(c.relowner)
    from pg_class c
    join pg_namespace n on n.oid = c.relnamespace
    where n.nspname = 'orbit' and c.relkind = 'p' and not c.relispartition and not pg_has_role(c.relowner, 'usage')
    order by c.relname
"""


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


def addresses(settings: Settings) -> Iterator[tuple[str, str]]:
    """The options of [database] that hold an address, and the address; each address once."""
    seen = set()
    for key in ("url", "direct_url", "admin_url"):
        address = getattr(settings.database, key)
        if address and address not in seen:
            seen.add(address)
            yield key, address


def ask(address: str, settings: Settings, *, is_admin: bool) -> Answer:
    """Connect, and ask for all that a daemon, or `orbitd migrate` for an admin's address, would need."""
    answer = Answer({"database": database_named(address), "server": None, "user": None, "schema_version": None})
    try:
        with store.connect(
            address,
            connect_timeout_seconds=settings.database.connect_timeout,
            call_timeout_seconds=settings.database.call_timeout,
            application_name="orbitd check",
        ) as conn:
            _ask(conn, answer, is_admin=is_admin)
    except psycopg.Error as error:
        why = " ".join(str(error).split())
        answer.faults.append(
            Fault(f"the database does not answer: {why}", "see that it runs, and that the address is right", ExitCode.DATABASE_UNAVAILABLE)
        )
    except ConfigError as error:
        answer.faults.append(Fault(error.message, error.hint))
    return answer


def _ask(conn: Connection, answer: Answer, *, is_admin: bool) -> None:
    server, number, user, is_standby, may_create = conn.execute(
        "select current_setting('server_version'), current_setting('server_version_num')::int, current_user::text,"
        " pg_is_in_recovery(), has_database_privilege(current_database(), 'create')"
    ).fetchall()[0]
    answer.facts.update(server=server, user=user)
    if number < _OLDEST_SERVER:
        answer.faults.append(Fault(f"PostgreSQL {server} is too old: orbitd needs {_OLDEST_SERVER // 10000} or newer"))
    if is_standby:
        answer.faults.append(Fault("this server is a standby, which takes no writes", "name the primary's address"))
    if is_admin and not may_create:
        answer.faults.append(Fault(f"user {user} may not create a schema here", f"grant create on database … to {user}"))
    if conn.execute(_UNUSABLE_SCHEMA).fetchall():
        answer.faults.append(Fault(f"user {user} may not use the schema orbit", f"grant usage on schema orbit to {user}"))
        return
    answer.facts["schema_version"] = schema_version(conn) or None
    try:
        store.check_schema(conn)
    except OrbitError as error:
        answer.faults.append(Fault(error.message, error.hint))
    if not is_admin:
        answer.faults += _lacking_rights(conn, user)


def _lacking_rights(conn: Connection, user: str) -> Iterator[Fault]:
    for name, rights in conn.execute(_LACKING_RIGHTS, [list(_RIGHTS)]).fetchall():
        yield Fault(f"user {user} may not {', '.join(rights)} on orbit.{name}", f"grant {', '.join(rights)} on orbit.{name} to {user}")
    for name, owner in conn.execute(_FOREIGN_PARTITIONED).fetchall():
        yield Fault(
            f"user {user} cannot make the coming days' partitions of orbit.{name}, which belongs to {owner}", f"grant {owner} to {user}"
        )
