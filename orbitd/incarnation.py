"""What the arbiter leaves in the state directory for the next one: who it was, and which processes were its own.

After a kill -9 the next arbiter may take back its predecessor's runs only when none of those processes can still write: the
kernel has been booted since, or each of them is gone. They die with their arbiter within milliseconds (PR_SET_PDEATHSIG),
so it is enough to wait; whoever does not go is killed, after its start time proves that the pid is still the same process.
The same file is the lock: two daemons cannot share a state directory.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbitd.errors import Conflict, OrbitError
from orbitd.system import log, process

_PATIENCE_MS = 2000
_LOOK_AGAIN_SECONDS = 0.01
_NAME = "incarnation.json"


@dataclass(frozen=True, slots=True)
class IncarnationEstate:
    """What an incarnation hands over to the program that goes on with it."""

    path: str
    former_boot_id: str | None
    lock_fd: int


@dataclass(slots=True)
class Incarnation:
    """Our own file, and what the former incarnation wrote there. `former_boot_id` is None if there is nothing to take back."""

    path: Path
    former_boot_id: str | None
    _lock_fd: int

    @classmethod
    def begin(cls, folder: Path) -> Incarnation:
        """Lock the folder and see the former incarnation off.

        Raises Conflict when a daemon lives there, OrbitError when the folder cannot be written.
        """
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock_fd = os.open(folder / "orbitd.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OrbitError(
                f"cannot use the state directory {folder}: {error.strerror}", "set instance.state_dir to a writable directory"
            ) from error
        try:
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock_fd)
            pid = living_arbiter(folder)
            raise Conflict(
                f"another orbitd runs with the state directory {folder}" + (f": process {pid}" if pid else ""),
                "stop that one, or give this one an instance.state_dir and a control.socket of its own",
            ) from None
        path = folder / _NAME
        former = _read(path)
        if former and former.get("kernel_boot_id") == process.kernel_boot_id():
            for entry in former["processes"]:
                _see_off(entry["pid"], entry["start_ticks"])
        return cls(path, former.get("boot_id") if former else None, lock_fd)

    def hand_over(self, keep: Callable[[int], int]) -> IncarnationEstate:
        """What `inherit` needs, the lock too: it is never let go of."""
        return IncarnationEstate(str(self.path), self.former_boot_id, keep(self._lock_fd))

    @classmethod
    def inherit(cls, estate: IncarnationEstate) -> Incarnation:
        """The same incarnation, in another program."""
        return cls(Path(estate.path), estate.former_boot_id, estate.lock_fd)

    def write(self, boot_id: str | None, processes: list[dict[str, int]]) -> None:
        """Note who lives now. A full disk is a warning: the next arbiter then waits for the lease."""
        if boot_id is None:
            return
        ours = process.stat(os.getpid())
        arbiter = {"pid": os.getpid(), "start_ticks": ours.start_ticks if ours else 0}
        facts = {"boot_id": boot_id, "kernel_boot_id": process.kernel_boot_id(), "arbiter": arbiter, "processes": processes}
        draft = self.path.with_suffix(".new")
        try:
            draft.touch(mode=0o600)
            draft.write_text(json.dumps(facts))
            draft.replace(self.path)
        except OSError as error:
            log.warn("incarnation_not_written", path=self.path, error=error.strerror)

    def end(self) -> None:
        """All is handed back: the next arbiter has nothing to take over."""
        self.path.unlink(missing_ok=True)
        os.close(self._lock_fd)


def living_arbiter(folder: Path) -> int | None:
    """The pid of the arbiter that has this state directory, if it lives. Raises OSError when the file is there and cannot be read."""
    try:
        facts = json.loads((folder / _NAME).read_text())
        pid, start_ticks = facts["arbiter"]["pid"], facts["arbiter"]["start_ticks"]
    except (FileNotFoundError, ValueError, LookupError, TypeError):
        return None
    found = process.stat(pid) if facts.get("kernel_boot_id") == process.kernel_boot_id() else None
    return pid if found and found.start_ticks == start_ticks and found.state != "Z" else None


def _read(path: Path) -> dict[str, Any] | None:
    try:
        facts = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warn("incarnation_not_read", path=path, error=error)
        return None
    return facts if _is_sound(facts) else None


def _is_sound(facts: Any) -> bool:
    if not isinstance(facts, dict) or not isinstance(facts.get("boot_id"), str) or not isinstance(facts.get("processes"), list):
        return False
    return all(isinstance(entry, dict) and {"pid", "start_ticks"} <= entry.keys() for entry in facts["processes"])


def _see_off(pid: int, start_ticks: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except (OSError, TypeError, OverflowError) as error:  # gone; or the number names a thread by now, or never named anything
        if isinstance(error, OSError) and process.lacks_pidfds(error):
            _see_off_by_pid(pid, start_ticks)
        return
    try:
        facts = process.stat(pid)
        if facts is None or facts.start_ticks != start_ticks:
            return
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        if not poll.poll(_PATIENCE_MS):
            log.warn("former_process_killed", pid=pid)
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            poll.poll(_PATIENCE_MS)
    except ProcessLookupError:
        return
    finally:
        os.close(pidfd)


def _see_off_by_pid(pid: int, start_ticks: int) -> None:
    """The same where the kernel has no pidfds: look again until it is gone."""
    deadline = time.monotonic() + _PATIENCE_MS / 1000
    while (facts := process.stat(pid)) and facts.start_ticks == start_ticks and facts.state != "Z":
        if time.monotonic() > deadline:
            log.warn("former_process_killed", pid=pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            return
        time.sleep(_LOOK_AGAIN_SECONDS)
