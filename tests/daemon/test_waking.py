"""Idle children are woken: by bells, and without them."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest

from orbitd.rules.waking import TRAFFIC
from orbitd.store import Connection, admin
from tests.daemon.conftest import Begin
from tests.support.addresses import around
from tests.support.daemon import Daemon, eventually, kill_process_of
from tests.support.proxy import DeafProxy, NotingProxy

pytestmark = pytest.mark.daemon

WORK = """
    @pipeline("quick")
    def quick(ctx: Context) -> None: ...
"""

SELDOM = {"host.lease": "10m", "host.beat": "60s", "poll.interval": "60s"}
"""So that nothing but a bell, or a look, can be what woke a child."""


def is_asleep(connection: Connection) -> bool:
    query = "SELECT wanted.last_value > heard.last_value FROM orbit.bells_wanted wanted, orbit.bells_heard heard"
    return bool(connection.execute(query.encode()).fetchall()[0][0])


def open_producer(daemon: Daemon, producer: Connection) -> int:
    """A run of a transaction that is still open, and whose producer has seen that nobody needs a bell."""

    def attempt() -> int | None:
        with daemon.database() as connection, connection.transaction():
            for _ in range(TRAFFIC):
                admin.enqueue(connection, "quick")
        producer.execute("BEGIN")
        run_id = admin.enqueue(producer, "quick").id
        if not is_asleep(producer):
            return run_id
        producer.execute("ROLLBACK")
        return None

    return eventually(attempt) or 0


def test_a_producer_that_thought_everybody_awake_and_commits_when_everybody_sleeps_is_noticed_soon(begin: Begin) -> None:
    """Complaint 13: solid_queue#456, a wake-up lost between a look and a commit left a job waiting for half an hour."""
    daemon = begin(WORK, **SELDOM)
    with daemon.database() as producer, daemon.database() as watcher:
        run_id = open_producer(daemon, producer)
        eventually(lambda: is_asleep(watcher))
        producer.execute("COMMIT")
    daemon.await_run(run_id, "succeeded")


def test_a_child_that_becomes_idle_while_nobody_rings_is_woken_all_the_same(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(
        """
        import time
        from pathlib import Path

        @pipeline("holds")
        def holds(ctx: Context, until: str) -> None:
            while not Path(until).exists():
                time.sleep(0.01)

        @pipeline("quick")
        def quick(ctx: Context) -> None: ...
        """,
        **SELDOM,
    )
    held = [daemon.enqueue("holds", until=str(tmp_path / "done")) for _ in range(2)]
    for run_id in held:
        daemon.slot_running(run_id)
    with daemon.database() as connection:  # all are busy: the bells that ring now are the last
        with connection.transaction():
            held += [admin.enqueue(connection, "holds", {"until": str(tmp_path / "done")}).id for _ in range(TRAFFIC)]
        eventually(lambda: not is_asleep(connection))
    (tmp_path / "done").touch()
    for run_id in held:
        daemon.await_run(run_id, "succeeded")
    daemon.await_run(daemon.enqueue("quick"), "succeeded")


def test_the_run_of_a_killed_child_begins_again_without_waiting_for_any_poll_or_lease(begin: Begin, tmp_path: Path) -> None:
    """Complaint 8: graphile/worker#222, the jobs of a crashed worker stayed locked for four hours."""
    daemon = begin(
        """
        import time
        from pathlib import Path

        @pipeline("holds")
        def holds(ctx: Context, until: str) -> int:
            while not Path(until).exists():
                time.sleep(0.01)
            return ctx.attempt
        """,
        **SELDOM,
    )
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    assert kill_process_of(daemon, daemon.slot_running(run_id)["pid"])
    eventually(lambda: daemon.describe(run_id), lambda run: (run["state"], run["attempt"]) == ("running", 2))
    (tmp_path / "done").touch()
    assert daemon.await_run(run_id, "succeeded")["result"] == 2


def test_an_idle_host_says_nothing_but_its_beat(begin: Begin, folder: Path) -> None:
    daemon = begin(WORK, start=False, **{"children.count": 4, "host.beat": "300ms", "poll.interval": "300ms"})
    with NotingProxy.before(around(daemon.dsn), folder / "p") as proxy:
        daemon.configure(**{"database.url": proxy.dsn, "database.direct_url": ""})
        daemon.start()
        daemon.await_run(daemon.enqueue("quick"), "succeeded")
        # What else it does comes each second at least, so that one would be among the last ten.
        eventually(lambda: proxy.said[-10:], lambda words: len(words) == 10 and all(b"orbit.beat(" in word for word in words))


def test_with_every_notification_lost_a_run_waits_for_the_poll_and_the_deaf_listener_is_replaced(begin: Begin, folder: Path) -> None:
    """Reliability 11: a listener that dies silently."""
    daemon = begin(WORK, start=False, **SELDOM | {"poll.interval": "300ms"})
    with DeafProxy.before(around(daemon.dsn), folder / "p") as proxy:
        daemon.configure(**{"database.direct_url": proxy.dsn})
        daemon.start()
        daemon.await_run(daemon.enqueue("quick"), "succeeded")
        proxy.is_deaf = True
        # One that comes when the host looks by itself shows nothing: so one after the other, until a beat finds what no bell told of.
        eventually(lambda: daemon.await_run(daemon.enqueue("quick"), "succeeded") and daemon.events("listener_deaf"))
        eventually(lambda: daemon.events("notifications_missing"))  # the new one is deaf from the beginning
        daemon.await_run(daemon.enqueue("quick"), "succeeded")
        assert proxy.swallowed
        assert daemon.status()["state"] == "running"


def test_a_listener_that_is_cut_listens_again(begin: Begin) -> None:
    """Complaint 31: no reconnect after a backend was killed."""
    daemon = begin(WORK, **SELDOM)
    with psycopg.connect(around(daemon.dsn), autocommit=True) as connection:
        query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE '%% janitor'"
        ((before,),) = connection.execute(query).fetchall()
        connection.execute("SELECT pg_terminate_backend(%s)", [before])
        eventually(lambda: [pid for (pid,) in connection.execute(query).fetchall() if pid != before])
    daemon.await_run(daemon.enqueue("quick"), "succeeded")


def test_a_listener_reads_what_it_has_no_use_for(begin: Begin) -> None:
    """Complaint 11: a listener that does not drain pins the horizon and fills the queue."""
    daemon = begin(WORK, **SELDOM)
    with psycopg.connect(around(daemon.dsn), autocommit=True) as connection:
        for _ in range(4):
            connection.execute("SELECT pg_notify('orbit_work', repeat('x', 7000) || n) FROM generate_series(1, 500) AS n")
        query = """
            SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND application_name LIKE '% janitor'
               AND state = 'idle' AND wait_event = 'ClientRead' AND backend_xmin IS NULL
        """
        eventually(lambda: connection.execute(query).fetchall()[0][0] == 1 and _queue_is_read(connection))
    daemon.await_run(daemon.enqueue("quick"), "succeeded")


def _queue_is_read(connection: psycopg.Connection[tuple[object, ...]]) -> bool:
    connection.execute("SELECT pg_notify('nobody', '')")  # the tail moves only when somebody writes
    return bool(connection.execute("SELECT pg_notification_queue_usage() < 0.000001").fetchall()[0][0])
