"""A child's traffic: claim a run, report how it ended."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row

from orbitd.store import queries
from orbitd.store.faults import own_errors
from orbitd.store.outcomes import Report
from orbitd.store.rows import Claimed, Fence, FinishedAndClaimed

_SQL = queries.load("claims")


def new_token() -> int:
    """A claim's random token (1 … 2^63−1). It names the claim, and is never derived from the run."""
    return secrets.randbits(63) or 1


def claim(conn: psycopg.Connection[Any], child_id: int, token: int, lanes: Sequence[int]) -> Claimed | None:
    """The first pending run of the first lane that has one; None when there is none. Raises LeaseLost."""
    with own_errors(), conn.cursor(row_factory=class_row(Claimed)) as cursor:
        return cursor.execute(_SQL["claim"], {"child": child_id, "token": token, "lanes": list(lanes)}).fetchone()


def finish(conn: psycopg.Connection[Any], report: Report) -> bool:
    """Report how an attempt ended; False when it was fenced. Repeating a report that was accepted is harmless.

    Raises DataError when the database cannot store the result.
    """
    return bool(_reported(conn, "finish", report)["accepted"])


def finish_and_claim(conn: psycopg.Connection[Any], child_id: int, report: Report, token: int, lanes: Sequence[int]) -> FinishedAndClaimed:
    """The same, and the next run, in one statement. A lost lease is told in the answer, so that the report stands.

    A *repeated* call must bring a token of its own, and what the first call may have claimed is settled by start_child.
    Raises DataError when the database cannot store the result.
    """
    row = _reported(conn, "finish_and_claim", report, child=child_id, next_token=token, lanes=list(lanes))
    accepted, lease_ok = row.pop("accepted"), row.pop("lease_ok")
    return FinishedAndClaimed(accepted, lease_ok, Claimed(**row) if row["run_id"] is not None else None)


def fence_parameters(fence: Fence) -> dict[str, Any]:
    """The fence as every statement names it."""
    return {"lane": fence.lane, "seq": fence.seq, "run": fence.run_id, "token": fence.token}


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
