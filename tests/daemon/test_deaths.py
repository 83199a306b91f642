"""Every death is accounted for: its cause, who brought it about, what it leaves; and memory is weighed as it is."""

from __future__ import annotations

import os
import signal
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import psycopg
import pytest

from orbitd.system import process
from tests.daemon.conftest import Begin
from tests.support.addresses import around
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

    @pipeline("grows", max_crashes=1)
    def grows(ctx: Context, path: str, megabytes: int) -> None:
        data = bytearray(megabytes << 20)
        tell(path, os.getpid())
        time.sleep(60)

    @pipeline("returns")
    def returns(ctx: Context, path: str, size: int) -> str:
        tell(path, os.getpid())
        return "x" * size

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


def children_of(daemon: Daemon) -> set[int]:
    """The arbiter's, by the kernel's account."""
    return {int(pid) for pid in Path(f"/proc/{daemon.pid}/task/{daemon.pid}/children").read_text().split()}


def orphans(daemon: Daemon) -> set[int]:
    """Children of the arbiter that are none of its own processes."""
    return children_of(daemon) - set(daemon.child_pids()) - {each["pid"] for each in daemon.status()["processes"]}


def await_gone(pid: int) -> None:
    eventually(lambda: process.stat(pid), lambda stat: stat is None)


def strike(daemon: Daemon, run_id: int) -> None:
    """SIGKILL the child that has the run in hand, as a stranger would."""
    assert kill_process_of(daemon, daemon.slot_running(run_id)["pid"])


def last_exit(daemon: Daemon, slot: int) -> dict[str, Any]:
    """How the last child of a slot ended, once one has."""
    exits = eventually(
        lambda: [each for found in daemon.ask("list", exits=True)["slots"] if found["slot"] == slot for each in found["exits"]]
    )
    latest: dict[str, Any] = exits[0]
    return latest


def test_what_a_dead_child_has_started_is_swept_whatever_it_did_to_get_away(begin: Begin) -> None:
    """complaint 28: Supervisor#1101, circus#1044: a double fork with a session and an environment of its own, deaf to TERM; a tree."""
    daemon = begin(WORK)
    for pipeline in ("escapes", "pipes"):
        run_id, (escaped,) = start(daemon, pipeline)
        strike(daemon, run_id)
        await_gone(escaped)
        eventually(lambda: orphans(daemon), lambda left: not left)


def test_a_newborn_child_is_no_stray(begin: Begin) -> None:
    """It is unknown until its hello is read, and a title is written over the environment that it was born with."""
    daemon = begin(WORK)
    mold = daemon.pid_of("mold")
    first, second = daemon.child_pids()
    assert kill_process_of(daemon, mold, signal.SIGSTOP)
    assert kill_process_of(daemon, first)
    daemon.await_status(lambda status: "starting" in [slot["state"] for slot in status["slots"]])
    before = children_of(daemon)
    daemon.signal(signal.SIGSTOP)
    assert kill_process_of(daemon, second)  # its end will be seen first, and be the occasion to sweep
    assert kill_process_of(daemon, mold, signal.SIGCONT)
    (newborn,) = eventually(lambda: children_of(daemon) - before)
    daemon.signal(signal.SIGCONT)
    daemon.await_status(lambda status: status["children"]["ready"] == 2)
    assert newborn in daemon.child_pids()


def test_hundreds_of_strays_are_swept_while_the_daemon_goes_on(begin: Begin) -> None:
    """complaint 28: testflinger#939."""
    daemon = begin(WORK, **{"children.count": 1})
    run_id, _ = start(daemon, "litters", count=200)
    strike(daemon, run_id)
    daemon.await_run(run_id, "failed")
    daemon.await_status(lambda status: status["children"]["ready"] == 1)
    eventually(lambda: orphans(daemon), lambda left: not left)
    assert max(event["count"] for event in daemon.events("strays_killed")) <= 64


def test_every_end_is_told_with_its_cause_its_sender_and_the_run_in_hand(begin: Begin) -> None:
    """complaint 26: rq#1193, rq#1817: who died of what, and who did it."""
    daemon = begin(WORK)
    run_id, (pid,) = start(daemon, "holds")
    slot = daemon.slot_running(run_id)["slot"]
    strike(daemon, run_id)
    told = last_exit(daemon, slot)
    assert (told["cause"], told["by"], told["reason"], told["pid"]) == ("crashed:SIGKILL", "stranger", None, pid)
    assert (told["run"], told["pipeline"], told["generation"]) == (str(run_id), "holds", 1)
    assert told["peak_bytes"] > 10 << 20
    assert told["uptime_seconds"] > 0
    assert daemon.await_run(run_id, "failed")["attempts"][-1]["cause"] == "crashed:SIGKILL"
    (logged,) = daemon.events("child_exited")
    assert [logged[name] for name in ("slot", "pid", "gen", "cause", "by", "run", "pipeline")] == [
        *(slot, pid, 1, "crashed:SIGKILL", "stranger"),
        *(run_id, "holds"),
    ]
    daemon.ask("kill", slot=slot)
    eventually(lambda: last_exit(daemon, slot)["reason"], lambda reason: reason == "kill_asked")
    daemon.ask("reload", wait=True)
    counted = eventually(lambda: daemon.ask("metrics")["childExits"], lambda counted: counted.get("outdated") == 2)
    assert counted == {"crashed:SIGKILL": 1, "kill_asked": 1, "outdated": 2}


