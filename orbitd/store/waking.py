"""How a janitor comes to know of work: it looks, or it dozes and is rung for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import psycopg
from psycopg.rows import class_row, dict_row

from orbitd.store import queries
from orbitd.store.rows import Sight

_SQL = queries.load("waking")


def look(conn: psycopg.Connection[Any], floors: Mapping[int, int], most: int) -> Sight:
    """Where runs wait: of these lanes, each searched from its floor. At most so many are counted in each."""
    with conn.cursor(row_factory=class_row(Sight)) as cursor:
        return cursor.execute(_SQL["look"], _parameters(floors, most)).fetchall()[0]


def doze(conn: psycopg.Connection[Any], floors: Mapping[int, int], most: int) -> tuple[Sight, frozenset[str]]:
    """The same, and from now on producers ring. Those transactions may not know it yet: until none is left, doze again."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SQL["doze"], _parameters(floors, most)).fetchall()[0]
    producers = frozenset(row.pop("producers"))
    return Sight(**row), producers


def stay_awake(conn: psycopg.Connection[Any], ticket: int) -> None:
    """Whoever was rung for by this ticket looks for itself: nobody needs to ring."""
    conn.execute(_SQL["stay_awake"], {"ticket": ticket})


def _parameters(floors: Mapping[int, int], most: int) -> dict[str, Any]:
    return {"lanes": list(floors), "floors": list(floors.values()), "most": most}
