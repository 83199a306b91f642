"""The dead-letter queue: the runs that failed for good, until somebody retries, resolves or deletes them."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from orbitd.errors import Conflict, NoSuchObject
from orbitd.rules.ids import short_id
from orbitd.store import queries
from orbitd.store.acts import choice, cleaned
from orbitd.store.documents import decoded, document, no_such_run
from orbitd.store.faults import told_to_people
from orbitd.store.filters import Filter, parse
from orbitd.store.lists import PATIENCE_FOR_ACTS_SECONDS, PATIENCE_SECONDS, Page, Row, Walk, by_index, page, pins, walk
from orbitd.store.rows import Pinned
from orbitd.store.runs import place

_SQL = queries.load("deadletters")
_FAILED = parse("state:failed")
_GROUP = re.compile(r"g[0-9a-f]{0,8}")
_MOST_CANDIDATES = 5


def dlq_list(
    conn: psycopg.Connection[Any],
    where: Filter | None = None,
    *,
    include_resolved: bool = False,
    limit: int = 50,
    before: str | int | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Page:
    """The dead letters of the runs that the filter means, the newest run first, as items of orbit.dlq/1."""
    with by_index(conn):
        return page(_letters(conn, where, before, include_resolved=include_resolved), limit, patience_seconds, _item)


def dlq_pinned(
    conn: psycopg.Connection[Any],
    where: Filter | None,
    *,
    most: int,
    include_resolved: bool = False,
    patience_seconds: float = PATIENCE_FOR_ACTS_SECONDS,
) -> list[Pinned]:
    """The same runs, for an act on all of them. Raises UsageError when they are more than `most`, or cannot all be found in time."""
    with by_index(conn):
        return pins(_letters(conn, where, None, include_resolved=include_resolved), most, patience_seconds)


def dlq_show(conn: psycopg.Connection[Any], run_id: int) -> dict[str, Any]:
    """All that is known of a failed run, as orbit.dead_letter/1. Raises NoSuchObject, and Conflict when the run has not failed."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SQL["dead_letter"], {"run": run_id}).fetchone()
    if row is None:
        state = place(conn, run_id).state
        raise Conflict(f"run {short_id(run_id)} is no dead letter: it is in the state {state}", "see `orbitctl dlq list`")
    attempts = [_attempt(attempt) for attempt in row["attempts"]]
    return {"schema": "orbit.dead_letter/1", **document(row), "args": decoded(row["args"]), "attempts": attempts}


def resolve_group(conn: psycopg.Connection[Any], text: str) -> str:
    """The group that a person means by its name or the beginning of it. Raises NoSuchObject for none, and for more than one."""
    parameters = {"begins": text, "most": _MOST_CANDIDATES}
    found = [row[0] for row in conn.execute(_SQL["groups"], parameters).fetchall()] if _GROUP.fullmatch(text) else []
    if not found:
        raise NoSuchObject(f'no group of dead letters "{text[:60]}"', "see `orbitctl dlq list`")
    if len(found) > 1:
        more = ", …" if len(found) == _MOST_CANDIDATES else ""
        raise NoSuchObject(f'more than one group begins with "{text}"', f"there are {', '.join(found)}{more}")
    return str(found[0])


def dlq_resolve(conn: psycopg.Connection[Any], run_id: int, by: str, notes: str | None = None, expect: Pinned | None = None) -> bool:
    """Say that a dead letter is dealt with; False when it was before, and then only the notes change, if any are given.

    Raises NoSuchObject; Conflict when the run has not failed, or is not as expected.
    """
    parameters = {"run": run_id, "by": cleaned(by), "notes": cleaned(notes), **choice(expect)}
    with told_to_people():
        is_new: bool | None = conn.execute(_SQL["dlq_resolve"], parameters).fetchall()[0][0]
    if is_new is None:
        raise no_such_run(run_id)
    return is_new


def dlq_delete(conn: psycopg.Connection[Any], run_id: int, expect: Pinned | None = None) -> None:
    """Delete a failed run and all that is kept of it. Raises as dlq_resolve."""
    with told_to_people():
        is_deleted = conn.execute(_SQL["dlq_delete"], {"run": run_id, **choice(expect)}).fetchall()[0][0]
    if not is_deleted:
        raise no_such_run(run_id)


def _letters(conn: psycopg.Connection[Any], wanted: Filter | None, before: str | int | None, *, include_resolved: bool) -> Walk:
    return walk(
        conn,
        _FAILED & wanted if wanted else _FAILED,
        before=before,
        statement="dead_letters_of_ids",
        parameters={"resolved": include_resolved},
    )


def _attempt(kept: Row) -> Row:
    """An attempt of a dead letter, whose times are kept as Postgres writes them in JSON."""
    times = {name: kept[name] and datetime.fromisoformat(kept[name]) for name in ("started_at", "finished_at")}
    return document(kept | times)


def _item(row: Row) -> Row:
    """A dead letter as a list shows it."""
    item = document(row)
    item["attempts"] = item.pop("attempt")
    return {name: value for name, value in item.items() if name not in {"state", "created_at"}}
