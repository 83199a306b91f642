"""The last stage: the letter leaves.

A mail server is no part of our transaction. Between its taking the letter and our writing that down the child may die, and
nobody can tell then whether the letter went out. So we write down that we begin, and a later attempt that finds a beginning
without an end does not send again: the run fails, and a person decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from orbitd import Context, Permanent, Retry, pipeline

from . import tables
from .post import MailFolder, MailServer, post_office


@dataclass(frozen=True, slots=True)
class Letter:
    """A letter on its way."""

    recipient: str
    message: bytes
    has_begun: bool
    is_delivered: bool


@pipeline("delivery.send", queue="delivery", timeout="5m", max_attempts=8)
def send(ctx: Context, lead: int, *, resend: bool = False) -> dict[str, Any]:
    """Hand the letter over, once. `resend` is a person's word that a letter whose fate is unknown did not arrive."""
    post = post_office()
    with ctx.transaction() as conn:
        letter = _letter(conn, lead)
    if letter.is_delivered:
        return {"lead": lead, "sent": False}
    if letter.has_begun and not (resend or post.knows_its_letters):
        raise Permanent(
            f"nobody knows whether the letter to lead {lead} arrived: ask at {letter.recipient}, "
            f'and if it did not, "orbitctl enqueue delivery.send lead={lead} resend=true"'
        )
    with post:
        post.offer(letter.recipient)
        _hand_over(ctx, post, lead, letter.message)
    ctx.log.info("delivered", extra={"lead": lead, "to": letter.recipient})
    return {"lead": lead, "sent": True}


def _hand_over(ctx: Context, post: MailServer | MailFolder, lead: int, message: bytes) -> None:
    """Between the first transaction and the last, nobody who comes later can tell what has become of the letter."""
    with ctx.transaction() as conn:
        conn.execute("insert into leads.deliveries (lead) values (%s) on conflict do nothing", [lead])
    try:
        post.hand_over(message)
    except (Retry, Permanent):  # a clear answer: it was not taken
        with ctx.transaction() as conn:
            conn.execute("delete from leads.deliveries where lead = %s", [lead])
        raise
    with ctx.transaction() as conn:
        conn.execute("update leads.deliveries set delivered_at = clock_timestamp() where lead = %s", [lead])


def _letter(conn: tables.Connection, lead: int) -> Letter:
    query = """
        select address, message, began_at is not null, delivered_at is not null
          from leads.letters join leads.leads on id = lead left join leads.deliveries using (lead)
         where lead = %s
    """
    return Letter(*tables.row_of(conn, lead, "has no letter yet", query))
