"""What the daemon and its runs write: where it goes, with which fields, and what a full disk or a stopped reader costs (nothing)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orbitd.control.commands import COMMANDS
from orbitd.janitor import _News
from orbitd.system.channel import Channel
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually
from tests.support.logs import entries

pytestmark = pytest.mark.daemon

TALKS = """
    import asyncio, logging, logging.config, os, threading
    lib = logging.getLogger("lib")

    @pipeline("talks")
    def talks(ctx: Context) -> None:
        ctx.log.info("from ctx", extra={"pages": 3})
        ctx.log.debug("a detail")
        lib.warning("from %s", "logging")
        lib.debug("a library's detail")
        threading.Thread(target=lib.error, args=("from a thread\\nof two lines",)).start()

    @pipeline("talks.async")
    async def talks_async(ctx: Context) -> None:
        await asyncio.to_thread(lib.warning, "from asyncio's thread")

    @pipeline("is.rude")
    def is_rude(ctx: Context) -> None:
        logging.config.dictConfig({"version": 1, "root": {"handlers": []}})
        logging.disable(logging.CRITICAL)
        lib.error("for nobody")
        ctx.log.error("still here")

    @pipeline("shouts")
    def shouts(ctx: Context) -> None:
        for number in range(30_000):
            ctx.log.info("line %d %s", number, "x" * 100)
        ctx.log.info("x" * 200_000_000)
        ctx.log.info(b"\\x00" * 50_000_000)
        logging.info("%s", "\\x1b[2J" * 1_000_000)

    @pipeline("pid")
    def pid(ctx: Context) -> int:
        ctx.log.info("here")
        return os.getpid()
"""


def said(daemon: Daemon, run_id: int) -> list[dict[str, Any]]:
    """What a run has said, as the daemon's log has it."""
    return [event for event in daemon.events("said") if event.get("run") == run_id]


def kept(daemon: Daemon, run_id: int) -> list[tuple[str, str]]:
    """What is kept with it."""
    rows = daemon.query("select level, message from orbit.run_logs where run_id = %s order by line", [run_id])
    return [(row["level"], row["message"]) for row in rows]


def works(daemon: Daemon) -> dict[str, Any]:
    """A run that has succeeded: the daemon is well."""
    return daemon.await_run(daemon.enqueue("pid"), "succeeded")


def test_what_a_run_says_is_kept_with_it_and_stands_in_the_daemons_log(begin: Begin) -> None:
    daemon = begin(TALKS)
    run_id = daemon.enqueue("talks")
    daemon.await_run(run_id, "succeeded")
    assert sorted(kept(daemon, run_id)) == [
        ("debug", "a detail"),
        ("error", "lib: from a thread\nof two lines"),
        ("info", "from ctx pages=3"),
        ("warning", "lib: from logging"),
    ]
    lines = said(daemon, run_id)
    assert {line["message"] for line in lines} == {"from ctx pages=3", "lib: from logging", "lib: from a thread\nof two lines"}
    for line in lines:
        assert (line["role"], line["pipeline"], line["attempt"], line["gen"]) == ("child", "talks", 1, 1)
        assert {"host", "slot", "pid"} <= line.keys()


def test_a_thread_of_an_async_run_speaks_for_it(begin: Begin) -> None:
    daemon = begin(TALKS)
    run_id = daemon.enqueue("talks.async")
    daemon.await_run(run_id, "succeeded")
    assert kept(daemon, run_id) == [("warning", "lib: from asyncio's thread")]


def test_without_per_run_lines_go_to_the_daemons_log_only(begin: Begin) -> None:
    daemon = begin(TALKS, **{"logging.per_run": False})
    run_id = daemon.enqueue("talks")
    daemon.await_run(run_id, "succeeded")
    assert kept(daemon, run_id) == []
    assert len(said(daemon, run_id)) == 3


def test_code_that_turns_logging_off_turns_off_its_own(begin: Begin) -> None:
    daemon = begin(TALKS, **{"children.count": 1})
    run_id = daemon.enqueue("is.rude")
    daemon.await_run(run_id, "succeeded")
    assert kept(daemon, run_id) == [("error", "still here")]
    (ended,) = daemon.events("run_ended")
    assert ended["outcome"] == "succeeded"


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_a_run_that_shouts_hurts_nobody_and_the_loss_is_counted(begin: Begin) -> None:
    daemon = begin(TALKS, **{"children.count": 1, "runs.max_log": "100KiB"})
    run_id = daemon.enqueue("shouts")
    daemon.await_run(run_id, "succeeded", seconds=60)
    lines = kept(daemon, run_id)
    assert sum(len(message.encode()) for _, message in lines) < 110 * 1024
    assert "the log is cut here" in lines[-1][1]
    unsaid = sum(event["lines"] for event in daemon.events("said_too_much"))
    dropped = sum(line.get("dropped_lines", 0) for line in map(json.loads, daemon.log().splitlines()))
    assert len(said(daemon, run_id)) + unsaid + dropped == 30_003
    assert unsaid > 10_000
    works(daemon)


