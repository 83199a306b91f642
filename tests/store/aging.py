"""Runs that are older than they are, for the tests of upkeep: with ids and times of another day, in that day's partitions."""

from __future__ import annotations

from orbitd.store import admin
from tests.store.fleet import Fleet

DAY_SECONDS = 86400.0
_BY_RUN = (
    *("live", "delayed", "interrupted", "failed", "requeued", "keys", "cancel_requests"),
    *("outcomes", "steps", "run_logs", "run_progress"),
)
_TIMES = {"outcomes": "finished_at", "run_logs": "at", "failed": "resolved_at"}


def partition(table: str, fleet: Fleet, days_ago: int, suffix: str = "") -> str:
    """The name of a day's partition."""
    return f"{fleet.value('SELECT orbit.partition_name(%s, %s)', table, today(fleet) - days_ago)}{suffix}"


def today(fleet: Fleet) -> int:
    """The day in the ids that are given out now."""
    return int(str(fleet.value("SELECT orbit.first_id(clock_timestamp()) >> 39")))


def make_day(fleet: Fleet, days_ago: int) -> None:
    """Make the partitions of a day, as a janitor did before it came."""
    for table in ("runs", "outcomes", "steps", "run_logs"):
        assert fleet.value("SELECT orbit.make_partition(%s, %s)", table, today(fleet) - days_ago)


def age(fleet: Fleet, run_id: int, days: int) -> int:
    """Make a run, and all that is known of it, so many days older; its id from now on."""
    older = run_id - (days << 39)
    with fleet.conn.transaction():
        fleet.conn.execute(
            "UPDATE orbit.runs SET id = %s, created_at = created_at - make_interval(days => %s) WHERE id = %s", [older, days, run_id]
        )
        for table in _BY_RUN:
            time = _TIMES.get(table)
            aged = f", {time} = {time} - make_interval(days => {days})" if time else ""
            fleet.conn.execute(f"UPDATE orbit.{table} SET run_id = %s{aged} WHERE run_id = %s".encode(), [older, run_id])
    return older


def enqueue_aged(fleet: Fleet, number: int, days: int) -> None:
    """Enqueue so many runs of a pipeline that nobody has registered, into a database with no others of it."""
    ids = admin.enqueue_many(fleet.conn, [{"pipeline": "bulk"}] * number)
    fleet.conn.execute("UPDATE orbit.live SET run_id = run_id - (%s::bigint << 39) WHERE run_id = ANY (%s)", [days, ids])
    fleet.conn.execute("UPDATE orbit.runs SET id = id - (%s::bigint << 39) WHERE id = ANY (%s)", [days, ids])


def tables(fleet: Fleet, parent: str) -> set[str]:
    """The partitions of a history table."""
    query = "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = %s::regclass"
    return {str(name) for (name,) in fleet.rows(query, f"orbit.{parent}")}
