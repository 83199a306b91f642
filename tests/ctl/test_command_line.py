"""The command line itself: what is understood, what is refused, and how a call can end."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, strategies as st

from orbitd.control.commands import Argument, Command, Kind
from orbitd.ctl.parser import Flag, Invocation, Program, all_arguments, option_names, parse
from orbitd.ctl.verbs import ALIASES, ALL_COMMANDS, GROUPS, ORBITCTL
from orbitd.errors import UsageError
from tests.ctl.conftest import ROOT, Orbitctl
from tests.ctl.terminal import terminal


def orbitctl_process(*words: str, stdout: int | None = subprocess.PIPE, **environ: str) -> subprocess.Popen[str]:
    """`orbitctl` as a process of its own."""
    command = [sys.executable, "-m", "orbitd.ctl.main", *words]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ}
    )


def understood(*words: str) -> Invocation:
    return parse(ORBITCTL, words)


class TestUnderstood:
    def test_flags_before_and_after_the_verb(self) -> None:
        for words in (["--json", "-c", "/f", "status"], ["status", "--json", "-c", "/f"], ["-c", "/f", "status", "--json"]):
            invocation = understood(*words)
            assert (invocation.command.name, invocation.flags) == ("status", {"json": True, "config": "/f"})

    @pytest.mark.parametrize("words", [["-o", "csv"], ["-ocsv"], ["-o=csv"], ["--output", "csv"], ["--output=csv"], ["-wocsv"]])
    def test_every_way_to_write_a_value(self, words: list[str]) -> None:
        assert understood(*words, "list").flags["output"] == "csv"
        assert understood("list", *words).flags["output"] == "csv"

    def test_several_letters_in_one_word(self) -> None:
        invocation = understood("logs", "-fw", "4711")
        assert (invocation.args["follow"], invocation.flags, invocation.args["run"]) == (True, {"watch": True}, "4711")

    def test_options_among_the_words_of_a_list(self) -> None:
        args = understood("enqueue", "a.b", "x=1", "--key", "k", "y=2", "--", "--z=3").args
        assert (args["pipeline"], args["pairs"], args["key"]) == ("a.b", ["x=1", "y=2", "--z=3"], "k")

    def test_values_that_begin_with_a_dash(self) -> None:
        assert understood("scale", "-3").args["amount"] == "-3"
        assert understood("enqueue", "a", "--priority", "-2", "n=-1").args["priority"] == -2
        assert understood("enqueue", "a", "--args", "-").args["args"] == "-"
        assert understood("cancel", "1", "--reason", "-because-").args["reason"] == "-because-"

    def test_a_negated_term_of_a_filter_is_no_option(self) -> None:
        invocation = parse(ORBITCTL, ["runs", "state:failed", "-tenant:42", "-args.tenantId2:7", "-o", "json"])
        assert invocation.args["filter"] == ["state:failed", "-tenant:42", "-args.tenantId2:7"]
        assert invocation.flags["output"] == "json"

    def test_the_last_of_repeated_options_counts(self) -> None:
        assert understood("runs", "--limit", "1", "--limit", "2").args["limit"] == 2
        assert understood("-c", "/f", "status", "-c", "/g").flags["config"] == "/g"

    def test_defaults(self) -> None:
        assert understood("runs").args == {"filter": (), "limit": 50, "before": None}
        assert understood("stop").args == {"now": False, "wait": False, "timeout": None}
        assert understood("enqueue", "a").args["pairs"] == ()

    @pytest.mark.parametrize(("alias", "name"), ALIASES.items())
    def test_aliases(self, alias: str, name: str) -> None:
        assert understood(alias).command.name == name if alias != "desc" else understood(alias, "x").command.name == name

    def test_verbs_of_two_words(self) -> None:
        assert understood("dlq", "show", "4711").args == {"run": "4711"}
        assert understood("dlq", "--limit", "3").command.name == "dlq list"

    @pytest.mark.parametrize("name", [name for name, command in ALL_COMMANDS.items() if command.example])
    def test_every_example(self, name: str) -> None:
        assert understood(*shlex.split(ALL_COMMANDS[name].example)).command.name == name


class TestOtherPrograms:
    RUN = Command("run", "changes", "run", (Argument("quiet", Kind.FLAG, "", default=False, short="-q"),))
    MIGRATE = Command("migrate", "changes", "migrate")
    STATUS = Command("migrate status", "reads", "tell")
    FLAGS = (Flag(("--set",), "", "KEY=VALUE", is_repeatable=True), Flag(("-w", "--children"), "", "N"))
    PROGRAM = Program("p", "", {command.name: command for command in (RUN, MIGRATE, STATUS)}, {}, FLAGS, default="run")

    def test_the_default_command_needs_no_name(self) -> None:
        assert parse(self.PROGRAM, ["-w", "4"]) == Invocation(self.RUN, {"quiet": False}, {"children": "4"})
        assert parse(self.PROGRAM, []).command is self.RUN
        assert parse(self.PROGRAM, ["-q"]).args == {"quiet": True}

    def test_a_repeatable_flag_keeps_all_values(self) -> None:
        assert parse(self.PROGRAM, ["--set", "a=1", "run", "--set=b=2"]).flags == {"set": ["a=1", "b=2"]}

    def test_a_command_may_be_the_first_word_of_another(self) -> None:
        assert parse(self.PROGRAM, ["migrate"]).command is self.MIGRATE
        assert parse(self.PROGRAM, ["migrate", "status"]).command is self.STATUS
        with pytest.raises(UsageError, match='migrate takes no "x"'):
            parse(self.PROGRAM, ["migrate", "x"])


class TestRefused:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["statsu"], 'unknown command "statsu"'),
            ([""], 'unknown command ""'),
            (["stat"], "unknown command"),
            (["dlq", "lits"], 'unknown command "dlq lits"'),
            (["--jso", "status"], 'unknown option "--jso"'),
            (["reload", "--wai"], 'unknown option "--wai"'),
            (["logs", "-fx"], 'unknown option "-x"'),
            (["--", "status"], 'unknown option "--"'),
            (["status", "extra"], 'status takes no "extra"'),
            (["status", "--", "--wait"], 'status takes no "--wait"'),
            (["reload", "--wait=yes"], "--wait takes no value"),
            (["-c"], "-c needs a value: -c FILE"),
            (["runs", "--limit"], "--limit needs a value: --limit N"),
            (["cancel", "1", "--reason", "--yes"], "--reason needs a value: --reason TEXT"),
            (["status", "--color", "blue"], '--color: "blue" is not one of auto, always, never'),
            (["status", "-o", "xml"], '-o: "xml" is not one of table, wide, json, jsonl, csv'),
            (["status", "--json", "-o", "csv"], "--json is -o json, and goes not with -o csv"),
            (["scale"], "scale needs N|+N|-N: the number, or a change of it"),
            (["scale", "many"], 'amount: "many" is not a number of children'),
            (["scale", "-1x"], 'amount: "-1x" is not a number of children such as 4, +2 or -1'),
            (["scale", "٣"], "is not a number of children"),
            (["enqueue", "a", "--in", "-5s"], '--in: "-5s" is not a duration such as'),
            (["runs", "--limit", "1.5"], '--limit: "1.5" is not a whole number'),
            (["runs", "--limit", "٣"], "is not a whole number"),
            (["restart", "1", "two"], 'slots: "two" is not a whole number'),
            (["dlq", "show"], "dlq show needs RUN"),
            (["loglevel", "debgu"], 'level: "debgu" is not one of debug, info, warning, error'),
            (["reload", "--wait", "--timeout", "5"], '--timeout: "5" is not a duration'),
            (["reload", "--timeout", "5s"], "--timeout is for --wait, which is not given"),
            (["enqueue", "a", "--timeout", "3s"], "--timeout is for --wait, which is not given"),
            (["health", "--live", "--ready"], "--live and --ready exclude each other"),
            (["runs", "-x:1"], 'unknown option "-x"'),
            (["reload", "--watch"], "--watch is for verbs that only read: reload changes something"),
            (["events", "-fw"], "--watch and --follow exclude each other"),
            (["describe", "\udcff"], "is not a text in UTF-8"),
            (["enqueue", "a", "x=\udcff"], "is not a list of texts in UTF-8"),
            (["\udcff"], "unknown command"),
            (["describe", "x" * 300_000], "is not a text in UTF-8 of at most 262144 characters"),
            (["x" * 300_000], "unknown command"),
            (["status", "-" + "x" * 300_000], 'unknown option "-x"'),
        ],
    )
    def test_in_words(self, orbitctl: Orbitctl, words: list[str], message: str) -> None:
        called = orbitctl(*words)
        assert called.code == 2
        assert message in called.err
        assert called.out == ""
        assert len(called.err) < 500
        if "-o" not in words:
            error = orbitctl("-ojson", *words).error
            assert (error["code"], message in error["message"]) == ("usage", True)

    @pytest.mark.parametrize(
        ("words", "hint"),
        [
            (["enqeue"], "did you mean enqueue?"),
            (["dlq", "lits"], "did you mean dlq list?"),
            (["reload", "--wiat"], "did you mean --wait?"),
            (["loglevel", "debgu"], "did you mean debug?"),
            (["list", "-o", "jsno"], "did you mean json?"),
            (["frobnicate"], "see `orbitctl --help`"),
            (["reload", "--frobnicate"], "see `orbitctl reload --help`"),
        ],
    )
    def test_with_a_suggestion(self, words: list[str], hint: str) -> None:
        with pytest.raises(UsageError) as caught:
            understood(*words)
        assert caught.value.hint == hint

    @given(
        st.lists(
            st.sampled_from(["status", "dlq", "list", "-f", "--", "-", "-c", "--json", "scale", "-1", "x=1", "--in", "=", "-o=", "--="])
        )
    )
    def test_any_words_are_understood_or_refused(self, words: list[str]) -> None:
        with contextlib.suppress(UsageError):
            understood(*words)


class TestHelp:
    def test_nothing_at_all_is_answered_with_the_verbs(self, orbitctl: Orbitctl) -> None:
        called = orbitctl()
        assert called.code == 2
        assert "usage: orbitctl" in called.err

    def test_names_every_verb(self, orbitctl: Orbitctl) -> None:
        called = orbitctl("--help")
        assert called.code == 0
        assert all(f"\n  {name} " in called.out for name in ALL_COMMANDS)
        assert max(map(len, called.out.splitlines())) <= 80

    @pytest.mark.parametrize("name", ALL_COMMANDS)
    def test_of_a_verb(self, orbitctl: Orbitctl, name: str) -> None:
        called = orbitctl(name, "-h")
        assert called.code == 0
        assert called.out.startswith(f"usage: orbitctl {name}")
        assert max(map(len, called.out.splitlines())) <= 80
        assert all(spelled in called.out for argument in all_arguments(ALL_COMMANDS[name]) for spelled in option_names(argument))

    def test_of_a_family_names_the_others(self, orbitctl: Orbitctl) -> None:
        assert "There are also dlq show, dlq\nretry, dlq resolve, dlq delete.\n" in orbitctl("dlq", "--help").out

    def test_is_a_verb_too(self, orbitctl: Orbitctl) -> None:
        assert orbitctl("help").out == orbitctl("--help").out
        assert orbitctl("help", "dlq", "show").out == orbitctl("dlq", "show", "--help").out
        assert "did you mean dlq show?" in orbitctl("help", "dlq", "shwo").err

    def test_groups_hold_each_verb_once(self) -> None:
        assert sorted(name for names in GROUPS.values() for name in names) == sorted(ALL_COMMANDS)


@pytest.mark.usefixtures("environ")
class TestEnds:
    def test_a_reader_that_goes_away_is_no_error(self) -> None:
        reading, writing = os.pipe()
        os.close(reading)
        with orbitctl_process("--help", stdout=writing) as process:
            os.close(writing)
            _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")

    def test_a_full_disk_is_an_error_in_words(self) -> None:
        with Path("/dev/full").open("w") as full, orbitctl_process("--help", stdout=full.fileno()) as process:
            _, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (1, "orbitctl: cannot go on: no space left on device\n")

    def test_closed_streams_are_no_traceback(self) -> None:
        for streams, verb, code in (
            ("<&- >&- 2>&-", "version", 0),
            ("<&- >&-", "version -ocsv", 0),
            ("<&- >&-", "version --json", 0),
            ("2>&-", "status", 3),
        ):
            shell = f'exec "{sys.executable}" -m orbitd.ctl.main {verb} {streams}'
            done = subprocess.run(["/bin/sh", "-c", shell], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (code, "", "")

    def test_ctrl_c_ends_with_130_and_says_what_goes_on(self, daemon: subprocess.Popen[str]) -> None:
        with orbitctl_process("scale", "3", "--wait") as process:
            assert daemon.stdout is not None
            assert daemon.stdout.readline() == "asked to wait\n"
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        assert (process.returncode, out) == (130, "")
        assert "orbitctl: stopped waiting; the scale goes on" in err
        assert "Traceback" not in err

    @pytest.mark.parametrize("module", ["orbitd.ctl.app", "orbitd.ctl.parser", "orbitd.ctl.daemon", "orbitd.control.client"])
    def test_ctrl_c_while_it_is_being_loaded_is_no_traceback(self, module: str) -> None:
        code = (
            "import sys, orbitd.ctl.main\n"
            "class Pressed:\n"
            "    def find_spec(self, name, path=None, target=None):\n"
            f"        if name == {module!r}: raise KeyboardInterrupt\n"
            "sys.meta_path.insert(0, Pressed())\n"
            "sys.exit(orbitd.ctl.main.main(['status']))"
        )
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
        assert (done.returncode, done.stdout, done.stderr) == (130, "", "")

    def test_ctrl_c_while_the_daemon_is_silent_is_no_traceback(self, daemon: subprocess.Popen[str]) -> None:
        daemon.send_signal(signal.SIGSTOP)
        with terminal([sys.executable, "-X", "importtime", "-m", "orbitd.ctl.main", "status"]) as screen:
            screen.expect("orbitd.control.client")
            screen.type("\x03")
            assert screen.end() == 130
        assert "Traceback" not in screen.shown

    def test_errors_that_cannot_be_told_do_not_change_the_exit_code(self) -> None:
        with Path("/dev/full").open("w") as full:
            done = subprocess.run(
                [sys.executable, "-m", "orbitd.ctl.main", "status"], cwd=ROOT, stdout=subprocess.PIPE, stderr=full, timeout=20, check=False
            )
        assert (done.returncode, done.stdout) == (3, b"")

    def test_the_c_locale_gets_ascii(self, daemon: subprocess.Popen[str]) -> None:
        with orbitctl_process("status", LC_ALL="C") as process:
            out, _ = process.communicate(timeout=20)
        assert (process.returncode, out.isascii()) == (0, True)
        assert "poll        last " in out

    def test_output_that_cannot_be_encoded_is_escaped(self, daemon: subprocess.Popen[str]) -> None:
        with orbitctl_process("list", PYTHONIOENCODING="ascii") as process:
            out, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
        assert out.isascii()
        assert "! held" in out


HEAVY = {
    *("psycopg", "asyncio", "rich", "argparse", "dataclasses", "inspect", "difflib", "textwrap", "csv", "shlex", "tomllib", "logging"),
    *("importlib.metadata", "orbitd.store", "orbitd.config.loading", "orbitd.config.model", "orbitd.ctl.help", "orbitd.ctl.watch"),
}
"""What a person who types `orbitctl status` need not wait for."""


def imported_by(*words: str) -> set[str]:
    """The modules that `orbitctl` with these words imports, beyond those of the interpreter's start."""
    code = f"import sys; before = set(sys.modules); import orbitd.ctl.main as m; m.main({words}); print(*set(sys.modules) - before)"
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}  # not where it lies: `make run` leaves a configuration there
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, timeout=20, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("verb", ["status", "list", "health", "version"])
def test_asking_the_daemon_imports_nothing_heavy(daemon: subprocess.Popen[str], verb: str) -> None:
    imported = imported_by(verb)
    assert "orbitd.ctl.daemon" in imported
    assert not HEAVY & imported


