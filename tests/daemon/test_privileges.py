"""Whose rights the children have, started by root, and their limits (issue 4, point 9)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from orbitd.system import process
from tests.daemon.conftest import Begin
from tests.support.addresses import around
from tests.support.daemon import Daemon, eventually, kill_process_of

pytestmark = [pytest.mark.daemon, pytest.mark.skipif(os.geteuid() != 0, reason="only root can become other users")]

NOBODY = 65534
LOOKS = """
    import os, resource, subprocess, time
    from pathlib import Path

    IMPORTED_AS = os.getresuid()

    @pipeline("looks")
    def looks(ctx: Context) -> dict:
        ctx.log.error("seen")
        status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return {
            "imported_as": IMPORTED_AS,
            "uids": os.getresuid(),
            "gids": os.getresgid(),
            "groups": os.getgroups(),
            "capabilities": status["CapEff"].strip(),
            "environment": [os.environ[name] for name in ("HOME", "USER", "LOGNAME")],
            "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
            "core": resource.getrlimit(resource.RLIMIT_CORE),
            "oom_score_adj": Path("/proc/self/oom_score_adj").read_text().strip(),
            "own_environment": len(Path("/proc/self/environ").read_bytes()) > 0,
        }

    @pipeline("escapes")
    def escapes(ctx: Context, path: str) -> None:
        outside = subprocess.Popen(["sleep", "601"], start_new_session=True)
        Path(path).write_text(str(outside.pid))
        time.sleep(60)
"""


def _uids(pid: int) -> set[str]:
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:")]
    return set(line.split()[1:])


@pytest.fixture
def open_to_all() -> Iterator[Callable[[Daemon], None]]:
    """Opens what is private to the suite's own user for as long as the test lasts: the daemon's folder, and the database's sockets."""
    with ExitStack() as closing:

        def open_to_all(daemon: Daemon) -> None:
            private = {daemon.folder.parent, daemon.folder, daemon.code}
            for dsn in (daemon.dsn, around(daemon.dsn)):
                address = conninfo_to_dict(dsn)
                socket = Path(str(address["host"]), f".s.PGSQL.{address['port']}")
                private |= {socket.parent.parent, socket.parent, socket}
            for each in private:
                mode = each.stat().st_mode
                closing.callback(each.chmod, mode)
                each.chmod(mode | (0o055 if each.is_dir() else 0o077))

        yield open_to_all


@pytest.mark.parametrize("preload", ["auto", "off"])
def test_the_pipelines_run_as_the_user_that_is_named_from_the_import_on(
    begin: Begin, open_to_all: Callable[[Daemon], None], preload: str
) -> None:
    daemon = begin(LOOKS, start=False, **{"children.user": "nobody", "children.preload": preload, "children.count": 1})
    daemon.configure(**{"children.rlimits": ["nofile=600", "core=0"], "children.oom_score_adj": 321})
    daemon.configure(**{"logging.dir": str(daemon.folder / "logs")})
    open_to_all(daemon)
    daemon.start()
    looked = daemon.await_run(daemon.enqueue("looks"), "succeeded")["result"]
    assert looked["imported_as"] == looked["uids"] == looked["gids"] == [NOBODY] * 3
    assert set(looked["groups"]) == {NOBODY}
    assert int(looked["capabilities"], 16) == 0
    assert looked["environment"][1:] == ["nobody", "nobody"]
    assert (looked["nofile"], looked["core"], looked["oom_score_adj"]) == ([600, 600], [0, 0], "321")
    assert looked["own_environment"]
    assert _uids(daemon.pid) == {"0"}
    (child_pid,) = daemon.child_pids()
    for pid in (daemon.pid_of("janitor"), child_pid):
        assert _uids(pid) == {str(NOBODY)}
    eventually(lambda: daemon.slots()[0]["rss_bytes"])
    assert "seen" in (daemon.folder / "logs" / "orbitd-error.log").read_text()
    path = daemon.folder / "logs" / "pid"
    daemon.enqueue("escapes", path=str(path))
    stray = int(eventually(lambda: path.exists() and path.read_text()) or 0)
    assert kill_process_of(daemon, child_pid)
    eventually(lambda: process.stat(stray), lambda facts: facts is None)
    everybody = [daemon.pid_of("janitor"), *daemon.child_pids()]
    daemon.signal(signal.SIGKILL)
    eventually(lambda: [process.stat(pid) for pid in everybody], lambda facts: all(fact is None or fact.state == "Z" for fact in facts))


def test_a_user_who_does_not_exist_is_an_error_at_the_start_and_a_refused_reload(begin: Begin) -> None:
    daemon = begin(LOOKS, start=False, **{"children.user": "nobody-at-all", "children.count": 1})
    daemon.start(wait=False)
    assert daemon.await_exit() == 78
    assert 'children.user: there is no user "nobody-at-all"' in daemon.log()
    daemon.configure(**{"children.user": ""})
    daemon.start()
    daemon.configure(**{"children.user": "nobody-at-all"})
    daemon.signal(signal.SIGHUP)
    eventually(lambda: daemon.events("reload_refused"))
    assert daemon.status()["generation"] == 1


def test_whoever_is_not_root_cannot_ask_for_another_user(begin: Begin, open_to_all: Callable[[Daemon], None]) -> None:
    daemon = begin(LOOKS, start=False, **{"children.user": "daemon", "instance.state_dir": "/nonexistent"})
    open_to_all(daemon)
    command = [sys.executable, "-m", "orbitd", "-c", str(daemon.config)]
    ended = subprocess.run(command, user="nobody", group=NOBODY, extra_groups=[], capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 78
    assert 'children.user is "daemon", and only root can become another user' in ended.stderr


def test_a_limit_that_cannot_be_raised_is_told_as_an_error(begin: Begin) -> None:
    daemon = begin(LOOKS, start=False, **{"children.rlimits": [f"nofile={2**40}"]})
    daemon.start(wait=False)
    assert daemon.await_exit() == 78
    assert "children.rlimits" in daemon.log()
