"""Whether the tables agree with each other: each run is in exactly one place, none ended twice, nothing is left of what has ended.

For a look at a fleet in production, and for tests that do their worst to one. It only reads, page by page, each page of one snapshot
and by its table's key: it finds nothing that a transaction in flight is just about to put right, and holds nobody up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg.rows import dict_row

from orbitd.rules.states import Finding
from orbitd.store import queries
from orbitd.store.documents import document
from orbitd.store.lists import by_index, first_id

MOST_FOUND = 1000
"""So many findings are told; all of them are counted."""

_SQL = queries.load("audit")
_LOOK_AT_ONCE = 1000
# The tables, and the key after which the walk through each begins.
_WALKS: dict[str, dict[str, object]] = {
    "runs": {"id": 0},
    "live": {"lane": 0, "seq": 0},
    "delayed": {"run_id": 0},
    "interrupted": {"run_id": 0},
    "keys": {"pipeline": "", "key": ""},
    "requeued": {"run_id": 0},
    "cancel_requests": {"run_id": 0},
}


@dataclass
class Audit:
    """What was looked at, by table, and what was found."""

    looked_at: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_WALKS, 0))
    counts: Counter[Finding] = field(default_factory=Counter)
    items: list[dict[str, Any]] = field(default_factory=list)

    def note(self, row: dict[str, Any]) -> None:
        """Count a finding, and keep it if there are not too many."""
        self.counts[Finding(row["finding"])] += 1
        if len(self.items) < MOST_FOUND:
            self.items.append(document({name: row[name] for name in ("id", "pipeline", "finding", "details")}))


def audit(conn: psycopg.Connection[Any], since: datetime | None = None) -> Audit:
    """Look at all runs made since then, at everything that waits or runs, and at what is kept beside them."""
    found = Audit()
    for table, start in _WALKS.items():
        for page in _pages(conn, table, start, first_id(since)):
            found.looked_at[table] += len({tuple(row[name] for name in start) for row in page})
            for row in page:
                if row["finding"] is not None:
                    found.note(row)
    return found


def _pages(conn: psycopg.Connection[Any], table: str, start: dict[str, object], first: int) -> Iterator[list[dict[str, Any]]]:
    after = start
    while True:
        with by_index(conn), conn.cursor(row_factory=dict_row) as cursor:
            page = cursor.execute(_SQL[table], {"first": first, "limit": _LOOK_AT_ONCE, **after}).fetchall()
        if not page:
            return
        yield page
        after = {name: page[-1][name] for name in start}
