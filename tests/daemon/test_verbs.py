"""The operator's verbs about children and logs: restart, kill, drain, loglevel, reopen, events."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orbitd.errors import Conflict, NoSuchObject, UsageError
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually, kill_process_of

pytestmark = pytest.mark.daemon

WORK = """
    import logging
    import time
    from pathlib import Path

    @pipeline("quick")
    def quick(ctx: Context) -> str:
        logging.getLogger("quick").debug("a detail")
        return "done"

    @pipeline("holds", max_crashes=3)
    def holds(ctx: Context, until: str) -> int:
        while not Path(until).exists():
            time.sleep(0.01)
        return ctx.attempt
"""


@pytest.fixture
def daemon(begin: Begin) -> Daemon:
    return begin(WORK)


@pytest.fixture
def ask_aside(daemon: Daemon) -> Iterator[Callable[..., Future[dict[str, Any]]]]:
    """Ask in a thread: for a verb that waits while the test goes on."""
    with ThreadPoolExecutor() as threads:
        yield lambda command, **args: threads.submit(daemon.ask, command, **args)


def pids_by_slot(daemon: Daemon) -> dict[int, int]:
    return {slot["slot"]: slot["pid"] for slot in daemon.slots()}


# --- restart ---


def test_a_restart_replaces_every_child_and_waits_until_new_ones_are_ready(daemon: Daemon) -> None:
    before = set(daemon.child_pids())
    assert daemon.ask("restart", wait=True)["message"] == "2 children were replaced"
    status = daemon.await_status(lambda status: not before & {slot["pid"] for slot in status["slots"]})
    assert status["children"]["ready"] == 2
    assert {slot["restarts"] for slot in status["slots"]} == {0}
    assert [event["reason"] for event in daemon.events("child_drained")] == ["restart_asked"] * 2


def test_a_restart_of_one_slot_leaves_the_others_alone(daemon: Daemon) -> None:
    before = pids_by_slot(daemon)
    daemon.ask("restart", slots=[1], wait=True)
    pids = daemon.await_status(lambda status: status["children"]["ready"] == 2 and len(status["slots"]) == 2)["slots"]
    assert before[0] in {slot["pid"] for slot in pids}
    assert before[1] not in {slot["pid"] for slot in pids}


def test_a_busy_child_that_is_restarted_finishes_its_run(daemon: Daemon, tmp_path: Path) -> None:
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    busy = daemon.slot_running(run_id)
    told = daemon.ask("restart", slots=[busy["slot"]], wait=True)  # its replacement is ready while it is still at work
    assert told["message"] == "1 child was replaced, 1 of them finishes its run"
    assert daemon.slot_running(run_id)["pid"] == busy["pid"]
    (tmp_path / "done").touch()
    run = daemon.await_run(run_id, "succeeded")
    assert (run["result"], len(run["attempts"])) == (1, 1)
    eventually(daemon.child_pids, lambda pids: busy["pid"] not in pids)


def test_a_restart_while_the_last_one_is_still_going_on_is_fine(daemon: Daemon) -> None:
    before = set(daemon.child_pids())
    daemon.ask("restart")
    daemon.ask("restart", wait=True)
    daemon.await_status(lambda status: status["children"]["ready"] == 2 and not before & {slot["pid"] for slot in status["slots"]})


def test_restart_and_kill_of_a_slot_without_a_child_name_those_that_there_are(daemon: Daemon) -> None:
    for command, args in (("restart", {"slots": [0, 7]}), ("kill", {"slot": 7})):
        with pytest.raises(NoSuchObject, match="no child is in slot 7; there are children in slots 0, 1"):
            daemon.ask(command, **args)
    assert not daemon.events("restart_asked")


def test_a_held_slot_is_tried_again_at_once_when_it_is_restarted(begin: Begin) -> None:
    daemon = begin(WORK, **{"children.count": 1, "restart.max_restarts": 1, "restart.backoff_longest": "1h", "restart.min_uptime": "1d"})
    while daemon.status()["state"] != "degraded":
        for pid in daemon.child_pids():
            kill_process_of(daemon, pid)
        daemon.await_status(lambda status: status["state"] == "degraded" or status["children"]["ready"] == 1)
    problem = next(problem for problem in daemon.status()["problems"] if problem["code"] == "crash_loop")
    assert problem["command"] == "orbitctl restart 0"
    daemon.ask("restart", slots=[0], wait=True)
    assert daemon.status()["state"] == "running"


# --- kill ---


def test_the_run_of_a_child_that_is_killed_is_taken_back_charged_and_goes_on(daemon: Daemon, tmp_path: Path) -> None:
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    busy = daemon.slot_running(run_id)
    answer = daemon.ask("kill", slot=busy["slot"])
    assert (answer["slot"], answer["pid"]) == (busy["slot"], busy["pid"])
    (tmp_path / "done").touch()
    run = daemon.await_run(run_id, "succeeded")
    assert [attempt["cause"] for attempt in run["attempts"]] == ["crashed:SIGKILL", None]
    assert [event["reason"] for event in daemon.events("child_killed")] == ["kill_asked"]
    assert daemon.await_status(lambda status: status["children"]["ready"] == 2)["children"]["backoff"] == 0


def test_a_child_that_is_stopped_can_be_killed(daemon: Daemon) -> None:
    pids = pids_by_slot(daemon)
    kill_process_of(daemon, pids[0], signal.SIGSTOP)
    daemon.ask("kill", slot=0)
    daemon.await_status(lambda status: status["children"]["ready"] == 2 and pids[0] not in {slot["pid"] for slot in status["slots"]})


# --- drain ---


def test_a_drain_waits_for_the_runs_in_hand_and_starts_no_more(
    daemon: Daemon, tmp_path: Path, ask_aside: Callable[..., Future[dict[str, Any]]]
) -> None:
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    daemon.slot_running(run_id)
    drained = ask_aside("drain", wait=True)
    daemon.await_status(lambda status: status["state"] == "paused")
    later = daemon.enqueue("quick")
    assert not drained.done()
    (tmp_path / "done").touch()
    assert drained.result()["changed"] is True
    assert daemon.describe(run_id)["state"] == "succeeded"
    assert daemon.describe(later)["state"] == "pending"
    assert len(daemon.child_pids()) == 2
    again = daemon.ask("drain", wait=True)
    assert (again["changed"], again["message"].startswith("already drained")) == (False, True)
    daemon.ask("unpause")
    daemon.await_run(later, "succeeded")


def test_an_unpause_ends_a_drain_that_somebody_waits_for(
    daemon: Daemon, tmp_path: Path, ask_aside: Callable[..., Future[dict[str, Any]]]
) -> None:
    daemon.slot_running(daemon.enqueue("holds", until=str(tmp_path / "done")))
    drained = ask_aside("drain", wait=True)
    daemon.await_status(lambda status: status["state"] == "paused")
    daemon.ask("unpause")
    with pytest.raises(Conflict, match="ended by `unpause`"):
        drained.result()
    (tmp_path / "done").touch()


def test_no_run_is_begun_after_a_drain_has_returned(daemon: Daemon) -> None:
    """The children claim as fast as they can; what they have claimed when it returns, they have ended."""
    daemon.execute("select orbit.enqueue('quick') from generate_series(1, 300)")
    daemon.await_status(lambda status: sum(slot["runs"] for slot in status["slots"]) > 0)
    daemon.ask("drain", wait=True)
    ended = "select count(*) filter (where state = 1) as running, count(*) filter (where state = 0) as pending from orbit.live"
    before = daemon.query(ended)
    assert before[0]["running"] == 0
    assert before[0]["pending"] > 0
    daemon.ask("restart", wait=True)  # time for whoever would claim in spite of it
    assert daemon.query(ended) == before


# --- logs ---


def test_the_log_level_reaches_every_process_and_a_reload_resets_it(daemon: Daemon) -> None:
    assert daemon.ask("loglevel", level="debug")["before"] == "info"
    assert daemon.ask("loglevel", level="debug")["changed"] is False
    daemon.await_run(daemon.enqueue("quick"), "succeeded")
    eventually(lambda: daemon.events("said"), lambda said: [line["message"][-8:] for line in said] == ["a detail"])
    daemon.ask("reload", wait=True)
    assert daemon.ask("loglevel", level="info")["changed"] is False


def test_a_log_level_that_is_none_is_refused_with_those_that_there_are(daemon: Daemon) -> None:
    with pytest.raises(UsageError, match='level: "loud" is not one of debug, info, warning, error'):
        daemon.ask("loglevel", level="loud")


def test_a_log_file_that_was_moved_away_is_there_again_once_reopen_returns(begin: Begin, folder: Path) -> None:
    logs = folder / "logs"
    daemon = begin(WORK, **{"logging.dir": str(logs)})
    for reopen in (lambda: daemon.ask("reopen"), lambda: daemon.signal(signal.SIGUSR1)):
        (logs / "orbitd.log").rename(logs / "orbitd.log.old")
        reopen()
        eventually((logs / "orbitd.log").exists)


# --- events ---


def test_events_are_numbered_and_can_be_asked_for_by_number(daemon: Daemon) -> None:
    daemon.ask("scale", amount="3", wait=True)
    answer = daemon.ask("events", limit=1000)
    assert answer["schema"] == "orbit.events/1"
    assert [event["number"] for event in answer["items"]] == list(range(1, answer["next"] + 1))
    scaled = next(event for event in answer["items"] if event["event"] == "scaled")
    assert (scaled["level"], scaled["children"]) == ("info", 3)
    assert [event["number"] for event in daemon.ask("events", limit=2)["items"]] == [answer["next"] - 1, answer["next"]]
    assert daemon.ask("events", after=answer["next"])["items"] == []
    for limit in (0, 1001):
        with pytest.raises(UsageError, match="limit"):
            daemon.ask("events", limit=limit)


def test_whoever_follows_hears_the_next_event_when_it_happens(daemon: Daemon, ask_aside: Callable[..., Future[dict[str, Any]]]) -> None:
    last = daemon.ask("events")["next"]
    heard = ask_aside("events", after=last, follow=True)
    daemon.signal(signal.SIGUSR1)
    answer = heard.result()
    assert [event["event"] for event in answer["items"]] == ["logs_reopened"]
    assert answer["next"] == last + 1


def test_what_the_janitor_warns_of_is_among_the_events(daemon: Daemon, tmp_path: Path) -> None:
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    kill_process_of(daemon, daemon.slot_running(run_id)["pid"])

    def taken_back() -> list[dict[str, Any]]:
        return [event for event in daemon.ask("events", limit=1000)["items"] if event["event"] == "run_taken_back"]

    news = eventually(taken_back)
    assert (news[0]["role"], news[0]["run"], news[0]["level"]) == ("janitor", run_id, "warning")
    (tmp_path / "done").touch()


def test_the_status_tells_when_the_database_was_last_asked_for_work(begin: Begin) -> None:
    daemon = begin(WORK, **{"host.beat": "100ms"})
    first = daemon.status()["last_beat_at"]
    daemon.await_status(lambda status: status["last_beat_at"] > first)
