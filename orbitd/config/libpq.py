"""The addresses that libpq takes, checked as strictly as libpq does, and without it: no database driver is loaded.

Two forms: `postgresql://user:password@host:port,host2/database?keyword=value` and `host=… dbname=…`. Every error is a
ValueError whose words hold no part of the address but the name of a keyword: an address is a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote_to_bytes

from orbitd.config.faults import did_you_mean
from orbitd.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

SCHEMES = ("postgresql://", "postgres://")
_WORDS = """
    application_name channel_binding client_encoding connect_timeout dbname fallback_application_name gssdelegation gssencmode
    gsslib host hostaddr keepalives keepalives_count keepalives_idle keepalives_interval krbsrvname load_balance_hosts
    max_protocol_version min_protocol_version oauth_client_id oauth_client_secret oauth_issuer oauth_scope options passfile
    password port replication require_auth requirepeer scram_client_key scram_server_key service ssl_max_protocol_version
    ssl_min_protocol_version sslcert sslcertmode sslcompression sslcrl sslcrldir sslkey sslkeylogfile sslmode sslnegotiation
    sslpassword sslrootcert sslsni target_session_attrs tcp_user_timeout user
"""
_KEYWORDS = frozenset(_WORDS.split())
_NUMBERS = frozenset({"connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"})
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "load_balance_hosts": ("disable", "random"),
}
_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_NO_UTF8 = re.compile("[\ud800-\udfff]")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_AUTHORITY = re.compile(r"(?:(?P<user>[^:/@]*)(?::(?P<password>[^/@]*))?@)?(?P<hosts>[^/?]*)")
_HOST = re.compile(r"(?P<host>\[[^\]]+\]|[^\[\]:@]*)(?::(?P<port>.*))?")
_PAIR = re.compile(r"\s*(?P<keyword>[^\s=]+)\s*=\s*(?P<value>'(?:[^'\\]|\\.)*'(?=\s|$)|(?!')(?:[^\s\\]|\\.)*)\s*", re.DOTALL)
_AUTHORITY_END = re.compile("[/?#]")
_PASSWORD_PAIR = re.compile(r"password\s*=\s*[^\s&]")
_PORT = re.compile(r"[0-9]{1,5}")
_NUMBER = re.compile(r"\s*[+-]?[0-9]{1,9}\s*")


class Url:
    """An address of the first form, taken apart: what stands before the `?`, and the parameters behind it, decoded."""

    def __init__(self, text: str) -> None:
        self.address, mark, query = text.partition("?")
        self.parameters = [_parameter(word) for word in query.split("&")] if mark and query else []

    def __str__(self) -> str:
        query = "&".join(f"{keyword}={quote(value, safe='/:,')}" for keyword, value in self.parameters)
        return f"{self.address}?{query}" if query else self.address


def check(text: str) -> None:
    """Raise ValueError for an address that libpq could not read, or that names no keyword, host or port that can be."""
    if _NO_UTF8.search(text):
        raise ValueError("is not UTF-8 text")
    if _CONTROL_CHARACTER.search(text):
        raise ValueError("holds a control character")
    given = _given(text)
    for keyword, value in given.items():
        _check_pair(keyword, value)
    _check_counts(given)


def is_url(text: str) -> bool:
    """Whether an address is of the first form."""
    return text.startswith(SCHEMES)


def has_password(text: str) -> bool:
    """Whether a password stands in an address, however broken the rest of it may be."""
    owner, at, _ = _AUTHORITY_END.split(text.partition("://")[2], 1)[0].rpartition("@")
    return bool(at and owner.partition(":")[2]) or _PASSWORD_PAIR.search(text) is not None


def composed(user: str, password: str, host: str, port: str, database: str) -> str:
    """The address of the first form with these parts, any of which may be ""."""
    owner = f"{_quoted(user)}{f':{_quoted(password)}' if password else ''}@" if user or password else ""
    return f"postgresql://{owner}{_quoted_host(host)}{f':{_quoted(port)}' if port else ''}/{_quoted(database)}"


def named(text: str) -> str:
    """Where an address leads, without user and secrets: "db.example:5432/app". Raises ValueError for one that cannot be read."""
    given = _given(text)
    if "service" in given:
        return f"the service {given['service']}"
    hosts = (given.get("host") or given.get("hostaddr") or "the local socket").split(",")
    ports = given.get("port", "").split(",")
    places = zip(hosts, ports * (len(hosts) if len(ports) == 1 else 1), strict=True)
    where = ",".join(f"{host}:{port}" if port else host for host, port in places)
    return f"{where}/{given['dbname']}" if given.get("dbname") else where


def _given(text: str) -> dict[str, str]:
    return dict(_url_pairs(text) if is_url(text) else _pairs(text))


def _url_pairs(text: str) -> Iterator[tuple[str, str]]:
    if " " in text:
        raise ValueError("holds a space: write %20")
    url = Url(text)
    rest = url.address.partition("://")[2]
    found = _AUTHORITY.match(rest)
    assert found is not None  # noqa: S101 - it matches the empty text too
    for keyword in ("user", "password"):
        if found[keyword]:
            yield keyword, _decoded(found[keyword])
    hosts, ports = zip(*map(_host_and_port, found["hosts"].split(",")), strict=True)
    if any(hosts):
        yield "host", ",".join(hosts)
    if any(ports):
        yield "port", ",".join(ports)
    if len(rest) > found.end() + 1:
        yield "dbname", _decoded(rest[found.end() + 1 :])
    yield from url.parameters


def _host_and_port(written: str) -> tuple[str, str]:
    found = _HOST.fullmatch(written)
    if found is None:
        raise ValueError("has a host that cannot be: write %40 for a @, %3A for a : and %2F for a / in a password")
    return _decoded(found["host"]), found["port"] or ""


def _parameter(written: str) -> tuple[str, str]:
    keyword, equals, value = written.partition("=")
    if not equals or "=" in value:
        raise ValueError("has a parameter that is not of the form keyword=value: write %3D for a = and %26 for a & in a value")
    keyword, value = _decoded(keyword), _decoded(value)
    return ("sslmode", "require") if (keyword, value) == ("ssl", "true") else (keyword, value)


def _pairs(text: str) -> Iterator[tuple[str, str]]:
    offset = 0
    while offset < len(text):
        found = _PAIR.match(text, offset)
        if found is None:
            raise ValueError("is no Postgres address: write postgresql://user@host/database, or host=… dbname=…")
        value = found["value"]
        yield found["keyword"], re.sub(r"\\(.)", r"\1", value[1:-1] if value.startswith("'") else value)
        offset = found.end()


def _check_pair(keyword: str, value: str) -> None:
    if keyword not in _KEYWORDS:
        raise ValueError(f'has the parameter "{keyword[:40]}", which libpq does not know{did_you_mean(nearest(keyword, _KEYWORDS))}')
    if not value:
        return
    if keyword in _CHOICES and value not in _CHOICES[keyword]:
        raise ValueError(f"has a {keyword} that cannot be: write one of {' | '.join(_CHOICES[keyword])}")
    if keyword in _NUMBERS and not _NUMBER.fullmatch(value):
        raise ValueError(f"has a {keyword} that is no whole number")
    if keyword == "port" and not all(_is_port(port) for port in value.split(",")):
        raise ValueError("has a port that cannot be: write a number, 1 to 65535")


def _check_counts(given: Mapping[str, str]) -> None:
    hosts, addresses, ports = (given[name].split(",") if given.get(name) else [] for name in ("host", "hostaddr", "port"))
    if hosts and addresses and len(hosts) != len(addresses):
        raise ValueError(f"has {len(hosts)} values of host, but {len(addresses)} of hostaddr")
    if len(ports) > 1 and len(ports) != max(1, len(hosts), len(addresses)):
        raise ValueError(f"has {len(ports)} ports for {max(1, len(hosts), len(addresses))} hosts")


def _is_port(text: str) -> bool:
    return not text or (_PORT.fullmatch(text) is not None and 1 <= int(text) <= 65535)


def _decoded(text: str) -> str:
    if _BROKEN_ESCAPE.search(text):
        raise ValueError("has a % without two hexadecimal digits behind it: write %25 for a %")
    try:
        decoded = unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        raise ValueError("has %-escapes that are not UTF-8 text") from None
    if "\0" in decoded:
        raise ValueError("holds a control character")
    return decoded


def _quoted(text: str) -> str:
    return quote(text, safe="")


def _quoted_host(host: str) -> str:
    return f"[{host}]" if ":" in host else _quoted(host)
