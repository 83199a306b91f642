"""What an import leaves behind that a fork would not survive: threads, native ones too, and open sockets; and which line did it.

A fork copies no thread, and whatever lock one holds stays locked in every child; a socket would be shared by all of them. The
line is noted at which Python starts a thread, and by an audit hook that at which it binds or connects a socket. What native
code does the hook can only notice afterwards: at each further import it counts our tasks, and looks whether descriptors were
opened. A hook cannot be removed: once the watch is over it returns at once.

Native threads whose library stops them around a fork (OpenBLAS does) are no hazard. A trial fork tells: they are gone by then.
"""

from __future__ import annotations

import contextlib
import linecache
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Self

from orbitd.errors import OrbitError

_NOT_THE_USERS = frozenset({"importlib", "orbitd", "threading"})
_LONGEST_CODE = 100
_LINGER_SECONDS = 0.1


class UnsafeToFork(OrbitError):
    """The import left what no fork survives, and the configuration requires that the children are forked."""

    def __init__(self, hazards: Sequence[str]) -> None:
        listed = "".join(f"\n  {hazard}" for hazard in hazards)
        super().__init__(
            f'children.preload is "require", and children cannot be forked from what was imported:{listed}',
            'start threads and open connections at their first use, not at the import; or set children.preload = "auto"',
        )


class Place(NamedTuple):
    """A line of the user's code."""

    file: str
    line: int

    def __str__(self) -> str:
        path = Path(self.file)
        shown = path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
        code = linecache.getline(self.file, self.line).strip()[:_LONGEST_CODE]
        return f"{shown}:{self.line} ({code})" if code else f"{shown}:{self.line}"


@dataclass(slots=True)
class _Growth:
    """Tasks or sockets that native code made, seen only later: at this line, or after it."""

    tasks: frozenset[int]
    sockets: frozenset[int]
    since: Place | None


