"""Waiting says for what and how long, in the form that the reader asked for; Ctrl-C stops only the waiting."""

from __future__ import annotations

import io
import json

import pytest

from orbitd.ctl.output import Format, Output
from orbitd.ctl.waiting import StoppedWaiting, waiting


class Clock:
    """A monotonic clock that is put forward by hand."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


class Screen(io.StringIO):
    """Standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("orbitd.ctl.waiting.time.monotonic", clock)
    return clock


def waited(clock: Clock, form: Format, seconds: int) -> None:
    with waiting(Output("orbitctl", form, environ={"TERM": "xterm"}), "run 4711", "run 4711 goes on") as tick:
        for second in range(1, seconds + 1):
            clock.seconds = float(second)
            tick(f"step {second}" if second % 2 else None)


def test_off_a_terminal_a_line_each_five_seconds(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    waited(clock, Format.TABLE, 12)
    assert capfd.readouterr().err == "waiting for run 4711, 5s: step 5\nwaiting for run 4711, 10s: step 9\n"


def test_for_a_program_as_lines_of_json(clock: Clock, capfd: pytest.CaptureFixture[str]) -> None:
    waited(clock, Format.JSON, 6)
    assert json.loads(capfd.readouterr().err) == {"progress": {"waiting_for": "run 4711", "seconds": 5, "text": "step 5"}}


def test_on_a_terminal_one_line_that_is_written_over_and_removed(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    waited(clock, Format.TABLE, 2)
    told = screen.getvalue()
    assert told == "\r\033[Kwaiting for run 4711, 1s: step 1\r\033[Kwaiting for run 4711, 2s: step 1\r\033[K"


def test_a_terminal_that_cannot_write_over_gets_lines(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    with waiting(Output("orbitctl", environ={"TERM": "dumb"}), "run 4711", "run 4711 goes on") as tick:
        clock.seconds = 5.0
        tick()
    assert screen.getvalue() == "waiting for run 4711, 5s\n"


def test_a_short_wait_says_nothing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr("sys.stderr", screen)
    waited(clock, Format.TABLE, 0)
    assert screen.getvalue() == ""


def test_ctrl_c_stops_the_waiting_and_says_what_goes_on() -> None:
    with (
        pytest.raises(StoppedWaiting, match="stopped waiting; run 4711 goes on") as caught,
        waiting(Output("orbitctl"), "x", "run 4711 goes on"),
    ):
        raise KeyboardInterrupt
    assert caught.value.exit_code == 130
