"""The control socket's file: its place, its making, who may reach it, and its end.

It is bound under a umask that leaves it to its owner alone, and then widened for those who may speak to it: at no time is it
open to anybody else. Who reaches it has no right yet: see `peer.py`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orbitd.errors import ConfigError, Conflict, OrbitError, why

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from orbitd.control.peer import Access

_BACKLOG = 64
_LONGEST_PATH_BYTES = 107
_SOCKET_UMASK = 0o177
_GROUP_SOCKET_MODE, _GROUP_FOLDER_MODE = 0o660, 0o710
_OPEN_SOCKET_MODE, _OPEN_FOLDER_MODE = 0o666, 0o711

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ListenerEstate:
    """What a listener hands over to the next program, so that nobody is refused meanwhile."""

    path: str
    fd: int
    identity: tuple[int, int]


class Listener:
    """Listens on `path`, for whoever has `access`.

    Raises Conflict when another daemon listens there, ConfigError when the socket cannot be made.
    """

    def __init__(self, path: Path, access: Access, estate: ListenerEstate | None = None) -> None:
        self._path, self._access = path, access
        if estate:
            self.socket, self._identity = socket.socket(fileno=estate.fd), estate.identity
        else:
            self.bind()

    def hand_over(self, keep: Callable[[int], int]) -> ListenerEstate:
        """What the constructor of the next program's listener needs."""
        return ListenerEstate(str(self._path), keep(self.socket.fileno()), self._identity)

    def bind(self) -> None:
        """Make the socket, anew if its file is gone. Raises what the construction raises."""
        is_new_folder = not self._path.parent.exists()
        self.socket = _bound(self._path)
        _share(self._path, self._access, is_new_folder=is_new_folder)
        self._identity = _identity(self._path)

    @property
    def is_gone(self) -> bool:
        """Whether somebody has removed the socket's file."""
        return not os.path.lexists(self._path)

    def remove(self) -> None:
        """Stop listening, and remove the socket's file if it is still ours."""
        self.socket.close()
        with contextlib.suppress(OSError):
            if self._identity == _identity(self._path):
                self._path.unlink()


def _bound(path: Path) -> socket.socket:
    if len(os.fsencode(path)) > _LONGEST_PATH_BYTES:
        raise ConfigError(f"the control socket {path} has a path of more than {_LONGEST_PATH_BYTES} bytes", "set another control.socket")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _sole_binder(path.parent):
            _make_way(path)
            with _umask(_SOCKET_UMASK):
                listener.bind(os.fspath(path))
            listener.listen(_BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"the control socket {path} cannot be made: {why(error)}", "set another control.socket") from error
    except OrbitError:
        listener.close()
        raise
    return listener


def _share(path: Path, access: Access, *, is_new_folder: bool) -> None:
    """Let others reach the socket that we have just bound for ourselves alone.

    It becomes another group's before that group may use it. The folder is opened only if we have just made it: another one may hold
    more than sockets.
    """
    folder = path.parent
    if access.operators_gid is not None:
        try:
            for place, mode in (*([(folder, _GROUP_FOLDER_MODE)] if is_new_folder else []), (path, _GROUP_SOCKET_MODE)):
                os.chown(place, -1, access.operators_gid)
                place.chmod(mode)
        except OSError as error:
            _log.warning("the control socket %s cannot be given to group %d: %s", path, access.operators_gid, why(error))
    if access.has_viewers:
        if is_new_folder:
            folder.chmod(_OPEN_FOLDER_MODE)
        elif not folder.stat().st_mode & stat.S_IXOTH:
            _log.warning("control.viewers may not pass through %s, and so do not reach the control socket in it", folder)
        path.chmod(_OPEN_SOCKET_MODE)


def _make_way(path: Path) -> None:
    """Remove the socket of a dead daemon. Raises Conflict when a living one answers."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ConfigError(f"{path} exists and is not a socket", "remove it, or set control.socket to another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as probe:
        found = probe.connect_ex(os.fspath(path))
    # EAGAIN: somebody listens, and has a full backlog.
    if found in {0, errno.EAGAIN}:
        raise Conflict(
            f"orbitd is already running: it answers on {path}",
            f"see it with: orbitctl --socket {path} status; or give this one a control.socket and an instance.state_dir of its own",
        )
    if found != errno.ECONNREFUSED:
        raise OSError(found, os.strerror(found))
    path.unlink()


@contextlib.contextmanager
def _sole_binder(folder: Path) -> Iterator[None]:
    """Two daemons that start at once must not each remove the other's new socket."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Conflict(f"another orbitd is just starting in {folder}", "see `orbitctl status`") from None
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _identity(path: Path) -> tuple[int, int]:
    status = path.lstat()
    return status.st_dev, status.st_ino
