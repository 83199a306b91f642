"""How far the leads have come."""

from __future__ import annotations

from orbitd import Context, pipeline

from . import tables

_COUNTS = """
select (select count(*) from leads.leads)      as leads,
       (select count(*) from leads.sites)      as sites,
       (select count(*) from leads.letters)    as letters,
       (select count(delivered_at) from leads.deliveries) as delivered,
       (select count(*) - count(delivered_at) from leads.deliveries) as begun
"""


@pipeline("lead.report", queue="lead", timeout="1m")
def report(ctx: Context) -> dict[str, int]:
    """Count the leads that have come to each stage. Letters that are `begun` are on the wire, or their fate is unknown."""
    with ctx.transaction() as conn:
        tables.prepare(conn)
        found = conn.execute(_COUNTS)
        counts = dict(zip((column.name for column in found.description), found.fetchone(), strict=True))
    ctx.log.info("counted", extra=counts)
    return counts
