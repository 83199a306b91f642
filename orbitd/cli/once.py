"""`orbitd once`: do the runs that are due, then end. For cron and CI; it may work beside a daemon on the same database."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from orbitd import config
from orbitd.arbiter import Arbiter
from orbitd.cli.announce import announce
from orbitd.cli.call import Act, Call
from orbitd.cli.foreground import adopt_environment, reader
from orbitd.errors import DatabaseUnavailable, ExitCode, UsageError
from orbitd.incarnation import Incarnation
from orbitd.rules.once import Once
from orbitd.system import log


def run(call: Call) -> int:
    """Supervise until nothing is due any more; returns the exit code. Raises DatabaseUnavailable."""
    if call.args["max"] is not None and call.args["max"] < 1:
        raise UsageError(f"--max {call.args['max']}: there is nothing to do", "give a number from 1 on")
    loaded = call.survey()
    config.require_database(loaded.settings)
    call.refuse_root()
    adopt_environment(loaded.environ)
    log.set_up("arbiter", loaded.settings.logging, host=loaded.settings.instance.name)
    once = Once(most_runs=call.args["max"])
    with tempfile.TemporaryDirectory(prefix="orbitd-once-") as folder:
        arbiter = Arbiter(loaded.settings, reader(call), Incarnation.begin(Path(folder)), once=once)
        announce(call, loaded, None)
        exit_code = arbiter.run()
    if exit_code is ExitCode.DATABASE_UNAVAILABLE:
        raise DatabaseUnavailable(f"the database cannot be used: {arbiter.database.why}", f"try: {arbiter.database.command}")
    document = {"schema": "orbit.once/1", "succeeded": once.succeeded, "failed": once.failed}
    call.out.document(document, [_told(once)])
    return ExitCode.RUN_FAILED if once.failed and exit_code is ExitCode.OK else exit_code


def _told(once: Once) -> str:
    if not once.succeeded + once.failed:
        return "nothing was due"
    return f"{once.succeeded} succeeded, {once.failed} failed"


ACTS: Mapping[str, Act] = {"once": run}
