"""`orbitd dev`: a database, the daemon and the author's pipelines, with one command and nothing to set up.

A small parent of two children: PostgreSQL, when the environment names no database, and the daemon proper, `python -m orbitd`.
Each is in a session of its own, so that a Ctrl-C reaches only the parent, and each has a death signal, so that neither outlives it.

    preparing --daemon is up--> watching --daemon has ended--> ended          PostgreSQL stops last
        INT, TERM end it at once    every signal goes to the daemon

The folder keeps what the next start wants to find, and what `orbitctl` in the same directory looks for:

    lock             held by parent and daemon: one pair at a time
    orbitd.toml      the daemon's configuration, written anew at each start; 0600, for it holds the database's address
    orbitd.sock      the control socket, here or, when the path would be too long, in a private directory
    postgres/        the embedded PostgreSQL
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from orbitd import config, store
from orbitd.config import Loaded
from orbitd.control.client import call
from orbitd.errors import Conflict, DatabaseUnavailable, ExitCode, OrbitError, Refused, WaitTimeout
from orbitd.store import admin
from orbitd.store.words import in_words
from orbitd.system.postgres import Cluster, fits_socket, hold_lock, in_our_shadow, stand_in_for

_DATABASE = "orbitd"
_CHILDREN = 2
_FORWARDED = {signal.SIGINT, signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU}
_STOPPING = {signal.SIGINT, signal.SIGTERM, signal.SIGQUIT}
_WATCHED = _FORWARDED | {signal.SIGCHLD}
_SPARE_SECONDS = 10.0
_CALL_SECONDS = 2.0
_LOOK_SECONDS = 0.05
_SHORTEST_DATABASE_LIFE_SECONDS = 5.0


class _Stopped(BaseException):
    """A signal asked for the end before there was a daemon to forward it to."""


class _Preparing:
    """Until there is a daemon to forward signals to, INT, TERM and QUIT end us, and the others mean nothing."""

    def __init__(self) -> None:
        self._is_stopped = False
        for number in (signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, signal.SIG_IGN)
        for number in _FORWARDED:
            signal.signal(number, self._stop if number in _STOPPING else self._do_nothing)

    def check(self) -> None:
        """Raise _Stopped again: in the hooks that Python runs around a fork an exception of a handler is lost."""
        if self._is_stopped:
            raise _Stopped

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)  # nothing interrupts the cleaning up; _Watch asks for them
        self._is_stopped = True
        raise _Stopped

    def _do_nothing(self, _number: int, _frame: FrameType | None) -> None:
        """Be a handler: what is ignored instead would be ignored by our children too."""


def run(pipelines: list[str], *, overrides: Sequence[str] = (), folder: Path = Path(".orbitd")) -> int:
    """Run pipelines, given as modules or directories, until a signal ends it; returns the exit code.

    `overrides` are options as a command line gives them: they take the place of ours.
    """
    try:
        return _run(pipelines, overrides, folder.absolute(), _Preparing())
    except _Stopped:
        return ExitCode.OK
    except OrbitError as error:
        print(f"orbitd dev: {error}", file=sys.stderr)
        return ExitCode.FAILED if isinstance(error, Conflict) else error.exit_code
    except OSError as error:
        print(f"orbitd dev: cannot work in {folder}: {error}\nhint: run it in a directory that you may write to", file=sys.stderr)
        return ExitCode.FAILED


def _run(pipelines: list[str], overrides: Sequence[str], folder: Path, preparing: _Preparing) -> int:
    has_terminal = _has_terminal()
    given = config.survey(None, overrides=overrides, environ=os.environ)
    with contextlib.ExitStack() as undo:
        _make_folder(folder)
        lock = hold_lock(folder / "lock", on_wait=lambda: _say(["waiting for what a killed `orbitd dev` left behind to end"]))
        undo.callback(os.close, lock)
        cluster = None if given.settings.database.url else _embedded_database(folder, undo)
        dsn = cluster.dsn(_DATABASE) if cluster else given.settings.database.url
        database = given.settings.database
        with in_words(f"database.{database.admin_option}"):
            store.migrate(dsn if cluster else database.admin_address)
        settings_file = _write_settings(folder, pipelines, dsn, given)
        daemon = undo.enter_context(_daemon(settings_file, lock, has_own_database=cluster is not None))
        is_up = _await_up(daemon, settings_file, preparing)
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        preparing.check()
        if is_up:
            _say(_six_lines(daemon, cluster, dsn, config.load(settings_file, environ=os.environ).children.count))
        return _Watch(daemon, cluster, has_terminal=has_terminal).until_the_end()


def _make_folder(folder: Path) -> None:
    """Make the folder, ours alone; for root passable, because PostgreSQL's user has to go through it. Raises Refused, OSError."""
    folder.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
    if (owner := folder.stat().st_uid) != os.geteuid():
        raise Refused(f"{folder} belongs to user {owner}", "run it in a directory of your own, or remove that folder")
    (folder / ".gitignore").write_text("*\n")


