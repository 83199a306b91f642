"""What is written agrees with what is done: options, commands and exit codes have one home, and every page tells the same of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from orbitd.config import OPTIONS, SECTIONS, load
from orbitd.config.options import Reload
from orbitd.control.commands import COMMANDS
from orbitd.ctl import manual
from orbitd.ctl.parser import FLAGS, all_arguments, parse
from orbitd.ctl.verbs import ALL_COMMANDS, GROUPS
from orbitd.errors import ExitCode, OrbitError
from orbitd.rules.states import RunState, SlotState
from tests.support.postgres import missing_rig

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf/orbitd.toml"
PAGES = sorted((ROOT / "man").glob("*.[1-8]"))


def page(name: str) -> str:
    """A man page as it reads, without its escapes."""
    return (ROOT / "man" / name).read_text().replace("\\-", "-").replace("\\(dq", '"').replace("\\e", "\\")


class TestOptions:
    def test_the_shipped_file_is_made_from_the_table(self) -> None:
        assert CONF.read_text() == manual.config_file(), "run: python -m orbitd.ctl.manual"

    def test_the_shipped_file_has_every_option_with_its_default_on_a_line_of_its_own(self) -> None:
        document = tomllib.loads(CONF.read_text())
        assert [(section, key) for section, values in document.items() for key in values] == list(OPTIONS)
        assert {key: document[key[0]][key[1]] for key in OPTIONS} == {key: option.default for key, option in OPTIONS.items()}
        assert load(CONF, environ={}) == load(None, environ={})

    @pytest.mark.parametrize("key", OPTIONS, ids=".".join)
    def test_every_option_says_what_it_is(self, key: tuple[str, str]) -> None:
        option = OPTIONS[key]
        assert option.doc.endswith(".")
        assert option.kind.words
        assert option.reload in Reload
        assert option.default is not None
        option.kind.read(option.default)

    @pytest.mark.parametrize("key", OPTIONS, ids=".".join)
    def test_every_option_is_in_the_manual(self, key: tuple[str, str]) -> None:
        section = page("orbitd.toml.5").partition(f".SS [{key[0]}]\n")[2].partition(".SS [")[0]
        assert f".BR {key[1]} " in section
        assert OPTIONS[key].doc in section

    def test_the_manual_explains_every_reload_class(self) -> None:
        assert all(f"\n.B {reload}\n" in page("orbitd.toml.5") for reload in Reload)

    def test_every_section_says_what_it_is_about(self) -> None:
        assert all((section.__doc__ or "").endswith(".") for section in SECTIONS.values())


class TestCommands:
    @pytest.mark.parametrize("name", ALL_COMMANDS)
    def test_every_command_is_in_the_parser_and_in_the_manual(self, name: str) -> None:
        command = ALL_COMMANDS[name]
        words = ["1"] * sum(argument.positional for argument in command.arguments)
        assert parse([name, *words]).command is command
        part = page("orbitctl.1").partition(f"\n.B orbitctl {name}")[2].partition("\n.B orbitctl ")[0]
        assert part
        for argument in all_arguments(command):
            assert (argument.metavar if argument.positional else f"\\fB--{argument.name}\\fR") in part

    def test_the_manual_has_no_other_commands(self) -> None:
        told = re.findall(r"^\.B orbitctl (\w+)", page("orbitctl.1").partition(".SH OPTIONS")[0], re.MULTILINE)
        assert told == [name for names in GROUPS.values() for name in names]

    def test_every_flag_is_in_the_manual(self) -> None:
        assert all(f"\\fB{name}\\fR" in page("orbitctl.1") for flag in FLAGS for name in flag.names)

    @pytest.mark.parametrize("name", COMMANDS)
    def test_only_operators_change_something(self, name: str) -> None:
        command = COMMANDS[name]
        assert (command.effect == "changes") == (command.permission == "operate")

    @pytest.mark.parametrize("name", ALL_COMMANDS)
    def test_every_command_has_a_help_in_one_line(self, name: str) -> None:
        command = ALL_COMMANDS[name]
        assert 0 < len(command.help) <= 80
        assert not command.help.endswith(".")
        assert all(argument.help for argument in all_arguments(command))


class TestExitCodes:
    @pytest.mark.parametrize("name", ["orbitctl.1", "orbitd.8"])
    def test_every_code_is_in_the_manual_and_no_other(self, name: str) -> None:
        part = page(name).partition('.SH "EXIT STATUS"')[2].partition(".SH ")[0]
        assert [int(code) for code in re.findall(r"^\.B (\d+)$", part, re.MULTILINE)] == list(ExitCode)

    def test_every_error_ends_in_a_code_of_its_own(self) -> None:
        errors = [kind for kind in OrbitError.__subclasses__() if kind.__module__ == "orbitd.errors"]
        assert len({kind.exit_code for kind in errors}) == len(errors)
        assert len({kind.code for kind in errors}) == len(errors)


class TestPages:
    @pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
    def test_the_marked_parts_are_made_from_the_tables(self, path: Path) -> None:
        assert path.read_text() == manual.with_parts(path.read_text()), "run: python -m orbitd.ctl.manual"

    @pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
    def test_mandoc_has_nothing_to_warn_of(self, path: Path) -> None:
        if shutil.which("mandoc") is None:
            missing_rig("mandoc is not installed: apt-get install mandoc")
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "warning", path], capture_output=True, text=True, check=False, timeout=20)
        assert (done.returncode, done.stdout) == (0, "")

    def test_there_is_one_for_each_program_and_file(self) -> None:
        assert [path.name for path in PAGES] == ["orbitctl.1", "orbitd.8", "orbitd.toml.5"]


def test_the_states_that_people_may_ask_for_are_those_of_the_interface() -> None:
    assert list(RunState) == ["scheduled", "pending", "running", "interrupted", "succeeded", "failed", "cancelled"]
    assert list(SlotState) == ["empty", "starting", "idle", "busy", "waiting", "draining", "dying", "backoff", "held"]
