"""`orbitctl logs`: of a run, from the database; of the daemon, from its files."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orbitd.store import Report
from orbitd.units import parse_duration
from tests.ctl.conftest import Orbitctl
from tests.ctl.runs.conftest import OnTerminal, Worker, now, short
from tests.ctl.terminal import terminal

NOBODY = 65534 if os.geteuid() == 0 else os.geteuid()

Enqueued = Callable[..., str]


class TestOfARun:
    def test_is_shown_with_time_and_level_and_cannot_steer_the_terminal(
        self, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued
    ) -> None:
        run = enqueued()
        worker.say(worker.claim(), ("info", "first\nsecond\x1b[2J"), ("error", "\u202ebad"))
        first, second, third = orbitctl("logs", short(run)).out.splitlines()
        assert first[10:11] + first[23:] == " Z info    first"
        assert second == f"{'':33}second\\x1b[2J"
        assert third.endswith("Z error   \\u202ebad")

    def test_can_be_narrowed(self, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued) -> None:
        run = enqueued()
        worker.say(worker.claim(), ("info", "one"), ("error", "two"), ("info", "three"))
        worker.conn.execute("UPDATE orbit.run_logs SET at = at - interval '1 hour' WHERE line = 1")

        def found(*words: str) -> list[str]:
            return [item["message"] for item in orbitctl("logs", run, "--json", *words).document["items"]]

        assert found() == ["one", "two", "three"]
        assert found("--errors") == ["two"]
        assert found("--lines", "2") == ["two", "three"]
        assert found("--lines", "0") == []
        assert found("--since", "10m") == ["two", "three"]
        assert found("--lines", "99", "--since", "2h") == ["one", "two", "three"]

    def test_is_long_and_read_whole(self, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued) -> None:
        run = enqueued()
        worker.say(worker.claim(), *[("info", str(number)) for number in range(2500)])
        assert orbitctl("logs", run, "-o", "jsonl").out.count("\n") == 2500

    def test_tells_where_another_attempt_begins(self, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued) -> None:
        run = enqueued()
        worker.say(worker.claim(), ("info", "one"))
        worker.conn.execute("INSERT INTO orbit.run_logs SELECT run_id, 2, at, 2, level, 'two', total_bytes FROM orbit.run_logs")
        assert orbitctl("logs", run).out.splitlines()[1] == "attempt 2"

    def test_of_a_silent_run_is_told(self, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued) -> None:
        run = enqueued()
        called = orbitctl("logs", run)
        assert (called.code, called.out, called.err) == (0, "", f"run {short(run)} has said nothing\n")
        worker.say(worker.claim(), ("info", "one"))
        assert orbitctl("logs", run, "--errors").err == f"run {short(run)} has no such lines\n"

    @pytest.mark.parametrize(
        ("words", "code", "message"),
        [
            (["77"], 4, 'no run "77"'),
            (["77", "--lines", "-1"], 2, "--lines -1 is less than none"),
            (["77", "--since", "yesterday"], 2, 'since: "yesterday" is not a duration'),
        ],
    )
    def test_refuses_in_words(self, orbitctl: Orbitctl, words: list[str], code: int, message: str) -> None:
        called = orbitctl("logs", *words)
        assert (called.code, called.out) == (code, "")
        assert message in called.err

    def test_followed_ends_with_the_run(self, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued) -> None:
        run = enqueued()
        claimed = worker.claim()
        worker.say(claimed, ("info", "before"))

        def work() -> None:
            worker.say(claimed, ("debug", "meanwhile"), ("error", "last"))
            worker.finish(Report.succeeded(claimed.fence, "1"))

        working = threading.Timer(0.0, work)
        working.start()
        called = orbitctl("logs", run, "-f")
        working.join()
        assert (called.code, called.err) == (0, f"run {short(run)} succeeded\n")
        assert [line.split()[-1] for line in called.out.splitlines()] == ["before", "meanwhile", "last"]
        assert [json.loads(line)["message"] for line in orbitctl("logs", run, "-f", "-o", "jsonl", "--errors").out.splitlines()] == ["last"]

    def test_followed_until_ctrl_c(self, on_terminal: OnTerminal, worker: Worker, enqueued: Enqueued) -> None:
        run = enqueued()
        claimed = worker.claim()
        with on_terminal("logs", run, "-f") as screen:
            for word in ("one", "two"):
                worker.say(claimed, ("info", word))
                screen.expect(word)
            screen.type("\x03")
            assert screen.end() == 130


def entry(event: str, level: str = "info", ago: str = "0", **fields: object) -> str:
    """A line of the daemon's log."""
    return json.dumps({"ts": now(parse_duration(ago)), "level": level, "event": event, "role": "arbiter", **fields}) + "\n"


