"""`orbitd migrate`: the schema, what it lacks, and what is said when the database does not answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from tests.cli.conftest import Orbitd
from tests.ctl.schemas import check as check_schema

pytestmark = pytest.mark.daemon


@pytest.fixture
def stranger(empty_dsn: str) -> Iterator[str]:
    """The address of an empty database for a role without rights there."""
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("create role cli_stranger login")
    yield make_conninfo(empty_dsn, user="cli_stranger")
    with psycopg.connect(empty_dsn, autocommit=True) as conn:
        conn.execute("drop role cli_stranger")


def test_an_empty_database_is_brought_up_to_date_once(orbitd: Orbitd, empty_dsn: str) -> None:
    first = orbitd("migrate", DATABASE_URL=empty_dsn)
    assert first.returncode == 0, first.stderr
    assert "applied 0001_schema" in first.stdout
    assert orbitd("migrate", DATABASE_URL=empty_dsn).stdout == "the schema is up to date\n"


def test_a_dry_run_lists_what_would_be_applied_and_changes_nothing(orbitd: Orbitd, empty_dsn: str) -> None:
    for _ in range(2):
        done = orbitd("migrate", "--dry-run", DATABASE_URL=empty_dsn)
        assert done.returncode == 1
        assert "would apply 0001_schema" in done.stdout


def test_status_tells_the_version_and_what_is_missing(orbitd: Orbitd, dsn: str, empty_dsn: str) -> None:
    done = orbitd("migrate", "status", DATABASE_URL=empty_dsn)
    assert done.returncode == 1
    assert done.stdout.startswith("the database has no schema of orbitd\nmissing 0001_schema\n")
    assert done.stdout.endswith("\nbring it up to date with: orbitd migrate\n")
    done = orbitd("migrate", "status", "--json", DATABASE_URL=dsn)
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    check_schema(answer)
    assert (answer["schema"], answer["missing"]) == ("orbit.migrations/1", [])
    assert answer["version"] >= 1


@pytest.mark.parametrize("command", [["migrate"], ["migrate", "--dry-run"], ["migrate", "status"]])
def test_a_database_that_does_not_answer_ends_with_69(orbitd: Orbitd, folder: Path, command: list[str]) -> None:
    done = orbitd(*command, DATABASE_URL=f"postgresql://u:s3cret@/app?host={folder}")
    assert done.returncode == 69
    assert "s3cret" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "hint: " in done.stderr


def test_a_role_without_rights_is_refused_and_told_where_to_name_another(orbitd: Orbitd, stranger: str) -> None:
    done = orbitd("migrate", DATABASE_URL=stranger)
    assert done.returncode == 5
    assert "the database does not allow it: permission denied for database" in done.stderr
    assert "hint: name a role with the rights in database.admin_url" in done.stderr


@pytest.mark.parametrize("command", [["migrate"], ["migrate", "status"]])
def test_the_hint_names_the_option_whose_address_was_used(orbitd: Orbitd, empty_dsn: str, folder: Path, command: list[str]) -> None:
    admin = {"ORBITD_DATABASE__ADMIN_URL": make_conninfo(empty_dsn, user="never_made")}
    done = orbitd(*command, DATABASE_URL=empty_dsn, **admin)
    assert done.returncode == 5
    assert "hint: check user and password in database.admin_url" in done.stderr
    done = orbitd(*command, DATABASE_URL=empty_dsn, DIRECT_URL=f"postgresql:///app?host={folder}")
    assert done.returncode == 69
    assert "hint: check database.direct_url, and whether Postgres runs" in done.stderr


def test_an_address_for_operators_alone_is_enough(orbitd: Orbitd, empty_dsn: str) -> None:
    assert orbitd("migrate", ORBITD_DATABASE__ADMIN_URL=empty_dsn).returncode == 0
