"""The completion scripts, in the shells that they are for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from orbitd.control.commands import Argument, Command, Kind
from orbitd.ctl.completion import script
from orbitd.ctl.parser import Flag, Program
from orbitd.ctl.verbs import ORBITCTL
from orbitd.store import admin, hosts
from orbitd.store.connection import Connection
from orbitd.store.rows import PipelineSpec
from tests.ctl.terminal import terminal
from tests.support.rigs import missing_rig

SHELLS = ("bash", "zsh", "fish")
CONFIG = Program(
    "orbitd",
    "",
    {
        "run": Command("run", "changes", "run in the foreground", (Argument("quiet", Kind.FLAG, "", default=False, short="-q"),)),
        "config explain": Command(
            "config explain",
            "reads",
            "tell",
            (Argument("key", Kind.TEXT, "", positional=True, metavar="KEY", completes="option"),),
        ),
        "config init": Command(
            "config init",
            "changes",
            "write",
            (Argument("file", Kind.TEXT, "", default="", positional=True, metavar="FILE", completes="file"),),
        ),
    },
    {},
    (Flag(("-w", "--children"), "", "N"),),
    default="run",
)

Complete = Callable[..., list[str]]

_BASH = """
source "$1"
shift
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
"_$1" "$1"
printf '%s\\n' "${COMPREPLY[@]}"
"""
# What zsh's own functions would put on the screen is printed in their place.
_ZSH = """
compdef() { : }
compset() { : }
_files() { print -l -- $current*(N) }
_describe() { print -l -- "${(@)${(P)2}%%:*}" }
compadd() { shift; print -l -- "$@" }
source "$1"
shift
words=("$@")
CURRENT=$#
"_$1"
"""
_FISH = 'source $argv[1]; complete -C "$argv[2..]"'


def completed(shell: str, program: Program, words: Sequence[str], folder: Path) -> list[str]:
    """What the shell offers for the last word."""
    path = folder / f"{program.name}.{shell}"
    path.write_text(script(program, shell))
    drive = {"bash": ["bash", "-c", _BASH, "-"], "zsh": ["zsh", "-fc", _ZSH, "-"], "fish": ["fish", "--no-config", "-c", _FISH, "--"]}
    command = [*drive[shell], str(path), program.name, *words]
    env = {**os.environ, "PATH": f"{os.environ['PATH']}:{Path(sys.executable).parent}", "HOME": str(folder)}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, check=True, timeout=20, stdin=subprocess.DEVNULL)
    assert done.stderr == ""
    last = words[-1]
    offered = [line.partition("\t")[0] for line in done.stdout.splitlines()]
    return sorted(word for word in offered if word and word.startswith(last))


@pytest.fixture(params=SHELLS)
def complete(request: pytest.FixtureRequest, environ: pytest.MonkeyPatch, tmp_path: Path) -> Complete:
    """What a shell offers for the last of the words after `orbitctl`, or after another program."""
    if shutil.which(request.param) is None:
        missing_rig(f"{request.param} is not installed: apt-get install {request.param}")

    def complete(*words: str, program: Program = ORBITCTL) -> list[str]:
        return completed(request.param, program, words, tmp_path)

    return complete


def test_verbs(complete: Complete) -> None:
    assert {"status", "enqueue", "dlq", "completion"} <= set(complete(""))
    assert complete("ch") == ["check-interrupted"]
    assert complete("-o", "json", "stat") == ["status"]


def test_verbs_of_two_words(complete: Complete) -> None:
    assert complete("dlq", "") == ["delete", "list", "resolve", "retry", "show"]
    assert complete("--json", "dlq", "re") == ["resolve", "retry"]


def test_options_of_a_verb_and_of_all(complete: Complete) -> None:
    assert complete("runs", "--l") == ["--limit"]
    assert complete("dlq", "resolve", "--n") == ["--notes"]
    assert complete("dlq", "--resol") == ["--resolved"]
    assert {"--where", "--yes", "--json", "-o"} <= set(complete("cancel", "4711", "-"))
    assert complete("--so") == ["--socket"]


def test_choices(complete: Complete) -> None:
    assert complete("list", "-o", "js") == ["json", "jsonl"]
    assert complete("completion", "") == ["bash", "fish", "zsh"]
    assert complete("loglevel", "w") == ["warning"]


def test_a_free_value_offers_nothing(complete: Complete) -> None:
    assert complete("runs", "--limit", "") == []
    assert complete("cancel", "--reason", "s") == []


def test_files(complete: Complete, tmp_path: Path) -> None:
    (tmp_path / "orbitd-test.toml").write_text("")
    assert complete("-c", "orbitd-t") == ["orbitd-test.toml"]


@pytest.fixture
def patience(tmp_path: Path, environ: pytest.MonkeyPatch) -> None:
    """No limit of time: a busy machine needs more than the second that a person should wait."""
    (tmp_path / "timeout").write_text('#!/bin/sh\nshift\nexec "$@"\n')
    (tmp_path / "timeout").chmod(0o755)
    environ.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")


@pytest.mark.usefixtures("daemon", "patience")
def test_slots_as_the_daemon_tells_them(complete: Complete) -> None:
    assert complete("kill", "") == ["0", "1", "2", "3"]
    assert complete("restart", "0", "1", "") == ["0", "1", "2", "3"]


@pytest.mark.usefixtures("patience")
def test_runs_pipelines_and_queues_as_the_database_tells_them(
    complete: Complete, environ: pytest.MonkeyPatch, conn: Connection, dsn: str
) -> None:
    environ.setenv("DATABASE_URL", dsn)
    host = hosts.register(conn, boot_id="boot", name="prod-a", pid=1, version="1", lease_seconds=60)
    anything = '{"required": [], "optional": [], "open": true}'
    names = {"invoice.sync": "billing", "lead.enrich": "leads", "$(touch here)": "`touch here`"}
    hosts.register_pipelines(conn, host, [PipelineSpec(name, queue, 0, anything, 3, 3) for name, queue in names.items()])
    made = admin.enqueue(conn, "invoice.sync", {})
    assert complete("cancel", "") == [str(made.id)]
    assert complete("enqueue", "") == ["invoice.sync", "lead.enrich"]
    assert complete("enqueue", "invoice.sync", "--queue", "") == ["billing", "leads"]


def test_without_a_daemon_and_a_database_nothing_is_offered_and_nothing_is_said(complete: Complete) -> None:
    assert complete("kill", "") == []
    assert complete("cancel", "") == []
    assert complete("enqueue", "") == []


def test_of_another_program_with_a_default_command(complete: Complete) -> None:
    assert complete("-", program=CONFIG) == ["--children", "--help", "--quiet", "-q", "-w"]
    assert complete("config", "", program=CONFIG) == ["explain", "init"]
    assert "children.count" in complete("config", "explain", "children.c", program=CONFIG)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_says_where_it_comes_from(shell: str) -> None:
    assert f"printed by `orbitctl completion {shell}`" in script(ORBITCTL, shell)


def test_bash_knows_which_function_completes() -> None:
    if shutil.which("bash") is None:
        missing_rig("bash is not installed: apt-get install bash")
    done = subprocess.run(["bash", "-c", f"{script(ORBITCTL, 'bash')}\ncomplete -p orbitctl"], capture_output=True, text=True, check=True)
    assert done.stdout == "complete -F _orbitctl orbitctl\n"


def test_in_bash_an_equals_sign_stands_between_words(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if shutil.which("bash") is None:
        missing_rig("bash is not installed: apt-get install bash")
    assert completed("bash", ORBITCTL, ["status", "--output", "=", "js"], tmp_path) == ["json", "jsonl"]


def test_a_real_zsh_completes_at_the_press_of_a_key(environ: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if shutil.which("zsh") is None:
        missing_rig("zsh is not installed: apt-get install zsh")
    path = tmp_path / "_orbitctl"
    path.write_text(script(ORBITCTL, "zsh"))
    with terminal(["zsh", "-fi"], HOME=str(tmp_path), PS1="ready> ") as screen:
        screen.type(f"autoload -Uz compinit && compinit -D -u && source {path} && print loa''ded\n")
        screen.expect("loaded\n")
        screen.type("orbitctl check-\t")
        screen.expect("check-interrupted")
        screen.type("--col\t")
        screen.expect("--color")
        screen.type("alw\t")
        screen.expect("always")
