"""`orbitd once`: what is due is done, then it ends, and its exit code tells how it went."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbitd import store
from orbitd.store import admin
from tests.cli.conftest import Orbitd
from tests.ctl.schemas import check as check_schema

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(60)]

Configure = Callable[..., Path]
CONFIG = """
    [app]
    pipelines = ["./code/"]
    [children]
    count = 2
    [logging]
    format = "json"
"""


@pytest.fixture
def once(orbitd: Orbitd, configure: Configure, dsn: str) -> Callable[..., Any]:
    """Run `orbitd once ARGUMENTS`."""
    configure(CONFIG)
    return lambda *arguments, **environment: orbitd("once", "--allow-root", *arguments, **{"DATABASE_URL": dsn, **environment})


def states(conn: store.Connection) -> list[str]:
    return [row[0] for row in conn.execute("select state from orbit.runs order by id").fetchall()]


def test_nothing_due_ends_with_0(once: Callable[..., Any]) -> None:
    done = once()
    assert (done.returncode, done.stdout) == (0, "nothing was due\n")


def test_all_that_is_due_is_done(once: Callable[..., Any], conn: store.Connection) -> None:
    runs = [admin.enqueue(conn, "mail.send", {"to": f"{number}@example.org"}).id for number in range(5)]
    done = once()
    assert (done.returncode, done.stdout) == (0, "5 succeeded, 0 failed\n"), done.stderr
    assert [admin.describe(conn, run)["state"] for run in runs] == ["succeeded"] * 5


def test_a_failed_attempt_ends_with_20(once: Callable[..., Any], conn: store.Connection) -> None:
    admin.enqueue(conn, "mail.send", {"to": "a@example.org"})
    admin.enqueue(conn, "mail.fail", {})
    done = once("--json")
    assert done.returncode == 20
    answer = json.loads(done.stdout)
    check_schema(answer)
    assert (answer["succeeded"], answer["failed"]) == (1, 1)


def test_max_leaves_the_rest(once: Callable[..., Any], conn: store.Connection) -> None:
    runs = [admin.enqueue(conn, "mail.send", {"to": "a@example.org"}).id for _ in range(5)]
    done = once("--max", "2")
    assert (done.returncode, done.stdout) == (0, "2 succeeded, 0 failed\n")
    assert sorted(admin.describe(conn, run)["state"] for run in runs) == ["pending"] * 3 + ["succeeded"] * 2


def test_a_database_that_does_not_answer_ends_with_69_in_time(once: Callable[..., Any], folder: Path) -> None:
    done = once("--set", "database.connect_timeout=1s", DATABASE_URL=f"postgresql:///app?host={folder}")
    assert done.returncode == 69
    assert "orbitd: the database cannot be used: " in done.stderr
    assert done.stdout == ""


def test_a_broken_configuration_ends_with_78(once: Callable[..., Any], folder: Path) -> None:
    assert once("--set", "children.count=many").returncode == 78
    (folder / "code" / "work.py").write_text("import nonsense_that_is_nowhere\n")
    for done in (once(), once("--json")):
        assert done.returncode == 78
        assert done.stdout == ""
    error = json.loads(done.stderr.splitlines()[-1])["error"]
    assert error["code"] == "config"
    assert error["message"].startswith("the pipelines cannot be imported: ")
    assert "No module named 'nonsense_that_is_nowhere'" in error["message"]


def test_a_memory_limit_that_is_too_small_is_named(once: Callable[..., Any], conn: store.Connection) -> None:
    admin.enqueue(conn, "mail.send", {"to": "a@example.org"})  # with nothing due it ends before a child has come up
    done = once("--set", "children.max_rss=16MiB")
    assert done.returncode == 78
    assert "orbitd: children.max_rss: 16MiB is too little, a child that has run nothing yet has " in done.stderr


def test_without_a_child_to_do_it_nothing_is_begun(once: Callable[..., Any], conn: store.Connection) -> None:
    admin.enqueue(conn, "mail.send", {"to": "a@example.org"})
    done = once("--set", "children.count=0")
    assert done.returncode == 78
    assert done.stderr == "orbitd: children.count is 0: nobody would do what is due\nhint: give at least one: --children 1\n"
    assert once("--children", "1").returncode == 0


def test_children_that_die_as_fast_as_they_come_are_an_error(once: Callable[..., Any], folder: Path, conn: store.Connection) -> None:
    admin.enqueue(conn, "mail.send", {"to": "a@example.org"})  # with nothing due it may end before they have died often enough
    with (folder / "code" / "work.py").open("a") as code:
        code.write("\nimport os\nos.register_at_fork(after_in_child=lambda: os._exit(7))\n")
    done = once("--json", "--set", "restart.max_restarts=1", "--set", "restart.backoff_longest=10s")
    assert (done.returncode, done.stdout) == (1, "")
    assert json.loads(done.stderr.splitlines()[-1])["error"]["message"] == "the children die as fast as they come"


def test_it_leaves_nothing_behind(once: Callable[..., Any], folder: Path) -> None:
    once(TMPDIR=str(folder))
    assert sorted(path.name for path in folder.iterdir()) == ["code", "orbitd.toml"]
