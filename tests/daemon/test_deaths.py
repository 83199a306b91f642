"""Every death is accounted for: its cause, who brought it about, what it leaves; and memory is weighed as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbitd.system import process
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually, kill_process_of

pytestmark = pytest.mark.daemon

WORK = """
    import ctypes, os, subprocess, sys, time
    from pathlib import Path

    def tell(path: str, *pids: int) -> None:
        Path(path + ".new").write_text(" ".join(map(str, pids)))
        os.rename(path + ".new", path)

    def fork_into(work) -> None:
        if os.fork() == 0:
            try:
                work()
            finally:
                os._exit(0)

    @pipeline("holds", max_crashes=1)
    def holds(ctx: Context, path: str) -> None:
        tell(path, os.getpid())
        time.sleep(60)

    @pipeline("escapes", max_crashes=1)
    def escapes(ctx: Context, path: str) -> None:
        def leave() -> None:
            os.setsid()
            def go() -> None:
                tell(path, os.getpid())
                os.execve("/bin/sh", ["sh", "-c", "trap '' TERM HUP; sleep 602 & wait"], {"PATH": os.environ["PATH"]})
            fork_into(go)
        fork_into(leave)
        time.sleep(60)

    @pipeline("pipes", max_crashes=1)
    def pipes(ctx: Context, path: str) -> None:
        shell = "setsid sleep 603 & echo $! > {0}.new; mv {0}.new {0}; wait".format(path)
        subprocess.Popen(["sh", "-c", shell], start_new_session=True)
        time.sleep(60)

    @pipeline("litters", max_crashes=1)
    def litters(ctx: Context, path: str, count: int) -> None:
        for _ in range(count):
            if os.fork() == 0:
                os.setsid()
                time.sleep(60)
                os._exit(0)
        tell(path, os.getpid())
        time.sleep(60)
"""


def await_file(path: Path) -> list[int]:
    eventually(path.exists)
    return [int(pid) for pid in path.read_text().split()]


def start(daemon: Daemon, pipeline: str, **args: object) -> tuple[int, list[int]]:
    """A run of it, and the pids that it tells of."""
    path = daemon.folder / pipeline
    run_id = daemon.enqueue(pipeline, path=str(path), **args)
    return run_id, await_file(path)


def orphans(daemon: Daemon) -> set[int]:
    """Children of the arbiter that are none of its own processes."""
    own = set(daemon.child_pids()) | {each["pid"] for each in daemon.status()["processes"]}
    return {int(pid) for pid in Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()} - own


@pytest.mark.parametrize("pipeline", ["escapes", "pipes"])
def test_what_a_dead_child_has_started_is_swept_whatever_it_did_to_get_away(begin: Begin, pipeline: str) -> None:
    """complaint 28: Supervisor#1101, circus#1044: a double fork, a session and an environment of its own, deaf to TERM; a tree."""
    daemon = begin(WORK)
    run_id, (escaped,) = start(daemon, pipeline)
    assert kill_process_of(daemon, daemon.slot_running(run_id)["pid"])
    eventually(lambda: process.stat(escaped), lambda stat: stat is None)
    eventually(lambda: orphans(daemon), lambda left: not left)