def test_looking_for_the_daemon_in_its_usual_place_imports_nothing_heavy(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environ.delenv("ORBITD_SOCKET")
    environ.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    imported = imported_by("status")
    assert "orbitd.config.places" in imported
    assert not HEAVY & imported


def test_a_configuration_is_read_for_the_socket_without_the_table_of_all_options(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environ.delenv("ORBITD_SOCKET")
    (tmp_path / "orbitd.toml").write_text(f'[control]\nsocket = "{tmp_path}/orbitd.sock"\n')
    imported = imported_by("-c", str(tmp_path / "orbitd.toml"), "status")
    assert "tomllib" in imported
    assert not {"psycopg", "asyncio", "argparse", "orbitd.config.model"} & imported


class TestTerminal:
    @pytest.mark.parametrize(
        ("words", "environ_", "coloured"),
        [
            ([], {}, False),
            (["--color", "always"], {}, True),
            (["--color", "always"], {"NO_COLOR": "1"}, True),
            ([], {"FORCE_COLOR": "1"}, True),
            ([], {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
            (["--color", "never"], {"FORCE_COLOR": "1"}, False),
        ],
    )
    @pytest.mark.usefixtures("daemon")
    def test_colours_are_asked_for(
        self, orbitctl: Orbitctl, environ: pytest.MonkeyPatch, words: list[str], environ_: dict[str, str], *, coloured: bool
    ) -> None:
        for name, value in environ_.items():
            environ.setenv(name, value)
        assert ("\x1b[" in orbitctl("list", *words).out) is coloured

    @pytest.mark.parametrize(("columns", "width"), [("60", 60), ("0", 80), ("1", 40), ("10000", 10_000), ("x", 80), ("٦٠", 80)])
    @pytest.mark.usefixtures("daemon")
    def test_widths_are_taken_as_they_come(self, orbitctl: Orbitctl, environ: pytest.MonkeyPatch, columns: str, width: int) -> None:
        environ.setenv("COLUMNS", columns)
        assert max(map(len, orbitctl("list").out.splitlines())) <= max(width, 58)

    @pytest.mark.usefixtures("daemon")
    def test_documents_have_no_colours(self, orbitctl: Orbitctl) -> None:
        assert json.loads(orbitctl("list", "--json", "--color", "always").out)