def test_files_hold_what_all_processes_write_and_errors_apart(begin: Begin, folder: Path) -> None:
    logs = folder / "logs"
    daemon = begin(TALKS, **{"logging.dir": str(logs)})
    run_id = daemon.enqueue("talks")
    daemon.await_run(run_id, "succeeded")
    assert daemon.stop() == 0
    lines = entries(logs / "orbitd.log")
    assert {"arbiter", "child"} <= {line["role"] for line in lines}
    assert sorted((logs / "orbitd.log").read_text().splitlines()) == sorted(daemon.log().splitlines()), "a copy of what standard error got"
    assert {line["level"] for line in entries(logs / "orbitd-error.log")} == {"error"}


def test_log_files_that_logrotate_takes_away_come_again(begin: Begin, folder: Path) -> None:
    logs = folder / "logs"
    daemon = begin(TALKS, **{"logging.dir": str(logs)})
    (logs / "orbitd.log").rename(logs / "orbitd.log-20251124")
    daemon.ask("reopen")
    assert "logs_reopened" in [line["event"] for line in entries(logs / "orbitd.log")]
    works(daemon)
    assert "run_ended" in [line["event"] for line in entries(logs / "orbitd.log")], "the child goes there too"


def test_log_files_that_cannot_be_written_cost_lines_and_no_work(begin: Begin, folder: Path) -> None:
    logs = folder / "logs"
    logs.mkdir()
    os.mkfifo(logs / "orbitd.log")
    daemon = begin(TALKS, **{"logging.dir": str(logs), "children.count": 1})
    works(daemon)
    assert {event["role"] for event in daemon.events("log_not_written")} >= {"arbiter", "child"}
    (logs / "orbitd.log").unlink()
    works(daemon)
    eventually(lambda: [line for line in entries(logs / "orbitd.log") if line["role"] == "child" and "dropped_lines" in line])


def test_the_level_can_be_changed_while_the_daemon_runs_and_all_processes_heed_it(begin: Begin) -> None:
    assert "loglevel" in COMMANDS
    daemon = begin(TALKS)
    daemon.ask("loglevel", level="debug")
    run_id = daemon.enqueue("talks")
    daemon.await_run(run_id, "succeeded")
    assert {line["message"] for line in said(daemon, run_id)} >= {"a detail", "lib: a library's detail"}
    daemon.ask("loglevel", level="error")
    run_id = daemon.enqueue("talks")
    daemon.await_run(run_id, "succeeded")
    assert {line["level"] for line in said(daemon, run_id)} == {"error"}
    assert len(daemon.events("run_ended")) == 1, "of the run before"
    assert ("info", "from ctx pages=3") in kept(daemon, run_id)


def test_a_level_that_writes_less_hides_no_event_from_who_asks_for_them(begin: Begin) -> None:
    daemon = begin(TALKS)
    daemon.ask("loglevel", level="error")
    daemon.ask("scale", amount="3")
    assert "scaled" in [event["event"] for event in daemon.ask("events")["items"]]
    assert not daemon.events("scaled")


@pytest.mark.parametrize("level", ["warning", "error", "critical"])
def test_what_the_janitor_has_to_say_reaches_the_arbiter_whatever_is_written(level: str) -> None:
    ours, theirs = Channel.pair()
    news = _News(theirs)
    news.take({"level": "info", "event": "nothing"})
    news.take({"level": level, "event": "something"})
    message = ours.receive(wait=True)
    assert message is not None
    assert message["entry"]["event"] == "something"
    ours.close()
    theirs.close()


@pytest.mark.parametrize("reader", ["stalls", "is gone"])
def test_a_reader_that_stalls_or_is_gone_blocks_nothing(begin: Begin, reader: str) -> None:
    daemon = begin(TALKS, start=False)
    ours, theirs = os.pipe()
    command = [sys.executable, "-m", "orbitd", "-c", str(daemon.config), "--allow-root"]
    with subprocess.Popen(command, stdout=theirs, stderr=theirs, start_new_session=True, cwd=daemon.folder) as started:
        daemon.adopt(started)
        os.close(theirs)
        if reader == "is gone":
            os.close(ours)
        daemon.await_status(lambda status: status["children"]["ready"] == 2)
        for _ in range(3):
            run_id = daemon.enqueue("shouts")
            daemon.await_run(run_id, "succeeded", seconds=25)
        pids = {works(daemon)["result"] for _ in range(4)}
        assert pids <= set(daemon.child_pids())
        assert {slot["restarts"] for slot in daemon.slots()} == {0}, "nobody died of it"
        assert daemon.stop() == 0
    if reader == "stalls":
        os.close(ours)
