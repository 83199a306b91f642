"""What a person does to one run: cancel it, try it again, ask for another like it, let it go on.

Each act may be told how the run was when the person chose it, and is refused when that is no longer so. All raise NoSuchObject;
Conflict when the run is in no state for the act, or not as expected; UsageError for what cannot be stored.
"""

from __future__ import annotations

from typing import Any

import psycopg

from orbitd.store import queries
from orbitd.store.documents import no_such_run
from orbitd.store.faults import told_to_people
from orbitd.store.outcomes import MAX_ERROR_BYTES, clean_text
from orbitd.store.rows import Pinned

_SQL = queries.load("acts")


def cancel(conn: psycopg.Connection[Any], run_id: int, by: str, reason: str | None = None, expect: Pinned | None = None) -> str:
    """Cancel a run: "cancelled", or "cancelling" when its child must stop first, or how it had ended before."""
    return str(_told(conn, "cancel", run_id, expect, by=by, reason=reason))


def retry(conn: psycopg.Connection[Any], run_id: int, by: str, reason: str | None = None, expect: Pinned | None = None) -> str:
    """Have a run tried again that failed, was interrupted, or waits out a delay. Where it is now: "pending", or "running" already.

    A failed one leaves the dead-letter queue, keeps its steps, and has all its attempts again.
    """
    return str(_told(conn, "retry", run_id, expect, by=by, reason=reason))


def resume(conn: psycopg.Connection[Any], run_id: int, by: str, expect: Pinned | None = None) -> str:
    """Let an interrupted run go on from its last step. Where it is now: "pending", or "running" or "scheduled" as before."""
    return str(_told(conn, "resume", run_id, expect, by=by))


def rerun(conn: psycopg.Connection[Any], run_id: int, by: str, reason: str | None = None, expect: Pinned | None = None) -> int:
    """Ask for a new run like one that has ended, without its key; the new id.

    Raises UsageError too when the pipeline takes other arguments by now.
    """
    return int(_told(conn, "rerun", run_id, expect, by=by, reason=reason))


def choice(expect: Pinned | None) -> dict[str, Any]:
    """How the run was when it was chosen, as the statements of acts take it."""
    return {"state": expect and expect.state, "attempt": expect and expect.attempt}


def cleaned(text: str | None) -> str | None:
    """What a person wrote, as any Postgres can store it."""
    return None if text is None else clean_text(text, MAX_ERROR_BYTES)


def _told(conn: psycopg.Connection[Any], act: str, run_id: int, expect: Pinned | None, **words: str | None) -> Any:
    """What the act's function answers."""
    parameters = {"run": run_id, **choice(expect), **{name: cleaned(text) for name, text in words.items()}}
    with told_to_people():
        answer = conn.execute(_SQL[act], parameters).fetchall()[0][0]
    if answer is None:
        raise no_such_run(run_id)
    return answer
