"""The command line itself: what is understood, what is refused, and how a call can end."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orbitd.ctl.parser import parse
from orbitd.ctl.verbs import ALIASES, ALL_COMMANDS, GROUPS
from orbitd.errors import UsageError
from tests.ctl.conftest import ROOT, Orbitctl


def orbitctl_process(*words: str, stdout: int | None = subprocess.PIPE, **environ: str) -> subprocess.Popen[str]:
    """`orbitctl` as a process of its own."""
    command = [sys.executable, "-m", "orbitd.ctl.main", *words]
    return subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=subprocess.PIPE, text=True, env={**os.environ, **environ}
    )


class TestUnderstood:
    def test_flags_before_and_after_the_verb(self) -> None:
        for words in (["--json", "-c", "/f", "status"], ["status", "--json", "-c", "/f"], ["-c", "/f", "status", "--json"]):
            invocation = parse(words)
            assert (invocation.command.name, invocation.json, invocation.config) == ("status", True, "/f")

    def test_options_among_the_words_of_a_list(self) -> None:
        args = parse(["enqueue", "a.b", "x=1", "--key", "k", "y=2", "--", "--z=3"]).args
        assert (args["pipeline"], args["pairs"], args["key"]) == ("a.b", ["x=1", "y=2", "--z=3"], "k")

    def test_negative_numbers_as_values(self) -> None:
        assert parse(["scale", "-3"]).args["amount"] == "-3"
        assert parse(["enqueue", "a", "--priority", "-2", "n=-1"]).args["priority"] == -2

    def test_the_last_of_repeated_options_counts(self) -> None:
        assert parse(["runs", "--limit", "1", "--limit", "2"]).args["limit"] == 2

    def test_defaults(self) -> None:
        assert parse(["runs"]).args == {"state": None, "pipeline": None, "limit": 50, "before": None}
        assert parse(["stop"]).args == {"now": False, "wait": False, "timeout": None}
        assert list(parse(["enqueue", "a"]).args["pairs"]) == []

    @pytest.mark.parametrize(("alias", "name"), ALIASES.items())
    def test_aliases(self, alias: str, name: str) -> None:
        assert parse([alias]).command.name == name


class TestRefused:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["statsu"], 'unknown command "statsu"'),
            ([""], 'unknown command ""'),
            (["stat"], "unknown command"),
            (["--jso", "status"], "unrecognized arguments"),
            (["reload", "--wai"], "unrecognized arguments: --wai"),
            (["status", "extra"], "unrecognized arguments: extra"),
            (["status", "--", "--wait"], "unrecognized arguments"),
            (["status", "--no-such"], "unrecognized arguments: --no-such"),
            (["-c"], "expected one argument"),
            (["status", "--color", "blue"], "invalid choice: 'blue'"),
            (["scale"], "the following arguments are required: N|+N|-N"),
            (["scale", "many"], 'amount: "many" is not a number of children'),
            (["scale", "٣"], "is not a number of children"),
            (["runs", "--limit", "1.5"], '"1.5" is not a whole number'),
            (["runs", "--limit", "٣"], "is not a whole number"),
            (["cancel"], "the following arguments are required: RUN"),
            (["reload", "--wait", "--timeout", "5"], 'timeout: "5" is not a duration'),
            (["describe", "\udcff"], "is not a text in UTF-8"),
            (["enqueue", "a", "x=\udcff"], "is not a list of texts in UTF-8"),
            (["\udcff"], "unknown command"),
            (["describe", "x" * 300_000], "is not a text in UTF-8 of at most 262144 characters"),
        ],
    )
    def test_in_words(self, orbitctl: Orbitctl, words: list[str], message: str) -> None:
        called = orbitctl(*words)
        assert called.code == 2
        assert message in called.err
        assert called.out == ""
        assert len(called.err) < 500
        error = orbitctl("--json", *words).error
        assert (error["code"], message in error["message"]) == ("usage", True)

    def test_with_a_suggestion(self) -> None:
        with pytest.raises(UsageError) as caught:
            parse(["enqeue"])
        assert caught.value.hint == "did you mean enqueue?"


class TestHelp:
    def test_nothing_at_all_is_answered_with_the_verbs(self, orbitctl: Orbitctl) -> None:
        called = orbitctl()
        assert called.code == 2
        assert "usage: orbitctl" in called.err

    def test_names_every_verb(self, orbitctl: Orbitctl) -> None:
        called = orbitctl("--help")
        assert called.code == 0
        assert all(f"\n  {name} " in called.out for name in ALL_COMMANDS)
        assert max(map(len, called.out.splitlines())) <= 110

    @pytest.mark.parametrize("name", ALL_COMMANDS)
    def test_of_a_verb(self, orbitctl: Orbitctl, name: str) -> None:
        called = orbitctl(name, "-h")
        assert called.code == 0
        assert called.out.startswith(f"usage: orbitctl {name}")

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
        assert (process.returncode, err) == (1, "orbitctl: cannot write the answer: no space left on device\n")

    def test_closed_streams_are_no_traceback(self) -> None:
        for streams, verb, code in (("<&- >&- 2>&-", "version", 0), ("<&- >&-", "version", 0), ("2>&-", "status", 3)):
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

    def test_output_that_cannot_be_encoded_is_escaped(self, daemon: subprocess.Popen[str]) -> None:
        with orbitctl_process("list", PYTHONIOENCODING="ascii") as process:
            out, err = process.communicate(timeout=20)
        assert (process.returncode, err) == (0, "")
        assert out.isascii()
        assert "! held" in out


def test_asking_the_daemon_imports_no_database_driver_and_no_event_loop() -> None:
    code = "import sys, orbitd.ctl.main as m; m.main(['status', '--socket', '/nowhere']); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=20, check=True)
    assert not {"psycopg", "asyncio", "rich", "orbitd.store", "importlib.metadata"} & set(done.stdout.split())


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
