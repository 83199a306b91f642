"""Upgrade in place: another version of orbitd goes on as this very process, with its children and their runs.

    (none) --ask--> rehearsing --it can--> execve --the new program inherits--> done (ok True)
                        |                     |
                        +-- it cannot --------+-- it cannot be started --> failed (ok False): nothing has changed

The *estate* is all that outlives the exec: one JSON document in a memfd, made of dataclasses by their type hints (see
`rules/plain.py`), and the descriptors that it names. The *rehearsal* is our own command line, exec'd beside us with such a
document: it imports all that it needs, reads it to the last field, says so in its place, and ends. Only then do we become
the same program. It begins with a reload; the children that live keep the code that they have loaded.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orbitd import __version__
from orbitd.control.ring import RingEstate
from orbitd.control.server import ServerEstate
from orbitd.errors import ExitCode, OrbitError
from orbitd.fleet import Fleet, FleetEstate, Keep
from orbitd.generations import GenerationsEstate
from orbitd.incarnation import IncarnationEstate
from orbitd.rules.exits import ExitStatus
from orbitd.rules.findings import Finding
from orbitd.rules.plain import Unreadable, plain, restored
from orbitd.rules.roster import Roster
from orbitd.rules.supervise import Desired
from orbitd.rules.tally import Tally
from orbitd.system import clock, log, process
from orbitd.system.pidfile import PidFileEstate
from orbitd.system.process import Process
from orbitd.system.slots import SharedSlots
from orbitd.vitals import DatabaseNews

FORMAT = 1
"""Raise it when what a field means has changed, or what arbiter, molds and children say to each other."""

VARIABLE = "_ORBITD_ESTATE"
"""In the environment of the new program alone: the number of the memfd."""

_MOST_WORDS = 60_000


@dataclass(frozen=True, slots=True)
class Estate:
    """All that outlives the exec. `fds` are the descriptors that are named anywhere in it."""

    pid: int
    version: str
    fds: list[int]
    generations: GenerationsEstate
    incarnation: IncarnationEstate
    fleet: FleetEstate
    server: ServerEstate
    pid_file: PidFileEstate | None
    ring: RingEstate
    roster: Roster
    desired: Desired
    tally: Tally
    findings: list[Finding]
    database: DatabaseNews
    boot_id: str | None
    unburied: dict[str, dict[str, Any]]


def read(fd: int) -> Estate:
    """The estate in this memfd. Raises OrbitError when it is none, or one that this version cannot go on with."""
    try:
        document = json.loads(_content(fd))
        if document["format"] != FORMAT:
            raise Unreadable(f"its format is {document['format']}, and orbitd {__version__} reads {FORMAT}")
        estate = restored(Estate, document["estate"])
        if not estate.fleet.layout.items() <= SharedSlots.layout().items():
            raise Unreadable("the memory that it shares with its children has another layout")
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"what is handed over cannot be read by orbitd {__version__}: {error}"
        raise OrbitError(message, "stop the old version, and start this one") from error
    return estate


def write(estate: Estate) -> int:
    """A memfd with the estate."""
    document = {"format": FORMAT, "estate": plain(estate)}
    fd = os.memfd_create("orbitd-estate")
    _replace_content(fd, document)
    return fd


def rehearse(estate: Estate, fd: int) -> int:
    """Say that we could read it, in its place; the exit code. It is another process's, which must be our parent."""
    process.die_with_parent(estate.pid)
    _replace_content(fd, {"format": FORMAT, "version": __version__})
    return ExitCode.OK


@dataclass(slots=True)
class Upgrade:
    """One upgrade, as the operator sees it. `ok` is None while it is under way."""

    before: str
    ok: bool | None = None
    error: str | None = None


@dataclass(slots=True)
class _Rehearsal:
    guest: Process
    estate_fd: int
    output_fd: int
    deadline: float
    is_late: bool = False


