"""What a database says of itself and of our rights on it: asked beforehand, with or without a schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import class_row

from orbitd.store import queries

_SQL = queries.load("rights")


@dataclass(frozen=True)
class WhoWeAre:
    """The server, and as whom we speak to it. `server_number` is 160004 for 16.4; what is typed is quoted if need be."""

    server: str
    server_number: int
    user: str
    typed_user: str
    typed_database: str
    is_standby: bool
    may_create: bool


def who_we_are(conn: psycopg.Connection[Any]) -> WhoWeAre:
    """The server, and as whom we speak to it."""
    with conn.cursor(row_factory=class_row(WhoWeAre)) as cursor:
        return cursor.execute(_SQL["who_we_are"]).fetchall()[0]


def may_use_schema(conn: psycopg.Connection[Any]) -> bool:
    """Whether nothing bars us from the schema, be it there or not."""
    return bool(conn.execute(_SQL["may_use_schema"]).fetchall()[0][0])


def lacking_rights(conn: psycopg.Connection[Any]) -> dict[str, list[str]]:
    """The rights that a daemon would miss, by table."""
    return dict(conn.execute(_SQL["lacking_rights"]).fetchall())


def partitions_of_others(conn: psycopg.Connection[Any]) -> list[tuple[str, str]]:
    """The partitioned tables whose partitions we cannot make, and to whom each belongs, quoted if need be."""
    return [(table, owner) for table, owner in conn.execute(_SQL["partitions_of_others"]).fetchall()]
