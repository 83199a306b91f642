"""What a lead is, which leads are good for anything, and as many made-up ones as anybody likes."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from orbitd import Permanent

LONGEST_FIELD = 100
LONGEST_ADDRESS = 254
BROKEN_EVERY = 13

# The addresses that people have, not all that RFC 5321 allows: no quotes, no comments, and ASCII only.
_ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z0-9-]{2,63}")

_OWNERS = ("Ada", "Béla", "Chidi", "Dörte", "Eiríkur", "Fatma", "Giuseppe", "Hana", "İpek", "Zoë & Sons", "<b>Bold</b>")
_TRADES = ("bakery", "bookshop", "brewery", "florist", "hairdresser", "joinery", "smithy")
_CITIES = ("Bergen", "Cork", "Łódź", "Malmö", "Porto")
_DOMAINS = ("example.com", "example.net", "example.org", "leads.test")  # reserved: nobody lives there


@dataclass(frozen=True, slots=True)
class Lead:
    """A business that may want a page. Once it is `checked`, each field is one clean line."""

    name: str
    trade: str
    city: str
    address: str


def generated(number: int) -> Lead:
    """The lead of that number, always the same. Each 13th is broken, in one of several ways."""
    if number < 1:
        raise Permanent(f"there is no generated lead {number}: they are counted from 1")
    trade = _TRADES[number % len(_TRADES)]
    lead = Lead(
        name=f"{_OWNERS[number % len(_OWNERS)]}'s {trade}",
        trade=trade,
        city=_CITIES[number % len(_CITIES)],
        address=f"{trade}.{number}@{_DOMAINS[number % len(_DOMAINS)]}",
    )
    return lead if number % BROKEN_EVERY else _broken(lead, number // BROKEN_EVERY)


def checked(lead: Lead) -> Lead:
    """The lead with its fields cleaned. Raises Permanent for one that no second attempt makes any better."""
    clean = Lead(_one_line(lead.name), _one_line(lead.trade), _one_line(lead.city), lead.address.strip().lower())
    for what, text in (("name", clean.name), ("trade", clean.trade), ("city", clean.city)):
        if not 1 <= len(text) <= LONGEST_FIELD:
            raise Permanent(f"the {what} {text[:LONGEST_FIELD]!r} must have 1 to {LONGEST_FIELD} printable characters")
    if len(clean.address) > LONGEST_ADDRESS or not _ADDRESS.fullmatch(clean.address):
        raise Permanent(f"{clean.address[:LONGEST_ADDRESS]!r} is no address that a letter could go to")
    return clean


def _one_line(text: str) -> str:
    """Without line breaks, control characters, and what turns the direction of writing."""
    return "".join(character for character in " ".join(text.split()) if character.isprintable())


def _broken(lead: Lead, number: int) -> Lead:
    faults = (
        replace(lead, address=""),
        replace(lead, address=lead.address.replace("@", " at ")),
        replace(lead, address=f"{lead.address}\r\nBcc: everybody@example.com"),
        replace(lead, name=" \t\n"),
        replace(lead, city=lead.city * LONGEST_FIELD),
    )
    return faults[number % len(faults)]
