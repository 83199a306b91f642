from __future__ import annotations

import importlib
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path

import psycopg
import pytest

from orbitd import store
from orbitd.errors import Conflict
from orbitd.store import SchemaMismatch, admin, queries
from tests.store.fleet import Fleet

MIGRATE = importlib.import_module("orbitd.store.migrate")  # the package has a function of that name
IS_THOROUGH = bool(os.environ.get("ORBITD_STORM_SECONDS"))


def test_migrating_an_empty_database_applies_all_and_again_nothing(empty_dsn: str) -> None:
    with Fleet(empty_dsn) as fleet:
        with pytest.raises(SchemaMismatch, match="no orbit schema") as missing:
            store.check_schema(fleet.conn)
        assert missing.value.hint == "run `orbitd migrate`"
        assert store.migrate(empty_dsn)[0] == "0001_schema"
        assert store.migrate(fleet.conn) == []
        store.check_schema(fleet.conn)
        assert fleet.ask("p").created


def test_migrating_twice_at_once_applies_each_once(empty_dsn: str) -> None:
    applied: list[list[str]] = []
    start = threading.Barrier(3)

    def migrate() -> None:
        start.wait()
        applied.append(store.migrate(empty_dsn))

    threads = [threading.Thread(target=migrate) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(applied) == 3
    assert sorted(name for names in applied for name in names) == ["0001_schema"]


CUT = """
    CREATE SEQUENCE public.statements;
    CREATE TABLE public.cut (at bigint);
    INSERT INTO public.cut VALUES (0);
    CREATE FUNCTION public.count_and_cut() RETURNS event_trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('public.statements') = (SELECT at FROM public.cut) THEN
            PERFORM pg_terminate_backend(pg_backend_pid());
        END IF;
    END $$;
    CREATE EVENT TRIGGER cut ON ddl_command_start EXECUTE FUNCTION public.count_and_cut();
"""
"""Ends the session that begins the `at`th statement which makes or changes something. A sequence counts on over a rollback."""


@pytest.mark.timeout(120)  # for the thorough form, see `make test-faults`
def test_a_migration_that_is_killed_at_any_statement_is_done_again(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn, autocommit=True, prepare_threshold=None) as conn:
        conn.execute(CUT)
        at = 1
        while True:
            conn.execute("UPDATE public.cut SET at = %s", [at])
            conn.execute("SELECT setval('public.statements', 1, false)")
            try:
                store.migrate(empty_dsn)
                break
            except psycopg.OperationalError:  # it has been cut
                at += 1 if IS_THOROUGH else random.randint(1, 30)
    assert at > 100
    with Fleet(empty_dsn) as fleet:
        fleet.conn.execute("DROP EVENT TRIGGER cut")
        assert store.migrate(empty_dsn) == []
        names = {name for (name,) in fleet.rows("SELECT proname FROM pg_proc WHERE pronamespace = 'orbit'::regnamespace")}
        assert names == {path.stem for path in (queries.FOLDER / "functions").glob("*.sql")}
        child = fleet.worker("p")
        fleet.enqueue("p")
        assert child.succeed(child.must_claim().fence)


def test_a_schema_is_never_seen_without_its_functions(empty_dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is killed between the tables and the functions leaves neither."""
    broken = tmp_path / "broken.sql"
    broken.write_text("SELECT pg_terminate_backend(pg_backend_pid())")
    with monkeypatch.context() as patched:
        patched.setattr(MIGRATE, "_FUNCTIONS", [*MIGRATE._FUNCTIONS, broken])
        with pytest.raises(psycopg.OperationalError):
            store.migrate(empty_dsn)
    with Fleet(empty_dsn) as fleet, pytest.raises(SchemaMismatch, match="no orbit schema"):
        store.check_schema(fleet.conn)


@pytest.fixture
def next_version(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[str], None]:
    """Makes this program one that knows one migration more, with these statements."""

    def install(sql: str) -> None:
        number = MIGRATE._VERSION + 1
        path = tmp_path / f"{number:04}_made_up.sql"
        path.write_text(sql)
        monkeypatch.setattr(MIGRATE, "_MIGRATIONS", MIGRATE._MIGRATIONS | {number: path})
        monkeypatch.setattr(MIGRATE, "_VERSION", number)

    return install


def test_a_migration_waits_for_a_table_without_making_others_wait(own_fleet: Fleet, next_version: Callable[[str], None]) -> None:
    next_version("ALTER TABLE orbit.live ADD COLUMN made_up int")
    child = own_fleet.worker("p")
    admin.enqueue_many(own_fleet.conn, [{"pipeline": "p"}] * 30)
    reader, other = own_fleet.connect(), own_fleet.connect()
    with reader.transaction():
        reader.execute("SELECT FROM orbit.live")
        migration = own_fleet.in_background(other, lambda: store.migrate(other))
        migration.until_blocked()
        for _ in range(30):
            assert child.succeed(child.must_claim().fence)
    assert migration.result() == ["0002_made_up"]


def test_a_migration_that_gets_no_lock_says_so_and_changes_nothing(
    own_fleet: Fleet, next_version: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    next_version("CREATE TABLE orbit.made_up (); ALTER TABLE orbit.live ADD COLUMN made_up int")
    monkeypatch.setattr(MIGRATE, "_PATIENCE_SECONDS", 0.0)
    reader = own_fleet.connect()
    with reader.transaction():
        reader.execute("SELECT FROM orbit.live")
        with pytest.raises(Conflict, match="0002_made_up was not applied"):
            store.migrate(own_fleet.conn)
    assert own_fleet.value("SELECT to_regclass('orbit.made_up')") is None
    assert store.migrate(own_fleet.conn) == ["0002_made_up"]


def test_children_work_on_while_functions_are_replaced_under_them(own_fleet: Fleet) -> None:
    child, other = own_fleet.worker("p"), own_fleet.connect()
    admin.enqueue_many(own_fleet.conn, [{"pipeline": "p"}] * 200)
    migrations = own_fleet.in_background(other, lambda: [store.migrate(other) for _ in range(5)])
    for _ in range(200):
        assert child.succeed(child.must_claim().fence)
    assert migrations.result() == [[]] * 5
    own_fleet.check()


@pytest.mark.parametrize(("version", "fits"), [(0, False), (1, True), (2, True), (3, False)])
def test_the_schemas_version_must_be_ours_or_the_next(own_fleet: Fleet, version: int, fits: bool) -> None:  # noqa: FBT001
    own_fleet.conn.execute("UPDATE orbit.meta SET value = to_jsonb(%s::int) WHERE name = 'schema_version'", [version])
    if fits:
        store.check_schema(own_fleet.conn)
    else:
        with pytest.raises(SchemaMismatch):
            store.check_schema(own_fleet.conn)


def test_an_older_program_does_not_replace_a_newer_ones_functions(own_fleet: Fleet) -> None:
    own_fleet.conn.execute("UPDATE orbit.meta SET value = '2' WHERE name = 'schema_version'")
    with pytest.raises(SchemaMismatch, match="install a newer orbitd"):
        store.migrate(own_fleet.conn)


def test_migrating_goes_on_beside_open_transactions(fleet: Fleet) -> None:
    child, other = fleet.worker("p"), fleet.connect()
    fleet.enqueue("p")
    with child.conn.transaction():
        child.must_claim()
        assert store.migrate(other) == []
    fleet.check()
