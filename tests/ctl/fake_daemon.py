"""A daemon without children: `fake_daemon.py SOCKET` answers on a real control socket, says "ready", and ends when told to stop now."""

from __future__ import annotations

import os
import selectors
import sys
import time
from pathlib import Path

from orbitd.control import views
from orbitd.control.server import Pending, Server
from orbitd.control.wire import Answer, Request
from orbitd.errors import ConfigError
from tests.ctl import documents

_ANSWERS = {
    "status": documents.STATUS,
    "list": documents.LIST,
    "health": documents.HEALTH,
    "metrics": documents.METRICS,
    "stack": documents.STACK,
    "events": documents.EVENTS,
    "version": views.version("0.1.0", os.getpid()),
    "ping": views.pong(),
}


class FakeDaemon:
    """The loop and its answers."""

    def __init__(self, path: Path) -> None:
        self.selector = selectors.DefaultSelector()
        self.server = Server(path, self.selector, self.answer)
        self.stopping = False

    def answer(self, request: Request) -> Answer | Pending:  # noqa: PLR0911 - one way out for each kind of answer
        name, args = request.command.name, request.args
        if name == "list" and args["exits"]:
            return Answer(documents.LIST_EXITS)
        if name in _ANSWERS:
            return Answer(_ANSWERS[name])
        if name == "stop":
            self.stopping = args["now"]
            return Answer(views.done("stop", "stopping", now=args["now"]))
        if name == "reload" and args["dry-run"]:
            return Answer(documents.RELOAD_PLAN)
        if name == "reload" and args["wait"]:
            return Answer(error=ConfigError("/etc/orbitd.toml:3: children.count: is true", "correct it"))
        if name == "scale" and args["wait"]:
            print("asked to wait", flush=True)
            return Pending(lambda _: None)
        return Answer(views.done(name, f"{name}: done"))

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
