"""A fault at a step of a spawn: Python loads this by itself where its folder is on PYTHONPATH, so no product code knows of it.

The file that $ORBITD_TEST_FAULT names holds a step and a fault, such as "hello kill"; without the file all goes well.
"""

from __future__ import annotations

import errno
import functools
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAULT_FILE = "ORBITD_TEST_FAULT"


def meet(step: str) -> None:
    """Do what was ordered for this step, if anything was."""
    path = Path(os.environ[FAULT_FILE])
    try:
        at, fault = path.read_text().split()
    except FileNotFoundError:
        return
    if at == step:
        _FAULTS[fault]()


def _hang() -> None:
    while True:
        time.sleep(60)


def _lack(number: int) -> None:
    raise OSError(number, os.strerror(number))


_FAULTS: dict[str, Callable[[], object]] = {
    "exit": lambda: os._exit(1),
    "hang": _hang,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "EAGAIN": lambda: _lack(errno.EAGAIN),
    "ENOMEM": lambda: _lack(errno.ENOMEM),
}


def _prepare() -> None:
    from orbitd.link import Link
    from orbitd.pipelines import registry
    from orbitd.system.channel import Channel

    mold, load, fork, send, connect = os.getpid(), registry.load, os.fork, Channel.send, Link.connect

    @functools.wraps(load)
    def load_or_fail(*args: Any, **kwargs: Any) -> Any:
        meet("import")
        loaded = load(*args, **kwargs)
        meet("imported")
        return loaded

    def fork_or_fail() -> int:
        if os.getpid() == mold:
            meet("fork")
        elif os.getppid() == mold:
            meet("middle")
        return fork()

    @functools.wraps(send)
    def send_or_fail(self: Channel, message: dict[str, Any], fds: Any = ()) -> None:
        meet("mold_ready" if "pipelines" in message else message["type"])
        send(self, message, fds)

    @functools.wraps(connect)
    def connect_or_fail(self: Link) -> None:
        meet("connect")
        connect(self)

    registry.load, os.fork = load_or_fail, fork_or_fail
    Channel.send, Link.connect = send_or_fail, connect_or_fail  # type: ignore[method-assign]


if "--as" in sys.orig_argv and "janitor" not in sys.orig_argv:
    _prepare()
