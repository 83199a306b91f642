"""A fault at every step of a spawn and of a reload: the old fleet works on, the caller learns of it, nothing leaks (see faulty/)."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orbitd.errors import ExitCode, OrbitError
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually
from tests.support.leftovers import assert_nothing_is_left_over, open_descriptors

pytestmark = pytest.mark.daemon

WORK = """
    import time
    from pathlib import Path

    @pipeline("quick")
    def quick(ctx: Context) -> str:
        return "done"

    @pipeline("holds", max_crashes=1)
    def holds(ctx: Context, until: str) -> int:
        while not Path(until).exists():
            time.sleep(0.01)
        return ctx.attempt
"""
COUNT = 2
OPTIONS = {"children.count": COUNT, "children.boot_timeout": "3s", "reload.canary_time": "100ms"}
FAULTY = Path(__file__).parents[1] / "support" / "faulty"

IN_A_CHILD = ("hello", "booted", "connect", "ready")
STEPS = ("import", "imported", "mold_ready", "fork", "middle", *IN_A_CHILD)
# one that hangs from "connect" on is like one that waits for its database: no failure, see below
DEATHS = [("kill", STEPS), ("exit", STEPS), ("hang", STEPS[: STEPS.index("connect")])]
FEW_DEATHS = [("kill", ("import", "fork", "hello", "connect")), ("hang", ("middle",))]
IS_THOROUGH = bool(os.environ.get("ORBITD_STORM_SECONDS"))


class Faults:
    """Orders faults for a daemon."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def order(self, step: str, fault: str) -> None:
        """From now on."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{step} {fault}")
        new.rename(self._file)

    def end(self) -> None:
        """All goes well from now on."""
        self._file.unlink()


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Faults:
    monkeypatch.setenv("PYTHONPATH", str(FAULTY))
    monkeypatch.setenv("ORBITD_TEST_FAULT", str(tmp_path / "fault"))
    return Faults(tmp_path / "fault")


@pytest.fixture
def daemon(begin: Begin, faults: Faults) -> Daemon:
    return begin(WORK, **OPTIONS)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(("fault", "steps"), DEATHS if IS_THOROUGH else FEW_DEATHS)
def test_a_reload_that_fails_at_any_step_leaves_the_old_fleet_at_work_and_tells_why(
    daemon: Daemon, faults: Faults, tmp_path: Path, fault: str, steps: tuple[str, ...]
) -> None:
    """Complaints 2, 15 and 20: gunicorn#2443, uwsgi#1052, puma#1663."""
    held = daemon.enqueue("holds", until=str(tmp_path / "done"))
    daemon.slot_running(held)
    old, descriptors = daemon.child_pids(), open_descriptors(daemon)
    for step in steps:
        faults.order(step, fault)
        with pytest.raises(OrbitError, match="reload failed") as failure:
            daemon.ask("reload", wait=True)
        assert failure.value.exit_code == ExitCode.FAILED
        status = daemon.await_status(lambda status: daemon.child_pids() == old)
        assert (status["generation"], status["children"]["ready"], status["last_reload"]["ok"]) == (1, COUNT, False)
        assert status["last_reload"]["error"] in str(failure.value)
        daemon.await_run(daemon.enqueue("quick"), "succeeded")
        assert_nothing_is_left_over(daemon, count=COUNT, descriptors=descriptors)
    faults.end()
    daemon.ask("reload", wait=True)
    daemon.await_status(lambda status: status["children"]["ready"] == COUNT and status["generation"] > 1)
    (tmp_path / "done").touch()
    assert daemon.await_run(held, "succeeded")["result"] == 1, "in the child that had it from the beginning"
    assert_nothing_is_left_over(daemon, count=COUNT, descriptors=descriptors)


def test_new_children_that_hang_before_they_can_claim_take_no_place(daemon: Daemon, faults: Faults) -> None:
    old = daemon.child_pids()
    faults.order("connect", "hang")
    daemon.ask("reload")
    status = daemon.await_status(lambda status: "waiting" in [slot["state"] for slot in status["slots"]])
    assert set(old) < set(daemon.child_pids())
    daemon.await_run(daemon.enqueue("quick"), "succeeded")
    faults.end()
    (hung,) = [slot["slot"] for slot in status["slots"] if slot["state"] == "waiting"]
    daemon.ask("reload")
    daemon.ask("kill", slot=hung)
    daemon.await_status(lambda status: status["last_reload"]["ok"] and status["children"]["ready"] == COUNT)


KILLS = [(step, "kill") for step in IN_A_CHILD]
FORKED = [("fork", "EAGAIN"), ("fork", "ENOMEM"), ("middle", "EAGAIN"), ("fork", "kill"), *KILLS]
EXECED = [("import", "kill"), ("imported", "kill"), *KILLS]


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("preload", "failures"), [("auto", FORKED), ("off", EXECED)] if IS_THOROUGH else [("auto", FORKED)])
def test_a_spawn_that_fails_at_any_step_is_tried_again_and_disturbs_nobody(
    begin: Begin, faults: Faults, preload: str, failures: list[tuple[str, str]]
) -> None:
    """Complaint 21: pitchfork#79; complaint 27: solid_queue#751."""
    daemon = begin(WORK, **OPTIONS, **{"children.preload": preload})
    old, descriptors = daemon.child_pids(), open_descriptors(daemon)
    for step, fault in failures:
        faults.order(step, fault)
        ends = len(daemon.events("child_exited"))
        daemon.ask("scale", amount=str(COUNT + 1))
        eventually(lambda: len(daemon.events("child_exited")), lambda seen, ends=ends: seen > ends)  # type: ignore[misc]
        assert set(old) <= set(daemon.child_pids())
        daemon.await_run(daemon.enqueue("quick"), "succeeded")
        faults.end()
        daemon.await_status(lambda status: status["children"]["ready"] == COUNT + 1)
        daemon.ask("scale", amount=str(COUNT), wait=True)
        old = daemon.child_pids()
    assert_nothing_is_left_over(daemon, count=COUNT, descriptors=descriptors, molds=int(preload == "auto"))


def test_whoever_waits_for_new_children_is_told_that_they_die(begin: Begin, faults: Faults) -> None:
    daemon = begin(WORK, **OPTIONS)
    faults.order("booted", "exit")
    with pytest.raises(OrbitError, match=r"slot 2: the new child died: exited:\d+") as failure:
        daemon.ask("restart", slots=[0], wait=True)
    assert failure.value.hint == "orbitctl list --exits"
    with pytest.raises(OrbitError, match=r"slot \d: its children die again and again, last of exited:\d+"):
        daemon.ask("scale", amount="+1", wait=True)
    with pytest.raises(OrbitError, match="its children die again and again"):
        daemon.ask("kill", slot=1, wait=True)
    faults.end()
    daemon.configure(**{"restart.max_restarts": 1, "restart.backoff_longest": "1h", "reload.probation": "0"})
    daemon.ask("reload", wait=True)
    faults.order("booted", "exit")
    daemon.ask("scale", amount="+1")
    daemon.await_status(lambda status: "held" in [slot["state"] for slot in status["slots"]])
    with pytest.raises(OrbitError, match=r"slot \d is held: its children died again and again, last of exited:1"):
        daemon.ask("scale", amount="+0", wait=True)
