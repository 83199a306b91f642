"""Partitions, retention, duties: the store over the years."""

from __future__ import annotations

import json
import os
import re
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from types import SimpleNamespace

import psycopg
import pytest

from orbitd import store
from orbitd.config import load
from orbitd.rules.states import RunState
from orbitd.store import Report, Retention, admin, queries
from orbitd.system import log
from orbitd.system.postgres import installations
from orbitd.upkeep import Upkeep
from tests.store.aging import DAY_SECONDS, age, enqueue_aged, make_day, partition, tables, today
from tests.store.fleet import FAILURE, Fleet
from tests.support.rigs import missing_rig

HISTORY = ("runs", "outcomes", "steps", "run_logs")
MONTH = Retention(30 * DAY_SECONDS, 90 * DAY_SECONDS, 14 * DAY_SECONDS)


def succeed(fleet: Fleet, pipeline: str = "p", key: str | None = None) -> int:
    """A run that has succeeded, with a step and a line in its log."""
    child = fleet.worker(pipeline)
    run_id = fleet.enqueue(pipeline, key)
    claimed = child.must_claim()
    assert claimed.run_id == run_id
    store.record_step(child.conn, claimed.fence, "s", "1", 0.1)
    store.append_logs(child.conn, claimed.fence, [("2026-01-01T00:00:00Z", "info", "x")])
    child.succeed(claimed.fence)
    return run_id


def fail(fleet: Fleet, pipeline: str = "p") -> int:
    """A run that is a dead letter, with a step."""
    child = fleet.worker(pipeline)
    run_id = fleet.enqueue(pipeline)
    claimed = child.must_claim()
    store.record_step(child.conn, claimed.fence, "s", "1", 0.1)
    child.finish(Report.failed(claimed.fence, FAILURE))
    return run_id


def count(fleet: Fleet, table: str) -> int:
    return int(str(fleet.value(f"SELECT count(*) FROM orbit.{table}")))


# --- partitions of the coming days ---


def test_partitions_have_the_storage_settings_of_the_default_one(own_fleet: Fleet) -> None:
    query = "SELECT reloptions FROM pg_class WHERE relnamespace = 'orbit'::regnamespace AND relname = %s"
    for table in HISTORY:
        assert own_fleet.value(query, partition(table, own_fleet, 0)) == own_fleet.value(query, f"{table}_default") is not None


def test_each_table_has_its_own_autovacuum_settings(unwritten: Fleet) -> None:
    """Complaint 7: riverqueue/river#59."""
    hardly_written = {"lanes", "meta", "pipelines"}
    found = unwritten.rows(
        "SELECT relname, reloptions FROM pg_class WHERE relnamespace = 'orbit'::regnamespace AND relkind = 'r' ORDER BY 1"
    )
    without = {name for name, options in found if not any("autovacuum" in option for option in json.loads(json.dumps(options or [])))}
    assert without == hardly_written


def test_a_partition_is_attached_beside_readers_and_writers_of_other_days(own_fleet: Fleet) -> None:
    reader, producer = own_fleet.connect(), own_fleet.connect()
    with reader.transaction(), producer.transaction():
        reader.execute(f"SELECT FROM orbit.{partition('runs', own_fleet, 0)}".encode())
        admin.enqueue(producer, "p")
        assert store.make_partitions(own_fleet.conn, 5) == 8


def test_a_table_of_the_same_name_in_another_schema_is_no_partition(own_fleet: Fleet) -> None:
    name = partition("runs", own_fleet, -9)
    own_fleet.conn.execute(f"CREATE TABLE public.{name} ()".encode())
    assert own_fleet.value("SELECT orbit.make_partition('runs', %s)", today(own_fleet) + 9) is True
    assert name in tables(own_fleet, "runs")


def test_several_janitors_make_each_partition_once(own_fleet: Fleet) -> None:
    connections = [own_fleet.connect() for _ in range(4)]
    start = threading.Barrier(len(connections))

    def make(conn: store.Connection) -> None:
        start.wait()
        with suppress(psycopg.errors.LockNotAvailable):  # whoever waits for another's 50 ms in vain has made the rest
            store.make_partitions(conn, 8)

    threads = [threading.Thread(target=make, args=[conn]) for conn in connections]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store.make_partitions(own_fleet.conn, 8)
    assert [len(tables(own_fleet, table)) for table in HISTORY] == [10] * 4  # of 9 days, and the DEFAULT one


