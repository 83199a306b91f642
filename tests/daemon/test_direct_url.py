"""database.direct_url: the janitor, which listens, goes there; the children, whose statements bear a pooler, go to database.url."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.conftest import Begin
from tests.support.daemon import eventually

pytestmark = pytest.mark.daemon


def test_the_janitor_takes_the_direct_way_and_the_children_the_other(begin: Begin, folder: Path, dsn: str) -> None:
    nowhere = f"postgresql://nobody@/nothing?host={folder}"
    daemon = begin(
        """
        @pipeline("quick")
        def quick(ctx: Context) -> None:
            pass
        """,
        start=False,
        **{"database.url": nowhere, "database.direct_url": dsn},
    )
    daemon.start(wait=False)
    eventually(lambda: daemon.events("database_up"))
    daemon.await_status(lambda status: [slot["state"] for slot in status["slots"]] == ["waiting", "waiting"])
    daemon.configure(**{"database.url": dsn, "database.direct_url": nowhere})
    assert daemon.stop() == 0
    daemon.start(wait=False)
    daemon.await_status(lambda status: status["state"] == "waiting_database")
