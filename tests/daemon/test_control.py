"""What an operator sees and does over the control socket of a real daemon, whatever else goes on."""

from __future__ import annotations

import pytest

from orbitd.errors import ConfigError, UsageError
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon

pytestmark = pytest.mark.daemon

WORK = """
    import time
    from pathlib import Path

    @pipeline("holds")
    def holds(ctx: Context, until: str) -> None:
        while not Path(until).exists():
            time.sleep(0.01)
"""


@pytest.fixture
def daemon(begin: Begin) -> Daemon:
    return begin(WORK)


# --- reload --dry-run ---


def test_a_reload_on_trial_tells_each_change_with_its_class_and_changes_nothing(daemon: Daemon) -> None:
    before = set(daemon.child_pids())
    assert daemon.ask("reload", **{"dry-run": True})["items"] == []

    (daemon.folder / "env").write_text("GREETING=hello\n")
    changed = {
        "children.count": 3,
        "runs.timeout": "90s",
        "poll.interval": "7s",
        "control.group": "staff",
        "database.admin_url": daemon.dsn,
    }
    daemon.configure(**changed, **{"app.env_file": str(daemon.folder / "env")})
    plan = daemon.ask("reload", **{"dry-run": True})
    found = {item["key"]: (item["reload"], item["new"]) for item in plan["items"]}
    assert found["children.count"] == ("live", 3)
    assert found["runs.timeout"] == ("new runs", "90s")
    assert found["control.group"] == ("restart", "staff")
    assert found["database.admin_url"][1].startswith("********")
    assert set(found) == {*changed, "app.env_file"}
    assert plan["variables"] == ["GREETING"]
    assert (set(daemon.child_pids()), daemon.status()["generation"], daemon.status()["last_reload"]) == (before, 1, None)

    daemon.ask("reload", wait=True)
    again = daemon.ask("reload", **{"dry-run": True})
    assert [item["key"] for item in again["items"]] == ["database.admin_url", "control.group"], "what waits for a restart still differs"
    assert again["items"][1]["old"] == "orbitd"


def test_a_reload_on_trial_of_a_broken_file_tells_its_faults_and_is_no_reload(daemon: Daemon) -> None:
    daemon.configure(**{"children.count": "many"})
    with pytest.raises(ConfigError, match=r"orbitd.toml:\d+:\d+: children.count"):
        daemon.ask("reload", **{"dry-run": True})
    status = daemon.status()
    assert (status["last_reload"], status["problems"]) == (None, [])
    with pytest.raises(UsageError, match="exclude each other"):
        daemon.ask("reload", wait=True, **{"dry-run": True})