def test_a_day_whose_first_row_comes_while_its_partition_is_made_is_left_to_the_default_one(own_fleet: Fleet) -> None:
    day = today(own_fleet) + 9
    own_fleet.conn.execute("INSERT INTO orbit.runs (id, pipeline, lane, args) VALUES (%s, 'p', 1, '{}')", [day << 39])
    assert own_fleet.value("SELECT orbit.make_partition('runs', %s)", day) is False
    assert own_fleet.value("SELECT orbit.make_partition('outcomes', %s)", day) is True
    assert own_fleet.rows("SELECT relname FROM pg_class WHERE relname = orbit.partition_name('runs', %s)", day) == []


def fill_default(fleet: Fleet, day: int = 1) -> None:
    """More in the DEFAULT partition than may be read while everybody is locked out."""
    fleet.conn.execute(
        "INSERT INTO orbit.runs (id, pipeline, lane, args)"
        " SELECT (%s::bigint << 39) + n, 'p', 1, jsonb_build_object('a', repeat('x', 300)) FROM generate_series(1, 15000) AS n",
        [day],
    )


def rows_read(fleet: Fleet, call: Callable[[], object]) -> int:
    """How many rows of the DEFAULT partition a call reads."""
    query = "SELECT seq_tup_read FROM pg_stat_xact_user_tables WHERE relid = 'orbit.runs_default'::regclass"
    with fleet.conn.transaction():
        before = fleet.value(query)
        call()
        return int(str(fleet.value(query))) - int(str(before))


def excluded(fleet: Fleet) -> list[tuple[object, ...]]:
    return fleet.rows("SELECT conname FROM pg_constraint WHERE conrelid = 'orbit.runs_default'::regclass AND contype = 'c'")


def exclude(fleet: Fleet, day: int) -> list[object]:
    """Both steps; what each has answered."""
    return [fleet.value("SELECT orbit.exclude_day('runs', %s)", day) for _ in range(2)]


def test_a_full_default_partition_is_not_read_when_another_is_attached(own_fleet: Fleet) -> None:
    usual = excluded(own_fleet)
    fill_default(own_fleet)
    day = today(own_fleet) + 9
    assert own_fleet.value("SELECT orbit.make_partition('runs', %s)", day) is False
    assert exclude(own_fleet, day) == [True, False]
    assert rows_read(own_fleet, lambda: own_fleet.value("SELECT orbit.make_partition('runs', %s)", day)) == 0
    assert excluded(own_fleet) == usual
    own_fleet.conn.execute("SELECT orbit.build_partition('runs', 'control', %s)", [day + 1])
    assert rows_read(own_fleet, lambda: own_fleet.value("SELECT orbit.attach_partition('runs', 'control', %s)", day + 1)) >= 15000


def test_what_a_killed_janitor_has_left_of_an_exclusion_is_used_by_the_next(own_fleet: Fleet) -> None:
    usual = excluded(own_fleet)
    fill_default(own_fleet)
    assert own_fleet.value("SELECT orbit.exclude_day('runs', %s)", today(own_fleet) + 4) is True
    assert store.make_partitions(own_fleet.conn, 5) == 8
    assert partition("runs", own_fleet, -4) in tables(own_fleet, "runs")
    assert excluded(own_fleet) == usual


@pytest.mark.parametrize("mend", [store.make_partitions, store.migrate])
def test_an_exclusion_that_was_left_behind_is_gone_before_its_day_begins(
    own_fleet: Fleet, mend: Callable[[store.Connection], object]
) -> None:
    usual = excluded(own_fleet)
    fill_default(own_fleet)
    for days_ahead in (-1, 0, 2):
        name, first = partition("runs", own_fleet, -days_ahead), today(own_fleet) + days_ahead << 39
        own_fleet.conn.execute(f"DROP TABLE IF EXISTS orbit.{name}".encode())
        check = f"CHECK (id < {first} OR id >= {first + (1 << 39)}) NOT VALID"
        own_fleet.conn.execute(f"ALTER TABLE orbit.runs_default ADD CONSTRAINT {name} {check}".encode())
    with pytest.raises(psycopg.errors.CheckViolation):
        own_fleet.enqueue("p")
    mend(own_fleet.conn)
    assert excluded(own_fleet) == usual
    own_fleet.enqueue("p")


