"""`orbitd run`: the daemon, in the foreground."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orbitd import config
from orbitd.arbiter import Arbiter
from orbitd.cli.announce import announce, log_warnings
from orbitd.cli.call import Act, Call
from orbitd.config import Loaded, Settings
from orbitd.control.peer import Access
from orbitd.control.server import Server
from orbitd.errors import Conflict
from orbitd.incarnation import Incarnation
from orbitd.system import clock, log, privileges, process
from orbitd.system.pidfile import PidFile
from orbitd.verbs import Verbs


def run(call: Call) -> int:
    """Supervise until told to stop; returns the exit code."""
    process.hold_signals_back()
    loaded = call.survey()
    settings = loaded.settings
    prepare(settings)
    call.refuse_root(settings)
    log.set_up("arbiter", settings.logging, host=settings.instance.name)
    socket = config.socket_path(settings, loaded.environ)
    with ExitStack() as undo:
        with _naming_the_other(socket):
            arbiter = Arbiter(loaded, reader(call), Incarnation.begin(config.state_dir(settings, loaded.environ)))
            verbs = Verbs(arbiter, str(call.file) if call.file else None)
            access = Access(settings.control.group, settings.control.viewers)
            server = Server(socket, arbiter.wakeup.selector, verbs.answer, access=access, clock=clock.now)
        undo.callback(server.close)
        if settings.instance.pid_file:
            undo.callback(PidFile.write(Path(settings.instance.pid_file)).remove)
        announce(call, loaded, socket)
        arbiter.serve(server)
        return arbiter.run()


@contextmanager
def _naming_the_other(socket: Path) -> Iterator[None]:
    """A Conflict with a daemon that runs already says how to speak to that one."""
    try:
        yield
    except Conflict as error:
        seen = f"see it with: orbitctl --socket {socket} status"
        raise Conflict(error.message, f"{seen}; or give this one an instance.state_dir and control.socket of its own") from error


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
