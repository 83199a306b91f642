"""Each kind of connection that a program may have: the run is part of its transaction, and a refusal reads the same."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import django
import psycopg
import pytest
import sqlalchemy
from django.conf import settings
from django.db import connection as django_connection, connections as django_connections, transaction as django_transaction
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from orbitd import client, store
from orbitd.client import Enqueued, Request, UsageError
from orbitd.rules.states import RunState
from orbitd.store import Connection, PipelineSpec, admin
from tests.support.postgres import Databases

SIGNATURE = '{"required": ["tenant_id"], "optional": ["conn", "pipeline", "key"], "open": false}'


class RolledBack(Exception):
    """What a program's transaction ends with when it shall not count."""


@pytest.fixture(scope="module")
def dsn(databases: Databases) -> Iterator[str]:
    with databases.copy_of(databases.migrated) as dsn:
        yield dsn


@pytest.fixture
def orbit(dsn: str) -> Iterator[Connection]:
    """What the tests look with: an empty store that knows the pipeline invoice.sync."""
    conn = store.connect(dsn, connect_timeout_seconds=5, call_timeout_seconds=15, application_name="test")
    host_id = store.register(conn, boot_id="boot", name="host", pid=1, version="1", lease_seconds=20)
    store.register_pipelines(conn, host_id, [PipelineSpec("invoice.sync", "billing", 1, SIGNATURE, 3, 3)])
    yield conn
    for table in ("live", "delayed", "keys", "runs", "hosts"):
        conn.execute(f"DELETE FROM orbit.{table}".encode())
    conn.close()


def runs(orbit: Connection) -> list[tuple[Any, ...]]:
    return orbit.execute("SELECT id, args, key, tenant, priority, queue FROM orbit.runs ORDER BY id").fetchall()


# ------------------------------------------------------------------------------------------------ one transaction of a program


@contextmanager
def by_psycopg(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn) as conn:
        yield conn


@contextmanager
def by_psycopg_in_a_fashion_of_its_own(dsn: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(dsn, row_factory=dict_row, cursor_factory=psycopg.RawCursor) as conn:
        yield conn


@contextmanager
def engine(dsn: str) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"))
    try:
        yield engine
    finally:
        engine.dispose()


@contextmanager
def by_sqlalchemy_core(dsn: str) -> Iterator[sqlalchemy.Connection]:
    with engine(dsn) as made, made.begin() as conn:
        yield conn


@contextmanager
def by_sqlalchemy_orm(dsn: str) -> Iterator[Session]:
    with engine(dsn) as made, Session(made) as session, session.begin():
        yield session


@contextmanager
def by_sqlalchemy_scoped(dsn: str) -> Iterator[scoped_session[Session]]:
    with engine(dsn) as made:
        session = scoped_session(sessionmaker(made))
        try:
            with session.begin():
                yield session
        finally:
            session.remove()


@contextmanager
def by_django(dsn: str) -> Iterator[Any]:
    url = urlsplit(dsn)
    at = {name: values[0] for name, values in parse_qs(url.query).items()}
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": url.path[1:],
        "USER": url.username,
        "HOST": at["host"],
        "PORT": at["port"],
    }
    if not settings.configured:
        settings.configure()
        django.setup()
    django_connections.settings = django_connections.configure_settings({"default": database})
    try:
        with django_transaction.atomic():
            yield django_connection
    finally:
        django_connection.close()
        del django_connections["default"]


DOORS = [by_psycopg, by_psycopg_in_a_fashion_of_its_own, by_sqlalchemy_core, by_sqlalchemy_orm, by_sqlalchemy_scoped, by_django]
Door = Callable[[str], AbstractContextManager[Any]]


@asynccontextmanager
async def awaited_psycopg(dsn: str) -> AsyncIterator[psycopg.AsyncConnection[Any]]:
    async with await psycopg.AsyncConnection.connect(dsn) as conn:
        yield conn


def awaited_sqlalchemy(driver: str, kind: str) -> Callable[[str], AbstractAsyncContextManager[Any]]:
    @asynccontextmanager
    async def transaction(dsn: str) -> AsyncIterator[Any]:
        made = create_async_engine(dsn.replace("postgresql:", f"postgresql+{driver}:"))
        try:
            match kind:
                case "core":
                    async with made.begin() as conn:
                        yield conn
                case "orm":
                    async with AsyncSession(made) as session, session.begin():
                        yield session
                case "scoped":
                    scoped = async_scoped_session(async_sessionmaker(made), scopefunc=asyncio.current_task)
                    try:
                        async with scoped.begin():
                            yield scoped
                    finally:
                        await scoped.remove()
        finally:
            await made.dispose()

    return transaction


AWAITED = {
    "psycopg": awaited_psycopg,
    **{
        f"sqlalchemy {kind} {driver}": awaited_sqlalchemy(driver, kind)
        for kind in ("core", "orm", "scoped")
        for driver in ("psycopg", "asyncpg")
    },
}


@pytest.fixture(params=[door.__name__ for door in DOORS] + list(AWAITED))
def in_transaction(request: pytest.FixtureRequest, dsn: str) -> Callable[..., list[Any]]:
    """Carry out calls in one transaction of such a program, and return what they gave; `fails`: it is rolled back."""
    sync = {door.__name__: door for door in DOORS}

    def plain(door: Door, *calls: Callable[[Any], Any], fails: bool) -> list[Any]:
        with door(dsn) as conn:
            told = [call(conn) for call in calls]
            if fails:
                raise RolledBack
        return told

    async def awaited(*calls: Callable[[Any], Awaitable[Any]], fails: bool) -> list[Any]:
        async with AWAITED[request.param](dsn) as conn:
            told = [await call(conn) for call in calls]
            if fails:
                raise RolledBack
        return told

    def carry_out(*calls: Callable[[Any], Any], fails: bool = False) -> list[Any]:
        if request.param in sync:
            return plain(sync[request.param], *calls, fails=fails)
        return asyncio.run(awaited(*calls, fails=fails))

    return carry_out


