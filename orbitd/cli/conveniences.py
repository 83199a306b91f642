"""What makes life easier: `orbitd dev`, and what the shell may offer after `orbitd`."""

from __future__ import annotations

from collections.abc import Mapping

from orbitd.cli.call import Act, Call
from orbitd.cli.commands import ORBITD
from orbitd.errors import ExitCode, UsageError


def develop(call: Call) -> int:
    """`orbitd dev`. Raises UsageError for -c: it writes a configuration of its own."""
    if "config" in call.invocation.flags:
        raise UsageError("orbitd dev writes a configuration of its own", "give it single options: --set KEY=VALUE")
    from orbitd import dev

    return dev.run(call.args["pipelines"], overrides=call.overrides)


def completion(call: Call) -> int:
    """`orbitd completion`."""
    from orbitd.ctl.completion import script

    shell = call.args["shell"]
    text = script(ORBITD, shell)
    call.out.document({"schema": "orbit.completion/1", "shell": shell, "script": text}, text.splitlines())
    return ExitCode.OK


ACTS: Mapping[str, Act] = {"dev": develop, "completion": completion}
