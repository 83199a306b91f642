"""The second stage: the business gets a page of its own, a real file."""

from __future__ import annotations

import html
import os
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import quote
from zlib import crc32

from orbitd import Context, pipeline

from . import files, tables
from .lead import Lead


@pipeline("site.build", queue="site", timeout="2m")
def build(ctx: Context, lead: int) -> dict[str, Any]:
    """Write the page of a lead that was taken in."""
    with ctx.transaction() as conn:
        business = tables.lead_of(conn, lead)
    page = ctx.step("page", write_page, business)  # the slow part is in no transaction, and is not done again
    with ctx.transaction() as conn:
        added = conn.execute("insert into leads.sites (lead, page) values (%s, %s) on conflict do nothing", [lead, page])
        if added.rowcount:
            tables.hand_on(conn, "email.compose", lead)
    return {"lead": lead, "page": str(page_file(page)), "link": link(page)}


def write_page(lead: Lead) -> str:
    """Write a page for the lead, and return its name, which depends on nothing but what is on it."""
    content = render(lead).encode()
    page = files.name_of(content)
    files.write_whole(page_file(page), content)
    return page


def render(lead: Lead) -> str:
    """The page as HTML. Whatever the lead says is text there: it comes from strangers."""
    text = {"name": lead.name, "trade": lead.trade.capitalize(), "city": lead.city, "address": quote(lead.address, safe="@")}
    escaped = {key: html.escape(value) for key, value in text.items()}
    template = Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.substitute(escaped, hue=crc32(lead.name.encode()) % 360)


def page_file(page: str) -> Path:
    """Where the page of that name is."""
    return files.folder() / "sites" / f"{page}.html"


def link(page: str) -> str:
    """Where the world finds the page: below LEADS_URL, where somebody serves the folder `sites`."""
    return f"{os.environ.get('LEADS_URL') or 'https://sites.example.com'}/{page}.html"
