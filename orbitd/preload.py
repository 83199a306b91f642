"""What a mold and a child that is exec'd do alike: take on the rights and limits of the children, and import the pipelines."""

from __future__ import annotations

import gc
import io
import json
import os
import sys
import traceback
from pathlib import Path

from orbitd.config import Settings
from orbitd.errors import ConfigError, ExitCode, OrbitError
from orbitd.pipelines import registry
from orbitd.pipelines.registry import LoadError, Registry
from orbitd.system import log, privileges, process
from orbitd.system.channel import Message
from orbitd.system.slots import SharedSlots

_MOST_TRACEBACK = 60_000


def begin(role: str, configuration: Message) -> tuple[Settings, SharedSlots]:
    """Become this process of the arbiter's: bound to its life, and heard in the log."""
    process.die_with_parent(configuration["arbiter_pid"])
    settings = Settings.from_json(json.dumps(configuration["settings"]).encode())
    slots = SharedSlots(**configuration["slots"])
    log.set_up(role, settings.logging, host=settings.instance.name)
    log.follow(slots.header)
    log.always(gen=configuration["generation"], pid=os.getpid())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # else what user code prints is lost at a child's end, or printed by each
    return settings, slots


def confine(settings: Settings, parent_pid: int) -> None:
    """Before any code of the user's: the limits first, which only root may raise, then his rights.

    Raises ConfigError when the system does not let us.
    """
    privileges.set_oom_score_adj(settings.children.oom_score_adj)
    privileges.limit(settings.children.rlimits)
    privileges.drop(settings.children.user, parent_pid)


def load(settings: Settings) -> Registry:
    """Import the pipelines that the configuration names, and warm them up.

    Raises ConfigError when there are none, LoadError with the user's traceback when an import or a `warm_up` fails.
    """
    gc.disable()  # until the freeze: a collection would only touch pages that the children could share
    if settings.app.working_directory:
        try:
            os.chdir(settings.app.working_directory)
        except OSError as error:
            raise ConfigError(f"app.working_directory: cannot enter {settings.app.working_directory}: {error.strerror}") from error
    pipelines = registry.load(settings.app.pipelines, settings.app.path, str(Path.cwd()), settings.app.filter)
    registry.warm_up(pipelines.modules)
    return pipelines


def failure(error: BaseException) -> Message:
    """What went wrong, with the traceback of the user's code: for whoever waits for the import."""
    if isinstance(error, LoadError):
        return {"error": f"{error}\n{error.traceback}"[-_MOST_TRACEBACK:], "exit_code": ExitCode.FAILED}
    if isinstance(error, OrbitError):
        return {"error": str(error)[:_MOST_TRACEBACK], "exit_code": error.exit_code}
    text = "".join(traceback.format_exception(error))
    return {"error": text[-_MOST_TRACEBACK:], "exit_code": ExitCode.FAILED}
