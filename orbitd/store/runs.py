"""Runs as producers and operators see them: ask for them, look at them, cancel them.

Ids are integers here, and decimal text in the documents, because JSON readers in other languages lose digits. The short form
of an id is the number in its lower 39 bits.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from orbitd.errors import NoSuchObject, UsageError
from orbitd.rules.states import RunState
from orbitd.store import queries
from orbitd.store.faults import refusals_as_usage_errors
from orbitd.store.rows import Enqueued, Place

Arguments = Mapping[str, Any] | str

_SQL = queries.load("runs")
_NUMBER_BITS = 39
_LARGEST_ID = 2**63 - 1
_LOOK_AT_ONCE = 500
_LOOK_AT_MOST = 20_000

# Where to look when only these states are asked for: elsewhere they would be few among many.
_OWN_LISTS = {
    RunState.SCHEDULED: "scheduled_ids",
    RunState.RUNNING: "running_ids",
    RunState.INTERRUPTED: "interrupted_ids",
    RunState.FAILED: "failed_ids",
}


def enqueue(
    conn: psycopg.Connection[Any],
    pipeline: str,
    args: Arguments | None = None,
    *,
    key: str | None = None,
    in_seconds: float | None = None,
    at: datetime | None = None,
    priority: int | None = None,
    queue: str | None = None,
    tenant: str | None = None,
) -> Enqueued:
    """Ask for a run (`args`: a mapping, or JSON text), at once or later. Raises UsageError for what cannot be.

    While a run with the same pipeline and key has not ended, that run is the answer, with `created` false.
    """
    if at is not None and at.tzinfo is None:
        raise UsageError(f"the time {at.isoformat()} has no zone", "add one: 2030-01-01T08:00:00Z")
    parameters = {
        "pipeline": pipeline,
        "args": _json_text(args or {}),
        "key": key,
        "in_seconds": in_seconds,
        "at": at,
        "priority": priority,
        "queue": queue,
        "tenant": tenant,
    }
    with refusals_as_usage_errors(), conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SQL["enqueue"], parameters).fetchall()[0]
    return Enqueued(row["id"], row["created"], RunState(row["state"]))


def enqueue_many(conn: psycopg.Connection[Any], requests: Sequence[Mapping[str, Any]]) -> list[int]:
    """Ask for many runs in one statement; their ids in the same order. All or none. Raises UsageError.

    A request has the parameters of orbit.enqueue: pipeline, and perhaps args, key, run_at, tenant, priority, queue.
    """
    with refusals_as_usage_errors():
        ids: list[int] = conn.execute(_SQL["enqueue_many"], {"runs": _json_text(requests)}).fetchall()[0][0]
    return ids


def text_arguments(conn: psycopg.Connection[Any], pipeline: str) -> list[str] | None:
    """The arguments of the pipeline that take text only; None when no daemon has told of such a pipeline."""
    row = conn.execute(_SQL["text_arguments"], {"pipeline": pipeline}).fetchone()
    return None if row is None else list(row[0])


def cancel(conn: psycopg.Connection[Any], run_id: int, by: str, reason: str | None = None) -> str:
    """Cancel a run: "cancelled", or "cancelling" when its child must stop first, or how it had ended before.

    Raises NoSuchObject.
    """
    with refusals_as_usage_errors():
        state: str | None = conn.execute(_SQL["cancel"], {"run": run_id, "by": by, "reason": reason}).fetchall()[0][0]
    if state is None:
        raise _no_such_run(str(run_id))
    return state


def resume(conn: psycopg.Connection[Any], run_id: int) -> bool:
    """Let an interrupted run go on from its last step; False when it is not interrupted."""
    return bool(conn.execute(_SQL["resume"], {"run": run_id}).fetchall()[0][0])


def place(conn: psycopg.Connection[Any], run_id: int) -> Place:
    """Where the run is now. Raises NoSuchObject."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SQL["place"], {"run": run_id}).fetchone()
    if row is None:
        raise _no_such_run(str(run_id))
    return Place(RunState(row["state"]), row["lane"], row["seq"], row["attempt"])


def short_id(run_id: int) -> str:
    """The number of a run, unique by itself."""
    return str(run_id & (2**_NUMBER_BITS - 1))


