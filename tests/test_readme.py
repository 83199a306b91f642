"""What README.md and the pages for operators show can be typed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from orbitd.cli.commands import ORBITD
from orbitd.ctl.parser import parse
from orbitd.ctl.verbs import ORBITCTL

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
PAGES = "".join((ROOT / "docs" / name).read_text() for name in ("supervision.md", "upkeep.md"))
PROGRAMS = {"orbitctl": ORBITCTL, "orbitd": ORBITD}
TYPED = re.findall(r"^\$ (?:\.venv/bin/)?(orbitctl|orbitd) (.*)$", README, re.MULTILINE)
NAMED = re.findall(r"`(orbitctl|orbitd) ([^`]+)`", PAGES)


@pytest.mark.parametrize(("program", "line"), [*TYPED, *NAMED], ids=lambda text: str(text)[:40])
def test_every_command_is_understood(program: str, line: str) -> None:
    words = shlex.split(line, comments=True)
    parse(PROGRAMS[program], words[: words.index("|")] if "|" in words else words)


def test_the_session_was_captured() -> None:
    session = README.partition("<!-- session -->\n")[2].partition("<!-- end of session -->")[0]
    assert session.startswith("```console\n$ orbitctl status\n"), "run: make session"
    assert session.count("\n$ ") >= 8