@dataclass(slots=True)
class Succession:
    """One upgrade at a time. `take_stock` makes the estate, with each of its descriptors through the function it is given."""

    fleet: Fleet
    take_stock: Callable[[Keep], Estate]
    predecessor: str | None = None
    """The version whose process we are, until we have arrived."""
    upgrade: Upgrade | None = None
    """The last one."""
    _rehearsal: _Rehearsal | None = field(default=None, init=False)
    _successor: str | None = field(default=None, init=False)
    """The version that has rehearsed and is to take over."""

    @property
    def is_under_way(self) -> bool:
        """Whether one has begun and not ended."""
        return self.predecessor is not None or (self.upgrade is not None and self.upgrade.ok is None)

    @property
    def error(self) -> str | None:
        """Why the last one has failed."""
        return self.upgrade.error if self.upgrade else None

    @property
    def next_deadline(self) -> float:
        """When to turn although nothing happens."""
        return self._rehearsal.deadline if self._rehearsal and not self._rehearsal.is_late else float("inf")

    def begin(self, seconds: float) -> None:
        """Have the program that we would become rehearse, for at most so long. With one under way this changes nothing."""
        if self.is_under_way:
            return
        self.upgrade = Upgrade(before=__version__)
        try:
            self._rehearsal = self._begin_rehearsal(seconds)
            log.event("upgrade_rehearsed", pid=self._rehearsal.guest.pid)
        except (OSError, TypeError, OrbitError) as error:
            self.fail(f"its self check could not begin: {error}")

    def arrive(self) -> bool:
        """Once: whether we are the new program, and now at work."""
        if self.predecessor is None:
            return False
        process.has_begun()
        log.event("upgraded", before=self.predecessor, version=__version__)
        self.upgrade, self.predecessor = Upgrade(self.predecessor, ok=True), None
        return True

    def abandon(self) -> None:
        """The daemon ends, and so does what rehearses."""
        if self._rehearsal:
            self._rehearsal.guest.kill_session()

    def _begin_rehearsal(self, seconds: float) -> _Rehearsal:
        with ExitStack() as undo:
            estate_fd = write(self.take_stock(lambda fd: fd))
            undo.callback(os.close, estate_fd)
            output_fd = os.memfd_create("orbitd-rehearsal")
            undo.callback(os.close, output_fd)
            guest = self.fleet.exec_guest(_command(), _environ(estate_fd), [estate_fd], output_fd, self._rehearsed)
            undo.pop_all()
        return _Rehearsal(guest, estate_fd, output_fd, clock.now() + seconds)

    def is_due(self) -> bool:
        """Whether to hand over now. A rehearsal that is late is killed."""
        rehearsal = self._rehearsal
        if rehearsal and not rehearsal.is_late and clock.now() >= rehearsal.deadline:
            rehearsal.is_late = True
            rehearsal.guest.kill_session()
        return self._successor is not None

    def _rehearsed(self, status: ExitStatus) -> None:
        rehearsal, self._rehearsal = self._rehearsal, None
        if rehearsal is None:
            return
        answer, words = _answer(rehearsal.estate_fd), _content(rehearsal.output_fd).decode(errors="replace")[-_MOST_WORDS:].strip()
        os.close(rehearsal.estate_fd)
        os.close(rehearsal.output_fd)
        if rehearsal.is_late:
            self.fail(f"its self check took too long\n{words}")
        elif status.code != ExitCode.OK:
            self.fail(f"its self check failed: {status}\n{words}")
        elif answer is None:
            self.fail(f"its self check failed: it does not say that it can go on with this daemon\n{words}")
        else:
            self._successor = answer

    def hand_over(self, seconds: float) -> None:
        """Become the new program, which has so long to go on with our work. If that cannot be started, all is as before."""
        version, self._successor = self._successor, None
        kept: list[int] = []

        def keep(fd: int) -> int:
            kept.append(fd)
            return fd

        log.event("upgrading", before=__version__, version=version)
        try:
            estate = self.take_stock(keep)
            estate.fds.extend(kept)
            with os.fdopen(write(estate), "rb") as memfd:
                environment = _environ(memfd.fileno())
                process.replace(_command(), keep_fds=[*kept, memfd.fileno()], environment=environment, seconds=seconds)
        except (OSError, TypeError, OrbitError) as error:
            self.fail(f"it cannot be started: {error}")

    def fail(self, error: str) -> None:
        """It has come to nothing, and nothing has changed."""
        self._successor = None
        self.upgrade = Upgrade(__version__, ok=False, error=error.strip())
        log.fault("upgrade_failed", error=error.strip())


def _command() -> list[str]:
    """What this process was started with."""
    return [sys.executable, *sys.orig_argv[1:]]


def _environ(estate_fd: int) -> dict[str, str]:
    return {**os.environ, VARIABLE: str(estate_fd)}


def _answer(fd: int) -> str | None:
    """The version that has rehearsed; None when it did not say that it can read the estate."""
    try:
        document = json.loads(_content(fd))
        return str(document["version"]) if document["format"] == FORMAT else None
    except (ValueError, KeyError, TypeError):
        return None


def _content(fd: int) -> bytes:
    return Path(f"/proc/self/fd/{fd}").read_bytes()


def _replace_content(fd: int, document: object) -> None:
    content = memoryview(json.dumps(document).encode())
    os.ftruncate(fd, 0)
    at = 0
    while at < len(content):
        at += os.pwrite(fd, content[at:], at)
