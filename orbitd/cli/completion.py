"""`orbitd completion`: what the shell may offer after `orbitd`."""

from __future__ import annotations

from collections.abc import Mapping

from orbitd.cli.call import Act, Call
from orbitd.cli.commands import ORBITD
from orbitd.ctl.completion import script
from orbitd.errors import ExitCode


def completion(call: Call) -> int:
    """Print the script."""
    shell = call.args["shell"]
    text = script(ORBITD, shell)
    call.out.document({"schema": "orbit.completion/1", "shell": shell, "script": text}, text.splitlines())
    return ExitCode.OK


ACTS: Mapping[str, Act] = {"completion": completion}
