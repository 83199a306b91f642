"""Two ways to one database: by the server's socket, and by that of a pooler in front of it (see `pooler`)."""

from __future__ import annotations

from orbitd.system.postgres import PORT

POOLER_PORT = 6432

_AROUND, _THROUGH = f"socket&port={PORT}", f"pooler&port={POOLER_PORT}"


def through(dsn: str) -> str:
    """The same database by way of the pooler."""
    return dsn.replace(_AROUND, _THROUGH)


def around(dsn: str) -> str:
    """The same database without a pooler; a DSN that leads through none stays as it is."""
    return dsn.replace(_THROUGH, _AROUND)
