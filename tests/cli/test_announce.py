"""What is told at the start: where the database is, without its secrets."""

from __future__ import annotations

import pytest

from orbitd.cli.announce import database_named


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("postgresql://app:s3cret@db.example:5432/app", "db.example:5432/app"),
        ("postgres://app@db.example/app?sslmode=require&password=s3cret", "db.example/app"),
        ("postgresql://u:s3cret@a:1,b:2/app", "a:1,b:2/app"),
        ("postgresql:///app?host=/run/postgresql&user=s3cret", "/run/postgresql/app"),
        ("postgresql://u:s3cret%40x@[::1]:5433/a%20b", "[::1]:5433/a b"),
        ("host=/run/pg dbname=app user=x password='s3c ret'", "/run/pg/app"),
        ("dbname=app password=s3cret", "the local socket/app"),
        ("service=production", "the service production"),
        ("postgresql://", "the local socket"),
        ("postgresql://u:s3cret@[bad/app", "as configured"),
    ],
)
def test_an_address_is_named_by_host_and_database_alone(address: str, named: str) -> None:
    assert database_named(address) == named
