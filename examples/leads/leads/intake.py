"""The first stage: a lead comes in, is checked, and is kept once."""

from __future__ import annotations

from typing import Any

from orbitd import Context, Permanent, pipeline

from . import tables
from .lead import Lead, checked, generated


@pipeline("lead.intake", queue="lead", timeout="1m")
def intake(ctx: Context, *, n: int | None = None, name: str = "", trade: str = "", city: str = "", address: str = "") -> dict[str, Any]:
    """Take in a business by its four fields, or the generated lead of number `n`. One that is known goes no further."""
    if n is not None and (name or trade or city or address):
        raise Permanent("a lead is given by its number n, or by name, trade, city and address, and not by both")
    lead = checked(Lead(name, trade, city, address) if n is None else generated(n))
    with ctx.transaction() as conn:
        tables.prepare(conn)
        number, is_new = _keep(conn, lead)
        if is_new:
            tables.hand_on(conn, "site.build", number)
    ctx.log.info("taken in" if is_new else "known already", extra={"lead": number, "city": lead.city})
    return {"lead": number, "new": is_new}


def _keep(conn: tables.Connection, lead: Lead) -> tuple[int, bool]:
    """The lead's number, and whether it is new. Its row means that its next run was asked for."""
    row = conn.execute(
        "insert into leads.leads (address, name, trade, city) values (%s, %s, %s, %s) on conflict (address) do nothing returning id",
        [lead.address, lead.name, lead.trade, lead.city],
    ).fetchone()
    if row is not None:
        return row[0], True
    [(number,)] = conn.execute("select id from leads.leads where address = %s", [lead.address]).fetchall()
    return number, False