@contextlib.contextmanager
def without_privileges() -> Iterator[None]:
    """As somebody who may read little."""
    before = os.geteuid()
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(before)


@pytest.fixture
def folder(environ: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of a daemon's log; no database is needed to read it."""
    environ.setenv("DATABASE_URL", "postgresql:///x?host=/nowhere")
    folder = tmp_path / "logs"
    folder.mkdir()
    environ.setenv("ORBITD_LOGGING__DIR", str(folder))
    return folder


class TestOfTheDaemon:
    def test_without_files_names_the_other_places(self, orbitctl: Orbitctl) -> None:
        called = orbitctl("logs")
        assert called.code == 4
        assert "orbitd keeps no log files: logging.dir is not set" in called.err
        assert "`journalctl -u orbitd -f`" in called.err
        assert "set logging.dir" in called.err

    def test_that_was_never_written(self, orbitctl: Orbitctl, folder: Path) -> None:
        called = orbitctl("logs")
        assert called.code == 4
        assert f"no log file {folder}/orbitd.log" in called.err

    def test_that_cannot_be_read(self, orbitctl: Orbitctl, folder: Path) -> None:
        (folder / "orbitd.log").mkdir()
        called = orbitctl("logs")
        assert called.code == 1
        assert "cannot be read: is a directory" in called.err

    def test_that_is_not_for_us(self, orbitctl: Orbitctl, folder: Path) -> None:
        (folder / "orbitd.log").touch(mode=0o000)
        with without_privileges():
            called = orbitctl("logs")
        assert called.code == 5
        assert f"the log file {folder}/orbitd.log is not for user {NOBODY}" in called.err

    def test_is_pretty_and_cannot_steer_the_terminal(self, orbitctl: Orbitctl, folder: Path) -> None:
        (folder / "orbitd.log").write_text(entry("child_died", "warning", slot=2, cause="\x1b[2J") + "\x1b]0;not json\n")
        first, second = orbitctl("logs").out.splitlines()
        assert first[10:11] + first[23:] == " Z warning arbiter  child_died        slot=2 cause=\\x1b[2J"
        assert second == "\\x1b]0;not json"
        [item] = orbitctl("logs", "--json").document["items"]
        assert item["event"] == "child_died"

    def test_is_its_last_lines_over_all_files(self, orbitctl: Orbitctl, folder: Path) -> None:
        for number in range(3):
            name = "orbitd.log" + (f".{number}" if number else "")
            (folder / name).write_text("".join(entry(f"event_{100 - 40 * number + place}") for place in range(40)))

        def found(*words: str) -> list[str]:
            return [item["event"] for item in orbitctl("logs", "--json", *words).document["items"]]

        assert found() == [f"event_{number}" for number in range(90, 140)]
        assert found("--lines", "100") == [f"event_{number}" for number in range(40, 140)]
        assert found("--lines", "1000") == [f"event_{number}" for number in range(20, 140)]
        assert found("--since", "1h") == [f"event_{number}" for number in range(20, 140)]
        assert found("--since", "1h", "--lines", "1") == ["event_139"]
        assert found("--lines", "0") == []

    def test_can_be_narrowed(self, orbitctl: Orbitctl, folder: Path) -> None:
        (folder / "orbitd.log.1").write_text(entry("too_old", ago="3h"))
        (folder / "orbitd.log").write_text(entry("old", "error", "2h") + entry("new", "critical") + entry("fine") + "not json\n")
        assert [item["event"] for item in orbitctl("logs", "--since", "1h", "--json").document["items"]] == ["new", "fine"]
        assert [item["event"] for item in orbitctl("logs", "--errors", "--json").document["items"]] == ["old", "new"]
        (folder / "orbitd-error.log").write_text(entry("kept_longer", "error"))
        assert [item["event"] for item in orbitctl("logs", "--errors", "--json").document["items"]] == ["kept_longer"]

    def test_is_followed_over_rotation_and_truncation(self, folder: Path) -> None:
        path = folder / "orbitd.log"
        path.write_text(entry("first"))
        command = [sys.executable, "-m", "orbitd.ctl.main", "logs", "-f"]
        with terminal(command, columns=200, ORBITD_LOGGING__DIR=str(folder)) as screen:
            screen.expect("first")
            with path.open("a") as old:
                old.write(entry("second")[:20])
                old.flush()
                path.rename(folder / "orbitd.log.1")
                old.write(entry("second")[20:] + entry("third"))
                old.flush()
            path.write_text(entry("fourth") + entry("more"))
            screen.expect("more")
            os.truncate(path, 0)
            with path.open("a") as emptied:
                emptied.write(entry("fifth"))
            screen.expect("fifth")
            screen.type("\x03")
            assert screen.end() == 130
        places = [screen.shown.index(word) for word in ("first", "second", "third", "fourth", "fifth")]
        assert places == sorted(places)
