"""Lists for people: newest first, page by page; and the pins by which an act on many runs keeps to those that were shown.

A list walks down the ids of some source - all runs, or a small table with all runs of a state, a group or a key - and looks at a
few hundred at a time. A page is asked for by the id that it begins before. A walk ends after two seconds with what it has, and
says where: no filter makes the database work for longer than somebody waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any, Literal

import psycopg
from psycopg.rows import dict_row

from orbitd.errors import UsageError
from orbitd.rules.ids import LARGEST_ID, NUMBER_BITS
from orbitd.rules.states import RunState
from orbitd.store import queries
from orbitd.store.documents import document
from orbitd.store.filters import Filter, parse
from orbitd.store.rows import Pinned

Act = Literal["cancel", "retry", "rerun", "resume"]
Row = dict[str, Any]
Walk = Iterator[tuple[list[Row], int | None]]
"""Rows, newest first, and the id to go on before; None: there are no more."""

ACTIONABLE: Mapping[Act, Filter] = MappingProxyType(
    {
        "cancel": parse("state:scheduled,pending,running,interrupted"),
        "retry": parse("state:failed,interrupted,scheduled attempt:>=1"),
        "rerun": parse("state:succeeded,failed,cancelled"),
        "resume": parse("state:interrupted"),
    }
)
"""The runs that an act can do something to."""

MOST_COUNTED = 1000
"""Where the counts of `list_pipelines` stop."""

PATIENCE_SECONDS = 2.0
PATIENCE_FOR_ACTS_SECONDS = 10.0

_SQL = queries.load("lists")
_FIRST_DAY = datetime(2020, 1, 1, tzinfo=UTC)
_LOOK_AT_ONCE = 500
_FEW_WAITING = 20_000
# An id is drawn before its run is written: a producer that had to wait for a key in between made its run that much later.
_ID_LEAD = timedelta(hours=1)

_OWN_SOURCES = {
    RunState.SCHEDULED: "scheduled_ids",
    RunState.PENDING: "pending_ids",
    RunState.RUNNING: "running_ids",
    RunState.INTERRUPTED: "interrupted_ids",
    RunState.FAILED: "failed_ids",
}
_UNENDED = frozenset({RunState.SCHEDULED, RunState.PENDING, RunState.RUNNING, RunState.INTERRUPTED})
_QUEUED = ["queued_ids"]
_UNKNOWN_PIPELINE: Mapping[str, Any] = MappingProxyType(
    {
        **dict.fromkeys(("name", "queue", "priority", "max_attempts", "max_crashes")),
        "hosts": [],
        **dict.fromkeys(("pending", "running", "scheduled", "failed"), 0),
        "arguments": {"required": [], "optional": [], "open": True},
        "registered_at": None,
    }
)


@dataclass(frozen=True, slots=True)
class Page:
    """Some documents, and the `before` of the next page; None at the end. `stopped_at` is the same when the time was up."""

    items: list[dict[str, Any]]
    next: str | None
    stopped_at: str | None


def list_runs(
    conn: psycopg.Connection[Any],
    where: Filter | None = None,
    *,
    limit: int = 50,
    before: str | int | None = None,
    patience_seconds: float = PATIENCE_SECONDS,
) -> Page:
    """The newest runs that the filter means, as items of orbit.runs/1. Raises UsageError when it would search all runs."""
    wanted = where or Filter()
    if not wanted.means_all:
        _check_bounded(wanted)
    with by_index(conn):
        return page(walk(conn, wanted, before=before), limit, patience_seconds, document)


def pinned(
    conn: psycopg.Connection[Any],
    where: Filter | None,
    *,
    most: int,
    act: Act | None = None,
    patience_seconds: float = PATIENCE_FOR_ACTS_SECONDS,
) -> list[Pinned]:
    """The runs that the filter means now, newest first, and of them those to which the act can be done.

    Raises UsageError when there are more than `most`, when they cannot all be found in time, and as list_runs.
    """
    wanted = (where or Filter()) & ACTIONABLE[act] if act else where or Filter()
    _check_bounded(wanted)
    with by_index(conn):
        return pins(_walk_states(conn, wanted), most, patience_seconds)


def pins_of(conn: psycopg.Connection[Any], ids: Sequence[int]) -> list[Pinned]:
    """The runs as they are now, in the given order; an id that no run has is left out."""
    with by_index(conn), conn.cursor(row_factory=dict_row) as cursor:
        found = {row["id"]: _pin(row) for row in cursor.execute(_SQL["pins"], {"ids": list(ids)}).fetchall()}
    return [found[run_id] for run_id in dict.fromkeys(ids) if run_id in found]


def list_pipelines(conn: psycopg.Connection[Any]) -> list[dict[str, Any]]:
    """What the daemons can run, then what runs wait for that none has told of, each by name, as items of orbit.pipelines/1.

    A count of MOST_COUNTED means: or more. Of what is unknown, only the first so many runs are looked at.
    """
    with by_index(conn), conn.cursor(row_factory=dict_row) as cursor:
        known = cursor.execute(_SQL["pipelines"], {"most": MOST_COUNTED}).fetchall()
        unknown = cursor.execute(_SQL["unknown_pipelines"], {"most": MOST_COUNTED}).fetchall()
    return [document(row) for row in (*known, *({**_UNKNOWN_PIPELINE, **row} for row in unknown))]


def pipeline_names(conn: psycopg.Connection[Any]) -> list[str]:
    """The pipelines that daemons have told of."""
    return [row[0] for row in conn.execute(_SQL["pipeline_names"]).fetchall()]


@contextmanager
def by_index(conn: psycopg.Connection[Any]) -> Iterator[None]:
    """A transaction whose statements go by index, whatever the planner believes of the tables."""
    with conn.transaction():
        conn.execute(_SQL["by_index"])
        yield


def walk(
    conn: psycopg.Connection[Any],
    wanted: Filter,
    *,
    before: str | int | None = None,
    statement: str = "runs_of_ids",
    parameters: Mapping[str, Any] = MappingProxyType({}),
) -> Walk:
    """The rows of a statement of `sql/lists.sql` for the runs that are wanted, and nothing else."""
    conditions, values = wanted.sql()
    query = _SQL[statement].replace(b"/* filter */", conditions)
    bounds = {"first": first_id(wanted.since), "pipelines": _array(wanted.pipelines), "groups": _array(wanted.groups)}
    bounds |= {"keys": _array(wanted.keys), "limit": _LOOK_AT_ONCE}
    sources = _sources(conn, wanted)
    rest = LARGEST_ID if before is None else _id(before)
    while True:
        ids = _ids(conn, sources, bounds | {"before": rest})
        with conn.cursor(row_factory=dict_row) as cursor:
            found = {row["id"]: row for row in cursor.execute(query, {"ids": ids, **parameters, **values}).fetchall()}
        rows = [found[run_id] for run_id in ids if run_id in found]
        if len(ids) < _LOOK_AT_ONCE or (sources != _QUEUED and _is_older(conn, ids[-1], wanted.since)):
            yield rows, None
            return
        rest = ids[-1]
        yield rows, rest


def page(walk: Walk, limit: int, patience_seconds: float, shown: Callable[[Row], Row]) -> Page:
    """As many rows of the walk as a page has, each as it is shown."""
    deadline = time.monotonic() + patience_seconds
    rows: list[Row] = []
    for found, rest in walk:
        rows += found
        if len(rows) > limit or (len(rows) == limit and rest is not None):
            return Page([shown(row) for row in rows[:limit]], str(rows[limit - 1]["id"]), None)
        if rest is not None and time.monotonic() >= deadline:
            return Page([shown(row) for row in rows], str(rest), str(rest))
    return Page([shown(row) for row in rows], None, None)


def pins(walk: Walk, most: int, patience_seconds: float) -> list[Pinned]:
    """All rows of the walk, newest first. Raises UsageError when they are more than `most`, or more than can be found in time."""
    deadline = time.monotonic() + patience_seconds
    found: dict[int, Pinned] = {}
    for rows, rest in walk:
        found |= {row["id"]: _pin(row) for row in rows}
        if len(found) > most:
            raise UsageError(f"the filter means more than {most} runs", "narrow it, with since: or pipeline:")
        if rest is not None and time.monotonic() >= deadline:
            raise UsageError(f"not all runs of the filter were found in {patience_seconds:g}s", "narrow it, with since: or state:")
    return [found[run_id] for run_id in sorted(found, reverse=True)]


def _pin(row: Row) -> Pinned:
    return Pinned(row["id"], row["pipeline"], RunState(row["state"]), row["attempt"], row["created_at"])


def _check_bounded(wanted: Filter) -> None:
    """Raise UsageError for a filter that every run which has ended must be looked at for."""
    places = (wanted.since, wanted.pipelines, wanted.groups, wanted.keys)
    if all(place is None for place in places) and not wanted.states <= _OWN_SOURCES.keys():
        shown = f'"{wanted}"' if wanted.text else "no filter"
        raise UsageError(f"{shown} would search every run there ever was", "add since: or pipeline:, such as since:1d, or state:failed")


def _walk_states(conn: psycopg.Connection[Any], wanted: Filter) -> Walk:
    """The same without an order: state by state where that can be, in the direction in which runs move."""
    if not wanted.states <= _OWN_SOURCES.keys():
        yield from walk(conn, wanted)
        return
    for state in _OWN_SOURCES:
        if state in wanted.states:
            yield from walk(conn, replace(wanted, states=frozenset({state})))


def _sources(conn: psycopg.Connection[Any], wanted: Filter) -> list[str]:
    """The statements that between them have the ids of all runs that are wanted, and as few others as can be."""
    if wanted.groups is not None:
        return ["group_ids"]
    if wanted.keys is not None:
        return ["key_ids"]
    if wanted.states.isdisjoint(_UNENDED):
        return ["ended_ids"] if wanted.states != {RunState.FAILED} else ["failed_ids"]
    if not wanted.states <= _OWN_SOURCES.keys():
        return ["latest_ids"]
    if RunState.PENDING in wanted.states and _many_are_waiting(conn, wanted):
        return _QUEUED if wanted.states == {RunState.PENDING} else ["latest_ids"]
    return [_OWN_SOURCES[state] for state in wanted.states]


def _many_are_waiting(conn: psycopg.Connection[Any], wanted: Filter) -> bool:
    """Whether the pending runs are too many to be sorted by id each time."""
    parameters = {"pipelines": _array(wanted.pipelines), "limit": _FEW_WAITING}
    return bool(conn.execute(_SQL["waiting"], parameters).fetchall()[0][0] == _FEW_WAITING)


def _ids(conn: psycopg.Connection[Any], sources: Sequence[str], bounds: Mapping[str, Any]) -> list[int]:
    """The next ids to look at, the newest first; those that are queued, the last first."""
    if sources == _QUEUED:
        return [row[0] for row in conn.execute(_SQL["queued_ids"], bounds).fetchall()]
    ids = {row[0] for source in sources for row in conn.execute(_SQL[source], bounds).fetchall()}
    return sorted(ids, reverse=True)[:_LOOK_AT_ONCE]


def _is_older(conn: psycopg.Connection[Any], run_id: int, since: datetime | None) -> bool:
    """Whether this run, and so all with lower ids, were made before that."""
    if since is None:
        return False
    made = conn.execute(_SQL["created_at"], {"run": run_id}).fetchone()
    return made is not None and made[0] < since - _ID_LEAD


def first_id(since: datetime | None) -> int:
    """The lowest id that a run made since then can have."""
    return 0 if since is None else max(0, (since - _ID_LEAD - _FIRST_DAY).days) << NUMBER_BITS


def _id(text: str | int) -> int:
    try:
        return min(int(text), LARGEST_ID)
    except ValueError:
        raise UsageError(f'"{str(text)[:60]}" is no id to list runs before', "give the `next` of the page before") from None


def _array(values: Sequence[str] | None) -> list[str] | None:
    return None if values is None else list(values)
