"""The connection of the run verbs, and its errors in words. It asks the database, whether a daemon runs or not."""

from __future__ import annotations

import os
import pwd
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg

from orbitd import store
from orbitd.config import load_keys
from orbitd.control.client import call
from orbitd.ctl.output import stderr_is_terminal
from orbitd.errors import ConfigError, DatabaseUnavailable, OrbitError, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orbitd.ctl.app import Session

_ADDRESSES = (("database", "admin_url"), ("database", "direct_url"), ("database", "url"))
_CONNECT_TIMEOUT, _CALL_TIMEOUT = ("database", "connect_timeout"), ("database", "call_timeout")
_PING_SECONDS = 1.0
# A connection that is refused has no SQLSTATE, only the server's sentence.
_NOT_LET_IN = re.compile(r"authentication failed|no pg_hba\.conf entry|permission denied|not permitted to log in|role .* does not exist")


@contextmanager
def connected(session: Session) -> Iterator[store.Connection]:
    """A connection to the configured database with a schema that this program knows.

    Raises ConfigError when no address is configured, or none that can be read; DatabaseUnavailable when nobody answers there;
    Refused when the caller has no rights; SchemaMismatch, whose hint is `orbitd migrate`.
    """
    configured = load_keys(session.config_file(), [*_ADDRESSES, _CONNECT_TIMEOUT, _CALL_TIMEOUT], session.environ)
    option, address = next(((".".join(key), configured[key]) for key in _ADDRESSES if configured[key]), ("", ""))
    if not address:
        raise ConfigError("no database is configured", "set database.url, or DATABASE_URL=postgresql://user@host/database")
    try:
        with store.connect(
            address,
            connect_timeout_seconds=configured[_CONNECT_TIMEOUT],
            call_timeout_seconds=configured[_CALL_TIMEOUT],
            application_name="orbitctl",
        ) as conn:
            store.check_schema(conn)
            yield conn
    except psycopg.Error as error:
        raise _in_words(error, option) from error


def caller(environ: Mapping[str, str]) -> str:
    """Who asks: the person behind sudo, if there is one."""
    try:
        return environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def say_if_nobody_works_here(session: Session, what: str) -> None:
    """Tell a person that `what` waits for a daemon. A program that makes runs on another host need not hear it each time."""
    if not stderr_is_terminal():
        return
    try:
        call(session.socket(), "ping", {}, _PING_SECONDS)
    except OrbitError as error:
        session.out.note(f"{error.message}; {what} until one runs, here or elsewhere")


def _in_words(error: psycopg.Error, option: str) -> OrbitError:
    message = (error.diag.message_primary or str(error)).strip().partition("\n")[0]
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return Refused(f"the database does not allow it: {message}", "name a role with the rights in database.admin_url")
    if not store.is_outage(error):
        return OrbitError(f"the database refuses: {message}", error.diag.message_hint)
    if error.sqlstate is None and _NOT_LET_IN.search(message):
        return Refused(f"the database does not let us in: {message}", f"check user and password in {option}")
    return DatabaseUnavailable(f"the database does not answer: {message}", f"check {option}, and whether Postgres runs")
