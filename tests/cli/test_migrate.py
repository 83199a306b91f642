"""`orbitd migrate`: the schema, what it lacks, and what is said when the database does not answer."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Orbitd
from tests.ctl.schemas import check as check_schema

pytestmark = pytest.mark.daemon


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
    assert done.stdout.startswith("the database has no schema of orbitd\nmissing 0001_schema\n")
    assert "orbitd migrate" in done.stderr
    answer = json.loads(orbitd("migrate", "status", "--json", DATABASE_URL=dsn).stdout)
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
