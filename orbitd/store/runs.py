"""Runs as producers and operators see them: ask for one, find it, look at it.

Ids are integers here, and decimal text in the documents, because JSON readers in other languages lose digits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

import psycopg
from psycopg.rows import dict_row

from orbitd import client
from orbitd.client import Enqueued, Request
from orbitd.client.doors import ask
from orbitd.client.requests import json_text
from orbitd.errors import NoSuchObject
from orbitd.rules.ids import LARGEST_ID, NUMBER_BITS
from orbitd.rules.states import RunState
from orbitd.store import queries
from orbitd.store.documents import decoded, document, no_such_run
from orbitd.store.faults import told_to_people
from orbitd.store.rows import Place

Arguments = Mapping[str, Any] | str

_SQL = queries.load("runs")


def enqueue(
    conn: psycopg.Connection[Any],
    pipeline: str,
    args: Arguments | None = None,
    *,
    key: str | None = None,
    key_for_seconds: float | None = None,
    in_seconds: float | None = None,
    at: datetime | None = None,
    priority: int | None = None,
    queue: str | None = None,
    tenant: str | None = None,
) -> Enqueued:
    """Ask for a run (`args`: a mapping, or JSON text), at once or later. Raises UsageError for what cannot be.

    As client.enqueue, for those who have seconds.
    """
    request = Request(
        pipeline, args or {}, key=key, key_for=key_for_seconds, at=at, in_=in_seconds, tenant=tenant, priority=priority, queue=queue
    )
    with told_to_people():
        return client.enqueue(conn, request)


def enqueue_many(conn: psycopg.Connection[Any], requests: Sequence[Mapping[str, Any]]) -> list[int]:
    """Ask for many runs in one statement; their ids in the same order. All or none. Raises UsageError.

    A request has the parameters of orbit.enqueue_many: pipeline, and perhaps args, key, key_for, run_at, run_in, tenant, priority, queue.
    """
    with told_to_people():
        ids: list[int] = ask(conn, "enqueue_many", {"runs": json_text(requests)}, itemgetter(0))
    return ids


def text_arguments(conn: psycopg.Connection[Any], pipeline: str) -> list[str] | None:
    """The arguments of the pipeline that take text only; None when no daemon has told of such a pipeline."""
    row = conn.execute(_SQL["text_arguments"], {"pipeline": pipeline}).fetchone()
    return None if row is None else list(row[0])


def place(conn: psycopg.Connection[Any], run_id: int) -> Place:
    """Where the run is now. Raises NoSuchObject."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SQL["place"], {"run": run_id}).fetchone()
    if row is None:
        raise no_such_run(run_id)
    return Place(RunState(row["state"]), row["lane"], row["seq"], row["attempt"])


def resolve(conn: psycopg.Connection[Any], text: str) -> int:
    """The id that a person means by a full id or its short form. Raises NoSuchObject."""
    if not (text.isascii() and text.isdecimal() and int(text[:20]) <= LARGEST_ID):
        raise no_such_run(text)
    number = int(text)
    statement = "full_ids" if number < 2**NUMBER_BITS else "known_id"
    found = conn.execute(_SQL[statement], {"number": number}).fetchall()
    if not found:
        raise no_such_run(text)
    if len(found) > 1:
        raise NoSuchObject(f'more than one run has the number "{text}"', f"give the full id, such as {found[0][0]}")
    return int(found[0][0])


def describe(conn: psycopg.Connection[Any], run_id: int) -> dict[str, Any]:
    """Everything about one run, as orbit.run_detail/1. Raises NoSuchObject."""
    with conn.cursor(row_factory=dict_row) as cursor:
        run = cursor.execute(_SQL["run_detail"], {"run": run_id}).fetchone()
        if run is None:
            raise no_such_run(run_id)
        attempts = cursor.execute(_SQL["attempts"], {"run": run_id}).fetchall()
        steps = cursor.execute(_SQL["steps"], {"run": run_id}).fetchall()
        progress = cursor.execute(_SQL["progress"], {"run": run_id}).fetchone()
        cancel_asked = cursor.execute(_SQL["cancel_asked"], {"run": run_id}).fetchone()
    results = [attempt.pop("result") for attempt in attempts]
    return {
        "schema": "orbit.run_detail/1",
        **document(run),
        "args": decoded(run["args"]),
        "result": next((decoded(result) for result in reversed(results) if result is not None), None),
        "progress": progress and document(progress),
        "cancel_asked": cancel_asked and document(cancel_asked),
        "steps": steps,
        "attempts": [document(attempt) for attempt in attempts],
        "usage": [],
    }


def read_logs(conn: psycopg.Connection[Any], run_id: int, *, after_line: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
    """The lines of a run's log that follow the given one, as the items of orbit.logs/1; none for an id that no run has."""
    with conn.cursor(row_factory=dict_row) as cursor:
        return [document(row) for row in cursor.execute(_SQL["read_logs"], {"run": run_id, "after": after_line, "limit": limit})]
