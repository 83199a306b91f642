"""`orbitd dev`, as the command line gives it on."""

from __future__ import annotations

from collections.abc import Mapping

from orbitd import dev
from orbitd.cli.call import Act, Call
from orbitd.errors import UsageError


def run(call: Call) -> int:
    """Run pipelines with all that they need. Raises UsageError for -c: it writes a configuration of its own."""
    if "config" in call.invocation.flags:
        raise UsageError("orbitd dev writes a configuration of its own", "give it single options: --set KEY=VALUE")
    return dev.run(call.args["pipelines"], overrides=call.overrides)


ACTS: Mapping[str, Act] = {"dev": run}
