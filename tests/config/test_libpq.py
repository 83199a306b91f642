"""Whatever passes here libpq can read, and what is refused is refused in words that give nothing of the address away."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings as run_with, strategies as st
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from orbitd.config import libpq

SOUND = [
    "postgresql://",
    "postgresql:///app",
    "postgres://app@db/app",
    "postgresql://app:s3cret@db.example:6432/app?sslmode=require",
    "postgresql://app:p%40ss%3Aword%25@db/app",
    "postgresql://db1:5432,db2:5433/app?target_session_attrs=read-write",
    "postgresql://[::1]:5432/app",
    "postgresql://[fe80::1%25eth0]/app",
    "postgresql://%2Frun%2Fpostgresql/app",
    "postgresql:///app?host=/run/postgresql&port=5433",
    "postgresql://app@/app?host=%2Frun%2Fpostgresql",
    "postgresql:///app?options=-c%20search_path%3Da",
    "postgresql:///?service=production",
    "postgresql:///app?ssl=true",
    "postgresql://db/app?connect_timeout=10&application_name=",
    "host=/run/postgresql dbname=app",
    "host = db  dbname = 'an app' password = 'it\\'s'",
    "host=a,b port=1,2 dbname=x",
    "dbname=a\\ b",
    "service=production passfile=/etc/pgpass",
    "user=''",
]

BROKEN = [
    ("hunter2", "is no Postgres address"),
    ("mysql://u:hunter2@db/app", "is no Postgres address"),
    ("postgresql//u:hunter2@db/app", "is no Postgres address"),
    ("postgresql://u:hunter2@db:54x2/app", "a port that cannot be"),
    ("postgresql://u:hunter2@db:0/app", "a port that cannot be"),
    ("postgresql://u:hunter2@db:65536/app", "a port that cannot be"),
    ("postgresql://u:hunter2@db:٥٤٣٢/app", "a port that cannot be"),
    ("postgresql://a:1,b:2,c:3,d/app?port=1,2", "2 ports for 4 hosts"),
    ("host=a,b,c port=1,2 password=hunter2", "2 ports for 3 hosts"),
    ("host=a,b hostaddr=::1 password=hunter2", "2 values of host, but 1 of hostaddr"),
    ("postgresql://u:hunter2@[::1/app", "a host that cannot be"),
    ("postgresql://u:hunter@2@db/app", "a host that cannot be"),
    ("postgresql://u:hun:ter2@[::1]x/app", "a host that cannot be"),
    ("postgresql://u:hunter2%@db/app", "write %25 for a %"),
    ("postgresql://u:hunter2%zz@db/app", "write %25 for a %"),
    ("postgresql://u:hunter2%ff@db/app", "not UTF-8"),
    ("postgresql://u:hunter2@db/%00", "control character"),
    ("postgresql://u:hunter2@db/a\x1b", "control character"),
    ("postgresql://u:hunter2@db/a\n", "control character"),
    ("postgresql://u:hunter2@db/\udcff", "not UTF-8"),
    ("postgresql://u:hunter2 @db/app", "write %20"),
    ("postgresql://u@db/app?password", "keyword=value"),
    ("postgresql://u@db/app?password=hunter2=x", "keyword=value"),
    ("postgresql://u@db/app?pasword=hunter2", '"pasword", which libpq does not know, did you mean password?'),
    ("host=db pasword=hunter2", '"pasword", which libpq does not know, did you mean password?'),
    ("HOST=db password=hunter2", '"HOST", which libpq does not know'),
    ("host=db password='hunter2", "is no Postgres address"),
    ("host=db password=hunter2 rubbish", "is no Postgres address"),
    ("host=db password='hunter2'x", "is no Postgres address"),
    ("postgresql://u:hunter2@db/app?sslmode=yes", "write one of disable | allow | prefer | require | verify-ca | verify-full"),
    ("postgresql://u:hunter2@db/app?connect_timeout=5s", "a connect_timeout that is no whole number"),
    ("host=db password=hunter2 target_session_attrs=primry", "write one of any | read-write"),
]


@pytest.mark.parametrize("address", SOUND)
def test_what_libpq_reads_is_taken(address: str) -> None:
    conninfo_to_dict(address)
    libpq.check(address)


@pytest.mark.parametrize(("address", "fault"), BROKEN)
def test_what_it_would_not_take_is_refused_in_words_without_the_secret(address: str, fault: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are looked at below
        libpq.check(address)
    assert fault in str(caught.value)
    assert "hunter" not in str(caught.value)
    assert str(caught.value).isprintable()


_PIECES = st.sampled_from(
    [
        *("postgresql://", "postgres://", "host=", "port=", "password=", "dbname=", "sslmode=", "nonsense=", "hostaddr="),
        *(
            "u",
            "db",
            "app",
            "1",
            "65536",
            "require",
            "/run",
            ":",
            "@",
            "/",
            "?",
            "&",
            "=",
            ",",
            "%",
            "%41",
            "%00",
            "%zz",
            "[::1]",
            "[",
            "]",
        ),
        *(" ", "  ", "'", "\\", "\\'", "''", "#", "é", "\t", "+"),
    ]
)


@run_with(max_examples=1500)
@given(st.lists(_PIECES, max_size=12).map("".join))
def test_nothing_is_taken_that_libpq_cannot_read(address: str) -> None:
    try:
        libpq.check(address)
    except ValueError:
        return
    try:
        conninfo_to_dict(address)
    except ProgrammingError as error:
        pytest.fail(f"{address!r} was taken, but: {error}")


_QUOTABLE = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)


@given(_QUOTABLE, _QUOTABLE, st.sampled_from(["db", "::1", "/run/postgresql", ""]), st.sampled_from(["", "5432"]), _QUOTABLE)
def test_a_composed_address_means_its_parts(user: str, password: str, host: str, port: str, database: str) -> None:
    found = conninfo_to_dict(libpq.composed(user, password, host, port, database))
    wanted = {"user": user, "password": password, "host": host, "port": port, "dbname": database}
    assert found == {name: value for name, value in wanted.items() if value}


@pytest.mark.parametrize(
    "address",
    ["postgresql://u:hunter2@db/app", "postgresql://db/app?password=hunter2", "host=db password = hunter2", "postgresql://u:h%@["],
)
def test_a_password_is_seen_even_in_a_broken_address(address: str) -> None:
    assert libpq.has_password(address)


@pytest.mark.parametrize(
    "address", ["postgresql://u@db:5432/app", "host=db port=5432", "env:DATABASE_URL", "postgresql://[::1]:5432/a", ""]
)
def test_no_password_is_seen_where_there_is_none(address: str) -> None:
    assert not libpq.has_password(address)


@pytest.mark.parametrize(
    "address",
    [
        *("://:" * 200_000, "postgresql://" + ":" * 900_000, "postgresql://" + "a:1," * 200_000, "postgresql://" + "[" * 900_000),
        *("postgresql://" + "%41" * 300_000, "postgresql://h/?" + "user=a&" * 100_000, "user=a " * 100_000, "user" + " " * 900_000 + "x"),
        *("user='" + "\\" * 800_001, "password" * 100_000, "password" + " " * 900_000, "postgresql://" + ":@" * 400_000),
    ],
    ids=lambda address: address[:20],
)
def test_no_address_takes_long(address: str) -> None:
    """So long are they that only a linear scan ends within the suite's timeout."""
    libpq.has_password(address)
    with contextlib.suppress(ValueError):
        libpq.check(address)


