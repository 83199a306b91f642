"""A reload as a transaction, with real processes: each step that can fail leaves the old fleet at work, and says why."""

from __future__ import annotations

import re

import pytest

from orbitd.errors import ConfigError, OrbitError
from tests.daemon.conftest import Begin
from tests.support.daemon import eventually

pytestmark = pytest.mark.daemon

VERSION = """
    import os

    @pipeline("version", max_attempts=1)
    def version(ctx: Context) -> int:
        return {version}

    @pipeline("sleeps", max_attempts=1)
    def sleeps(ctx: Context, seconds: float) -> int:
        import time
        time.sleep(seconds)
        return os.getpid()
"""
DIES_SOON = """
    import threading
    os.register_at_fork(after_in_child=lambda: threading.Timer({seconds}, os._exit, [3]).start())
"""


def test_a_canary_that_dies_leaves_the_old_fleet_and_reaches_the_caller(begin: Begin) -> None:
    daemon = begin(VERSION.format(version=1), **{"reload.canary_time": "30s"})
    before = daemon.child_pids()
    daemon.write_code(VERSION.format(version=2) + DIES_SOON.format(seconds=0.1))
    with pytest.raises(OrbitError, match="its first child died: exited:3") as caught:
        daemon.ask("reload", wait=True)
    assert caught.value.exit_code == 1
    status = daemon.await_status(lambda status: status["state"] == "running")
    eventually(daemon.child_pids, lambda pids: pids == before)
    assert (status["generation"], status["last_reload"]["ok"]) == (1, False)
    assert daemon.await_run(daemon.enqueue("version"), "succeeded")["result"] == 1


def test_nobody_is_replaced_while_the_canary_is_on_trial(begin: Begin) -> None:
    daemon = begin(VERSION.format(version=1), **{"reload.canary_time": "30s"})
    before = daemon.child_pids()
    daemon.ask("reload")
    status = daemon.await_status(lambda status: 2 in [slot["generation"] for slot in status["slots"] if slot["state"] == "idle"])
    assert status["last_reload"]["stage"] == "canary"
    assert (status["state"], status["children"]["ready"]) == ("reloading", 3)
    assert set(before) < set(daemon.child_pids())
    daemon.configure(**{"reload.canary_time": "0"})
    daemon.ask("reload")
    daemon.await_status(lambda status: status["generation"] == 3 and not set(before) & {slot["pid"] for slot in status["slots"]})


def test_new_children_that_die_after_a_while_are_rolled_back_from_the_old_mold(begin: Begin) -> None:
    """Complaint 2: gunicorn#2443: a bad deploy whose children come up, and die."""
    daemon = begin(VERSION.format(version=1), **{"reload.probation": "60s", "restart.backoff_first": "10ms"})
    daemon.write_code(VERSION.format(version=2) + DIES_SOON.format(seconds=0.5))
    daemon.ask("reload", wait=True)
    status = daemon.await_status(lambda status: status["generation"] == 1 and status["last_reload"]["ok"] is False)
    assert "rolled back" in status["last_reload"]["error"]
    assert "died soon after the start, last of exited:3" in status["last_reload"]["error"]
    eventually(daemon.slots, lambda slots: {slot["generation"] for slot in slots} == {1})
    assert daemon.await_run(daemon.enqueue("version"), "succeeded")["result"] == 1
    assert [problem["code"] for problem in daemon.status()["problems"]] == ["reload_failed"]
    daemon.write_code(VERSION.format(version=3))
    daemon.ask("reload", wait=True)
    assert daemon.await_run(daemon.enqueue("version"), "succeeded")["result"] == 3


def test_new_code_whose_runs_fail_is_rolled_back(begin: Begin) -> None:
    daemon = begin(VERSION.format(version=1), **{"reload.probation": "60s", "children.count": 1})
    for run_id in [daemon.enqueue("version") for _ in range(5)]:
        daemon.await_run(run_id, "succeeded")
    daemon.write_code(VERSION.format(version="1 // 0"))
    daemon.ask("reload", wait=True)
    for run_id in [daemon.enqueue("version") for _ in range(6)]:
        daemon.await_run(run_id, "failed", "succeeded")
    status = daemon.await_status(lambda status: status["generation"] == 1)
    assert "attempts failed, 0 of 5 before" in status["last_reload"]["error"]
    eventually(lambda: {slot["generation"] for slot in daemon.slots()} == {1})
    assert daemon.await_run(daemon.enqueue("version"), "succeeded")["result"] == 1


def test_a_rollback_takes_the_settings_back_too(begin: Begin) -> None:
    daemon = begin(VERSION.format(version=1), **{"reload.probation": "60s", "restart.backoff_first": "10ms"})
    daemon.configure(**{"children.count": 3})
    daemon.write_code(VERSION.format(version=2) + DIES_SOON.format(seconds=0.3))
    daemon.ask("reload")
    eventually(lambda: daemon.events("rolled_back"))  # whether its children outlive the roll or not
    daemon.await_status(lambda status: status["generation"] == 1 and status["children"]["target"] == 2)


