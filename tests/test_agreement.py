"""What is written agrees with what is done: options, commands and exit codes have one home, and every page tells the same of them."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from orbitd.arbiter import _SIGNALS
from orbitd.cli import manual
from orbitd.config import OPTIONS, SECTIONS, load
from orbitd.config.manual import config_file, configuration_page
from orbitd.config.options import Reload, environment_name
from orbitd.config.variables import NOT_NEEDED
from orbitd.control.commands import Argument, Kind
from orbitd.ctl import completion
from orbitd.ctl.parser import Flag, all_arguments, option_names, parse
from orbitd.ctl.verbs import ALIASES, ALL_COMMANDS, GROUPS, ORBITCTL
from orbitd.errors import ExitCode, OrbitError
from orbitd.rules.states import RunState, SlotState
from tests.support.rigs import missing_rig

ROOT = Path(__file__).parents[1]
CONF = ROOT / "conf/orbitd.toml"
DOCUMENTATION = ROOT / "docs/configuration.md"
SUPERVISION = (ROOT / "docs/supervision.md").read_text()
PAGES = sorted((ROOT / "man").glob("*.[1-8]"))


def page(name: str) -> str:
    """A man page as it reads, without its escapes."""
    return (ROOT / "man" / name).read_text().replace("\\-", "-").replace("\\(dq", '"').replace("\\e", "\\")


def names_of(key: tuple[str, str]) -> list[str]:
    """What an option is called on the command line and in the variables of other programs."""
    return [*OPTIONS[key].flags, *(variable.name for variable in OPTIONS[key].variables)]


class TestOptions:
    def test_the_shipped_file_is_made_from_the_table(self) -> None:
        assert CONF.read_text() == config_file(), "run: make manual"

    def test_the_page_of_documentation_is_made_from_the_table(self) -> None:
        assert DOCUMENTATION.read_text() == configuration_page(), "run: make manual"

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
        assert all(flag.startswith("-") for flag in option.flags)
        option.kind.read(option.default)

    @pytest.mark.parametrize("key", OPTIONS, ids=".".join)
    def test_every_option_is_in_the_manual(self, key: tuple[str, str]) -> None:
        section = page("orbitd.toml.5").partition(f".SS [{key[0]}]\n")[2].partition(".SS [")[0]
        assert f".BR {key[1]} " in section
        assert OPTIONS[key].doc in section
        assert all(f"\\fB{name}\\fR" in section for name in names_of(key))

    @pytest.mark.parametrize("key", OPTIONS, ids=".".join)
    def test_every_option_is_in_the_documentation_with_all_its_names(self, key: tuple[str, str]) -> None:
        option = OPTIONS[key]
        part = DOCUMENTATION.read_text().partition(f"#### `{'.'.join(key)}`\n")[2].partition("\n###")[0]
        facts = (option.doc, option.reload, environment_name(key), *names_of(key))
        assert all(fact in part for fact in facts)

    def test_every_variable_of_other_programs_is_in_the_manual(self) -> None:
        part = page("orbitd.toml.5").partition(".SH ENVIRONMENT\n")[2].partition(".SH ")[0]
        variables = {variable.name for option in OPTIONS.values() for variable in option.variables}
        assert all(f"\n.B {name}\n" in part for name in variables | set(NOT_NEEDED))

    def test_the_manual_explains_every_reload_class(self) -> None:
        assert all(f"\n.B {reload}\n" in page("orbitd.toml.5") for reload in Reload)

    def test_every_section_says_what_it_is_about(self) -> None:
        assert all((section.__doc__ or "").endswith(".") for section in SECTIONS.values())


class TestCommands:
    @pytest.mark.parametrize("name", ALL_COMMANDS)
    def test_every_command_is_in_the_parser_and_in_the_manual(self, name: str) -> None:
        command = ALL_COMMANDS[name]
        words = [argument.choices[0] if argument.choices else "1" for argument in command.arguments if argument.positional]
        assert parse(ORBITCTL, [*name.split(), *words]).command is command
        part = page("orbitctl.1").partition(f"\n.B orbitctl {name}")[2].partition("\n.B orbitctl ")[0]
        assert part
        for argument in all_arguments(command):
            assert argument.metavar in part
            assert all(f"\\fB{spelled}\\fR" in part for spelled in option_names(argument))
            assert ", ".join(argument.choices) in part

    @pytest.mark.parametrize("name", ALL_COMMANDS)
    def test_every_option_has_one_meaning_and_a_word_for_its_value(self, name: str) -> None:
        arguments = all_arguments(ALL_COMMANDS[name])
        options: list[Argument | Flag] = [*arguments, *ORBITCTL.flags]
        spelled = [name for option in options for name in option_names(option)]
        assert len(set(spelled)) == len(spelled)
        assert all(bool(argument.metavar) == (argument.kind is not Kind.FLAG) for argument in arguments)

    def test_the_manual_has_no_other_commands(self) -> None:
        told = re.findall(r"^\.B orbitctl (.+)", page("orbitctl.1").partition(".SH OPTIONS")[0], re.MULTILINE)
        assert [re.sub(r" \[?[A-Z].*", "", words) for words in told] == [name for names in GROUPS.values() for name in names]

    def test_every_flag_is_in_the_manual(self) -> None:
        assert all(f"\\fB{name}\\fR" in page("orbitctl.1") for flag in ORBITCTL.flags for name in flag.names)
        assert all(", ".join(flag.choices) in page("orbitctl.1") for flag in ORBITCTL.flags)

    def test_every_alias_stands_for_a_command_and_is_in_the_manual(self) -> None:
        assert set(ALIASES.values()) <= set(ALL_COMMANDS)
        assert all(f"In short: orbitctl {alias}." in page("orbitctl.1") for alias in ALIASES if not alias.startswith("-"))

    @pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
    def test_every_word_is_in_the_completions(self, shell: str) -> None:
        script = completion.script(ORBITCTL, shell)
        words = {word for name in ALL_COMMANDS for word in name.split()}
        options = {
            spelled for command in ALL_COMMANDS.values() for argument in all_arguments(command) for spelled in option_names(argument)
        }
        flags = {name for flag in ORBITCTL.flags for name in flag.names}
        assert all(f"{word}\t" in script for word in words | options | flags)

    @pytest.mark.parametrize("name", ALL_COMMANDS)
    def test_every_command_has_a_help_in_one_line(self, name: str) -> None:
        command = ALL_COMMANDS[name]
        assert 0 < len(command.help) <= 80
        assert not command.help.endswith(".")
        assert all(argument.help for argument in all_arguments(command))


class TestSignals:
    CAUGHT = set(_SIGNALS) - {"CHLD"}  # that one is the kernel's, not the operator's

    def test_every_one_that_the_arbiter_catches_is_in_the_manual(self) -> None:
        part = page("orbitd.8").partition(".SH SIGNALS\n")[2].partition(".SH ")[0]
        assert _signals_in(re.findall(r"^\.BR? (.+)", part, re.MULTILINE)) == self.CAUGHT

    def test_they_and_no_others_are_in_the_page_on_supervision(self) -> None:
        part = SUPERVISION.partition("| signal | meaning |")[2].partition("\n\n")[0]
        assert _signals_in(re.findall(r"^\| ([^|]+) \|", part, re.MULTILINE)) == self.CAUGHT


def _signals_in(lines: list[str]) -> set[str]:
    return {name for line in lines for name in re.findall(r"\b[A-Z]{3}[A-Z0-9]*\b", line)}


def test_every_option_in_the_page_on_supervision_exists() -> None:
    named = re.findall(rf"`((?:{'|'.join(SECTIONS)})\.[a-z_]+)", SUPERVISION)
    assert named
    assert {tuple(name.split(".")) for name in named} <= set(OPTIONS)


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
        assert path.read_text() == manual.with_parts(path.read_text()), "run: make manual"

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