class ImportWatch:
    """Watches the main thread for as long as it is entered, once in a process. Then `hazards` tells what is left."""

    def __init__(self) -> None:
        self._tasks_fd = os.open("/proc/self/task", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._sockets_before = frozenset(_sockets())
        self._tasks_before = _tasks()
        self._base: FrameType | None = None
        self._outermost: FrameType | None = None
        self._last: Place | None = None
        self._counts = (0, 0)
        self._threads: dict[int, Place | None] = {}
        self._made_sockets: dict[int, Place | None] = {}
        self._growths: list[_Growth] = []

    def __enter__(self) -> Self:
        global _watch  # noqa: PLW0603 - a hook lasts as long as the process: this is its switch
        self._base = sys._getframe(1)  # noqa: SLF001 - the one way to a frame
        self._counts = self._count()
        _watch = self
        sys.addaudithook(_hear)
        threading.Thread.start = _start_noted  # type: ignore[assignment, method-assign] # until Python 3.12 there is no event for it
        return self

    def __exit__(self, *_error: object) -> None:
        global _watch  # noqa: PLW0603
        _watch = None
        if threading.Thread.start is _start_noted:  # else the import has put something of its own there, which may call ours
            threading.Thread.start = _start  # type: ignore[method-assign]
        self._look()
        self._base = self._outermost = None
        os.close(self._tasks_fd)

    def hazards(self) -> list[str]:
        """One sentence for each thread and socket that is left, with the line that made it, as far as that is known."""
        return [*self._python_threads_left(), *self._native_threads_left(), *self._sockets_left()]

    def _python_threads_left(self) -> Iterator[str]:
        for thread in threading.enumerate():
            if thread is not threading.main_thread():
                yield f'thread "{thread.name}" was started{_at(self._threads.get(id(thread)))}'

    def _native_threads_left(self) -> Iterator[str]:
        if self._native_tasks():
            _fork_on_trial()
        deadline = time.monotonic() + _LINGER_SECONDS  # a thread that was joined is listed for a moment more
        while (left := self._native_tasks()) and time.monotonic() < deadline:
            time.sleep(0.001)
        for task in sorted(left):
            yield f'native thread "{_name_of(task)}" was started{_after(self._since(task, lambda growth: growth.tasks))}'

    def _native_tasks(self) -> frozenset[int]:
        return _tasks() - self._tasks_before - {thread.native_id for thread in threading.enumerate()}

    def _sockets_left(self) -> Iterator[str]:
        for inode, fd in _sockets().items():
            if inode not in self._sockets_before:
                seen = self._made_sockets.get(inode)
                yield f"{_leading(fd)} was left open{_at(seen) if seen else _after(self._since(inode, lambda growth: growth.sockets))}"

    def _since(self, number: int, among: Callable[[_Growth], frozenset[int]]) -> Place | None:
        return next((growth.since for growth in self._growths if number in among(growth)), None)

    # --- while it lasts ---

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        """An audit event of any thread."""
        match event:
            case "import" | "socket.__new__":
                self._look()
                self._last = self._place() or self._last
            case _:  # a socket's
                self._made_sockets[os.fstat(args[0].fileno()).st_ino] = self._place()

    def note_start(self, thread: threading.Thread) -> None:
        """A thread is about to be started."""
        self._threads[id(thread)] = self._place()

    def _look(self) -> None:
        """Whether there are tasks or descriptors that were not there at the import before."""
        counts = self._count()
        if counts != self._counts:
            self._counts = counts
            self._growths.append(_Growth(_tasks(), frozenset(_sockets()), self._last))

    def _count(self) -> tuple[int, int]:
        """The number of tasks, and the lowest descriptor that is free: two cheap looks instead of two directories."""
        free = os.dup(self._tasks_fd)
        os.close(free)
        return os.fstat(self._tasks_fd).st_nlink, free

    def _place(self) -> Place | None:
        """The outermost line of the user's code that is being executed. A module's own frame stays the same while it is imported."""
        if self._outermost is None or not _is_importing(self._outermost):
            self._outermost = self._find_outermost()
        frame = self._outermost
        return Place(frame.f_code.co_filename, frame.f_lineno) if frame else None

    def _find_outermost(self) -> FrameType | None:
        found: FrameType | None = None
        frame: FrameType | None = sys._getframe(1)  # noqa: SLF001 - see above
        while frame is not None and frame is not self._base:
            if str(frame.f_globals.get("__name__")).partition(".")[0] not in _NOT_THE_USERS:
                found = frame
            frame = frame.f_back
        return found


_watch: ImportWatch | None = None
_HEARD = frozenset({"import", "socket.__new__", "socket.connect", "socket.bind"})
_start = threading.Thread.start


def _start_noted(thread: threading.Thread) -> None:
    if _watch is not None:
        _watch.note_start(thread)
    _start(thread)


def _hear(event: str, args: tuple[Any, ...]) -> None:
    if _watch is not None and event in _HEARD:
        with contextlib.suppress(OSError):  # no descriptor left, or a closed socket: the import goes on as it would without us
            _watch.hear(event, args)


def _is_importing(frame: FrameType) -> bool:
    """Whether it is the frame of a module whose import is under way. Where Python does not tell, it never is."""
    return getattr(frame.f_globals.get("__spec__"), "_initializing", False) is True


def _at(place: Place | None) -> str:
    return f" at {place}" if place else ""


def _after(place: Place | None) -> str:
    return f" at or after {place}" if place else ""


def _fork_on_trial() -> None:
    """Let the libraries do what they do at a fork."""
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)


def _tasks() -> frozenset[int]:
    return frozenset(int(entry.name) for entry in Path("/proc/self/task").iterdir())


def _name_of(task: int) -> str:
    try:
        return Path(f"/proc/self/task/{task}/comm").read_text().strip()
    except OSError:
        return str(task)


def _sockets() -> dict[int, int]:
    """The sockets that are open: descriptor by inode."""
    found = {}
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the listing's own descriptor, closed by now
            facts = os.fstat(int(entry.name))
            if stat.S_ISSOCK(facts.st_mode):
                found[facts.st_ino] = int(entry.name)
    return found


def _leading(fd: int) -> str:
    """To whom the socket leads, or where it listens."""
    with socket.socket(fileno=os.dup(fd)) as found:
        try:
            return f"a connection to {_address(found.getpeername())}"
        except OSError:
            return f"a socket at {_address(found.getsockname())}"


def _address(name: object) -> str:
    if isinstance(name, tuple):
        return f"{name[0]}:{name[1]}"
    text = os.fsdecode(name) if isinstance(name, bytes | str) else str(name)
    return text or "an unnamed unix socket"
