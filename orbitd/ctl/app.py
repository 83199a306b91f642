"""One call of `orbitctl`: understand the command line, carry out the verb, say what went wrong."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orbitd.config import find_file, find_socket
from orbitd.control.commands import COMMANDS
from orbitd.ctl.output import Output, say
from orbitd.ctl.parser import Invocation, overview, parse
from orbitd.errors import ConfigError, ExitCode, OrbitError


@dataclass(frozen=True)
class Session:
    """What a verb works with."""

    invocation: Invocation
    out: Output
    environ: Mapping[str, str]

    def config_file(self) -> Path | None:
        """The file that -c names, or the usual one."""
        return Path(self.invocation.config) if self.invocation.config is not None else find_file(self.environ)

    def socket(self) -> Path:
        """The daemon's control socket. A broken file does not keep an operator from a daemon in its usual place."""
        if named := self.invocation.socket or self.environ.get("ORBITD_SOCKET"):
            return Path(named)
        try:
            return find_socket(self.config_file(), self.environ)
        except ConfigError as error:
            if self.invocation.config is not None:
                raise
            self.out.note(f"{error.message.splitlines()[0]}; looking for the daemon in its usual place")
            return find_socket(None, self.environ)


Verb = Callable[[Session], int]


def run(argv: Sequence[str]) -> int:
    """Carry out a command line; returns the exit code."""
    out = Output(as_json="--json" in argv, color="auto", environ=os.environ)
    try:
        if not argv:
            say("\n".join(overview()))
            return ExitCode.USAGE
        invocation = parse(argv)
        out = Output(as_json=invocation.json, color=invocation.color, environ=os.environ)
        return _verb(invocation.command.name)(Session(invocation, out, os.environ))
    except OrbitError as error:
        out.error(error)
        return error.exit_code
    except SystemExit as ending:
        # argparse has printed a help.
        return int(ending.code or ExitCode.OK)


def _verb(name: str) -> Verb:
    if name in COMMANDS:
        from orbitd.ctl.daemon import VERBS  # a run verb imports a database driver, these must not
    else:
        from orbitd.ctl.runs import VERBS
    return VERBS[name]
