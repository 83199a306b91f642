"""One call of `orbitd`: understand the command line, carry out the command, say what went wrong."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping, Sequence

from orbitd import __version__
from orbitd.cli.call import Act, Call
from orbitd.cli.commands import COMMANDS, ORBITD
from orbitd.ctl.output import Format, Output
from orbitd.ctl.parser import Invocation, parse
from orbitd.errors import ExitCode, OrbitError

# Where each command is at home. Looked up by name: the arbiter must not load what others need.
_HOMES: Mapping[str, str] = {
    "run": "orbitd.cli.foreground",
    "once": "orbitd.cli.once",
    **dict.fromkeys(("dev", "completion"), "orbitd.cli.conveniences"),
    "check": "orbitd.cli.check",
    **dict.fromkeys((name for name in COMMANDS if name.startswith("config ")), "orbitd.cli.configuration"),
    **dict.fromkeys(("migrate", "migrate status"), "orbitd.cli.database"),
}


def run(argv: Sequence[str]) -> int:
    """Carry out a command line; returns the exit code."""
    out = Output(ORBITD.name, Format.JSON if "--json" in argv else Format.TABLE)
    try:
        invocation = _understood(argv)
        out = Output.asked(ORBITD.name, invocation.flags, os.environ)
        if "version" in invocation.flags:
            out.document({"schema": "orbit.version/1", "client": __version__, "daemon": None}, [f"orbitd {__version__}"])
            return ExitCode.OK
        return _act(invocation.command.name)(Call(invocation, out, dict(os.environ)))
    except OrbitError as error:
        out.error(error)
        return error.exit_code
    except SystemExit as ending:
        # the help has been printed
        return int(ending.code or ExitCode.OK)


def _understood(argv: Sequence[str]) -> Invocation:
    """The command line; gunicorn's --check-config stands for the command `check`. Raises UsageError."""
    invocation = parse(ORBITD, argv)
    if "check-config" not in invocation.flags:
        return invocation
    return Invocation(COMMANDS["check"], COMMANDS["check"].checked({}), invocation.flags)


def _act(name: str) -> Act:
    act: Act = importlib.import_module(_HOMES[name]).ACTS[name]
    return act
