"""Children that stand still: in C with the interpreter in hand, stopped, frozen, or frozen with all of us."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from orbitd.errors import OrbitError
from orbitd.system import process
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually, kill_process_of
from tests.support.rigs import missing_rig

pytestmark = pytest.mark.daemon

FREEZER = Path("/sys/fs/cgroup/freezer")

WORK = """
    import ctypes, os, select, time

    def read_one(pipe):
        fd = os.open(pipe, os.O_RDWR)
        return ctypes.PyDLL(None).read(fd, ctypes.create_string_buffer(1), 1)  # holds the interpreter

    @pipeline("holds_interpreter")
    def holds_interpreter(ctx: Context, pipe: str) -> int:
        return read_one(pipe)

    @pipeline("holds_interpreter_too_long", timeout="300ms", max_attempts=1)
    def holds_interpreter_too_long(ctx: Context, pipe: str) -> int:
        return read_one(pipe)

    @pipeline("polls_once")
    def polls_once(ctx: Context, pipe: str) -> int:
        asked = (ctypes.c_short * 4)()
        ctypes.cast(asked, ctypes.POINTER(ctypes.c_int))[0] = os.open(pipe, os.O_RDWR)
        asked[2] = select.POLLIN
        return ctypes.CDLL(None).poll(asked, 1, -1)  # -1 when any signal is handled

    @pipeline("sleeps", timeout="300ms", max_attempts=1)
    def sleeps(ctx: Context) -> None:
        time.sleep(60)

    @pipeline("waits")
    def waits(ctx: Context, until: str) -> None:
        while not os.path.exists(until):
            time.sleep(0.01)

    @pipeline("waits_shortly", timeout="1500ms", max_attempts=1)
    def waits_shortly(ctx: Context, until: str) -> None:
        waits(ctx, until)

    @pipeline("extends", timeout="1s", max_attempts=1)
    def extends(ctx: Context) -> float:
        for _ in range(8):
            ctx.extend("1s")
            time.sleep(0.2)
        return ctx.remaining()
