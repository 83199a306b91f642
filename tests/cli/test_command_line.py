"""What can be typed after `orbitd`, and what is said when it cannot."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys

import pytest

from orbitd import __version__
from orbitd.cli.app import run
from orbitd.cli.call import Call
from orbitd.cli.commands import COMMANDS, GROUPS, ORBITD
from orbitd.config import OPTIONS
from orbitd.ctl.help import overview
from orbitd.ctl.output import Output
from orbitd.ctl.parser import parse
from orbitd.errors import UsageError


def overrides(*words: str) -> list[str]:
    return Call(parse(ORBITD, words), Output("orbitd"), {}).overrides


def test_without_a_command_it_runs() -> None:
    assert parse(ORBITD, []).command.name == "run"
    assert parse(ORBITD, ["-w", "3", "--allow-root"]).command.name == "run"
    assert parse(ORBITD, ["--quiet"]).args["quiet"] is True


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_in_a_group_and_has_a_home(name: str) -> None:
    from orbitd.cli.app import _act

    assert sum(name in names for names in GROUPS.values()) == 1
    assert callable(_act(name))


def test_the_help_fits_on_two_screens() -> None:
    lines = list(overview(ORBITD))
    assert len(lines) <= 70
    assert max(map(len, lines)) <= 80
    assert all(any(line.startswith(f"  {name} ") for line in lines) for name in COMMANDS)


@pytest.mark.parametrize(("typed", "key"), [(flag, key) for key, option in OPTIONS.items() for flag in option.flags])
def test_every_flag_of_an_option_is_a_set_and_keeps_its_own_name(typed: str, key: tuple[str, str]) -> None:
    [given] = overrides(typed, "7")
    written, _, value = given.partition("=")
    assert value == "7"
    assert written == typed or not typed.startswith("--")
    assert written in OPTIONS[key].flags


def test_flags_and_sets_are_taken_before_and_after_the_command() -> None:
    assert overrides("--set", "a.b=1", "-w", "3", "check", "--set", "c.d=x=y") == ["a.b=1", "c.d=x=y", "--children=3"]


@pytest.mark.parametrize(
    ("words", "message", "hint"),
    [
        (["chekc"], 'unknown command "chekc"', "did you mean check?"),
        (["config", "shwo"], "shwo", "did you mean config show?"),
        (["--chilren", "3"], 'unknown option "--chilren"', "did you mean --children?"),
        (["-w"], "-w needs a value", "--help"),
        (["config", "explain"], "needs KEY", "--help"),
        (["once", "--max", "x"], '"x" is not a whole number', None),
        (["dev"], "needs PIPELINES", "--help"),
    ],
)
def test_a_wrong_command_line_says_what_is_wrong_and_what_to_type(words: list[str], message: str, hint: str | None) -> None:
    with pytest.raises(UsageError) as caught:
        parse(ORBITD, words)
    assert message in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")


def test_an_error_is_one_line_and_a_hint_and_never_a_usage_dump(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--alow-root"]) == 2
    assert capsys.readouterr().err == 'orbitd: unknown option "--alow-root"\nhint: did you mean --allow-root?\n'


def test_an_error_with_json_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["chekc", "--json"]) == 2
    error = json.loads(capsys.readouterr().err)["error"]
    assert error["code"] == "usage"
    assert "chekc" in error["message"]


def test_the_version_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"orbitd {__version__}\n"


def test_once_of_nothing_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["once", "--max", "0"]) == 2
    assert "--max 0" in capsys.readouterr().err


def typed(line: str) -> subprocess.CompletedProcess[str]:
    """A shell's line with `orbitd` in it."""
    script = f'orbitd() {{ {shlex.quote(sys.executable)} -m orbitd "$@"; }}; {line}'
    return subprocess.run(["bash", "-o", "pipefail", "-c", script], capture_output=True, text=True, check=False, timeout=30)


def test_a_reader_who_has_seen_enough_is_no_error() -> None:
    done = typed("orbitd config show | head -1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "[instance]\n", "")


def test_an_answer_that_cannot_be_written_is_one_clear_error() -> None:
    done = typed("orbitd config show > /dev/full")
    assert (done.returncode, done.stderr) == (1, "orbitd: cannot go on: no space left on device\n")


def test_bytes_and_escapes_of_others_cannot_steer_the_terminal() -> None:
    for line in (r"orbitd --set $'a\x1b[31m=\xff' check", r"orbitd config explain $'\xff\x1b[31m'", r"orbitd -c $'\x1b[2J' check"):
        done = typed(line)
        assert done.returncode in {2, 78}
        assert "\x1b" not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr


def test_the_supervisor_loads_neither_the_databases_driver_nor_what_runs_user_code() -> None:
    code = "import sys, orbitd.cli.app, orbitd.cli.foreground, orbitd.cli.once; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"psycopg", "asyncio", "orbitd.store", "orbitd.pipelines", "orbitd.mold"} & set(loaded)


def offered(*words: str) -> set[str]:
    """What bash offers for the last of the words."""
    script = subprocess.run([sys.executable, "-m", "orbitd", "completion", "bash"], capture_output=True, text=True, check=True).stdout
    asked = f'{script}\nCOMP_WORDS=(orbitd "$@")\nCOMP_CWORD=$#\n_orbitd orbitd\nprintf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", asked, "bash", *words], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ch"], {"check"}),
        (["config", "e"], {"explain"}),
        (["config", "explain", "children.c"], {"children.count"}),
        (["--child"], {"--children"}),
        (["check", "--im"], {"--import"}),
    ],
)
def test_the_shell_offers_commands_options_and_settings(words: list[str], expected: set[str]) -> None:
    assert offered(*words) == expected