# --------------------------------------------------------------------------------------------------------------------- the tests


def test_a_run_exists_when_the_programs_transaction_commits(orbit: Connection, in_transaction: Callable[..., list[Any]]) -> None:
    asked = Request("invoice.sync", {"tenant_id": 8}, key="inv-8", key_for="1d", in_="10m", tenant="t", priority=-1, queue="slow")
    later = Request("invoice.sync", {"tenant_id": 9}, at=datetime.now(UTC) + timedelta(hours=1), tenant="é")
    one, keyed, again, dated, many = in_transaction(
        lambda conn: client.enqueue(conn, "invoice.sync", tenant_id=7, conn=1, pipeline=2, key="%s :x"),
        lambda conn: client.enqueue(conn, asked),
        lambda conn: client.enqueue(conn, asked),
        lambda conn: client.enqueue(conn, later),
        lambda conn: client.enqueue_many(conn, [later, asked, Request("invoice.sync", '{"tenant_id": 1}', in_=timedelta(minutes=1))]),
    )
    assert one == Enqueued(one.id, True, RunState.PENDING)
    assert keyed == Enqueued(keyed.id, True, RunState.SCHEDULED)
    assert again == Enqueued(keyed.id, False, RunState.SCHEDULED)
    assert many[1] == keyed.id
    stored = {
        one.id: ({"tenant_id": 7, "conn": 1, "pipeline": 2, "key": "%s :x"}, None, None, 1, "billing"),
        keyed.id: ({"tenant_id": 8}, "inv-8", "t", -1, "slow"),
        dated.id: ({"tenant_id": 9}, None, "é", 1, "billing"),
        many[0]: ({"tenant_id": 9}, None, "é", 1, "billing"),
        many[2]: ({"tenant_id": 1}, None, None, 1, "billing"),
    }
    assert {run[0]: run[1:] for run in runs(orbit)} == stored
    assert admin.place(orbit, many[2]).state is RunState.SCHEDULED


def test_a_run_never_exists_when_it_is_rolled_back(orbit: Connection, in_transaction: Callable[..., list[Any]]) -> None:
    with pytest.raises(RolledBack):
        in_transaction(
            lambda conn: client.enqueue(conn, "invoice.sync", tenant_id=7),
            lambda conn: client.enqueue_many(conn, [Request("invoice.sync", {"tenant_id": 7})]),
            fails=True,
        )
    assert runs(orbit) == []


@pytest.mark.usefixtures("orbit")
def test_what_cannot_be_a_run_is_refused_with_a_hint(in_transaction: Callable[..., list[Any]]) -> None:
    with pytest.raises(UsageError) as refused:
        in_transaction(lambda conn: client.enqueue(conn, "invoice.sync", tenant=7))
    assert (refused.value.message, refused.value.hint) == ('"invoice.sync" needs the argument "tenant_id"', None)
    with pytest.raises(UsageError) as refused:
        in_transaction(lambda conn: client.enqueue_many(conn, [Request("p"), Request("invoice.sync", {"tenant_id": 1, "tenant": 2})]))
    assert refused.value.message == 'item 2 of enqueue_many: "invoice.sync" takes no argument "tenant"'
    assert refused.value.hint == "it takes tenant_id, conn, pipeline, key"
    with pytest.raises(UsageError, match="cannot be stored"):
        in_transaction(lambda conn: client.enqueue(conn, "p", text="a\0b"))


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda: Request("p", at=datetime(2030, 1, 1)), "has no zone"),  # noqa: DTZ001
        (lambda: Request("p", at=datetime.now(UTC), in_="1s"), "at and in_ exclude each other"),
        (lambda: Request("p", in_="soon"), 'in_: "soon" is not a duration'),
        (lambda: Request("p", key="k", key_for=-1), "key_for: -1 seconds is not a duration"),
        (lambda: client.enqueue(None, Request("p"), a=1, b=2), "has its arguments already, and here are a, b besides"),  # type: ignore[call-overload]
        (lambda: client.enqueue_many(None, [Request("p", "{")]), "not JSON"),  # type: ignore[call-overload]
        (lambda: client.enqueue(None, "p", a={1}), "not JSON"),  # type: ignore[call-overload]
    ],
)
def test_what_cannot_be_asked_for_is_refused_without_a_database(ask: Callable[[], object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        ask()


def test_what_is_no_connection_is_refused(dsn: str) -> None:
    with engine(dsn) as made, psycopg.connect(dsn) as conn, sqlalchemy.create_engine("sqlite://").connect() as lite:
        others: list[Any] = [made, sessionmaker(made), conn.cursor(), lite, dsn, None]
        for other in others:
            with pytest.raises(UsageError, match="is no connection to Postgres"):
                client.enqueue(other, "p")


def test_other_errors_are_the_drivers_own(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("SET search_path = ''")
        with pytest.raises(psycopg.errors.DivisionByZero):
            conn.execute("SELECT 1 / 0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            client.enqueue(conn, "p")


def test_it_imports_no_driver_and_nothing_else_of_orbitd() -> None:
    script = (
        "import sys, orbitd.client; print(*sorted(m for m in sys.modules if m.startswith(('orbitd', 'psycopg', 'sqlalchemy', 'asyncio'))))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert told == [
        *("orbitd", "orbitd.client", "orbitd.client.doors", "orbitd.client.requests", "orbitd.errors"),
        *("orbitd.rules", "orbitd.rules.states", "orbitd.units"),
    ]