@pytest.mark.parametrize("days_ahead", [0, 2])
def test_no_day_is_excluded_so_late_that_its_runs_might_be_refused(own_fleet: Fleet, days_ahead: int) -> None:
    usual = excluded(own_fleet)
    fill_default(own_fleet, -40)
    own_fleet.conn.execute(f"DROP TABLE orbit.{partition('runs', own_fleet, -days_ahead)}".encode())
    assert exclude(own_fleet, today(own_fleet) + days_ahead) == [False, False]
    assert excluded(own_fleet) == usual


def test_a_day_that_cannot_be_attached_is_not_left_excluded_and_holds_up_no_other(own_fleet: Fleet) -> None:
    usual = excluded(own_fleet)
    fill_default(own_fleet)
    holder = own_fleet.session()
    with holder.transaction():
        holder.execute("LOCK TABLE ONLY orbit.runs IN SHARE UPDATE EXCLUSIVE MODE")  # as ANALYZE does
        with pytest.raises(psycopg.errors.LockNotAvailable):
            store.make_partitions(own_fleet.conn, 4)
        assert excluded(own_fleet) == usual
    assert store.make_partitions(own_fleet.conn, 4) == 1


def test_a_day_that_has_begun_or_has_rows_already_is_left_to_a_full_default_partition(own_fleet: Fleet) -> None:
    usual = excluded(own_fleet)
    own_fleet.conn.execute(f"DROP TABLE orbit.{partition('runs', own_fleet, 0)}".encode())
    fill_default(own_fleet, today(own_fleet) + 9)
    assert exclude(own_fleet, today(own_fleet)) == [False, False]
    assert exclude(own_fleet, today(own_fleet) + 9) == [True, False]
    assert excluded(own_fleet) == usual
    assert store.make_partitions(own_fleet.conn, 9) == 23
    own_fleet.enqueue("p")


@pytest.mark.parametrize("rows", [1, 300])
def test_a_day_is_pruned_beside_a_full_default_partition(own_fleet: Fleet, rows: int) -> None:
    usual = excluded(own_fleet)
    make_day(own_fleet, 40)
    enqueue_aged(own_fleet, rows, 40)
    fill_default(own_fleet)
    told: list[str] = []
    janitor = own_fleet.session()
    janitor.add_notice_handler(lambda notice: told.append(notice.message_primary or ""))
    janitor.execute("SET client_min_messages = debug1")
    store.prune_partitions(janitor, MONTH)
    implied = 'updated partition constraint for default partition "runs_default" is implied by existing constraints'
    assert (implied in told) == (rows > 200), "what is certain is not looked for"
    assert (partition("runs", own_fleet, 40, "_kept") in tables(own_fleet, "runs")) == (rows > 200)
    assert own_fleet.value("SELECT count(*) FROM orbit.runs WHERE pipeline = 'bulk'") == rows
    assert excluded(own_fleet) == usual


def test_enqueue_and_work_go_on_when_every_daemon_was_down_for_days(own_fleet: Fleet) -> None:
    """And once a daemon is back, what has stayed in the DEFAULT partitions is pruned like the rest."""
    for table in HISTORY:
        for name in tables(own_fleet, table) - {f"{table}_default"}:
            own_fleet.conn.execute(f"DROP TABLE orbit.{name}".encode())
    done = succeed(own_fleet)
    own_fleet.host("later")
    waiting = own_fleet.enqueue("later")
    assert store.make_partitions(own_fleet.conn) == 12  # today's rows stay in the default ones
    done, waiting = age(own_fleet, done, 40), age(own_fleet, waiting, 40)
    assert store.prune_rows(own_fleet.conn, MONTH) >= 1
    assert own_fleet.rows("SELECT id FROM orbit.runs") == [(waiting,)]
    assert [count(own_fleet, table) for table in ("outcomes", "steps", "run_logs")] == [0, 0, 0]
    child = own_fleet.worker("later")
    child.succeed(child.must_claim().fence)
    own_fleet.check()


# --- retention ---


def test_a_day_that_is_too_old_is_dropped_and_younger_ones_are_not(own_fleet: Fleet) -> None:
    for days in (40, 20):
        make_day(own_fleet, days)
    old, young = age(own_fleet, succeed(own_fleet), 40), age(own_fleet, succeed(own_fleet), 20)
    store.prune_partitions(own_fleet.conn, MONTH)
    assert own_fleet.rows("SELECT id FROM orbit.runs") == [(young,)]
    assert admin.place(own_fleet.conn, young).state is RunState.SUCCEEDED
    assert all(partition(table, own_fleet, 40) not in tables(own_fleet, table) for table in HISTORY)
    assert own_fleet.rows("SELECT run_id FROM orbit.run_logs") == []  # logs: 14 days
    assert old not in {run_id for (run_id,) in own_fleet.rows("SELECT run_id FROM orbit.outcomes")}
    own_fleet.check()


