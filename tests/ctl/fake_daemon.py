"""A daemon without children: `fake_daemon.py SOCKET` answers on a real control socket, says "ready", and ends when told to stop now."""

from __future__ import annotations

import os
import selectors
import sys
import time
from pathlib import Path
from typing import Any

from orbitd.control import views
from orbitd.control.server import Pending, Server
from orbitd.control.wire import Answer, Request
from orbitd.errors import ConfigError
from orbitd.rules.states import DaemonState

_SLOT = {
    "slot": 0,
    "pid": 2100,
    "state": "idle",
    "generation": 7,
    "run": None,
    "pipeline": None,
    "since": "2026-01-01T10:00:00Z",
    "rss_bytes": 45_000_000,
    "own_bytes": 9_000_000,
    "runs": 12,
    "failed": 0,
    "restarts": 0,
    "last_exit": None,
}
SLOTS: list[dict[str, Any]] = [
    _SLOT,
    _SLOT | {"slot": 1, "pid": 2101, "state": "busy", "run": str((2154 << 39) + 4711), "pipeline": "invoice.\x1b[31msync"},
    _SLOT | {"slot": 2, "pid": None, "state": "held", "rss_bytes": 0, "restarts": 11, "last_exit": "killed by SIGSEGV"},
    _SLOT | {"slot": 3, "pid": None, "state": "backoff", "rss_bytes": 0, "failed": 2, "last_exit": "exited with 3"},
]
PROBLEMS = [{"code": "slot_held", "message": "slot 2 is held: 11 early deaths\nthe last: SIGSEGV", "command": "orbitctl list"}]


def status() -> dict[str, Any]:
    """A status with a problem."""
    return views.status(
        state=DaemonState.DEGRADED,
        pid=812,
        version="0.1.0",
        generation=7,
        config="/etc/orbitd.toml",
        target=4,
        slots=SLOTS,
        problems=PROBLEMS,
        last_reload={"ok": False, "generation": 8, "at": "2026-01-01T10:03:00Z", "error": "ImportError: no module\nmore"},
        age_seconds=0.0,
        processes=[
            {"role": "arbiter", "pid": 812, "state": "running", "generation": None},
            {"role": "mold", "pid": 813, "state": "starting", "generation": 7},
        ],
    )


class FakeDaemon:
    """The loop and its answers."""

    def __init__(self, path: Path) -> None:
        self.selector = selectors.DefaultSelector()
        self.server = Server(path, self.selector, self.answer)
        self.stopping = False

    def answer(self, request: Request) -> Answer | Pending:  # noqa: PLR0911 -- a table of answers
        match request.command.name:
            case "status":
                return Answer(status())
            case "list":
                return Answer(views.listing(status()))
            case "version":
                return Answer(views.version("0.1.0", os.getpid()))
            case "ping":
                return Answer(views.pong())
            case "stop":
                self.stopping = request.args["now"]
                return Answer(views.done("stop", "stopping", now=request.args["now"]))
            case "reload" if request.args["wait"]:
                return Answer(error=ConfigError("/etc/orbitd.toml:3: children.count: is true", "correct it"))
            case "scale" if request.args["wait"]:
                print("asked to wait", flush=True)
                return Pending(lambda _: None)
        return Answer(views.done(request.command.name, f"{request.command.name}: done"))

    def run(self) -> None:
        while not self.stopping:
            for key, _ in self.selector.select(0.5):
                key.data()
            self.server.expire(time.monotonic())
            self.server.settle(time.monotonic())
        self.server.close()


if __name__ == "__main__":
    daemon = FakeDaemon(Path(sys.argv[1]))
    print("ready", flush=True)
    daemon.run()
