"""Watching: again and again, through errors, until Ctrl-C."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from orbitd.ctl import watch
from orbitd.ctl.app import Session
from orbitd.ctl.output import Format, Output
from orbitd.ctl.parser import parse
from orbitd.ctl.verbs import ORBITCTL
from orbitd.errors import DaemonNotRunning, UsageError
from tests.ctl.terminal import terminal

WORDS = ["list"]


def session(form: Format) -> Session:
    return Session(parse(ORBITCTL, WORDS), Output("orbitctl", form), {}, WORDS)


def watched(form: Format, *happenings: BaseException | None) -> None:
    """Watch a verb to which this happens, call after call; at last somebody presses Ctrl-C."""
    turns: Iterator[BaseException | None] = iter([*happenings, KeyboardInterrupt()])
    numbers = iter(range(100))

    def verb(session: Session) -> int:
        if (happening := next(turns)) is not None:
            raise happening
        number = next(numbers)
        session.out.document({"slots": [{"number": number}]}, [f"answer {number}"])
        return 0

    with contextlib.suppress(KeyboardInterrupt):
        watch.watch(verb, lambda: session(form), every_seconds=0.0)


def test_answers_follow_each_other_until_ctrl_c(capfd: pytest.CaptureFixture[str]) -> None:
    watched(Format.TABLE, None, None)
    assert capfd.readouterr() == ("answer 0\nanswer 1\n", "")


def test_it_goes_on_through_a_restart_of_the_daemon(capfd: pytest.CaptureFixture[str]) -> None:
    watched(Format.JSONL, None, DaemonNotRunning("gone"), None)
    out, err = capfd.readouterr()
    assert out == '{"number":0}\n{"number":1}\n'
    assert json.loads(err)["error"]["message"] == "gone"


def test_each_csv_answer_has_its_names(capfd: pytest.CaptureFixture[str]) -> None:
    watched(Format.CSV, None, None)
    assert capfd.readouterr().out == "number\r\n0\r\nnumber\r\n1\r\n"


def test_what_cannot_become_right_ends_it() -> None:
    with pytest.raises(UsageError):
        watched(Format.TABLE, UsageError("no"))


def test_a_screen_is_written_over_until_ctrl_c_which_ends_the_line_too(daemon: subprocess.Popen[str]) -> None:
    with terminal([sys.executable, "-m", "orbitd.ctl.main", "list", "--watch"], columns=100) as screen:
        first = screen.expect("exited with 3")
        assert first.startswith("\x1b[2J\x1b[H")
        assert "orbitctl list --watch · " in first
        assert first.count("\x1b[2J") == 1
        daemon.kill()
        screen.expect("orbitd is not running")
        screen.type("\x03")
        assert screen.end() == 130
    assert screen.shown.endswith("^C\n")
    assert "Traceback" not in screen.shown
    assert screen.shown.count("\x1b[2J") == 1


@pytest.mark.usefixtures("daemon")
def test_a_small_screen_says_how_much_more_there_is() -> None:
    with terminal([sys.executable, "-m", "orbitd.ctl.main", "list", "--watch"], rows=6, columns=100) as screen:
        screen.expect("(3 more lines)")
        screen.type("\x03")
        assert screen.end() == 130


@pytest.mark.usefixtures("daemon")
def test_following_ends_as_watching_does() -> None:
    with terminal([sys.executable, "-m", "orbitd.ctl.main", "events", "-f"]) as screen:
        screen.expect("child_died")
        screen.type("\x03")
        assert screen.end() == 130
    assert screen.shown.endswith("^C\n")