def test_nothing_is_dropped_without_a_retention(own_fleet: Fleet) -> None:
    make_day(own_fleet, 4000)
    age(own_fleet, succeed(own_fleet), 4000)
    assert store.prune_partitions(own_fleet.conn, Retention()) == 0
    assert store.prune_rows(own_fleet.conn, Retention()) == 0
    assert count(own_fleet, "runs") == 1


@pytest.mark.parametrize("rows", [1, 300])
def test_what_is_still_needed_of_a_dropped_day_is_found_as_before(own_fleet: Fleet, rows: int) -> None:
    """Whether a few rows move to the DEFAULT partition or more get one of their own."""
    make_day(own_fleet, 40)
    own_fleet.host("pending", "delayed")
    for _ in range(3):
        age(own_fleet, succeed(own_fleet), 40)
    enqueue_aged(own_fleet, rows, 40)
    pending = age(own_fleet, own_fleet.enqueue("pending", "key"), 40)
    delayed = age(own_fleet, own_fleet.enqueue("delayed", in_seconds=3600), 40)
    letter = age(own_fleet, fail(own_fleet, "letter"), 40)
    child = own_fleet.worker("held")
    running = own_fleet.enqueue("held")
    fence = child.must_claim().fence
    store.record_step(child.conn, fence, "s", '"kept"', 0.1)
    own_fleet.crash(child, fence, mode="hold")
    held = age(own_fleet, running, 40)

    store.prune_partitions(own_fleet.conn, MONTH)
    store.prune_rows(own_fleet.conn, MONTH)
    assert partition("runs", own_fleet, 40) not in tables(own_fleet, "runs")
    assert (partition("runs", own_fleet, 40, "_kept") in tables(own_fleet, "runs")) == (rows > 200)
    assert count(own_fleet, "runs") == rows + 4
    own_fleet.check()

    claimed = own_fleet.worker("pending").must_claim()
    assert (claimed.run_id, json.loads(claimed.args or "")) == (pending, {"n": 1})
    assert admin.describe(own_fleet.conn, delayed)["state"] == "scheduled"
    assert admin.resume(own_fleet.conn, held, "me") == RunState.PENDING
    child = own_fleet.worker("held")
    claimed = child.must_claim()
    assert store.load_steps(child.conn, claimed.run_id) == {"s": '"kept"'}
    assert store.record_step(child.conn, claimed.fence, "s", '"again"', 0.1) == '"kept"'
    child.succeed(claimed.fence)
    admin.retry(own_fleet.conn, letter, "me")
    child = own_fleet.worker("letter")
    claimed = child.must_claim()
    assert store.load_steps(child.conn, claimed.run_id) == {"s": "1"}
    child.succeed(claimed.fence)
    assert own_fleet.state(letter) is RunState.SUCCEEDED
    own_fleet.check()


def nothing_is_pruned(fleet: Fleet) -> None:
    assert store.prune_partitions(fleet.conn, MONTH) == 0


def test_a_partition_of_kept_rows_is_dropped_once_few_are_needed(own_fleet: Fleet) -> None:
    make_day(own_fleet, 40)
    enqueue_aged(own_fleet, 300, 40)
    store.prune_partitions(own_fleet.conn, MONTH)
    kept = partition("runs", own_fleet, 40, "_kept")
    assert count(own_fleet, kept) == 300
    fill_default(own_fleet)
    assert rows_read(own_fleet, lambda: nothing_is_pruned(own_fleet)) == 0
    own_fleet.conn.execute(b"DELETE FROM orbit.runs_default")
    own_fleet.conn.execute(b"DELETE FROM orbit.live WHERE run_id <> (SELECT min(run_id) FROM orbit.live)")
    store.prune_rows(own_fleet.conn, MONTH)
    store.prune_partitions(own_fleet.conn, MONTH)
    assert kept not in tables(own_fleet, "runs")
    assert count(own_fleet, "runs_default") == 1


