"""The mold: exec'd fresh for each generation, it imports the pipelines once, freezes its heap and forks children.

That is how preloading, reloading code and surviving a broken deploy work together. It forks twice: the middle process exits
and the grandchild comes to the arbiter, a subreaper, which is then its parent. The mold holds no connection and runs no
user code after the import; it can die at any time without touching a child.
"""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from setproctitle import setproctitle

from orbitd.child import run_child
from orbitd.config import Settings
from orbitd.errors import ConfigError, ExitCode, OrbitError
from orbitd.link import Post
from orbitd.pipelines import registry
from orbitd.pipelines.registry import LoadError, Registry
from orbitd.system import log, process
from orbitd.system.channel import Channel, ChannelClosed, Message
from orbitd.system.slots import SharedSlots

_MOST_TRACEBACK = 60_000


def main(channel_fd: int) -> int:
    """Run the mold on the channel that the arbiter handed over."""
    channel = Channel.inherited(channel_fd)
    configuration = channel.receive(wait=True) or {}
    process.die_with_parent(configuration["arbiter_pid"])
    process.leave_signals_to_arbiter()
    settings = Settings.from_json(json.dumps(configuration["settings"]).encode())
    generation = configuration["generation"]
    setproctitle(f"orbitd: mold g{generation}")
    log.set_up("mold", settings.logging, host=settings.instance.name)
    log.always(gen=generation, pid=os.getpid())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # else what user code prints is lost at a child's end, or printed by each
    try:
        pipelines = load(settings)
    except BaseException as error:  # noqa: BLE001 - whatever the user's import raises is the answer
        channel.send({"type": "failed", **_failure(error)})
        return ExitCode.CONFIG
    gc.freeze()
    channel.send({"type": "ready", "pipelines": _specs(pipelines, settings), "threads": list(threads_left())})
    _serve(channel, _Press(configuration, settings, pipelines))
    return ExitCode.OK


def load(settings: Settings) -> Registry:
    """Import the pipelines that the configuration names.

    Raises ConfigError when there are none, LoadError with the user's traceback when an import fails.
    """
    gc.disable()  # until the freeze: a collection would only touch pages that the children could share
    if settings.app.working_directory:
        try:
            os.chdir(settings.app.working_directory)
        except OSError as error:
            raise ConfigError(f"app.working_directory: cannot enter {settings.app.working_directory}: {error.strerror}") from error
    return registry.load(settings.app.pipelines, settings.app.path, str(Path.cwd()), settings.app.filter)


def _failure(error: BaseException) -> Message:
    if isinstance(error, LoadError):
        return {"error": f"{error}\n{error.traceback}"[-_MOST_TRACEBACK:], "exit_code": ExitCode.FAILED}
    if isinstance(error, OrbitError):
        return {"error": str(error)[:_MOST_TRACEBACK], "exit_code": error.exit_code}
    text = "".join(traceback.format_exception(error))
    return {"error": text[-_MOST_TRACEBACK:], "exit_code": ExitCode.FAILED}


def _specs(pipelines: Registry, settings: Settings) -> list[Message]:
    return [
        {
            "name": pipeline.name,
            "queue": pipeline.queue,
            "priority": pipeline.priority,
            "signature": pipeline.signature.to_json(),
            "max_attempts": pipeline.max_attempts or settings.runs.max_attempts,
            "max_crashes": pipeline.max_crashes or settings.runs.max_crashes,
        }
        for pipeline in pipelines.served.values()
    ]


def threads_left() -> Iterator[str]:
    """Threads that the import left behind: a fork copies none of them, and whatever lock they hold stays locked."""
    yield from (thread.name for thread in threading.enumerate() if thread is not threading.main_thread())
    native = len(list(Path("/proc/self/task").iterdir())) - threading.active_count()
    if native > 0:
        yield f"{native} native"


class _Press:
    """What a fork needs."""

    def __init__(self, configuration: Message, settings: Settings, pipelines: Registry) -> None:
        self.slots = SharedSlots(**configuration["slots"])
        log.follow(self.slots.header)
        self.arbiter_pid: int = configuration["arbiter_pid"]
        self.generation: int = configuration["generation"]
        self.settings, self.pipelines = settings, pipelines


def _serve(channel: Channel, press: _Press) -> None:
    """Fork on request until the arbiter lets go."""
    everything = signal.valid_signals()
    while True:
        try:
            message, fds = channel.receive_with_fds(wait=True)
        except ChannelClosed:
            return
        if message is None or not fds:
            continue
        signal.pthread_sigmask(signal.SIG_BLOCK, everything)
        try:
            middle_pid = os.fork()
        except OSError as error:  # no process or no memory to be had: the closed socket tells the arbiter
            log.fault("fork_failed", slot=message["slot"], error=error.strerror)
        else:
            if middle_pid == 0:
                _fork_child(channel, press, message, fds[0])
            os.waitpid(middle_pid, 0)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, everything)
            os.close(fds[0])


def _fork_child(channel: Channel, press: _Press, message: Message, socket_fd: int) -> NoReturn:
    """In the middle process: fork the child and go, so that the child comes to the arbiter."""
    try:
        if os.fork():
            os._exit(0)
    except OSError:
        os._exit(1)
    channel.close()
    post = Post(
        slot=message["slot"],
        generation=press.generation,
        nonce=message["nonce"],
        max_runs=message["max_runs"],
        arbiter_pid=press.arbiter_pid,
        channel=Channel.inherited(socket_fd),
        slots=press.slots,
    )
    try:
        os._exit(run_child(post, press.settings, press.pipelines))
    except BaseException:  # noqa: BLE001 - the last line of a process: say what happened, and end
        sys.stderr.write(traceback.format_exc())
        os._exit(ExitCode.FAILED)
