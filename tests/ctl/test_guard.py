"""The question before a destructive act."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.ctl.conftest import ROOT
from tests.ctl.terminal import terminal

ASK = [sys.executable, str(ROOT / "tests/ctl/ask.py")]


def asked_of_nobody(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*ASK, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=20, env={"PYTHONPATH": str(ROOT)}
    )


@pytest.mark.parametrize(
    "words",
    [
        ["1", "undoable", "cancel", "4711"],
        ["0", "final", "cancel", "--all"],
        ["12", "undoable", "cancel", "--all", "--yes"],
        ["1000000", "final", "cancel", "--all", "--yes"],
    ],
)
def test_nothing_is_asked_without_need(words: list[str]) -> None:
    assert asked_of_nobody(*words).stdout == "done\n"


@pytest.mark.parametrize(
    "words", [["2", "undoable", "cancel", "1", "2"], ["1", "final", "dlq", "delete", "1"], ["500", "undoable", "cancel", "--all"]]
)
def test_where_nobody_can_be_asked_the_command_to_type_is_told(words: list[str]) -> None:
    done = asked_of_nobody(*words)
    assert (done.returncode, done.stdout) == (5, "")
    assert f"hint: type: orbitctl {' '.join(words[2:])} --yes\n" in done.stderr


def test_the_command_to_type_is_quoted_for_a_shell() -> None:
    done = asked_of_nobody("2", "undoable", "cancel", "--where", "tenant:42 state:failed", "--reason", "it's late", "--", "-x")
    assert "hint: type: orbitctl cancel --where 'tenant:42 state:failed' --reason 'it'\"'\"'s late' --yes -- -x\n" in done.stderr


@pytest.mark.parametrize(
    ("words", "question", "answer", "code"),
    [
        (["12", "undoable", "cancel", "--all"], "cancel 12 runs? [y/N] ", "y\n", 0),
        (["100", "undoable", "cancel", "--all"], "cancel 100 runs? [y/N] ", "YES\n", 0),
        (["12", "undoable", "cancel", "--all"], "cancel 12 runs? [y/N] ", "\n", 5),
        (["12", "undoable", "cancel", "--all"], "cancel 12 runs? [y/N] ", "yess\n", 5),
        (["12", "undoable", "cancel", "--all"], "cancel 12 runs? [y/N] ", "\x04", 5),
        (["1", "final", "cancel", "1"], "cancel 1 runs; this cannot be undone? [y/N] ", "n\n", 5),
        (["101", "undoable", "cancel", "--all"], "cancel 101 runs? type 101 to go on: ", "101\n", 0),
        (["101", "undoable", "cancel", "--all"], "cancel 101 runs? type 101 to go on: ", "y\n", 5),
        (["101", "final", "cancel", "--all"], "cancel 101 runs; this cannot be undone? type 101 to go on: ", "1010\n", 5),
    ],
)
def test_a_person_is_asked(words: list[str], question: str, answer: str, code: int) -> None:
    with terminal([*ASK, *words]) as screen:
        screen.expect(question)
        screen.type(answer)
        assert screen.end() == code
    assert ("\ndone\n" in screen.shown) == (code == 0)
    assert ("nothing was done\n" in screen.shown) == (code == 5)
