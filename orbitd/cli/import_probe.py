"""The process in which `orbitd check --import` imports the pipelines: exec'd as the mold is, and doing what the mold does first.

It answers with what it found, or with what went wrong, and ends. An import that kills it or hangs is its parent's to tell;
the stack of such an end is in the file that the parent has given it.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import resource
import traceback

from orbitd import preload
from orbitd.config import Settings
from orbitd.errors import ExitCode, OrbitError
from orbitd.pipelines.registry import LoadError, Registry
from orbitd.system import memory, process
from orbitd.system.channel import Channel, Message
from orbitd.system.importwatch import ImportWatch

_LONGEST_DETAILS = 60_000


def main(channel_fd: int) -> int:
    """Import the pipelines that the message on the channel is about, and answer there."""
    channel = Channel.inherited(channel_fd)
    task = channel.receive(wait=True) or {}
    process.die_with_parent(task["parent_pid"])
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # the stack says more, and is no litter
    faulthandler.enable(task["stack_fd"])
    settings = Settings.from_json(json.dumps(task["settings"]).encode())
    try:
        preload.confine(settings, task["parent_pid"])
        with ImportWatch() as watch:
            pipelines = preload.load(settings)
    except BaseException as error:  # noqa: BLE001 - whatever the user's import raises is the answer
        channel.send(_failure(error))
        return ExitCode.CONFIG
    gc.freeze()
    channel.send(
        {
            "type": "found",
            "pipelines": _described(pipelines, settings),
            "hazards": watch.hazards(),
            "rss_bytes": memory.rss_bytes(os.getpid()),
        }
    )
    return ExitCode.OK


def _failure(error: BaseException) -> Message:
    if isinstance(error, OrbitError):
        return _failed(error.message, error.hint, error.traceback if isinstance(error, LoadError) else "")
    return _failed(f"the import of the pipelines ended with {type(error).__name__}", None, "".join(traceback.format_exception(error)))


def _failed(message: str, hint: str | None, details: str) -> Message:
    return {"type": "failed", "message": message, "hint": hint, "details": details[-_LONGEST_DETAILS:]}


def _described(pipelines: Registry, settings: Settings) -> list[Message]:
    return [
        {
            "name": pipeline.name,
            "queue": pipeline.queue,
            "timeout_seconds": settings.runs.timeout if pipeline.timeout_seconds is None else pipeline.timeout_seconds,
            "place": pipeline.place,
        }
        for pipeline in pipelines.served.values()
    ]
