"""The third stage: a letter to the business, with the link to its page."""

from __future__ import annotations

import os
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, localtime, make_msgid, parseaddr
from typing import Any

from orbitd import Context, pipeline

from . import tables, website
from .lead import Lead

TEXT = """\
Hello {lead.name},

a {lead.trade} in {lead.city} deserves to be found. So we made you a page:

    {link}

It is yours if you like it: answer this letter, and tell us what to change.
"""


@pipeline("email.compose", queue="email", timeout="1m")
def compose(ctx: Context, lead: int) -> dict[str, Any]:
    """Write the letter to a lead that has its page. It is kept as it will be sent, so that each attempt sends the same."""
    with ctx.transaction() as conn:
        business = tables.lead_of(conn, lead)
        (page,) = tables.row_of(conn, lead, "has no page yet", "select page from leads.sites where lead = %s")
        letter = write_letter(business, website.link(page))
        added = conn.execute(
            "insert into leads.letters (lead, message) values (%s, %s) on conflict do nothing", [lead, letter.as_bytes(policy=SMTP)]
        )
        if added.rowcount:
            tables.hand_on(conn, "delivery.send", lead)
    return {"lead": lead, "message_id": letter["Message-ID"]}


def write_letter(lead: Lead, link: str) -> EmailMessage:
    """The letter as RFC 5322 has it, in plain text and 7 bits, so that any server takes it."""
    letter = EmailMessage(policy=SMTP)
    letter["From"] = sender()
    letter["To"] = lead.address
    letter["Subject"] = f"A page for {_plain(lead.name)}"
    letter["Date"] = format_datetime(localtime())
    letter["Message-ID"] = make_msgid(domain=domain())
    letter.set_content(TEXT.format(lead=lead, link=link), cte="quoted-printable")
    return letter


def sender() -> str:
    """Who writes: LEADS_FROM."""
    return os.environ.get("LEADS_FROM") or "Ada of Sites Example <ada@example.com>"


def sender_address() -> str:
    """The sender without the name: for the envelope."""
    return parseaddr(sender())[1]


def domain() -> str:
    """Where the sender is at home: what a mail server is greeted with."""
    return sender_address().rpartition("@")[2]


def _plain(text: str) -> str:
    """Text that the email package takes for nothing but text: "=?" would begin an encoded word, with a line break in it perhaps."""
    return text.replace("=?", "= ?")
