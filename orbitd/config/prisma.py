"""Addresses as other database layers write them: what libpq would refuse is translated or dropped, and told.

Prisma's own parameters of a URL, and the driver that SQLAlchemy has in front of `://`.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING

from orbitd.config.libpq import SCHEMES, Url, is_url

if TYPE_CHECKING:
    from collections.abc import Mapping

_DRIVER = re.compile(r"postgres(?:ql)?\+[a-z0-9_]+://")
_ONE_CONNECTION = "each process of orbitd has one connection"
_DROPPED: Mapping[str, str] = MappingProxyType(
    {
        "pgbouncer": "orbitd needs no such hint; the address without the pooler belongs in database.direct_url",
        "connection_limit": _ONE_CONNECTION,
        "pool_timeout": _ONE_CONNECTION,
        "max_connection_lifetime": _ONE_CONNECTION,
        "max_idle_connection_lifetime": _ONE_CONNECTION,
        "single_use_connections": _ONE_CONNECTION,
        "socket_timeout": "database.call_timeout is its place",
        "statement_cache_size": "it is Prisma's own",
        "sslidentity": "libpq reads no PKCS#12 file: give it sslcert and sslkey",
    }
)


def translated(address: str) -> tuple[str, list[str]]:
    """The address for libpq, and what has been changed, in words without any value."""
    remarks = []
    if driver := _DRIVER.match(address):
        address = f"{SCHEMES[0]}{address[driver.end() :]}"
        remarks.append("the driver before :// is dropped: orbitd has its own")
    try:
        url = Url(address) if is_url(address) else None
    except ValueError:
        url = None  # whoever checks the address will say why
    if url is None:
        return address, remarks
    changed = _changed(url)
    return (str(url), [*remarks, *changed]) if changed else (address, remarks)


def _changed(url: Url) -> list[str]:
    given = dict(url.parameters)
    remarks = [f"its parameter {keyword} is dropped: {why}" for keyword, why in _DROPPED.items() if keyword in given]
    if "schema" in given:
        remarks.append(_translate_schema(url, given))
    if "sslaccept" in given:
        remarks += _translate_trust(url, given)
    url.parameters = [(keyword, value) for keyword, value in url.parameters if keyword not in {*_DROPPED, "schema", "sslaccept"}]
    return remarks


def _translate_schema(url: Url, given: Mapping[str, str]) -> str:
    if given["schema"] in {"", "public"}:
        return "its parameter schema is dropped: it names the usual one"
    if given.get("pgbouncer") == "true":
        return "its parameter schema is dropped, which a pooler would refuse: name the schema in the pipelines' own SQL"
    identifier = '"{}"'.format(given["schema"].replace('"', '""'))
    setting = "-csearch_path=" + re.sub(r"([\\ ])", r"\\\1", identifier)
    url.parameters = [*_without(url, "options"), ("options", " ".join(filter(None, (given.get("options"), setting))))]
    return "its parameter schema is translated to options=-csearch_path=…"


def _translate_trust(url: Url, given: Mapping[str, str]) -> list[str]:
    remarks = []
    if "sslcert" in given and "sslkey" not in given:
        # Prisma's sslcert is the authority that the server must be signed by, libpq's is the client's own.
        url.parameters = [("sslrootcert", value) if keyword == "sslcert" else (keyword, value) for keyword, value in url.parameters]
        remarks.append("its parameter sslcert is translated to sslrootcert")
    if given["sslaccept"] != "strict":
        return [*remarks, "its parameter sslaccept is dropped: only sslmode=verify-ca and verify-full look at certificates"]
    if not given.get("sslmode", "").startswith("verify-"):
        url.parameters = [*_without(url, "sslmode"), ("sslmode", "verify-full")]
    return [*remarks, "its parameter sslaccept is translated to sslmode=verify-full"]


def _without(url: Url, dropped: str) -> list[tuple[str, str]]:
    return [(keyword, value) for keyword, value in url.parameters if keyword != dropped]
