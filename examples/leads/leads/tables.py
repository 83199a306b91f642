"""What the stages share: the tables of `schema.sql`, and the way a lead goes on to the next stage.

Every function works in the transaction that it is given: a connection of `ctx.transaction()`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, LiteralString

import psycopg
from psycopg.types.json import Jsonb

from orbitd import Permanent

from .lead import Lead

Connection = psycopg.Connection[Any]


def prepare(conn: Connection) -> None:
    """Make the tables unless they are there. Of children that do so at once, all but one wait and find them made."""
    if conn.execute("select to_regclass('leads.deliveries')").fetchone() == (None,):
        conn.execute("select pg_advisory_xact_lock(hashtext('leads'))")
        conn.execute(Path(__file__).with_name("schema.sql").read_bytes())


def lead_of(conn: Connection, number: int) -> Lead:
    """The lead that was taken in under that number; raises Permanent when none was."""
    return Lead(*row_of(conn, number, "was not taken in", "select name, trade, city, address from leads.leads where id = %s"))


def row_of(conn: Connection, number: int, otherwise: str, query: LiteralString) -> tuple[Any, ...]:
    """The one row that the query has for a lead. Raises Permanent, in the words of `otherwise`, when there is none."""
    row: tuple[Any, ...] | None = conn.execute(query, [number]).fetchone()
    if row is None:
        raise Permanent(f"lead {number} {otherwise}")
    return row


def hand_on(conn: Connection, pipeline: str, number: int) -> None:
    """Ask for the lead's next run. It exists when the transaction commits, and then what this stage made does too."""
    conn.execute("select orbit.enqueue(%s, %s, key => %s)", [pipeline, Jsonb({"lead": number}), f"lead-{number}"])
