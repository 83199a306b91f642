"""What can go wrong between a process and the database, and how to tell one from the other.

- an outage: the database cannot answer now; wait, connect, repeat (`is_outage`)
- LeaseLost: we were ended; nothing may be claimed under this id
- Fenced: the run is no longer ours; stop quietly
- a refusal: a producer or an operator asked for what cannot be (`told_to_people`)
- DataError: the database cannot store a value; a fault of that run alone
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from orbitd.errors import Conflict, ExitCode, OrbitError, UsageError

_LEASE_LOST = "OR001"
_FENCED = "OR002"
_REFUSED = "OR003"
_CHANGED = "OR004"

# Not under OperationalError, but an outage all the same: a server that became a standby, a session that was timed out.
_OUTAGE_STATES = frozenset({"25006", "25P03", "57P05"})
# A value that is too large or too deep comes as an OperationalError, though it will be so for ever.
_LIMIT_EXCEEDED = "54"


class LeaseLost(Exception):
    """The child or its host was ended, or the host's lease has lapsed."""


class Fenced(Exception):
    """The run was taken back: this attempt is not ours any more."""


class SchemaMismatch(OrbitError):
    """The database's schema is missing, too old or too new for this program."""

    code = "schema_mismatch"
    exit_code = ExitCode.CONFIG


def is_outage(error: BaseException) -> bool:
    """Whether the database could not be reached or could not answer, so that the same call may succeed later."""
    if isinstance(error, psycopg.InterfaceError):
        return True
    if not isinstance(error, psycopg.Error):
        return False
    state = error.sqlstate or ""
    return state in _OUTAGE_STATES or (isinstance(error, psycopg.OperationalError) and not state.startswith(_LIMIT_EXCEEDED))


@contextmanager
def own_errors() -> Iterator[None]:
    """Turn the store's own SQLSTATEs into LeaseLost and Fenced, and exceeded limits into DataError."""
    try:
        yield
    except psycopg.Error as error:
        message, state = error.diag.message_primary or str(error), error.sqlstate or ""
        if state == _LEASE_LOST:
            raise LeaseLost(message) from error
        if state == _FENCED:
            raise Fenced(message) from error
        if state.startswith(_LIMIT_EXCEEDED):
            raise psycopg.DataError(message) from error
        raise


@contextmanager
def told_to_people() -> Iterator[None]:
    """Turn what cannot be asked for into UsageError (refused, or not storable), and what cannot be done to a run now into Conflict."""
    try:
        with own_errors():
            yield
    except psycopg.Error as error:
        message, hint = error.diag.message_primary or str(error), error.diag.message_hint or None
        if error.sqlstate == _REFUSED:
            raise UsageError(message, hint) from error
        if error.sqlstate == _CHANGED or isinstance(error, psycopg.errors.SerializationFailure):
            raise Conflict(message, hint) from error
        if isinstance(error, psycopg.DataError):
            raise UsageError(f"the request cannot be stored: {message}") from error
        raise
    except UnicodeEncodeError as error:
        raise UsageError(f"the request cannot be stored: {error.reason}") from error