def test_a_child_owns_what_it_has_made_and_not_its_molds_memory(begin: Begin) -> None:
    """complaint 23: celery#4125: a new child looked as large as its parent. And growth is seen long before the next regular sample."""
    daemon = begin("ballast = bytes(range(256)) * (100 << 12)\n" + textwrap.dedent(WORK), **{"children.count": 1})
    seen = daemon.await_status(lambda status: all(slot["own_bytes"] for slot in status["slots"]))
    (slot,) = seen["slots"]
    assert slot["rss_bytes"] > 100 << 20
    assert slot["own_bytes"] < slot["pss_bytes"] < 90 << 20
    assert slot["own_bytes"] < 30 << 20
    run_id, _ = start(daemon, "grows", megabytes=64)
    grown = daemon.await_status(lambda status: status["slots"][0]["own_bytes"] > 64 << 20)
    assert grown["memory"]["children_pss_bytes"] == grown["slots"][0]["pss_bytes"] > 64 << 20
    strike(daemon, run_id)
    assert last_exit(daemon, 0)["own_peak_bytes"] > 64 << 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")
def test_a_kill_for_want_of_memory_is_told_from_others_and_costs_one_child(begin: Begin) -> None:
    """complaints 26 and 30: rq#1966, pm2#6035: the kernel's kill has its name, and takes nobody else with it.

    The daemon sees a control group that the test has made up, and counts in: the kill is ours, in the kernel's place.
    """
    daemon = begin(WORK, start=False)
    group = daemon.folder / "cgroup"
    _make_up_group(group, kills=0)
    with daemon.log_file.open("ab") as log:
        started = subprocess.Popen(
            [*_UNSHARED, 'mount --bind "$0" /sys/fs/cgroup && exec "$@"', str(group), *daemon.command()],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd=daemon.folder,
        )
    daemon.adopt(started)
    status = daemon.await_status(lambda status: status["children"]["ready"] == 2 and status["memory"]["limit_bytes"])
    assert status["memory"] == status["memory"] | {"used_bytes": 800 << 20, "limit_bytes": 1 << 30}
    run_id, (victim,) = start(daemon, "holds")
    (other,) = set(daemon.child_pids()) - {victim}
    _make_up_group(group, kills=1)
    strike(daemon, run_id)
    assert daemon.await_run(run_id, "failed")["attempts"][-1]["cause"] == "out_of_memory"
    daemon.await_status(lambda status: status["children"]["ready"] == 2)
    assert other in daemon.child_pids()
    assert kill_process_of(daemon, other)
    eventually(lambda: daemon.ask("metrics")["childExits"], lambda counted: counted == {"crashed:SIGKILL": 1, "out_of_memory": 1})
    assert [event["by"] for event in daemon.events("child_exited")] == ["kernel", "stranger"]


_UNSHARED = ["unshare", "--mount", "--propagation", "private", "sh", "-c"]


def _make_up_group(folder: Path, *, kills: int) -> None:
    """Of both versions: which one is read depends on what the kernel says of our membership."""
    files = {
        "memory.current": f"{900 << 20}",
        "memory.max": f"{1 << 30}",
        "memory.stat": f"inactive_file {100 << 20}",
        "memory.events": f"oom 1\noom_kill {kills}",
        "memory/memory.usage_in_bytes": f"{900 << 20}",
        "memory/memory.limit_in_bytes": f"{1 << 30}",
        "memory/memory.stat": f"total_inactive_file {100 << 20}",
        "memory/memory.oom_control": f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}",
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".new").write_text(f"{text}\n")
        path.with_suffix(".new").rename(path)


def test_a_child_killed_while_it_hands_in_a_large_result_keeps_nobody_waiting(begin: Begin) -> None:
    """complaint 22: celery#496, billiard#389: no result goes through the parent, so none can block it."""
    daemon = begin(WORK, **{"runs.max_crashes": 5})
    with psycopg.connect(around(daemon.dsn)) as connection:
        connection.execute("lock table orbit.outcomes in exclusive mode")
        run_id, _ = start(daemon, "returns", size=900_000)
        eventually(lambda: _is_waiting(daemon))
        strike(daemon, run_id)
        daemon.await_status(lambda status: status["children"]["ready"] == 2)
    daemon.await_run(run_id, "succeeded")
    assert daemon.query("select count(*) as n from orbit.outcomes where outcome = 'succeeded'") == [{"n": 1}]


def _is_waiting(daemon: Daemon) -> bool:
    """Somebody's statement waits for our lock."""
    return bool(daemon.query("select 1 from pg_locks where not granted and relation = 'orbit.outcomes'::regclass"))