def test_a_run_that_waited_long_is_kept_from_its_end_on(own_fleet: Fleet) -> None:
    make_day(own_fleet, 40)
    child = own_fleet.worker("p")
    run_id = age(own_fleet, own_fleet.enqueue("p"), 40)
    child.succeed(child.must_claim().fence)
    store.prune_partitions(own_fleet.conn, MONTH)
    store.prune_rows(own_fleet.conn, MONTH)
    assert own_fleet.state(run_id) is RunState.SUCCEEDED
    own_fleet.conn.execute("UPDATE orbit.outcomes SET finished_at = finished_at - interval '31 days'")
    store.prune_rows(own_fleet.conn, MONTH)
    assert count(own_fleet, "runs") == count(own_fleet, "outcomes") == 0


def test_what_is_in_the_partition_of_its_day_is_not_deleted_row_by_row(own_fleet: Fleet) -> None:
    make_day(own_fleet, 40)
    age(own_fleet, succeed(own_fleet), 40)
    store.prune_rows(own_fleet.conn, MONTH)
    assert count(own_fleet, "runs") == 1


def test_those_that_are_needed_of_a_day_are_of_that_day(own_fleet: Fleet) -> None:
    def made() -> set[int]:
        """Needed for each of the reasons: they have not ended, ended lately, failed."""
        child = own_fleet.worker("p")
        ended, failed, held = succeed(own_fleet), fail(own_fleet), own_fleet.enqueue("p")
        own_fleet.crash(child, child.must_claim().fence, mode="hold")
        return {ended, failed, held, own_fleet.enqueue("p", in_seconds=3600), own_fleet.enqueue("later")}

    days = {days_ago: {age(own_fleet, run_id, days_ago) for run_id in made()} for days_ago in (41, 40, 39)}
    own_fleet.conn.execute("UPDATE orbit.outcomes SET finished_at = clock_timestamp()")
    day = today(own_fleet) - 40
    needed = "SELECT DISTINCT orbit.needed_runs(%s::bigint << 39, %s::bigint << 39, clock_timestamp() - make_interval(days => %s))"
    assert {run_id for (run_id,) in own_fleet.rows(needed, day, day + 1, 30)} == days[40]
    ended = {run_id for (run_id,) in own_fleet.rows("SELECT run_id FROM orbit.outcomes WHERE outcome = 'succeeded'")}
    assert {run_id for (run_id,) in own_fleet.rows(needed, day, day + 1, 0)} == days[40] - ended


def test_a_run_is_never_without_its_input_while_a_drop_waits(own_fleet: Fleet) -> None:
    """A producer whose transaction is that old holds the partition: it is left as it is."""
    make_day(own_fleet, 40)
    child, producer = own_fleet.worker("p"), own_fleet.connect()
    with producer.transaction():
        run_id = admin.enqueue(producer, "p").id
        older = run_id - (40 << 39)
        producer.execute("UPDATE orbit.runs SET id = %s WHERE id = %s", [older, run_id])
        producer.execute("UPDATE orbit.live SET run_id = %s WHERE run_id = %s", [older, run_id])
        with pytest.raises(psycopg.errors.LockNotAvailable):
            store.prune_partitions(own_fleet.conn, MONTH)
    store.prune_partitions(own_fleet.conn, MONTH)
    assert child.must_claim().run_id == older


@contextmanager
def pg_dump(fleet: Fleet) -> Iterator[None]:
    """A backup in the middle: it has locked every table, and nobody takes more of its output than a pipe holds."""
    program = next((each.bin / "pg_dump" for each in installations(os.environ)), None)
    if program is None or not program.exists():
        missing_rig("no pg_dump")
    fleet.conn.execute("CREATE TABLE public.bulk AS SELECT repeat(md5(i::text), 100) FROM generate_series(1, 1000) AS i")
    with subprocess.Popen([program, "--dbname", fleet.dsn], stdout=subprocess.PIPE) as dump:
        assert dump.stdout
        assert any(line.startswith(b"COPY public.bulk") for line in dump.stdout)
        yield
        assert dump.stdout.read()
        assert dump.wait() == 0


