"""The connection of the run verbs. It asks the database, whether a daemon runs or not."""

from __future__ import annotations

import os
import pwd
from contextlib import contextmanager
from typing import TYPE_CHECKING

from orbitd import store
from orbitd.config import OPTIONS, Database, load_keys
from orbitd.control.client import call
from orbitd.ctl.output import stderr_is_terminal
from orbitd.errors import OrbitError, Refused
from orbitd.store.words import in_words

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orbitd.ctl.app import Session

_OPTIONS = [key for key in OPTIONS if key[0] == "database"]
_PING_SECONDS = 1.0


@contextmanager
def connected(session: Session, if_lost: str | None = None) -> Iterator[store.Connection]:
    """A connection to the configured database with a schema that this program knows; whoever looks on is told if no daemon runs.

    `if_lost`: what to do when an answer does not come, and what was asked may have been done all the same.
    Raises ConfigError when no address is configured, or none that can be read; DatabaseUnavailable when nobody answers there;
    Refused when the caller has no rights; SchemaMismatch, whose hint is `orbitd migrate`.
    """
    configured = load_keys(session.config_file(), _OPTIONS, session.environ)
    database = Database(**{key: value for (_, key), value in configured.items()})
    option = f"database.{database.admin_option}"
    with in_words(option):
        conn = store.connect(
            database.admin_address,
            connect_timeout_seconds=database.connect_timeout,
            call_timeout_seconds=database.call_timeout,
            application_name="orbitctl",
        )
    with in_words(option, if_lost), conn:
        store.check_schema(conn)
        _say_if_no_daemon(session)
        yield conn


def caller(environ: Mapping[str, str]) -> str:
    """Who asks: the person behind sudo, if there is one."""
    try:
        return environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


def _say_if_no_daemon(session: Session) -> None:
    """Tell a person why nothing may come of what the database says. A program on another host need not hear it each time."""
    if session.out.as_json or not stderr_is_terminal():
        return
    try:
        call(session.socket(), "ping", {}, _PING_SECONDS)
    except Refused:
        return  # it runs, for others
    except OrbitError as error:
        session.out.note(f"{error.message}; the database answers, and its runs wait for a daemon, here or elsewhere")
