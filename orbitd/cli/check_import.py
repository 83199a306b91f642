"""Importing the pipelines beforehand, in a process of its own (see `import_probe.py`), within the time that a daemon would give it."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import IO, Any

from orbitd.config import Settings
from orbitd.rules.exits import ExitStatus
from orbitd.system import process
from orbitd.system.channel import Channel, ChannelClosed, Message

_LAST_WORDS_SECONDS = 2.0
_LONGEST_STACK_BYTES = 32 * 1024


@dataclass(frozen=True)
class Imported:
    """What came of it; `failure` is "" when all went well."""

    failure: str = ""
    hint: str | None = None
    details: str = ""
    """A traceback, or the stack at the end of the process."""
    pipelines: list[dict[str, Any]] = field(default_factory=list)
    hazards: list[str] = field(default_factory=list)
    """What speaks against forking children from there."""
    rss_bytes: int = 0


def import_pipelines(settings: Settings, environ: Mapping[str, str]) -> Imported:
    """Import them as a daemon of these settings would. What they print goes to standard error."""
    ours, theirs = Channel.pair()
    with tempfile.TemporaryFile() as stack:
        probe = subprocess.Popen(
            [sys.executable, "-P", "-m", "orbitd", "--as", "probe", str(theirs.fileno())],
            stdin=subprocess.DEVNULL,
            stdout=2,
            pass_fds=[theirs.fileno(), stack.fileno()],
            start_new_session=True,
            env=dict(environ),
        )
        theirs.close()
        try:
            return _answer(probe, ours, stack, settings)
        finally:
            process.kill_group(probe.pid)
            probe.wait()
            ours.close()


def _answer(probe: subprocess.Popen[bytes], channel: Channel, stack: IO[bytes], settings: Settings) -> Imported:
    try:
        channel.send({"parent_pid": os.getpid(), "stack_fd": stack.fileno(), "settings": asdict(settings)})
        message = _awaited(channel, settings.children.boot_timeout)
    except ChannelClosed:
        status = _status(probe.wait())
        return Imported(f"the import of the pipelines ended the process: {status}", details=_written(stack))
    if message is None:
        probe.send_signal(signal.SIGABRT)  # makes it write down where it is
        _wait_a_little(probe)
        return Imported(
            f"the import of the pipelines took longer than {settings.children.boot_timeout:g}s",
            "see where it hangs below, or set children.boot_timeout",
            _written(stack),
        )
    if message["type"] == "failed":
        return Imported(message["message"], message["hint"], message["details"])
    return Imported(pipelines=message["pipelines"], hazards=message["hazards"], rss_bytes=message["rss_bytes"])


def _awaited(channel: Channel, seconds: float) -> Message | None:
    """Its one message; None when it does not come in time. Raises ChannelClosed."""
    return channel.receive(wait=True) if select.select([channel], [], [], seconds)[0] else None


def _wait_a_little(probe: subprocess.Popen[bytes]) -> None:
    try:
        probe.wait(_LAST_WORDS_SECONDS)
    except subprocess.TimeoutExpired:
        return


def _written(stack: IO[bytes]) -> str:
    stack.seek(0)
    return stack.read(_LONGEST_STACK_BYTES).decode(errors="replace")


def _status(returncode: int) -> ExitStatus:
    return ExitStatus(code=returncode) if returncode >= 0 else ExitStatus(signal=-returncode)
