from __future__ import annotations

import os
import signal
from pathlib import Path

import psycopg
import pytest

from orbitd import store
from orbitd.errors import ConfigError
from orbitd.store import Connection
from orbitd.system.postgres import Cluster
from tests.store.fleet import Fleet


def connect(dsn: str, call_timeout_seconds: float = 5.0) -> Connection:
    return store.connect(dsn, connect_timeout_seconds=2, call_timeout_seconds=call_timeout_seconds, application_name="test")


def status_of(pid: int, field: str) -> str:
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return next(line.split()[1] for line in lines if line.startswith(f"{field}:"))


def test_a_call_on_a_stopped_backend_ends_at_its_deadline_as_an_outage(own_cluster: Cluster) -> None:
    with connect(own_cluster.dsn(), call_timeout_seconds=0.3) as conn:
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
            store.enqueue(impatient, "p")
    assert impatient.closed


def test_what_breaks_into_a_call_closes_the_connection(dsn: str) -> None:
    class Interrupted(BaseException):
        pass

    def interrupt(_number: int, _frame: object) -> None:
        raise Interrupted

    former = signal.signal(signal.SIGALRM, interrupt)
    try:
        with connect(dsn) as conn:
            signal.setitimer(signal.ITIMER_REAL, 0.1)
            with pytest.raises(Interrupted):
                conn.execute("SELECT pg_sleep(5)")
            assert conn.closed
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


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
    changed = "SELECT name FROM pg_settings WHERE source = 'session' AND name <> 'application_name'"
    assert child.conn.execute(changed.encode()).fetchall() == []


def test_bells_that_ring_during_another_call_are_kept(fleet: Fleet) -> None:
    listener = fleet.connect()
    listener.listen()
    store.doze(listener, {}, 1)
    child = fleet.worker("p")
    fleet.enqueue("p")
    for _ in range(3):
        store.lanes_of(listener, ["p"])
    assert [bell.payload.split()[0] for bell in listener.heard()] == [str(child.lanes[0])]
