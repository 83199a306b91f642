"""What is not well comes with a command to type, and that one works."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import orbitd
from orbitd.cli.commands import ORBITD
from orbitd.ctl.parser import parse
from orbitd.ctl.verbs import ORBITCTL
from orbitd.rules import events, health
from tests.support.simulated import KILLED, Fleet

_PROGRAMS = {"orbitctl": ORBITCTL, "orbitd": ORBITD}


def _commands() -> Iterator[str]:
    """The fourth argument of each Finding in the source; what stands in braces is a slot's number."""
    for path in Path(orbitd.__file__).parent.rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and ast.unparse(call.func).split(".")[-1] == "Finding" and len(call.args) == 4:
                yield from re.findall(r"orbit(?:ctl|d) [^'\"]+", re.sub(r"\{.*?\}", "3", ast.unparse(call.args[3])))


COMMANDS = sorted(set(_commands()))


def test_the_commands_are_found() -> None:
    assert len(COMMANDS) > 8


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_finding_says_to_type_is_understood(command: str) -> None:
    program, *words = command.split()
    assert parse(_PROGRAMS[program], words).command


def test_children_are_said_not_to_be_replaced_only_while_there_is_no_mold_for_them() -> None:
    fleet = Fleet().up()

    def codes() -> list[str]:
        return [finding.code for finding in health.troubles(fleet.roster, health.News(), fleet.now)]

    fleet.reload()
    for _ in range(3):
        fleet.turn()
        fleet.roster.note(events.MoldExited(2, KILLED, fleet.now, 0.999))
    assert fleet.roster.mold_history.is_waiting(fleet.now)
    assert codes() == []
    fleet.roster.note(events.MoldExited(1, KILLED, fleet.now, 0.999))
    assert codes() == ["mold_failed"]
