"""A child's traffic: claim a run, report how it ended."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg
from psycopg.rows import dict_row

from orbitd.store import queries
from orbitd.store.faults import own_errors
from orbitd.store.outcomes import Report
from orbitd.store.rows import Ask, Claimed, Fence, FinishedAndClaimed, Offer

_SQL = queries.load("claims")


def claim(conn: psycopg.Connection[Any], child_id: int, ask: Ask) -> Offer:
    """The first pending run of the first lane that has one. Raises LeaseLost."""
    with own_errors(), conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SQL["claim"], _ask_parameters(child_id, ask)).fetchall()[0]
    return Offer(row.pop("last_seq"), _claimed(row))


def finish(conn: psycopg.Connection[Any], report: Report) -> bool:
    """Report how an attempt ended; False when it was fenced. Repeating a report that was accepted is harmless.

    Raises DataError when the database cannot store the result.
    """
    return bool(_reported(conn, "finish", report)["accepted"])


def finish_and_claim(conn: psycopg.Connection[Any], child_id: int, report: Report, ask: Ask) -> FinishedAndClaimed:
    """The same, and the next run, in one statement. A lost lease is told in the answer, so that the report stands.

    A *repeated* call must bring a token of its own, and what the first call may have claimed is settled by start_child.
    Raises DataError when the database cannot store the result.
    """
    row = _reported(conn, "finish_and_claim", report, **_ask_parameters(child_id, ask))
    accepted, lease_ok, last_seq = row.pop("accepted"), row.pop("lease_ok"), row.pop("last_seq")
    return FinishedAndClaimed(last_seq, _claimed(row), accepted, lease_ok)


def fence_parameters(fence: Fence) -> dict[str, Any]:
    """The fence as every statement names it."""
    return {"lane": fence.lane, "seq": fence.seq, "run": fence.run_id, "token": fence.token}


def _ask_parameters(child_id: int, ask: Ask) -> dict[str, Any]:
    return {"child": child_id, "next_token": ask.token, "lanes": list(ask.floors), "floors": list(ask.floors.values())}


def _claimed(row: dict[str, Any]) -> Claimed | None:
    return None if row["run_id"] is None else Claimed(**row)


def _reported(conn: psycopg.Connection[Any], statement: str, report: Report, **more: Any) -> dict[str, Any]:
    """The only row of a reporting statement; with constants for the texts if the database cannot store them."""
    parameters = fence_parameters(report.fence) | {
        "outcome": report.outcome,
        "delay": report.delay_seconds,
        "result": report.result,
        "cause": report.failure and report.failure.cause,
        "error": report.failure and report.failure.error,
        "traceback": report.failure and report.failure.traceback,
        "stack": report.failure and report.failure.stack,
    }
    try:
        with own_errors(), conn.cursor(row_factory=dict_row) as cursor:
            return cursor.execute(_SQL[statement], parameters | more).fetchall()[0]
    except psycopg.DataError:
        if report.failure is None or report.failure == report.failure.without_texts():
            raise
    return _reported(conn, statement, replace(report, failure=report.failure.without_texts()), **more)
