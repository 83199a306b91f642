"""The mold: exec'd fresh for each generation, it imports the pipelines once, freezes its heap and forks children.

That is how preloading, reloading code and surviving a broken deploy work together. It forks twice: the middle process exits
and the grandchild comes to the arbiter, a subreaper, which is then its parent. The mold holds no connection and runs no
user code after the import; it can die at any time without touching a child.

Where children cannot be forked (the import leaves a thread or a socket, the kernel lacks something, or `children.preload` is
"off") it tells what it has found, and ends: the arbiter then exec's each child, which imports for itself.
"""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

from setproctitle import setproctitle

from orbitd import preload
from orbitd.child import live
from orbitd.config import Settings
from orbitd.errors import ExitCode
from orbitd.link import Post
from orbitd.pipelines import registry
from orbitd.pipelines.registry import Registry
from orbitd.system import clock, log, process
from orbitd.system.channel import Channel, ChannelClosed, Message
from orbitd.system.importwatch import ImportWatch, UnsafeToFork
from orbitd.system.slots import SharedSlots

_PATIENCE = 0.8
"""The share of `children.boot_timeout` after which an import is late. It counts from when the arbiter asked for us."""
_AT_ONCE_SECONDS = 0.01


def main(channel_fd: int) -> NoReturn:
    """Run the mold on the channel that the arbiter handed over."""
    channel = Channel.inherited(channel_fd)
    configuration = channel.receive(wait=True) or {}
    setproctitle(f"orbitd: mold g{configuration['generation']}")
    settings, slots = preload.begin("mold", configuration)
    process.leave_signals_to_arbiter()
    try:
        preload.confine(settings, configuration["arbiter_pid"])
        pipelines, hazards = _import(settings, configuration["asked_at"])
    except BaseException as error:  # noqa: BLE001 - whatever the user's import raises is the answer
        channel.send({"type": "failed", **preload.failure(error)})
        process.leave(ExitCode.CONFIG)
    forks = settings.children.preload != "off" and not hazards
    gc.freeze()
    channel.send(
        {
            "type": "ready",
            "pipelines": _specs(pipelines, settings),
            "fingerprint": registry.fingerprint(),
            "forks": forks,
            "hazards": hazards,
        }
    )
    if forks:
        _serve(channel, _Press(configuration["arbiter_pid"], configuration["generation"], settings, slots, pipelines))
    process.leave(ExitCode.OK)


def _import(settings: Settings, asked_at: float) -> tuple[Registry, list[str]]:
    """The pipelines, and what speaks against forking from here. Raises what the import raises, and UnsafeToFork."""
    late_at = asked_at + _PATIENCE * settings.children.boot_timeout
    with _showing_where_it_hangs(late_at - clock.now()), ImportWatch() as watch:
        pipelines = preload.load(settings)
    hazards = [] if settings.children.preload == "off" else [*process.lacking(), *watch.hazards()]
    if hazards and settings.children.preload == "require":
        raise UnsafeToFork(hazards)
    return pipelines, hazards


@contextmanager
def _showing_where_it_hangs(seconds_left: float) -> Iterator[None]:
    """Before the arbiter loses its patience, the stacks go to stderr. The watchdog is a thread: it ends before anybody forks."""
    faulthandler.dump_traceback_later(max(seconds_left, _AT_ONCE_SECONDS), file=2)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


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


@dataclass(frozen=True, slots=True)
class _Press:
    """What a fork needs."""

    arbiter_pid: int
    generation: int
    settings: Settings
    slots: SharedSlots
    pipelines: Registry


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
    live(post, press.settings, press.pipelines)
