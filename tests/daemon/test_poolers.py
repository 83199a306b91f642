"""The way to the database: through a pooler, to one of several hosts, and what a dead child leaves on it."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from orbitd import store
from orbitd.store import admin
from orbitd.system.postgres import Cluster
from tests.daemon.conftest import Begin
from tests.support.addresses import around, through
from tests.support.daemon import eventually, kill_process_of
from tests.support.standby import either_of, primary_and_standby

pytestmark = pytest.mark.daemon

WORK = """
    @pipeline("quick")
    def quick(ctx: Context) -> None:
        pass


    @pipeline("sleeps")
    def sleeps(ctx: Context, watched: bool) -> int:
        if ctx.attempt == 1:
            with ctx.transaction() as conn:
                if not watched:
                    conn.execute("SET LOCAL client_connection_check_interval = 0")
                conn.execute("SELECT pg_sleep(60)")
        return ctx.attempt
"""


@pytest.mark.usefixtures("pooler")
@pytest.mark.parametrize(("pooled", "codes"), [("auto", ["poll_only"]), ("yes", [])])
def test_behind_a_pooler_alone_work_is_found_by_the_poll_and_that_is_said_once(
    begin: Begin, dsn: str, pooled: str, codes: list[str]
) -> None:
    daemon = begin(WORK, **{"database.url": through(dsn), "database.direct_url": "", "database.pooled": pooled, "poll.interval": "200ms"})
    for _ in range(3):
        daemon.await_run(daemon.enqueue("quick"), "succeeded")
    assert len(daemon.events("poll_only")) == 1
    assert [problem["code"] for problem in daemon.status()["problems"]] == codes
    assert daemon.query("SELECT count(*) AS n FROM pg_stat_activity WHERE query ILIKE 'listen%%'") == [{"n": 0}]


@pytest.mark.usefixtures("pooler")
@pytest.mark.parametrize("way", [around, through])
@pytest.mark.parametrize("watched", [True, False])
def test_a_statement_that_outlives_its_child_does_not_hold_the_run(
    begin: Begin,
    dsn: str,
    way: Callable[[str], str],
    watched: bool,  # noqa: FBT001
) -> None:
    daemon = begin(WORK, start=False)
    daemon.configure(**{"database.url": way(dsn), "database.direct_url": around(dsn)})
    daemon.start()
    run_id = daemon.enqueue("sleeps", watched=watched)
    slot = daemon.slot_running(run_id)
    eventually(lambda: daemon.query("SELECT FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(60)'"))
    assert kill_process_of(daemon, slot["pid"])
    assert daemon.await_run(run_id, "succeeded")["result"] == 2
    assert bool(daemon.events("sessions_ended")) is not watched
    assert daemon.events("burial_put_off") == []


@pytest.fixture
def pair() -> Iterator[tuple[Cluster, Cluster]]:
    with primary_and_standby() as pair:
        yield pair


def test_after_a_failover_the_daemon_works_on_the_new_primary(begin: Begin, pair: tuple[Cluster, Cluster]) -> None:
    """Complaint 9: graphile/worker#449; the former primary lives on and takes no writes, as a standby does."""
    primary, standby = pair
    daemon = begin(WORK, start=False)
    daemon.use_database(primary.dsn())
    daemon.configure(**{"database.url": either_of(primary, standby)})
    daemon.start()
    daemon.await_run(daemon.enqueue("quick"), "succeeded")
    daemon.execute("ALTER SYSTEM SET default_transaction_read_only = on")
    daemon.execute("SELECT pg_reload_conf()")
    daemon.dsn = standby.dsn()
    daemon.execute("SELECT pg_promote()")
    run_id = daemon.enqueue("quick")
    daemon.await_run(run_id, "succeeded")
    daemon.await_status(lambda status: status["state"] == "running" and status["children"]["ready"] == 2)


def test_after_an_outage_the_children_do_not_all_connect_at_once(begin: Begin, own_cluster: Cluster) -> None:
    store.migrate(around(own_cluster.dsn()))
    daemon = begin(WORK, start=False, **{"children.count": 16})
    daemon.use_database(around(own_cluster.dsn()))
    daemon.start()
    own_cluster.stop()
    daemon.await_status(lambda status: status["state"] == "waiting_database")
    own_cluster.start()
    with daemon.database() as connection:  # for whoever has nothing to do finds out only when there is work
        admin.enqueue_many(connection, [{"pipeline": "quick"}] * 100)
    connected = "SELECT extract(epoch FROM backend_start)::float8 AS at FROM pg_stat_activity WHERE application_name LIKE %s"
    times = [row["at"] for row in eventually(lambda: daemon.query(connected, ["orbitd% slot %"]), lambda rows: len(rows) == 16)]
    assert max(times) - min(times) > 0.2


def test_the_janitor_drains_all_that_rings_so_that_its_session_holds_no_horizon(begin: Begin) -> None:
    """Complaint 11: leo91000/graphile_worker_rs#456; more than the sockets between hold, while it stands still and after."""
    listener = "SELECT wait_event, backend_xmin FROM pg_stat_activity WHERE application_name LIKE 'orbitd%% janitor'"
    daemon = begin(WORK)
    janitor = daemon.pid_of("janitor")
    assert kill_process_of(daemon, janitor, signal.SIGSTOP)
    try:
        daemon.execute("SELECT pg_notify('orbit_cancel', repeat('x', 7000) || n) FROM generate_series(1, 1000) AS n")
        eventually(lambda: daemon.query(f"{listener} AND wait_event = 'ClientWrite'"))
    finally:
        assert kill_process_of(daemon, janitor, signal.SIGCONT)
    eventually(lambda: daemon.query(listener) == [{"wait_event": "ClientRead", "backend_xmin": None}])
    assert daemon.query("SELECT pg_notification_queue_usage() AS used") == [{"used": 0.0}]
    daemon.await_run(daemon.enqueue("quick"), "succeeded")
    assert daemon.pid_of("janitor") == janitor
