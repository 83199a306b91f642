"""What a person does after a crash: see what was interrupted, take back what is in nobody's hands, let it go on.

A janitor does this by itself within seconds. It is for fleets that hold interrupted runs (recovery.mode = "hold"), and for the
time in which no daemon is left to do it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from orbitd.store import queries
from orbitd.store.acts import cleaned
from orbitd.store.documents import document
from orbitd.store.hosts import take_back_ended
from orbitd.store.lists import by_index
from orbitd.store.rows import TakenBack

_SQL = queries.load("recovery")
_MOST_SHOWN = 10_000
_RESUMED_AT_ONCE = 500
_FIELDS = dict.fromkeys(("id", "pipeline", "attempt", "state", "cause", "since", "host", "slot", "last_step", "steps"))


@dataclass(frozen=True, slots=True)
class Recovered:
    """What was taken back, and the held runs that were let go."""

    taken_back: list[TakenBack]
    resumed: list[int]


def check_interrupted(conn: psycopg.Connection[Any], older_than_seconds: float = 0) -> list[dict[str, Any]]:
    """The runs that wait to be recovered, the longest first, 10 000 at most.

    Those that are held, and running ones whose child or host is gone or silent; with the step they did last and how many.
    """
    with conn.cursor(row_factory=dict_row) as cursor:
        lost = cursor.execute(_SQL["lost"], {"older_than": older_than_seconds, "limit": _MOST_SHOWN}).fetchall()
        with by_index(conn):
            found = cursor.execute(_SQL["whereabouts"], {"ids": [run["id"] for run in lost]}).fetchall()
    by_id = {run["id"]: run for run in found}
    return [document(_FIELDS | by_id[run["id"]] | run) for run in lost if run["id"] in by_id]


def recover(conn: psycopg.Connection[Any], *, older_than_seconds: float = 0, auto_resume: bool, by: str) -> Recovered:
    """Take back the runs of hosts that have ended or were not heard of for so long; they are held, or go on with `auto_resume`.

    With that, the runs held for so long go on too. A host that beats is never touched. Repeating it is harmless.
    """
    conn.execute(_SQL["end_silent_hosts"], {"older_than": older_than_seconds})
    taken = take_back_ended(conn, "resume" if auto_resume else "hold", older_than_seconds)
    resumed = _resume_held(conn, older_than_seconds, by) if auto_resume else []
    return Recovered(taken, resumed)


def _resume_held(conn: psycopg.Connection[Any], older_than_seconds: float, by: str) -> list[int]:
    parameters = {"older_than": older_than_seconds, "by": cleaned(by), "limit": _RESUMED_AT_ONCE}
    resumed: list[int] = []
    while True:
        batch = [row[0] for row in conn.execute(_SQL["resume_held"], parameters).fetchall()]
        resumed += batch
        if len(batch) < _RESUMED_AT_ONCE:
            return resumed