def test_every_keyword_of_the_bundled_libpq_is_known() -> None:
    from psycopg import pq

    for default in pq.Conninfo.get_defaults():
        assert default.keyword.decode() in libpq._KEYWORDS


@pytest.mark.parametrize(
    ("address", "named"),
    [
        ("postgresql://app:s3cret@db.example:5432/app", "db.example:5432/app"),
        ("postgres://app@db.example/app?sslmode=require&password=s3cret", "db.example/app"),
        ("postgresql://u:s3cret@a:1,b:2/app", "a:1,b:2/app"),
        ("postgresql://u:s3cret@a:1,b/app", "a:1,b/app"),
        ("host=a,b port=5432 dbname=app", "a:5432,b:5432/app"),
        ("postgresql:///app?host=/run/postgresql&user=s3cret", "/run/postgresql/app"),
        ("postgresql://u:s3cret%40x@[::1]:5433/a%20b", "[::1]:5433/a b"),
        ("host=/run/pg dbname=app user=x password='s3c ret'", "/run/pg/app"),
        ("dbname=app password=s3cret", "the local socket/app"),
        ("service=production", "the service production"),
        ("postgresql://", "the local socket"),
    ],
)
def test_an_address_is_named_by_host_and_database_alone(address: str, named: str) -> None:
    assert libpq.named(address) == named


@pytest.mark.parametrize("address", SOUND)
def test_whatever_is_taken_can_be_named(address: str) -> None:
    assert libpq.named(address)
