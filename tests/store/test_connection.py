from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from orbitd import store
from orbitd.errors import ConfigError
from orbitd.store import Connection, admin
from orbitd.system.postgres import PORT, SUPERUSER, Cluster
from tests.store.fleet import Fleet
from tests.support.addresses import around, through
from tests.support.daemon import eventually


def connect(dsn: str, call_timeout_seconds: float = 5.0, pooled: str = "auto") -> Connection:
    return store.connect(dsn, connect_timeout_seconds=2, call_timeout_seconds=call_timeout_seconds, application_name="test", pooled=pooled)


def status_of(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{field}:"))


def test_a_call_on_a_stopped_backend_ends_at_its_deadline_as_an_outage(own_cluster: Cluster) -> None:
    with connect(around(own_cluster.dsn()), call_timeout_seconds=0.3) as conn:
        backend = conn.info.backend_pid
        postmaster = int(status_of(backend, "PPid"))
        assert int(status_of(postmaster, "PPid")) == os.getpid()  # ours, and nobody else's
        os.kill(backend, signal.SIGSTOP)
        try:
            with pytest.raises(psycopg.OperationalError, match=r"did not answer within 0\.3s") as timed_out:
                conn.execute("SELECT 1")
        finally:
            os.kill(backend, signal.SIGCONT)
        assert store.is_outage(timed_out.value)
        assert conn.closed
        with pytest.raises(psycopg.OperationalError) as closed:
            conn.execute("SELECT 1")
        assert store.is_outage(closed.value)


def test_a_call_that_waits_for_a_lock_ends_at_its_deadline(fleet: Fleet) -> None:
    impatient = fleet.connect(call_timeout_seconds=0.2)
    with fleet.conn.transaction():
        fleet.conn.execute("LOCK TABLE orbit.live")
        with pytest.raises(psycopg.OperationalError, match="did not answer"):
            admin.enqueue(impatient, "p")
    assert impatient.closed


@contextmanager
def interrupted_after(seconds: float) -> Iterator[None]:
    """Ctrl-C in the midst of what is done here, which must not swallow it."""

    class Interrupted(KeyboardInterrupt):
        pass

    def interrupt(_number: int, _frame: object) -> None:
        raise Interrupted

    former = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        with pytest.raises(Interrupted):
            yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


def test_what_breaks_into_a_call_closes_the_connection(dsn: str) -> None:
    with connect(dsn) as conn:
        with interrupted_after(0.1):
            conn.execute("SELECT pg_sleep(5)")
        assert conn.closed


def test_an_error_of_a_statement_leaves_the_connection_alone(fleet: Fleet) -> None:
    with pytest.raises(psycopg.ProgrammingError) as wrong:
        fleet.conn.execute("SELECT wrong")
    assert not store.is_outage(wrong.value)
    with pytest.raises(UnicodeEncodeError):
        fleet.conn.execute("SELECT %s::text", ["\ud800"])
    assert fleet.value("SELECT 1") == 1


def test_a_server_that_is_not_there_is_an_outage(tmp_path: Path) -> None:
    with pytest.raises(psycopg.OperationalError) as refused:
        connect(f"host={tmp_path} user=nobody")
    assert store.is_outage(refused.value)


@pytest.mark.parametrize("how", ["terminated", "stopped"])
def test_a_server_that_goes_away_is_an_outage(own_cluster: Cluster, how: str) -> None:
    with connect(own_cluster.dsn()) as conn, connect(own_cluster.dsn()) as other:
        if how == "terminated":
            other.execute("SELECT pg_terminate_backend(%s)", [conn.info.backend_pid])
        else:
            own_cluster.stop()
        with pytest.raises(psycopg.OperationalError) as lost:
            conn.execute("SELECT pg_sleep(10)")
        assert store.is_outage(lost.value)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ("57P03", True),
        ("53300", True),
        ("25006", True),
        ("40P01", True),
        ("55P03", True),
        ("57014", True),
        ("54001", False),
        ("22P05", False),
        ("23505", False),
        ("42P01", False),
    ],
)
def test_an_outage_is_told_by_its_sqlstate(unwritten: Fleet, state: str, expected: bool) -> None:  # noqa: FBT001
    with pytest.raises(psycopg.Error) as raised:
        unwritten.conn.execute(f"DO $$ BEGIN RAISE SQLSTATE '{state}'; END $$".encode())
    assert store.is_outage(raised.value) is expected


def test_other_errors_are_no_outage() -> None:
    assert not store.is_outage(ValueError())
    assert not store.is_outage(store.LeaseLost())


def test_a_dsn_that_cannot_be_read_is_refused_without_telling_its_password() -> None:
    with pytest.raises(ConfigError) as refused:
        connect("postgresql//me:secret@host/database")
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_nothing_of_a_session_is_used_that_a_transaction_pooler_would_lose(fleet: Fleet) -> None:
    child = fleet.worker("p")
    for _ in range(10):
        fleet.enqueue("p")
        child.succeed(child.must_claim().fence)
    assert child.conn.execute("SELECT count(*) FROM pg_prepared_statements").fetchone() == (0,)
    assert child.conn.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()").fetchone() == (0,)
    known = "'application_name', 'client_connection_check_interval'"  # the pooler's own, and ours where there is none
    changed = f"SELECT name FROM pg_settings WHERE source = 'session' AND name NOT IN ({known})"
    assert child.conn.execute(changed.encode()).fetchall() == []