def _embedded_database(folder: Path, undo: contextlib.ExitStack) -> Cluster:
    """A PostgreSQL of our own with our database on it."""
    cluster = undo.enter_context(Cluster(folder / "postgres"))
    if not cluster.has_database(_DATABASE):
        cluster.create_database(_DATABASE)
    return cluster


def _write_settings(folder: Path, pipelines: list[str], dsn: str, given: Loaded) -> Path:
    """The daemon's configuration. What was given on the command line counts; the environment's part the daemon sees itself."""
    socket = folder / "orbitd.sock"
    if not fits_socket(socket):
        socket = stand_in_for(folder) / socket.name
    settings: dict[str, dict[str, Any]] = {
        "instance": {"state_dir": str(folder)},
        "database": {"url": dsn},
        "app": {"pipelines": [_absolute(entry) for entry in pipelines]},
        "children": {"count": _CHILDREN},
        "control": {"socket": str(socket)},
    }
    for (section, key), origin in given.origins.items():
        if origin.where.startswith("-"):
            is_secret = config.OPTIONS[section, key].secret  # of which `written` shows no more than a mask
            settings.setdefault(section, {})[key] = asdict(given.settings)[section][key] if is_secret else origin.written
    path, unfinished = folder / "orbitd.toml", folder / "orbitd.toml.unfinished"
    unfinished.touch(mode=0o600)
    unfinished.write_text("# written by `orbitd dev` at each start\n" + "".join(_toml_section(*section) for section in settings.items()))
    unfinished.replace(path)
    return path


def _absolute(entry: str) -> str:
    """A directory in full with its slash, so that it is not taken for a module; a module as it is."""
    path = Path(entry)
    return f"{path.absolute()}/" if path.is_dir() else entry


def _toml_section(name: str, values: dict[str, Any]) -> str:
    # what JSON writes for text, numbers, booleans and lists of text is TOML too
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in values.items()]
    return f"\n[{name}]\n{''.join(lines)}"


@contextlib.contextmanager
def _daemon(settings_file: Path, lock: int, *, has_own_database: bool) -> Iterator[subprocess.Popen[bytes]]:
    """The daemon; stopped in order and waited for when we leave before it has ended."""
    # when we are killed: finishing the runs in hand makes sense only if their database outlives us
    last_signal = signal.SIGQUIT if has_own_database else signal.SIGTERM
    daemon = subprocess.Popen(
        [sys.executable, "-m", "orbitd", "run", "--quiet", "-c", str(settings_file), "--allow-root"],
        stdin=subprocess.DEVNULL,
        pass_fds=[lock],
        start_new_session=True,
        preexec_fn=in_our_shadow(last_signal),  # noqa: PLW1509  (one thread)
    )
    try:
        yield daemon
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        if daemon.poll() is None:
            daemon.terminate()
            _Watch(daemon, is_stopping=True).until_the_end()


def _await_up(daemon: subprocess.Popen[bytes], settings_file: Path, preparing: _Preparing) -> bool:
    """Wait until all children can take runs; False when the daemon ended instead, having said why. Raises WaitTimeout."""
    settings = config.load(settings_file, environ=os.environ)
    socket = config.socket_path(settings, os.environ)
    patience_seconds = settings.children.boot_timeout + _SPARE_SECONDS
    deadline = time.monotonic() + patience_seconds
    while time.monotonic() < deadline:
        preparing.check()
        if daemon.poll() is not None:
            return False
        with contextlib.suppress(OrbitError):  # it does not listen yet
            if call(socket, "status", {}, _CALL_SECONDS)["children"]["ready"] >= settings.children.count:
                return True
        time.sleep(_LOOK_SECONDS)
    raise WaitTimeout(f"the daemon was not ready within {patience_seconds:.0f}s", f"start it by hand to see why: orbitd -c {settings_file}")


