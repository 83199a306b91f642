"""orbitd(8) tells of every command and flag what the table tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbitd.cli.commands import COMMANDS, ORBITD
from orbitd.ctl.parser import all_arguments

PLAIN = (Path(__file__).parents[2] / "man/orbitd.8").read_text().replace("\\-", "-")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_it(name: str) -> None:
    part = PLAIN.partition(f"\n.B orbitd {name}")[2].partition("\n.B orbitd ")[0]
    for argument in all_arguments(COMMANDS[name]):
        assert (argument.metavar if argument.positional else f"\\fB--{argument.name}\\fR") in part


def test_every_flag_is_in_it() -> None:
    assert all(f"\\fB{name}\\fR" in PLAIN for flag in ORBITD.flags for name in flag.names)
