"""The database's errors in words for a person: what happened, and which option to look at."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from orbitd.errors import DatabaseUnavailable, OrbitError, Refused
from orbitd.store.faults import is_outage

# A connection that is refused has no SQLSTATE, only the sentence of the server, or of pgbouncer.
_NOT_LET_IN = re.compile(
    r"authentication failed|no pg_hba\.conf entry|permission denied|not permitted to log in|role .* does not exist|no such user"
)


@contextmanager
def in_words(option: str, if_lost: str | None = None) -> Iterator[None]:
    """Turn an error of the driver into one for people; `option` is the one that has the address, such as "database.url".

    `if_lost`: the hint for an answer that does not come, where what was asked may have been done all the same.
    Raises Refused when the role may not do it, or is not let in; DatabaseUnavailable when nobody answers; else OrbitError.
    """
    try:
        yield
    except psycopg.Error as error:
        raise _in_words(error, option, if_lost) from error


def _in_words(error: psycopg.Error, option: str, if_lost: str | None) -> OrbitError:
    message = (error.diag.message_primary or str(error)).strip().partition("\n")[0]
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return Refused(f"the database does not allow it: {message}", "name a role with the rights in database.admin_url")
    if not is_outage(error):
        return OrbitError(f"the database refuses: {message}", error.diag.message_hint)
    if error.sqlstate is None and _NOT_LET_IN.search(message):
        return Refused(f"the database does not let us in: {message}", f"check user and password in {option}")
    return DatabaseUnavailable(f"the database does not answer: {message}", if_lost or f"check {option}, and whether Postgres runs")
