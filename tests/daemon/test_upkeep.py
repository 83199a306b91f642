"""The database's upkeep by a real daemon: what it does, what it says, and that nothing of it holds up the work."""

from __future__ import annotations

import importlib
from pathlib import Path

import psycopg
import pytest

from orbitd import store
from tests.daemon.conftest import Begin
from tests.support.addresses import around
from tests.support.daemon import Daemon, eventually, kill_process_of

pytestmark = pytest.mark.daemon

MIGRATE = importlib.import_module("orbitd.store.migrate")  # the package has a function of that name
WORK = """
    @pipeline("works")
    def works(ctx: Context) -> int:
        return 1
"""


def duties(daemon: Daemon) -> dict[str, dict[str, object]]:
    return {
        str(row["name"]): row
        for row in daemon.query("select name, error, host is not null and done_at > next_at - every as is_done from orbit.duties")
    }


def migrate_by_a_later_version(daemon: Daemon, number: int, sql: str, monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """What the orbitd after ours would do, whose schema has that number."""
    path = folder / f"{number:04}_made_up.sql"
    path.write_text(sql)
    with monkeypatch.context() as patched:
        patched.setattr(MIGRATE, "_MIGRATIONS", MIGRATE._MIGRATIONS | {number: path})
        patched.setattr(MIGRATE, "_VERSION", number)
        assert store.migrate(daemon.dsn) == [path.stem]


def test_a_duty_that_fails_is_told_and_the_others_and_the_work_go_on(begin: Begin) -> None:
    """Complaint 10: graphile/worker 0.17, where cron stopped after errors of the database, and silently."""
    daemon = begin(WORK, start=False)
    daemon.execute(
        "create or replace function orbit.prune_hosts(p_before timestamptz, p_limit int) returns int language sql as 'select 1/0'"
    )
    daemon.start()
    failed = eventually(lambda: daemon.events("duty_failed"))[0]
    assert (failed["duty"], failed["error"]) == ("leftovers", "division by zero")
    found = eventually(lambda: duties(daemon), lambda found: all(duty["is_done"] or duty["error"] for duty in found.values()))
    assert [name for name, duty in found.items() if duty["error"]] == ["leftovers"]
    ages = eventually(lambda: daemon.ask("metrics")["dutyAgeSeconds"], lambda seen: "look" in seen)
    assert set(ages) == {"beat", "look", "leftovers", "overdue", "partitions", "retention"}
    daemon.await_run(daemon.enqueue("works"), "succeeded")


def test_a_duty_that_takes_for_ever_costs_neither_the_lease_nor_the_work(begin: Begin) -> None:
    daemon = begin(WORK, start=False, **{"host.lease": "2s", "host.beat": "100ms"})
    daemon.execute(
        "create or replace function orbit.prune_hosts(p_before timestamptz, p_limit int) returns int language sql"
        " as 'select 1 from pg_sleep(600)'"
    )
    daemon.start()
    sleeping = "select state from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep'"
    eventually(lambda: daemon.query(sleeping))
    lease = "select lease_until, steady_since from orbit.hosts"
    (before,) = daemon.query(lease)
    eventually(lambda: daemon.query(lease)[0], lambda now: (now["lease_until"] - before["lease_until"]).total_seconds() > 2.5)
    assert daemon.query(lease)[0]["steady_since"] == before["steady_since"]
    daemon.await_run(daemon.enqueue("works"), "succeeded")
    assert daemon.query(sleeping)


def test_health_names_who_holds_back_vacuum_and_the_command_that_ends_it(begin: Begin) -> None:
    """Complaint 7: riverqueue/river#59."""
    daemon = begin(WORK, start=False, **{"health.horizon_age": "1s", "health.horizon_transactions": 1})
    with psycopg.connect(around(daemon.dsn), application_name="forgotten") as culprit:
        culprit.execute("select pg_current_xact_id()")
        pid = culprit.info.backend_pid
        age = "select clock_timestamp() - xact_start > interval '1 s' as is_old from pg_stat_activity where pid = %s"
        eventually(lambda: daemon.query(age, [pid])[0]["is_old"])
        daemon.enqueue("works")
        daemon.start()
        health = eventually(lambda: daemon.ask("health"), lambda seen: any(each["code"] == "horizon_held" for each in seen["reasons"]))
    (reason,) = (each for each in health["reasons"] if each["code"] == "horizon_held")
    assert reason["message"].startswith(f"pid {pid} (forgotten, user postgres, idle in transaction for ")
    assert reason["command"] == f"psql -c 'select pg_terminate_backend({pid})'"


def test_a_daemon_works_on_beside_its_next_version_and_waits_beside_the_one_after(
    begin: Begin, monkeypatch: pytest.MonkeyPatch, folder: Path
) -> None:
    daemon = begin(WORK)
    runs = [daemon.enqueue("works") for _ in range(10)]
    migrate_by_a_later_version(
        daemon, 2, "ALTER TABLE orbit.live ADD COLUMN made_up int; ALTER TABLE orbit.runs ADD COLUMN made_up int", monkeypatch, folder
    )
    assert kill_process_of(daemon, daemon.pid_of("janitor"))  # the next one looks at the schema before it does anything
    for run in [*runs, daemon.enqueue("works")]:
        daemon.await_run(run, "succeeded")
    assert daemon.ask("health")["status"] == "healthy"

    migrate_by_a_later_version(daemon, 3, "SELECT 1", monkeypatch, folder)
    assert kill_process_of(daemon, daemon.pid_of("janitor"))
    health = eventually(lambda: daemon.ask("health"), lambda seen: any(each["code"] == "database_down" for each in seen["reasons"]))
    assert "the database has schema version 3, this orbitd knows 1" in health["message"]
    daemon.execute("update orbit.meta set value = '2' where name = 'schema_version'")
    eventually(lambda: daemon.ask("health")["status"], lambda status: status == "healthy")
    daemon.await_run(daemon.enqueue("works"), "succeeded")
