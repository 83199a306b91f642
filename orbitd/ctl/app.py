"""One call of `orbitctl`: understand the command line, carry out the verb, say what went wrong."""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from orbitd.control.commands import COMMANDS
from orbitd.ctl.output import Format, Output, end_line, say
from orbitd.ctl.parser import Invocation, parse
from orbitd.ctl.verbs import ORBITCTL
from orbitd.errors import ConfigError, ExitCode, OrbitError, UsageError

_ASKS_FOR_JSON = re.compile(r"(?:^| )(?:--json|(?:-w?o|--output)[ =]?jsonl?)(?: |$)")
# Where each verb is at home. Looked up by name, for what asks the database imports its driver, and what asks the daemon must not.
_HOMES: Mapping[str, str] = {
    "completion": "orbitd.ctl.completion",
    **dict.fromkeys(COMMANDS, "orbitd.ctl.daemon"),
    "enqueue": "orbitd.ctl.enqueue",
    "logs": "orbitd.ctl.logs",
    **dict.fromkeys(("runs", "describe", "pipelines", "check-interrupted", "audit", "recover", "dlq list", "dlq show"), "orbitd.ctl.runs"),
    **dict.fromkeys(("cancel", "retry", "rerun", "resume", "dlq retry", "dlq resolve", "dlq delete"), "orbitd.ctl.acts"),
}


class Session(NamedTuple):
    """What a verb works with."""

    invocation: Invocation
    out: Output
    environ: Mapping[str, str]
    argv: Sequence[str] = ()
    """The command line as it was typed, without the program's name."""
    program: str = ORBITCTL.name

    @property
    def args(self) -> Mapping[str, Any]:
        """The arguments of the verb, by name."""
        return self.invocation.args

    def config_file(self) -> Path | None:
        """The file that -c names, or the usual one."""
        from orbitd.config import find_file

        return Path(named) if (named := self.invocation.flags.get("config")) is not None else find_file(self.environ)

    def socket(self) -> Path:
        """The daemon's control socket. A broken file does not keep an operator from a daemon in its usual place."""
        if named := self.invocation.flags.get("socket") or self.environ.get("ORBITD_SOCKET"):
            return Path(named)
        from orbitd.config import find_socket

        try:
            return find_socket(self.config_file(), self.environ)
        except ConfigError as error:
            if "config" in self.invocation.flags:
                raise
            self.out.note(f"{error.message.splitlines()[0]}; looking for the daemon in its usual place")
            return find_socket(None, self.environ)


Verb = Callable[[Session], int]


def run(argv: Sequence[str]) -> int:
    """Carry out a command line; returns the exit code."""
    out = Output(ORBITCTL.name, _guessed_form(argv))
    try:
        if not argv:
            return _nothing_asked()
        invocation = parse(ORBITCTL, argv)
        out = Output.asked(ORBITCTL.name, invocation.flags, os.environ)
        return _carried_out(invocation, argv)
    except OrbitError as error:
        out.error(error)
        return error.exit_code
    except KeyboardInterrupt:
        end_line()
        raise
    except SystemExit as ending:
        # A help was printed.
        return int(ending.code or ExitCode.OK)


def _nothing_asked() -> int:
    from orbitd.ctl.help import overview

    say("\n".join(overview(ORBITCTL)))
    return ExitCode.USAGE


def _carried_out(invocation: Invocation, argv: Sequence[str]) -> int:
    def session() -> Session:
        return Session(invocation, Output.asked(ORBITCTL.name, invocation.flags, os.environ), os.environ, argv)

    _check_timeout(invocation.args)
    verb = _verb(invocation.command.name)
    if not invocation.flags.get("watch"):
        return verb(session())
    from orbitd.ctl.watch import check_watchable, watch

    check_watchable(invocation.command, invocation.args)
    return watch(verb, session)


def _check_timeout(args: Mapping[str, Any]) -> None:
    """Raise UsageError for the end of a wait that was not asked for."""
    if args.get("timeout") is not None and not (args.get("wait") or args.get("follow")):
        raise UsageError("--timeout is for --wait, which is not given", "add --wait, or leave --timeout away")


def _verb(name: str) -> Verb:
    verb: Verb = importlib.import_module(_HOMES[name]).VERBS[name]
    return verb


def _guessed_form(argv: Sequence[str]) -> Format:
    """How to tell of a command line that may not be understood."""
    return Format.JSON if _ASKS_FOR_JSON.search(" ".join(argv)) else Format.TABLE