@pytest.mark.usefixtures("pooler")
def test_a_pooler_is_found_out_and_no_setting_is_left_in_it(unwritten: Fleet) -> None:
    """Complaint 5: riverqueue/river#205, #238, #1153."""
    with connect(around(unwritten.dsn)) as straight, connect(through(unwritten.dsn)) as pooled:
        assert (straight.is_pooled, pooled.is_pooled) == (False, True)
        assert [interval_of(conn) for conn in (straight, pooled)] == ["100ms", "0"]


@pytest.mark.usefixtures("pooler")
def test_what_is_said_of_a_pooler_is_believed(unwritten: Fleet) -> None:
    with connect(around(unwritten.dsn), pooled="yes") as taken_for_pooled:
        assert taken_for_pooled.is_pooled
        assert interval_of(taken_for_pooled) == "0"
    with connect(around(unwritten.dsn), pooled="no") as straight:
        assert not straight.is_pooled


@pytest.mark.usefixtures("pooler")
def test_a_server_process_that_ends_behind_a_pooler_is_an_outage(unwritten: Fleet, cluster: Cluster) -> None:
    """The pooler sends two errors for one statement: the server's, and its own."""
    with connect(through(unwritten.dsn)) as pooled:
        with pytest.raises(psycopg.OperationalError) as lost, pooled.transaction():  # noqa: PT012  (it is the COMMIT that fails)
            ((pid,),) = pooled.execute("SELECT pg_backend_pid()").fetchall()
            assert cluster.is_ours(pid)
            unwritten.conn.execute("SELECT pg_terminate_backend(%s, 5000)", [pid])
        assert store.is_outage(lost.value)
        assert pooled.closed


def interval_of(conn: Connection) -> object:
    return conn.execute("SHOW client_connection_check_interval").fetchall()[0][0]


def test_a_server_that_is_stopped_as_a_whole_ends_an_attempt_to_connect(own_cluster: Cluster) -> None:
    os.kill(own_cluster.pid, signal.SIGSTOP)  # the kernel still takes connections for it
    try:
        with pytest.raises(psycopg.OperationalError, match="timeout") as timed_out:
            connect(around(own_cluster.dsn()))
    finally:
        os.kill(own_cluster.pid, signal.SIGCONT)
    assert store.is_outage(timed_out.value)


def test_of_several_hosts_the_one_that_takes_writes_is_found(own_cluster: Cluster, cluster: Cluster) -> None:
    """Complaint 9: graphile/worker#449; before a failover and after it."""
    mine, other = own_cluster.socket, cluster.socket
    dsn = f"host={mine},{other} port={PORT},{PORT} user={SUPERUSER} dbname={SUPERUSER}"
    with connect(dsn) as conn:
        assert conn.info.host == str(mine)
    refuse_writes(own_cluster)
    with connect(dsn) as conn:
        assert conn.info.host == str(other)
    with connect(f"{dsn} target_session_attrs=any") as conn:
        assert conn.info.host == str(mine)
    own_cluster.stop()
    with connect(dsn) as conn:
        assert conn.info.host == str(other)


def refuse_writes(cluster: Cluster) -> None:
    """As a standby does."""
    with connect(around(cluster.dsn())) as conn:
        conn.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        conn.execute("SELECT pg_reload_conf()")
        eventually(lambda: conn.execute("SHOW default_transaction_read_only").fetchall() == [("on",)])


def test_a_commit_is_never_cancelled(own_fleet: Fleet) -> None:
    """What breaks into it leaves it to the server: what was committed is found by reading."""

    own_fleet.conn.execute("CREATE TABLE slow (n int)")
    own_fleet.conn.execute(
        """CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(0.6); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON slow DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION dawdle()"""
    )
    with connect(own_fleet.dsn, pooled="yes") as conn:  # so that the server does not look whether we live
        conn.execute("BEGIN; INSERT INTO slow VALUES (1)")
        with interrupted_after(0.2):
            conn.execute("COMMIT")
        assert conn.closed
    eventually(lambda: own_fleet.value("SELECT count(*) FROM slow") == 1)


def test_bells_that_ring_during_another_call_are_kept(fleet: Fleet) -> None:
    listener = fleet.listener()
    store.doze(listener, {}, 1)
    child = fleet.worker("p")
    fleet.enqueue("p")
    for _ in range(3):
        store.lanes_of(listener, ["p"])
    assert listener.is_rung(), "nothing that could be read tells of it any more"
    assert [bell.payload.split()[0] for bell in listener.heard()] == [str(child.lanes[0])]
    assert not listener.is_rung()