@dataclass
class _Watch:
    """The parent's life once the daemon runs. All watched signals are blocked, and asked for one by one."""

    daemon: subprocess.Popen[bytes]
    cluster: Cluster | None = None
    has_terminal: bool = False
    is_stopping: bool = False
    database_since: float = 0.0

    def until_the_end(self) -> int:
        """Forward signals and keep PostgreSQL running until the daemon ends; returns our exit code."""
        while (status := self.daemon.poll()) is None:
            number = signal.sigwait(_WATCHED)
            if number == signal.SIGCHLD:
                self._revive_database()
            elif number == signal.SIGHUP and self.has_terminal and not _has_terminal():
                self._forward(signal.SIGTERM)  # the window was closed: nobody is left to type Ctrl-C
            else:
                self._forward(signal.Signals(number))
        return self._exit_code(status)

    def _forward(self, number: signal.Signals) -> None:
        self.is_stopping |= number in _STOPPING
        self.daemon.send_signal(number)

    def _revive_database(self) -> None:
        """Start PostgreSQL again after it crashed or was killed; raises DatabaseUnavailable when it does not last."""
        if not self.cluster or self.cluster.is_running():
            return
        now = time.monotonic()
        if now - self.database_since < _SHORTEST_DATABASE_LIFE_SECONDS:
            raise DatabaseUnavailable("PostgreSQL ended twice in a row", f"look into {self.cluster.folder / 'log'}")
        self.cluster.restart()
        self.database_since = now
        _say([f"PostgreSQL had ended, and was started again: {self.cluster.pid}"])

    def _exit_code(self, status: int) -> int:
        if status == 0 or (self.is_stopping and -status in _STOPPING):
            return ExitCode.OK
        if status < 0:
            print(f"orbitd dev: the daemon was killed by {signal.Signals(-status).name}", file=sys.stderr)
            return 128 - status
        return status


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError:
        return False
    return True


def _six_lines(daemon: subprocess.Popen[bytes], cluster: Cluster | None, dsn: str, children: int) -> list[str]:
    """What runs, and what to type in a second terminal."""
    as_root = " (as root: dev implies --allow-root)" if os.geteuid() == 0 else ""
    database = f"PostgreSQL {cluster.pid} with its data in {cluster.home}" if cluster else "the database that the environment names"
    orbitctl = _typed(Path(sys.executable).with_name("orbitctl"))
    psql = f"{_typed(cluster.psql)} {shlex.quote(dsn)}" if cluster else 'psql "$DATABASE_URL"'
    pipelines = _served_pipelines(dsn)
    example = min(pipelines, key=lambda name: len(pipelines[name]), default="PIPELINE")
    needed = pipelines.get(example, [])
    words = " ".join([example, *(f"{name}=..." for name in needed)])
    arguments = f", '{json.dumps(dict.fromkeys(needed, '...'))}'" if needed else ""
    sql = f"select orbit.enqueue('{example}'{arguments})"
    return [
        f"running: orbitd {daemon.pid} with {children} children{as_root}, {database}",
        f"pipelines: {', '.join(pipelines)}",
        f"in a second terminal, in this directory: {orbitctl} status",
        f"enqueue a run: {orbitctl} enqueue {words} --wait",
        f"or from SQL: {psql} -c {_double_quoted(sql)}",
        f"one child more, one fewer, new code: kill -TTIN, -TTOU, -HUP {os.getpid()}; stop: Ctrl-C here, or kill {os.getpid()}",
    ]


def _served_pipelines(dsn: str) -> dict[str, list[str]]:
    """The pipelines that are served on the database, by name, with the arguments that they cannot do without."""
    try:
        with (
            in_words("database.url"),
            store.connect(
                dsn, connect_timeout_seconds=_CALL_SECONDS, call_timeout_seconds=_CALL_SECONDS, application_name="orbitd dev"
            ) as conn,
        ):
            return {found["name"]: found["arguments"]["required"] for found in admin.list_pipelines(conn) if found["hosts"]}
    except OrbitError:
        return {}  # the daemon sits out such a moment too: no reason to end


def _double_quoted(text: str) -> str:
    """For a shell, and readable where the text has single quotes."""
    return '"' + re.sub(r'["$`\\]', r"\\\g<0>", text) + '"'


def _typed(program: Path) -> str:
    """What to type for a program: its name if that finds one, else its path, from here if it is below."""
    if shutil.which(program.name):
        return program.name
    return str(program.relative_to(Path.cwd()) if program.is_relative_to(Path.cwd()) else program)


def _say(lines: list[str]) -> None:
    """Print for a person; a reader who has gone is no reason to stop."""
    with contextlib.suppress(OSError):
        print(*lines, sep="\n", flush=True)