def test_claims_go_on_during_a_backup_while_days_are_to_be_made_and_dropped(own_fleet: Fleet) -> None:
    make_day(own_fleet, 40)
    age(own_fleet, succeed(own_fleet), 40)
    janitor = own_fleet.connect()
    child = own_fleet.worker("q")
    admin.enqueue_many(own_fleet.conn, [{"pipeline": "q"}] * 40)
    stop, refused = threading.Event(), threading.Event()

    def keep_up() -> None:
        while not stop.is_set():
            with pytest.raises(psycopg.errors.LockNotAvailable):
                store.make_partitions(janitor, 4)
            try:
                store.prune_partitions(janitor, MONTH)
            except psycopg.errors.LockNotAvailable:
                refused.set()

    with pg_dump(own_fleet):
        upkeep = threading.Thread(target=keep_up)
        upkeep.start()
        try:
            for _ in range(40):
                assert child.succeed(child.must_claim().fence)
            assert refused.wait(10)
        finally:
            stop.set()
            upkeep.join()
    store.prune_partitions(janitor, MONTH)
    assert partition("runs", own_fleet, 40) not in tables(own_fleet, "runs")
    assert store.make_partitions(janitor, 4) == 4


def test_resolved_dead_letters_are_deleted_in_time_and_unresolved_ones_never(own_fleet: Fleet) -> None:
    make_day(own_fleet, 400)
    unresolved, resolved, lately = (fail(own_fleet) for _ in range(3))
    for run_id in (resolved, lately):
        admin.dlq_resolve(own_fleet.conn, run_id, "me")
    unresolved, resolved, lately = (age(own_fleet, run_id, 400) for run_id in (unresolved, resolved, lately))
    own_fleet.conn.execute("UPDATE orbit.failed SET resolved_at = clock_timestamp() WHERE run_id = %s", [lately])
    store.prune_partitions(own_fleet.conn, MONTH)
    store.prune_rows(own_fleet.conn, MONTH)
    assert {run_id for (run_id,) in own_fleet.rows("SELECT run_id FROM orbit.failed")} == {unresolved, lately}
    assert {run_id for (run_id,) in own_fleet.rows("SELECT id FROM orbit.runs")} == {unresolved, lately}
    own_fleet.check()


def test_hosts_and_children_that_have_long_ended_are_deleted_but_none_with_a_run_in_hand(own_fleet: Fleet) -> None:
    gone, stuck, alive = (own_fleet.worker(name) for name in ("gone", "stuck", "alive"))
    own_fleet.enqueue("stuck")
    stuck.must_claim()
    own_fleet.enqueue("alive")  # a pending run is in nobody's hands
    for host in (gone, stuck):
        own_fleet.conn.execute("SELECT orbit.end_host(%s, 'stopped')", [host.host_id])
    own_fleet.conn.execute("UPDATE orbit.children SET ended_at = ended_at - interval '31 days'")
    own_fleet.conn.execute("UPDATE orbit.hosts SET ended_at = ended_at - interval '31 days'")
    lately, empty = own_fleet.worker("p"), own_fleet.host("p")
    for host_id in (lately.host_id, empty):
        own_fleet.conn.execute("SELECT orbit.end_host(%s, 'stopped')", [host_id])
    store.prune_rows(own_fleet.conn, MONTH)
    children, hosts = {stuck.child_id, alive.child_id, lately.child_id}, {stuck.host_id, alive.host_id, lately.host_id, empty}
    assert {child for (child,) in own_fleet.rows("SELECT id FROM orbit.children")} == children
    assert {host for (host,) in own_fleet.rows("SELECT id FROM orbit.hosts")} == hosts
    assert store.reconcile(own_fleet.conn, "resume") == 1


def test_two_who_prune_at_once_do_not_wait_for_each_other(own_fleet: Fleet) -> None:
    make_day(own_fleet, 400)
    letter = fail(own_fleet)
    admin.dlq_resolve(own_fleet.conn, letter, "me")
    age(own_fleet, letter, 400)
    child = own_fleet.worker("q")
    admin.enqueue(own_fleet.conn, "q", key="k", key_for_seconds=DAY_SECONDS)
    child.succeed(child.must_claim().fence)
    own_fleet.conn.execute("UPDATE orbit.keys SET kept_until = clock_timestamp()")
    childless = own_fleet.host("p")
    own_fleet.settle()
    own_fleet.conn.execute("UPDATE orbit.children SET ended_at = ended_at - interval '31 days'")
    own_fleet.conn.execute("UPDATE orbit.hosts SET ended_at = ended_at - interval '31 days'")
    other = own_fleet.connect()
    with own_fleet.conn.transaction():
        assert store.prune_rows(own_fleet.conn, MONTH) == 7
        pruning = own_fleet.in_background(other, lambda: store.prune_rows(other, MONTH))
        assert not pruning.until_blocked_or_done()
    assert pruning.result() == 0
    assert own_fleet.rows("SELECT FROM orbit.hosts WHERE id = %s", childless) == []


