"""The log of a run, as items of orbit.logs/1."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from orbitd import store

if TYPE_CHECKING:
    from collections.abc import Iterator

_LINES_AT_ONCE = 1000


def new_items(conn: store.Connection, run_id: int, after_line: int = 0) -> Iterator[dict[str, Any]]:
    """What stands after a line of the run's log, as it is at this moment."""
    while True:
        lines = store.read_logs(conn, run_id, after_line=after_line, limit=_LINES_AT_ONCE)
        yield from map(_item, lines)
        if len(lines) < _LINES_AT_ONCE:
            return
        after_line = lines[-1].line


def _item(line: store.LogLine) -> dict[str, Any]:
    ts = line.at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"line": line.line, "ts": ts, "attempt": line.attempt, "level": line.level, "message": line.message}
