"""What a run leaves behind while it runs: steps, progress, log lines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import psycopg
from psycopg.rows import tuple_row

from orbitd.store import queries
from orbitd.store.claims import fence_parameters
from orbitd.store.faults import Fenced, own_errors
from orbitd.store.outcomes import MAX_ERROR_BYTES, clean_text
from orbitd.store.rows import Fence

_SQL = queries.load("steps")

MAX_LOG_BYTES = 1024 * 1024


def load_steps(conn: psycopg.Connection[Any], run_id: int) -> dict[str, str]:
    """The outputs (JSON text, exactly as recorded) of the steps that the run has done, by key."""
    return dict(conn.execute(_SQL["load_steps"], {"run": run_id}).fetchall())


def record_step(conn: psycopg.Connection[Any], fence: Fence, key: str, output_json_text: str, seconds: float) -> str:
    """Record a step and return the recorded output: the first one wins. Raises Fenced.

    Inside a transaction of the caller's the record commits with it, and until then nobody can take the run back.
    """
    parameters = fence_parameters(fence) | {"key": key, "output": output_json_text, "seconds": seconds}
    with own_errors():
        return str(conn.execute(_SQL["record_step"], parameters).fetchall()[0][0])


def hold_run(conn: psycopg.Connection[Any], fence: Fence) -> None:
    """Keep the run until the end of the caller's transaction: whoever would take it back waits. Raises Fenced."""
    if conn.execute(_SQL["hold_run"], fence_parameters(fence)).fetchone() is None:
        raise _not_yours(fence)


def count_commit(conn: psycopg.Connection[Any], fence: Fence) -> int | None:
    """Count the caller's transaction, which holds the run and is about to commit: its number; None if it may only read. Raises Fenced.

    Its author may have taken another role: it ends in the connection's own.
    """
    _, may_write = _row(conn, "end_role", {})
    return _commits(conn, "count_commit", fence) if may_write else None


def last_commit(conn: psycopg.Connection[Any], fence: Fence) -> int:
    """The number of the last one that has committed; waits for one that is about to. Raises Fenced."""
    return _commits(conn, "last_commit", fence)


def _commits(conn: psycopg.Connection[Any], statement: str, fence: Fence) -> int:
    number: int | None = _row(conn, statement, fence_parameters(fence))[0]
    if number is None:
        raise _not_yours(fence)
    return number


def _row(conn: psycopg.Connection[Any], statement: str, parameters: dict[str, Any]) -> tuple[Any, ...]:
    """The one row of a statement, on a connection that may be an author's, whose rows need not be tuples."""
    return conn.cursor(row_factory=tuple_row).execute(_SQL[statement], parameters).fetchall()[0]


def _not_yours(fence: Fence) -> Fenced:
    return Fenced(f"run {fence.run_id} is no longer yours")


def record_progress(conn: psycopg.Connection[Any], fence: Fence, fraction: float | None, note: str | None) -> bool:
    """Say how far the run has come (0 … 1) and what it does; None leaves that as it was. False when it was fenced."""
    note = None if note is None else clean_text(note, MAX_ERROR_BYTES)
    parameters = fence_parameters(fence) | {"fraction": fraction, "note": note}
    return bool(conn.execute(_SQL["record_progress"], parameters).fetchall()[0][0])


def append_logs(
    conn: psycopg.Connection[Any], fence: Fence, lines: Sequence[tuple[str, str, str]], max_bytes: int = MAX_LOG_BYTES
) -> int | None:
    """Append (ISO time, level, message) lines to the run's log; how many were kept below the limit. None when it was fenced."""
    parameters = fence_parameters(fence) | {
        "times": [at for at, _, _ in lines],
        "levels": [clean_text(level, 20) for _, level, _ in lines],
        "messages": [clean_text(message, MAX_ERROR_BYTES) for _, _, message in lines],
        "max_bytes": max_bytes,
    }
    kept: int | None = conn.execute(_SQL["append_logs"], parameters).fetchall()[0][0]
    return kept