def test_what_is_kept_aside_goes_with_the_runs(own_fleet: Fleet) -> None:
    make_day(own_fleet, 40)
    child = own_fleet.worker("p")
    run_id = own_fleet.enqueue("p")
    fence = child.must_claim().fence
    store.record_progress(child.conn, fence, 0.5, None)
    child.succeed(fence)
    age(own_fleet, run_id, 40)
    store.prune_partitions(own_fleet.conn, MONTH)
    store.prune_rows(own_fleet.conn, MONTH)
    assert count(own_fleet, "run_progress") == 0


def test_a_line_without_a_partition_is_deleted_once_it_is_old_and_its_run_is_too(own_fleet: Fleet) -> None:
    for name in tables(own_fleet, "run_logs") - {"run_logs_default"}:
        own_fleet.conn.execute(f"DROP TABLE orbit.{name}".encode())
    child = own_fleet.worker("p")
    run_id = own_fleet.enqueue("p")
    store.append_logs(child.conn, child.must_claim().fence, [("2001-01-01T00:00:00Z", "info", "by a wrong clock")])
    store.prune_rows(own_fleet.conn, MONTH)
    assert count(own_fleet, "run_logs") == 1
    age(own_fleet, run_id, 40)
    own_fleet.conn.execute("UPDATE orbit.run_logs SET at = clock_timestamp()")
    store.prune_rows(own_fleet.conn, MONTH)
    assert count(own_fleet, "run_logs") == 1
    own_fleet.conn.execute("UPDATE orbit.run_logs SET at = clock_timestamp() - interval '15 days'")
    store.prune_rows(own_fleet.conn, MONTH)
    assert count(own_fleet, "run_logs") == 0


def test_keys_whose_period_is_over_go_too(own_fleet: Fleet) -> None:
    own_fleet.conn.execute("INSERT INTO orbit.keys SELECT 'p', i::text, i, clock_timestamp(), 'failed' FROM generate_series(1, 1500) AS i")
    assert store.prune_rows(own_fleet.conn, MONTH) == 1500


def test_no_table_is_partitioned_by_a_column_that_any_statement_updates(unwritten: Fleet) -> None:
    """Complaint 17: oban-bg/oban#1030."""
    query = """
        SELECT t.relname, a.attname FROM pg_partitioned_table p
          JOIN pg_class t ON t.oid = p.partrelid
          JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = ANY (p.partattrs::int2[])
    """
    keys = {str(table): str(column) for table, column in unwritten.rows(query)}
    assert keys == {"runs": "id", "outcomes": "run_id", "steps": "run_id", "run_logs": "run_id"}
    sql = "\n".join(path.read_text() for path in queries.FOLDER.rglob("*.sql"))
    assert not re.search(rf"UPDATE\s+(ONLY\s+)?orbit\.({'|'.join(keys)})\b", sql)


# --- duties ---


def test_a_duty_is_taken_by_one_host_and_again_when_it_is_due(own_fleet: Fleet) -> None:
    known = ["partitions"]
    assert store.take_duty(own_fleet.conn, 1, known) == "partitions"
    assert store.take_duty(own_fleet.conn, 2, known) is None
    store.end_duty(own_fleet.conn, "partitions")
    assert store.take_duty(own_fleet.conn, 2, known) is None
    own_fleet.conn.execute("UPDATE orbit.duties SET next_at = clock_timestamp()")
    assert store.take_duty(own_fleet.conn, 2, known) == "partitions"
    assert store.take_duty(own_fleet.conn, 2, ["of a later version"]) is None


def test_a_failed_duty_is_due_again_soon_and_says_why(own_fleet: Fleet) -> None:
    assert store.take_duty(own_fleet.conn, 1, ["partitions"]) == "partitions"
    before = {duty.name: duty for duty in store.duties(own_fleet.conn)}
    store.end_duty(own_fleet.conn, "partitions", "disk full")
    after = {duty.name: duty for duty in store.duties(own_fleet.conn)}
    assert {name: duty.error for name, duty in after.items() if duty.error} == {"partitions": "disk full"}
    assert after["partitions"].age_seconds >= before["partitions"].age_seconds
    assert own_fleet.value("SELECT next_at < clock_timestamp() + interval '2 min' FROM orbit.duties WHERE name = 'partitions'")
    store.end_duty(own_fleet.conn, "partitions")
    done = {duty.name: duty for duty in store.duties(own_fleet.conn)}["partitions"]
    assert done.error is None
    assert done.age_seconds < after["partitions"].age_seconds


