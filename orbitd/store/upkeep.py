"""What keeps the store small and quick over the years: duties of the fleet, each done by whichever host comes first.

    partitions   those of the coming days are made
    retention    those of days that need not be kept are dropped; what is still needed of them is kept
    overdue      delayed runs that no beat has seen when they fell due are moved
    leftovers    what is not partitioned is deleted, batch by batch

Whatever would have to wait for a lock raises LockNotAvailable soon, changes nothing, and is tried again another time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

import psycopg
from psycopg.rows import class_row

from orbitd.rules.upkeep import Duty, Holder
from orbitd.store import queries

PARTITION_DAYS_AHEAD = 3

_SQL = queries.load("upkeep")
_BATCH = 1000
_MOST_BATCHES = 100
_FOR_EVER_SECONDS = 100 * 365 * 86400.0


@dataclass(frozen=True, slots=True)
class Retention:
    """How long what has ended is kept, in seconds; 0: for ever. Dead letters count from when they were resolved."""

    succeeded_seconds: float = 0
    failed_seconds: float = 0
    logs_seconds: float = 0

    def parameters(self) -> dict[str, float]:
        """As the statements take them."""
        seconds = {"succeeded": self.succeeded_seconds, "failed": self.failed_seconds, "logs": self.logs_seconds}
        return {name: amount or _FOR_EVER_SECONDS for name, amount in seconds.items()}


def make_partitions(conn: psycopg.Connection[Any], days_ahead: int = PARTITION_DAYS_AHEAD) -> int:
    """Make the partitions of today and the coming days; how many. Raises LockNotAvailable at the end if one could not be made soon."""
    made, held = 0, list[psycopg.errors.LockNotAvailable]()
    for table, day in conn.execute(_SQL["left_exclusions"]).fetchall():
        with _going_on(held):
            conn.execute(_SQL["include_day"], {"table": table, "day": day})
    for table, day in conn.execute(_SQL["missing_partitions"], {"days": days_ahead}).fetchall():
        with _going_on(held):
            made += _make_partition(conn, table, day)
    if held:
        raise held[0]
    return made


@contextlib.contextmanager
def _going_on(held: list[psycopg.errors.LockNotAvailable]) -> Iterator[None]:
    """Note that a lock was not to be had, and go on."""
    try:
        yield
    except psycopg.errors.LockNotAvailable as error:
        held.append(error)


def _make_partition(conn: psycopg.Connection[Any], table: str, day: int) -> bool:
    """Make one of them, unless its rows are to stay in the DEFAULT partition. Whatever happens, they are not forbidden there afterwards."""
    parameters = {"table": table, "day": day}
    try:
        _exclude_day(conn, table, day)
        return bool(conn.execute(_SQL["make_partition"], parameters).fetchall()[0][0])
    finally:
        if not conn.closed:
            conn.execute(_SQL["include_day"], parameters)


def prune_partitions(conn: psycopg.Connection[Any], retention: Retention) -> int:
    """Drop the partitions of days that are too old, but for what is still needed of them; how many.

    Raises LockNotAvailable at the first that cannot be dropped soon.
    """
    dropped = 0
    for table, name, day in conn.execute(_SQL["old_partitions"], retention.parameters()).fetchall():
        _exclude_day(conn, table, day)
        parameters = retention.parameters() | {"table": table, "name": name, "day": day}
        dropped += conn.execute(_SQL["prune_partition"], parameters).fetchall()[0][0] is not None
    return dropped


def _exclude_day(conn: psycopg.Connection[Any], table: str, day: int) -> None:
    """See the function. Each step is a transaction of its own, because the next one must not hold up whom the first one did."""
    while conn.execute(_SQL["exclude_day"], {"table": table, "day": day}).fetchall()[0][0]:
        pass


def prune_rows(conn: psycopg.Connection[Any], retention: Retention) -> int:
    """Delete in batches what is too old and not in a partition that is dropped: runs that were kept, resolved dead letters, keys, hosts.

    Returns how many rows. A turn is bounded: the rest is left for the next one.
    """
    statements = ("prune_resolved", "prune_runs", "prune_keys", "prune_leftovers", "prune_hosts")
    return sum(sum(islice(_batches(conn, statement, retention.parameters()), _MOST_BATCHES)) for statement in statements)


def promote_overdue(conn: psycopg.Connection[Any], limit: int = _BATCH) -> int:
    """Move all delayed runs that have been due for more than 5 minutes, so many at a time; how many."""
    return sum(_batches(conn, "promote_overdue", {}, limit))


def _batches(conn: psycopg.Connection[Any], statement: str, parameters: Mapping[str, float], limit: int = _BATCH) -> Iterator[int]:
    """Carry out a statement until it finds no full batch any more, each time in a transaction of its own; how many rows each time."""
    batch = limit
    while batch >= limit:
        batch = conn.execute(_SQL[statement], {**parameters, "limit": limit}).fetchall()[0][0]
        yield batch


def take_duty(conn: psycopg.Connection[Any], host_id: int, known: Iterable[str]) -> str | None:
    """A duty of these that is due, now ours; None when there is none."""
    taken: str | None = conn.execute(_SQL["take_duty"], {"host": host_id, "known": list(known)}).fetchall()[0][0]
    return taken


def end_duty(conn: psycopg.Connection[Any], duty: str, error: str | None = None) -> None:
    """Say that a duty was done, or why not: then it is due again after a minute."""
    conn.execute(_SQL["end_duty"], {"duty": duty, "error": error})


def duties(conn: psycopg.Connection[Any]) -> list[Duty]:
    """All duties of the fleet, and how they go."""
    with conn.cursor(row_factory=class_row(Duty)) as cursor:
        return cursor.execute(_SQL["duties"]).fetchall()


def horizon(conn: psycopg.Connection[Any]) -> Holder | None:
    """Who holds back vacuum most, harmful or not; None when nobody does."""
    with conn.cursor(row_factory=class_row(Holder)) as cursor:
        return cursor.execute(_SQL["horizon"]).fetchone()
