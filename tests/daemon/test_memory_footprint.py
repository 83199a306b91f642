"""What each process of a daemon has in memory: all that it holds, it holds for as long as it lives."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.daemon.conftest import Begin

pytestmark = pytest.mark.daemon

FOR_PEOPLE = {"argparse", "secrets", "orbitd.client", "orbitd.store.admin", "orbitd.store.lists"}
OF_THE_ARBITER = {
    "psutil",
    "orbitd.arbiter",
    "orbitd.cli.app",
    "orbitd.config.loading",
    "orbitd.control",
    "orbitd.ctl",
    "orbitd.rules.roster",
}
NOT_IN_A_CHILD = FOR_PEOPLE | OF_THE_ARBITER
NOT_IN_THE_JANITOR = {*NOT_IN_A_CHILD, "hashlib", "orbitd.child", "orbitd.mold", "orbitd.pipelines"}
NOT_IN_THE_ARBITER = {"libcrypto", "libpq", "_asyncio", "_decimal", "_hashlib", "_ssl", "_zoneinfo"}
"""Files that it would have mapped."""

LISTS = """
    import sys
    from orbitd import AsyncContext

    known = set()

    def warm_up():
        known.update(sys.modules)

    @pipeline("fails", max_attempts=1)
    def fails(ctx: Context) -> None:
        raise ValueError

    @pipeline("awaits")
    async def awaits(ctx: AsyncContext) -> None:
        pass

    @pipeline("lists")
    def lists(ctx: Context) -> dict:
        ctx.log.info("all that a run does")
        with ctx.transaction() as connection:
            connection.execute("select 1")
        return {"inherited": sorted(known), "added": sorted(set(sys.modules) - known)}
"""


def test_no_process_loads_what_it_does_not_need(begin: Begin) -> None:
    daemon = begin(LISTS, **{"children.count": 1})
    daemon.await_run(daemon.enqueue("fails"), "failed")
    daemon.await_run(daemon.enqueue("awaits"), "succeeded")
    found = daemon.await_run(daemon.enqueue("lists"), "succeeded")["result"]
    assert not NOT_IN_A_CHILD & set(found["inherited"])
    assert found["added"] == [], "what is imported after the fork is in memory once for each child"
    mapped = Path(f"/proc/{daemon.pid}/maps").read_text()
    assert not {name for name in NOT_IN_THE_ARBITER if name in mapped}


def test_the_janitor_knows_neither_pipelines_nor_what_only_people_ask_for() -> None:
    code = "import sys, orbitd.__main__, orbitd.janitor; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20).stdout.split()
    assert not NOT_IN_THE_JANITOR & set(loaded)
