"""`orbitd run`: the daemon, in the foreground."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from orbitd import config, succession
from orbitd.arbiter import Arbiter
from orbitd.cli.announce import announce, log_warnings
from orbitd.cli.call import Act, Call
from orbitd.config import Loaded, Settings
from orbitd.control.peer import Access
from orbitd.control.server import Server, ServerEstate
from orbitd.generations import Generations
from orbitd.incarnation import Incarnation
from orbitd.system import clock, log, privileges, process
from orbitd.system.pidfile import PidFile
from orbitd.verbs import Verbs


def run(call: Call) -> int:
    """Supervise until told to stop; returns the exit code."""
    if succession.VARIABLE in os.environ:
        estate_fd = int(os.environ.pop(succession.VARIABLE))
        return _go_on(replace(call, environ=dict(os.environ)), estate_fd)
    process.hold_signals_back()
    loaded = call.survey()
    settings = loaded.settings
    prepare(settings)
    call.refuse_root(settings)
    log.set_up("arbiter", settings.logging, host=settings.instance.name)
    socket = config.socket_path(settings, loaded.environ)
    with ExitStack() as undo:
        incarnation = Incarnation.begin(config.state_dir(settings, loaded.environ))
        arbiter = Arbiter(Generations(loaded, reader(call)), incarnation)
        server = _server(call, arbiter, socket, None)
        undo.callback(server.close)
        pid_file = PidFile.write(Path(settings.instance.pid_file)) if settings.instance.pid_file else None
        if pid_file:
            undo.callback(pid_file.remove)
        announce(call, loaded, socket)
        arbiter.serve(server, pid_file)
        return arbiter.run()


def _go_on(call: Call, estate_fd: int) -> int:
    """Go on where another version of orbitd has stopped, in its process; in any other process only rehearse that."""
    estate = succession.read(estate_fd)
    generations = Generations.inherit(estate.generations, reader(call))
    if estate.pid != os.getpid():
        return succession.rehearse(estate, estate_fd)
    os.close(estate_fd)
    for fd in estate.fds:
        os.set_inheritable(fd, False)
    settings = generations.serving.settings
    log.set_up("arbiter", settings.logging, host=settings.instance.name)
    arbiter = Arbiter(generations, Incarnation.inherit(estate.incarnation), estate=estate)
    with ExitStack() as undo:
        server = _server(call, arbiter, Path(estate.server.listener.path), estate.server)
        undo.callback(server.close)
        pid_file = PidFile.inherit(estate.pid_file) if estate.pid_file else None
        if pid_file:
            undo.callback(pid_file.remove)
        arbiter.serve(server, pid_file)
        return arbiter.run()


def _server(call: Call, arbiter: Arbiter, socket: Path, estate: ServerEstate | None) -> Server:
    """On the control socket: a new one, or the one that was handed over."""
    control = arbiter.settings.control
    answer = Verbs(arbiter, str(call.file) if call.file else None).answer
    access = Access(control.group, control.viewers)
    return Server(socket, arbiter.wakeup.selector, answer, access=access, clock=clock.now, estate=estate)


def prepare(settings: Settings) -> None:
    """Before settings are taken up, at the start and at each reload. Raises ConfigError for those that are no use here."""
    config.require_database(settings)
    user, folder = settings.children.user, settings.logging.dir
    privileges.require(user)
    if user and folder:
        privileges.share_folder(Path(folder), user)


def reader(call: Call, prepare: Callable[[Settings], object] = prepare) -> Callable[[], Loaded]:
    """What reads the configuration anew, at each reload. It raises ConfigError, as `prepare` does for one that is no use."""

    def read() -> Loaded:
        loaded = call.survey()
        prepare(loaded.settings)
        log_warnings(loaded)
        return loaded

    return read


ACTS: Mapping[str, Act] = {"run": run}
