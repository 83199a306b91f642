"""`orbitd once`: do the runs that are due, then end. For cron and CI; it may work beside a daemon on the same database."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from orbitd.arbiter import Arbiter
from orbitd.cli.announce import announce
from orbitd.cli.call import Act, Call
from orbitd.cli.foreground import prepare, reader
from orbitd.config import Settings
from orbitd.errors import ConfigError, DatabaseUnavailable, ExitCode, OrbitError, UsageError
from orbitd.generations import Generations
from orbitd.incarnation import Incarnation
from orbitd.rules.once import Once
from orbitd.system import log


def run(call: Call) -> int:
    """Supervise until nothing is due any more; returns the exit code. Raises OrbitError when it cannot get so far."""
    if call.args["max"] is not None and call.args["max"] < 1:
        raise UsageError(f"--max {call.args['max']}: there is nothing to do", "give a number from 1 on")
    loaded = call.survey()
    _prepare(loaded.settings)
    call.refuse_root(loaded.settings)
    log.set_up("arbiter", loaded.settings.logging, host=loaded.settings.instance.name)
    once = Once(most_runs=call.args["max"])
    with tempfile.TemporaryDirectory(prefix="orbitd-once-") as folder:
        arbiter = Arbiter(Generations(loaded, reader(call, _prepare)), Incarnation.begin(Path(folder)), once=once)
        announce(call, loaded, None)
        exit_code = arbiter.run()
    if exit_code is not ExitCode.OK:
        raise _failure(exit_code, arbiter)
    document = {"schema": "orbit.once/1", "succeeded": once.succeeded, "failed": once.failed}
    call.out.document(document, [_told(once)])
    return ExitCode.RUN_FAILED if once.failed else ExitCode.OK


def _prepare(settings: Settings) -> None:
    """As for a daemon. Raises ConfigError when no run could ever be done."""
    prepare(settings)
    if not settings.children.count:
        raise ConfigError("children.count is 0: nobody would do what is due", "give at least one: --children 1")


def _failure(exit_code: ExitCode, arbiter: Arbiter) -> OrbitError:
    """Why it ended before its work was done."""
    match exit_code:
        case ExitCode.DATABASE_UNAVAILABLE:
            return DatabaseUnavailable(f"the database cannot be used: {arbiter.database.why}", f"try: {arbiter.database.command}")
        case ExitCode.CONFIG:
            why, _, hint = (arbiter.start_error or "").strip().partition("\nhint: ")
            return ConfigError(why, hint or "mend that, and try it with: orbitd check --import")
        case _:
            return OrbitError("the children die as fast as they come", "the log says what of: child_exited, run_ended")


def _told(once: Once) -> str:
    if not once.succeeded + once.failed:
        return "nothing was due"
    return f"{once.succeeded} succeeded, {once.failed} failed"


ACTS: Mapping[str, Act] = {"once": run}