def test_an_old_child_works_for_as_long_as_its_run_takes_beside_the_new_ones(begin: Begin) -> None:
    daemon = begin(VERSION.format(version=1))
    held = daemon.enqueue("sleeps", seconds=3)
    old = daemon.slot_running(held)
    daemon.write_code(VERSION.format(version=2))
    daemon.ask("reload", wait=True)
    assert daemon.await_run(daemon.enqueue("version"), "succeeded")["result"] == 2
    run = daemon.await_run(held, "succeeded")
    assert run["result"] == old["pid"]


def test_a_memory_limit_that_a_fresh_child_exceeds_is_refused_with_the_figure(begin: Begin) -> None:
    daemon = begin(VERSION.format(version=1))
    before = daemon.child_pids()
    daemon.configure(**{"children.max_rss": "16MiB"})
    with pytest.raises(ConfigError, match=r"children.max_rss: 16MiB is too little, a child that has run nothing yet has [0-9.]+MiB"):
        daemon.ask("reload", wait=True)
    eventually(daemon.child_pids, lambda pids: pids == before)
    daemon.stop()
    daemon.start(wait=False)
    assert daemon.await_exit() == 78
    told = "children.max_rss: 16MiB is too little"
    assert daemon.events("generation_refused")[-1]["error"].startswith(told)
    assert daemon.events("stopped")[-1]["why"].startswith(told)


def test_a_child_that_has_begun_its_last_run_is_replaced_the_replacement_first(begin: Begin) -> None:
    daemon = begin(VERSION.format(version=1), **{"children.max_runs": 2, "children.max_runs_jitter": 0, "children.count": 1})
    (first,) = daemon.child_pids()
    daemon.await_run(daemon.enqueue("version"), "succeeded")
    assert daemon.child_pids() == [first]
    daemon.await_run(daemon.enqueue("version"), "succeeded")
    daemon.await_status(lambda status: first not in [slot["pid"] for slot in status["slots"]] and status["children"]["ready"] == 1)
    assert [event["reason"] for event in daemon.events("child_drained")] == ["max_runs"]
    assert [slot["restarts"] for slot in daemon.slots()] == [0]


def test_a_child_far_over_its_memory_limit_loses_its_run_which_pays_for_it(begin: Begin) -> None:
    daemon = begin(
        """
        import time

        @pipeline("hoards", max_attempts=1)
        def hoards(ctx: Context) -> int:
            kept = bytearray(400 << 20)
            time.sleep(60)
            return len(kept)
        """,
        **{"children.max_rss": "150MiB", "children.count": 1},
    )
    (attempt,) = daemon.await_run(daemon.enqueue("hoards"), "failed")["attempts"]
    assert attempt["cause"] == "memory_limit"
    assert re.search(r"its child has \d+MiB (resident|of its own), more than [0-9.]+ times children.max_", attempt["error"])
    daemon.await_status(lambda status: status["children"]["ready"] == 1)


def test_a_service_whose_children_all_die_says_so_tries_one_at_a_time_and_heals(begin: Begin) -> None:
    """Complaint 9: gunicorn#2504: endless respawning that nobody sees."""
    daemon = begin(
        VERSION.format(version=1), start=False, **{"children.count": 4, "restart.min_uptime": "1s", "restart.backoff_longest": "100ms"}
    )
    marker = daemon.folder / "sick"
    marker.touch()
    daemon.write_code(
        VERSION.format(version=1)
        + f"""
    import threading, time
    def fall_ill() -> None:
        time.sleep(0.1)
        if os.path.exists({str(marker)!r}):
            os._exit(5)
    os.register_at_fork(after_in_child=lambda: threading.Thread(target=fall_ill, daemon=True).start())
    """
    )
    daemon.start(wait=False)
    status = daemon.await_status(lambda status: status["state"] == "degraded")
    assert "degraded" in [problem["code"] for problem in status["problems"]]
    assert len(daemon.events("degraded")) == 1
    marker.unlink()
    daemon.await_status(lambda status: status["state"] == "running" and status["children"]["ready"] == 4)
    assert len(daemon.events("degraded_ended")) == 1


def test_how_many_runs_a_canary_may_begin_is_said_by_its_own_configuration(begin: Begin) -> None:
    daemon = begin(VERSION.format(version=1), **{"children.count": 1})
    daemon.configure(**{"children.max_runs": 1, "children.max_runs_jitter": 0})
    daemon.ask("reload", wait=True)
    (canary,) = [slot["pid"] for slot in daemon.slots() if slot["generation"] == 2]
    daemon.await_run(daemon.enqueue("version"), "succeeded")
    daemon.await_status(lambda status: canary not in [slot["pid"] for slot in status["slots"]] and status["children"]["ready"] == 1)


def test_a_slot_that_nobody_is_in_any_more_is_listed_with_how_its_children_ended(begin: Begin) -> None:
    daemon = begin(VERSION.format(version=1), **{"children.count": 1})
    (old,) = daemon.child_pids()
    daemon.ask("restart", slots=[0], wait=True)
    eventually(
        lambda: [ended["pid"] for slot in daemon.ask("list", exits=True)["slots"] for ended in slot["exits"]], lambda pids: old in pids
    )