def resolve(conn: psycopg.Connection[Any], text: str) -> int:
    """The id that a person means by a full id or its short form. Raises NoSuchObject."""
    if not (text.isascii() and text.isdecimal() and int(text[:20]) <= _LARGEST_ID):
        raise _no_such_run(text)
    number = int(text)
    statement = "full_ids" if number < 2**_NUMBER_BITS else "known_id"
    found = conn.execute(_SQL[statement], {"number": number}).fetchall()
    if not found:
        raise _no_such_run(text)
    if len(found) > 1:
        raise NoSuchObject(f'more than one run has the number "{text}"', f"give the full id, such as {found[0][0]}")
    return int(found[0][0])


def list_runs(
    conn: psycopg.Connection[Any],
    *,
    states: Sequence[RunState] = (),
    pipeline_glob: str | None = None,
    limit: int = 50,
    before: str | None = None,
) -> tuple[list[dict[str, Any]], str | None]:
    """The newest runs first, as items of orbit.runs/1, and where the next page begins (its `before`).

    Looks at 20 000 runs at most: a page may be short, or even empty, and still have a next one.
    """
    statements = {_OWN_LISTS.get(state, "latest_ids") for state in states} or {"latest_ids"}
    if "latest_ids" in statements:
        statements = {"latest_ids"}
    pattern = None if pipeline_glob is None else _like(pipeline_glob)
    items: list[dict[str, Any]] = []
    looked, before_id = 0, int(before) if before else _LARGEST_ID
    while looked < _LOOK_AT_MOST:
        ids = _ids_before(conn, statements, before_id)
        with conn.cursor(row_factory=dict_row) as cursor:
            cursor.execute(_SQL["runs_of_ids"], {"ids": ids, "states": list(states) or None, "pipeline": pattern})
            items += map(_document, cursor.fetchall())
        if len(items) > limit:
            return items[:limit], items[limit - 1]["id"]
        if len(ids) < _LOOK_AT_ONCE:
            return items, None
        looked, before_id = looked + len(ids), ids[-1]
    return items, str(before_id)


def describe(conn: psycopg.Connection[Any], run_id: int) -> dict[str, Any]:
    """Everything about one run, as orbit.run_detail/1. Raises NoSuchObject."""
    with conn.cursor(row_factory=dict_row) as cursor:
        run = cursor.execute(_SQL["run_detail"], {"run": run_id}).fetchone()
        if run is None:
            raise _no_such_run(str(run_id))
        attempts = cursor.execute(_SQL["attempts"], {"run": run_id}).fetchall()
        steps = cursor.execute(_SQL["steps"], {"run": run_id}).fetchall()
        progress = cursor.execute(_SQL["progress"], {"run": run_id}).fetchone()
    results = [attempt.pop("result") for attempt in attempts]
    return {
        "schema": "orbit.run_detail/1",
        **_document(run),
        "args": _decoded(run["args"]),
        "result": next((_decoded(result) for result in reversed(results) if result is not None), None),
        "progress": progress and _document(progress),
        "steps": steps,
        "attempts": [_document(attempt) for attempt in attempts],
        "usage": [],
    }


def _ids_before(conn: psycopg.Connection[Any], statements: set[str], before_id: int) -> list[int]:
    """The next ids to look at, the newest first."""
    ids: set[int] = set()
    for statement in statements:
        rows = conn.execute(_SQL[statement], {"before": before_id, "limit": _LOOK_AT_ONCE}).fetchall()
        ids.update(row[0] for row in rows)
    return sorted(ids, reverse=True)[:_LOOK_AT_ONCE]


def _like(glob: str) -> str:
    """The LIKE pattern of a glob with * and ?."""
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")


def _document(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row as JSON takes it: ids as text, times in UTC."""
    document = dict(row)
    for name, value in row.items():
        if isinstance(value, datetime):
            document[name] = value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        elif name == "id":
            document[name] = str(value)
    return document


def _json_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the arguments are not JSON: {error}") from error


def _decoded(text: str) -> Any:
    """The value of a JSON text; the text itself if Python cannot take it, which Postgres could."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _no_such_run(text: str) -> NoSuchObject:
    return NoSuchObject(f'no run "{text}"', "see `orbitctl runs`")
