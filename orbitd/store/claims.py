"""A child's traffic: claim runs, report how they ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import psycopg

from orbitd.store import queries
from orbitd.store.faults import LeaseLost, own_errors
from orbitd.store.outcomes import Report
from orbitd.store.rows import Ask, Claimed, Fence, Finished, FinishedAndClaimed, Offer

_SQL = queries.load("claims")


def claim(conn: psycopg.Connection[Any], child_id: int, ask: Ask) -> Offer:
    """The first pending runs of the first lane that has any. Raises LeaseLost."""
    with own_errors():
        rows = conn.execute(_SQL["claim"], _asked(child_id, ask)).fetchall()
    last_seq, lease_ok, *_ = rows[0]
    if not lease_ok:
        raise LeaseLost(f"child {child_id} may not claim: it or its host was ended, or the lease lapsed")
    return Offer(last_seq, _claimed(rows, 2))


def finish(conn: psycopg.Connection[Any], reports: Sequence[Report]) -> Finished:
    """Report how attempts ended. Repeating a report that was accepted is harmless.

    What the database cannot store is replaced; where it was a result, the run fails, and its neighbours do not.
    """
    try:
        with own_errors():
            rows = conn.execute(_SQL["finish"], _told(reports)).fetchall()
        return Finished(rows[0][0], {})
    except psycopg.DataError as error:
        if len(reports) == 1:
            return _finish_otherwise(conn, reports[0], error)
    each = [finish(conn, [report]) for report in reports]
    return Finished([run_id for one in each for run_id in one.fenced], {run_id: why for one in each for run_id, why in one.refused.items()})


def finish_and_claim(conn: psycopg.Connection[Any], child_id: int, reports: Sequence[Report], ask: Ask) -> FinishedAndClaimed:
    """The same, and the next runs, in one statement. A lost lease is told in the answer, so that the reports stand.

    A *repeated* call must bring a token of its own, and what the first call may have claimed is settled by start_child.
    """
    try:
        with own_errors():
            rows = conn.execute(_SQL["finish_and_claim"], _told(reports) | _asked(child_id, ask)).fetchall()
    except psycopg.DataError:
        finished = finish(conn, reports)
        return replace(finish_and_claim(conn, child_id, [], ask), finished=finished)
    last_seq, lease_ok, fenced, *_ = rows[0]
    return FinishedAndClaimed(Finished(fenced, {}), Offer(last_seq, _claimed(rows, 3)), lease_ok)


def release(conn: psycopg.Connection[Any], fences: Sequence[Fence]) -> list[int]:
    """Hand back runs that were not begun, as if they had never been claimed; the ids of those that were still ours."""
    with own_errors():
        released: list[int] = conn.execute(_SQL["release"], _fences(fences)).fetchall()[0][0]
    return released


def _claimed(rows: Sequence[tuple[Any, ...]], at: int) -> list[Claimed]:
    """The runs of an answer, whose columns begin there."""
    return [] if rows[0][at + 2] is None else [Claimed(*row[at:]) for row in rows]


def fence_parameters(fence: Fence) -> dict[str, Any]:
    """The fence as every statement names it."""
    return {"lane": fence.lane, "seq": fence.seq, "run": fence.run_id, "token": fence.token}


def _finish_otherwise(conn: psycopg.Connection[Any], report: Report, error: psycopg.DataError) -> Finished:
    why = str(error).strip()
    other = report.after_refusal(why)
    if other is None:
        raise error
    finished = finish(conn, [other])
    return finished if report.result is None else Finished(finished.fenced, {report.fence.run_id: why})


def _asked(child_id: int, ask: Ask) -> dict[str, Any]:
    return {
        "child": child_id,
        "next_token": ask.token,
        "next_lanes": _array(ask.floors),
        "floors": _array(ask.floors.values()),
        "wants": _array([ask.wants.get(lane, 1) for lane in ask.floors]),
    }


def _fences(fences: Sequence[Fence]) -> dict[str, Any]:
    return {
        "lanes": _array([fence.lane for fence in fences]),
        "seqs": _array([fence.seq for fence in fences]),
        "runs": _array([fence.run_id for fence in fences]),
        "tokens": _array([fence.token for fence in fences]),
    }


def _told(reports: Sequence[Report]) -> dict[str, Any]:
    """The reports as parallel arrays; what none of them has is null."""
    failures = [report.failure for report in reports]
    words = {
        name: _array([failure and _quoted(getattr(failure, name)) for failure in failures]) if any(failures) else None
        for name in ("cause", "error", "traceback", "stack")
    }
    return {
        **_fences([report.fence for report in reports]),
        "outcomes": _array([report.outcome for report in reports]),
        "seconds": _array([report.seconds for report in reports]),
        "results": _array([None if report.result == "null" else _quoted(report.result) for report in reports]),
        "delays": _array([report.delay_seconds for report in reports]),
        **words,
    }


def _array(values: Iterable[object]) -> str:
    """An array as Postgres reads it; texts must be quoted. Made here, because psycopg takes a microsecond for each number."""
    return "{" + ",".join(["NULL" if value is None else str(value) for value in values]) + "}"


def _quoted(text: str | None) -> str | None:
    return None if text is None else '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