"""


@pytest.fixture
def pipes(folder: Path) -> tuple[str, str]:
    for name in ("one", "two"):
        os.mkfifo(folder / name)
    return str(folder / "one"), str(folder / "two")


@pytest.fixture
def freezer() -> Iterator[Path]:
    """A control group whose processes can be frozen."""
    if not FREEZER.is_dir():
        pytest.skip("this machine has no freezer (cgroup v1)")
    group = FREEZER / f"orbitd-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        missing_rig(f"{FREEZER} is not ours to write: {error.strerror}")
    yield group
    (group / "freezer.state").write_text("THAWED")
    for pid in (group / "cgroup.procs").read_text().split():
        (FREEZER / "cgroup.procs").write_text(pid)
    eventually(lambda: not (group / "cgroup.procs").read_text())
    group.rmdir()


def write_to(pipe: str) -> None:
    with Path(pipe).open("wb") as writer:
        writer.write(b"x")


def findings(daemon: Daemon) -> dict[str, str]:
    """What health finds: codes, and what to type."""
    return {finding["code"]: finding["command"] for finding in daemon.ask("health")["reasons"]}


def test_who_stands_still_is_told_with_its_stack_and_killed_after_the_stall_timeout_and_who_drains_is_left_alone(
    begin: Begin, pipes: tuple[str, str], tmp_path: Path
) -> None:
    """Complaints 13 (pypi/warehouse#19379), 16 (uwsgi#1375: a drain interrupts no system call) and 27 (solid_queue#751)."""
    daemon = begin(WORK, **{"children.count": 3, "children.stall_timeout": "8s"})
    held, drained, stopped = (
        daemon.enqueue("holds_interpreter", pipe=pipes[0]),
        daemon.enqueue("polls_once", pipe=pipes[1]),
        daemon.enqueue("waits", until=str(tmp_path / "end")),
    )
    holder, drainer, sleeper = (daemon.slot_running(run_id) for run_id in (held, drained, stopped))
    assert kill_process_of(daemon, sleeper["pid"], signal.SIGSTOP)
    daemon.ask("restart", slots=[drainer["slot"]])

    told = daemon.ask("stack", object=str(holder["slot"]))
    assert "in holds_interpreter" in told["stack"]
    assert (told["run"], told["process_state"]) == (str(held), "S")
    assert "in holds_interpreter" in daemon.ask("stack", object=str(held))["stack"]
    with pytest.raises(OrbitError, match=r"shows no stack: a signal has stopped it.*\nhint: kill -CONT"):
        daemon.ask("stack", object=str(sleeper["slot"]))

    eventually(lambda: len(daemon.events("child_stalled")) == 2)
    told_of = {line["slot"]: line for line in daemon.events("child_stalled")}
    assert told_of[holder["slot"]]["state"] == "S"
    assert "stack" not in told_of[holder["slot"]], "a signal would have cut short a sleep in C"
    assert told_of[sleeper["slot"]]["state"] == "T"
    assert findings(daemon)["stalled"] in {f"orbitctl stack {holder['slot']}", f"kill -CONT {sleeper['pid']}"}
    for pipe in pipes:
        write_to(pipe)
    (tmp_path / "end").touch()
    for run_id in (held, drained):
        attempts = daemon.await_run(run_id, "succeeded")
        assert attempts["result"] == 1  # one byte, one descriptor: neither a dump nor the drain has interrupted the call
    attempts = daemon.await_run(stopped, "succeeded")["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["interrupted", "succeeded"]
    assert [line["reason"] for line in daemon.events("child_killed")] == ["stalled"]
    eventually(lambda: "stalled" not in findings(daemon))


def test_where_a_run_stood_at_its_timeout_is_stored_with_it(begin: Begin, pipes: tuple[str, str]) -> None:
    daemon = begin(WORK, **{"children.count": 3, "runs.kill_after": "700ms"})
    raised, killed = daemon.enqueue("sleeps"), daemon.enqueue("holds_interpreter_too_long", pipe=pipes[0])
    extended = daemon.enqueue("extends")
    for run_id, function in ((raised, "in sleeps"), (killed, "in holds_interpreter_too_long")):
        (attempt,) = daemon.await_run(run_id, "failed")["attempts"]
        assert attempt["cause"] == "timeout"
        assert function in attempt["stack"]
    assert 0 < daemon.await_run(extended, "succeeded")["result"] <= 1


def test_a_child_that_cannot_be_killed_loses_its_run_and_its_place_once(begin: Begin, freezer: Path, tmp_path: Path) -> None:
    daemon = begin(WORK, **{"children.count": 1})
    run_id = daemon.enqueue("waits", until=str(tmp_path / "end"))
    slot = daemon.slot_running(run_id)
    (freezer / "cgroup.procs").write_text(str(slot["pid"]))
    (freezer / "freezer.state").write_text("FROZEN")
    eventually(lambda: (stat := process.stat(slot["pid"])) and stat.state == "D")
    daemon.ask("kill", slot=slot["slot"])
    (tmp_path / "end").touch()
    attempts = daemon.await_run(run_id, "succeeded", seconds=20)["attempts"]
    assert [attempt["outcome"] for attempt in attempts] == ["interrupted", "succeeded"]
    assert f"/proc/{slot['pid']}/" in findings(daemon)["unkillable"]
    assert slot["pid"] in daemon.child_pids()

    (freezer / "freezer.state").write_text("THAWED")
    daemon.await_status(lambda status: len(status["slots"]) == 1 and status["slots"][0]["pid"] != slot["pid"])
    assert daemon.describe(run_id)["attempts"] == attempts
    assert len(daemon.events("run_taken_back")) == 1
    assert daemon.stop() == 0


def test_a_freeze_of_everybody_makes_nobody_late(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(WORK, **{"children.count": 2, "runs.kill_after": "500ms"})
    run_id = daemon.enqueue("waits_shortly", until=str(tmp_path / "end"))
    daemon.slot_running(run_id)
    children = daemon.child_pids()
    everybody = [*children, daemon.pid_of("mold"), daemon.pid_of("janitor")]
    assert all(kill_process_of(daemon, pid, signal.SIGSTOP) for pid in everybody)
    daemon.signal(signal.SIGSTOP)
    time.sleep(5.0)  # the length of the freeze
    assert all(kill_process_of(daemon, pid, signal.SIGCONT) for pid in everybody)
    daemon.signal(signal.SIGCONT)
    eventually(lambda: daemon.events("thawed"))
    (tmp_path / "end").touch()
    daemon.await_run(run_id, "succeeded")
    assert daemon.child_pids() == children
    assert not daemon.events("child_killed")
    assert not daemon.events("janitor_killed")