def test_a_duty_that_somebody_is_taking_just_now_holds_nobody_up(own_fleet: Fleet) -> None:
    other = own_fleet.connect()
    with other.transaction():
        first = store.take_duty(other, 1, ["partitions", "retention"])
        second = store.take_duty(own_fleet.conn, 2, ["partitions", "retention"])
    assert {first, second} == {"partitions", "retention"}


# --- who holds back vacuum ---


def test_the_session_that_holds_the_horizon_is_named_and_not_those_that_see_what_it_holds(own_fleet: Fleet) -> None:
    """Complaint 7: riverqueue/river#59."""
    culprit, reader = own_fleet.session(), own_fleet.connect()
    with culprit.transaction():
        culprit.execute("SELECT pg_current_xact_id()")
        with reader.transaction():
            reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            reader.execute("SELECT 1")
            for _ in range(3):
                own_fleet.enqueue("p")
            holder = store.horizon(own_fleet.conn)
    assert holder is not None
    assert (holder.kind, holder.name) == ("session", str(culprit.info.backend_pid))
    assert holder.application == culprit.info.get_parameters()["application_name"]
    assert holder.state == "idle in transaction"
    assert holder.transactions >= 3
    assert holder.seconds is not None


@pytest.fixture
def stranger(own_fleet: Fleet) -> Iterator[store.Connection]:
    """A connection of a role that may see nothing of others."""
    conn = own_fleet.session()
    conn.execute("CREATE ROLE orbit_test_stranger")
    conn.execute("SET ROLE orbit_test_stranger")
    yield conn
    conn.execute("RESET ROLE")
    conn.execute("DROP ROLE orbit_test_stranger")


def test_a_writer_is_found_by_a_role_that_may_not_see_what_it_does(own_fleet: Fleet, stranger: store.Connection) -> None:
    culprit = own_fleet.session()
    with culprit.transaction():
        culprit.execute("SELECT pg_current_xact_id()")
        own_fleet.enqueue("p")
        holder = store.horizon(stranger)
    assert holder is not None
    assert (holder.kind, holder.name, holder.seconds) == ("session", str(culprit.info.backend_pid), None)


# --- the janitor's thread ---


def test_a_schema_that_is_too_new_is_noticed_while_we_work_on_it(own_fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitd.upkeep.time", SimpleNamespace(sleep=lambda _: threading.Event().wait()))  # one turn
    told: list[dict[str, object]] = []
    settings = load(None, overrides=[f"database.url={own_fleet.dsn}"], environ={})

    def look() -> None:
        upkeep = Upkeep(told.append)
        upkeep.attend(settings, 1)
        while not told:
            upkeep.speak()

    look()
    assert [duty["name"] for duty in told.pop()["duties"]] == ["leftovers", "overdue", "partitions", "retention"]  # type: ignore[attr-defined]
    own_fleet.conn.execute("UPDATE orbit.meta SET value = '99' WHERE name = 'schema_version'")
    with pytest.raises(store.SchemaMismatch, match="version 99"):
        look()


def test_a_duty_that_costs_the_connection_is_told_and_recorded(own_fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does that takes too long."""

    def take_too_long(conn: store.Connection, _: Retention) -> int:
        conn.call_timeout_seconds = 0.05
        conn.execute("SELECT pg_sleep(10)")
        raise AssertionError

    own_fleet.conn.execute("UPDATE orbit.duties SET next_at = 'infinity' WHERE name <> 'partitions'")
    monkeypatch.setattr("orbitd.upkeep._DUTIES", {"partitions": take_too_long})
    pause = SimpleQueue[None]()
    monkeypatch.setattr("orbitd.upkeep.time", SimpleNamespace(sleep=lambda _: pause.get()))
    said: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(log, "warn", lambda event, **fields: said.append((event, fields)))
    told: list[dict[str, object]] = []
    upkeep = Upkeep(told.append)
    upkeep.attend(load(None, overrides=[f"database.url={own_fleet.dsn}"], environ={}), 1)
    error = "the database did not answer within 0.05s"
    while not said:
        upkeep.speak()
    assert said == [("duty_failed", {"duty": "partitions", "error": error})]
    pause.put(None)
    while not told:
        upkeep.speak()
    assert {duty["name"]: duty["error"] for duty in told[0]["duties"]}["partitions"] == error  # type: ignore[attr-defined]
