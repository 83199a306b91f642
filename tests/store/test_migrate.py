from __future__ import annotations

import importlib
import threading
from pathlib import Path

import pytest

from orbitd import store
from orbitd.store import SchemaMismatch
from tests.store.fleet import Fleet


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


def test_a_migration_that_is_killed_is_done_again(empty_dsn: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = importlib.import_module("orbitd.store.migrate")
    broken = tmp_path / "0001_schema.sql"
    broken.write_bytes(module._MIGRATIONS[1].read_bytes() + b"; SELECT pg_terminate_backend(pg_backend_pid());")
    with monkeypatch.context() as patched:
        patched.setattr(module, "_MIGRATIONS", {1: broken})
        with pytest.raises(Exception, match="terminat") as killed:
            store.migrate(empty_dsn)
    assert store.is_outage(killed.value)
    assert store.migrate(empty_dsn) == ["0001_schema"]


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
