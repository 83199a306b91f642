"""Processes: starting, watching by pidfd, killing whole sessions, and the bonds between parent and child."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import pathlib
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from orbitd.rules.exits import ExitStatus

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_GET_CHILD_SUBREAPER = 37

_SIGNALS_OF_ARBITER = (
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGTTIN,
    signal.SIGTTOU,
    signal.SIGTSTP,
)

MOLD_MARK = "ORBITD_MOLD"
"""In the environment that a mold is exec'd with, and so of every program that its children start: it is ours."""
CHILD_MARK = "ORBITD_CHILD"
"""In the environment of every program that a child starts: the child's nonce, for whoever looks whose it is."""

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), ctypes.c_ulong(0), ctypes.c_ulong(0), ctypes.c_ulong(0)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def become_subreaper() -> bool:
    """Orphans among our descendants come to us and not to init. False on kernels without it."""
    try:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    except OSError:
        return False
    return True


def lacking() -> list[str]:
    """What the kernel does not have, and children forked by a mold need, so that the arbiter is their parent and can watch them."""
    lacks = []
    try:
        _prctl(_PR_GET_CHILD_SUBREAPER, ctypes.addressof(ctypes.c_int()))
    except OSError as error:
        lacks.append(f"the kernel has no subreapers: {error.strerror}")
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError as error:
        lacks.append(f"the kernel has no pidfds: {error.strerror}")
    return lacks


def be_readable_by_its_user() -> None:
    """After a setuid /proc/PID belongs to root: give it to the user whose process it is now, as if he had started it."""
    _prctl(_PR_SET_DUMPABLE, 1)


def give_back_memory() -> None:
    """Let the kernel have what this process has freed: the C library keeps it, and a start frees much that is not needed again."""
    with contextlib.suppress(AttributeError):  # not every C library can
        _libc.malloc_trim(0)


def leave(code: int) -> NoReturn:
    """End at once: no thread and no exit handler of the user's code keeps us."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def die_with_parent(parent_pid: int, signal_number: int = signal.SIGKILL) -> None:
    """Ask the kernel for a signal at our parent's death; exit at once if it is dead already.

    Call it when `parent_pid` is our parent, after every setuid (which clears it), from the main thread.
    """
    _prctl(_PR_SET_PDEATHSIG, signal_number)
    if os.getppid() != parent_pid:
        os._exit(1)


def wait_for_parent(parent_pid: int, seconds: float = 10.0) -> bool:
    """Wait until re-parenting has made `parent_pid` our parent. False if that did not come about."""
    deadline = time.monotonic() + seconds
    while os.getppid() != parent_pid:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.0002)
    return True


def hold_signals_back() -> None:
    """Have what means something to a running arbiter wait until it listens: by default a HUP or USR1 would end it at its start.

    Process 1 would never hear of a TERM that comes too early. Ctrl-C still ends it at once.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, set(_SIGNALS_OF_ARBITER) - {signal.SIGINT, signal.SIGQUIT})


def leave_signals_to_arbiter() -> None:
    """Be deaf to what means something to the arbiter: who signals every process of ours, or of that name, means the daemon.

    We end with the arbiter, or when it says so. Handlers and not SIG_IGN, which whatever we exec would inherit.
    """
    for number in _SIGNALS_OF_ARBITER:
        signal.signal(number, lambda *_: None)


@dataclass(frozen=True, slots=True)
class Process:
    """A child of ours. The pidfd names this very process for as long as it is open, even when the pid is reused.

    It is None where the kernel has no pidfds. A child that nobody has reaped keeps its pid, so that this names it too.
    """

    pid: int
    pidfd: int | None
    start_ticks: int

    @classmethod
    def adopt(cls, pid: int) -> Process | None:
        """Watch a process; None if it is gone or is not our child. Raises OSError when no descriptor is left."""
        try:
            pidfd = _pidfd(pid)
        except ProcessLookupError:
            return None
        process = None
        try:
            facts = stat(pid)
            if facts and facts.parent_pid == os.getpid():
                process = cls(pid, pidfd, facts.start_ticks)
            return process
        finally:
            if process is None and pidfd is not None:
                os.close(pidfd)

    def send_signal(self, number: int) -> None:
        """Signal it, if it still lives."""
        with contextlib.suppress(ProcessLookupError):
            if self.pidfd is None:
                os.kill(self.pid, number)
            else:
                signal.pidfd_send_signal(self.pidfd, number)

    def kill_session(self) -> None:
        """SIGKILL it and what shares its process group. While it is not reaped its group cannot be anyone else's."""
        self.send_signal(signal.SIGKILL)
        kill_group(self.pid)

    def close(self) -> None:
        """Stop watching."""
        if self.pidfd is not None:
            os.close(self.pidfd)


def lacks_pidfds(error: OSError) -> bool:
    """Whether this is the answer of a kernel, or of a container's filter, that knows nothing of pidfds."""
    return error.errno in (errno.ENOSYS, errno.EPERM)


def _pidfd(pid: int) -> int | None:
    """A pidfd; None where the kernel has none. Raises ProcessLookupError when nobody has that pid, OSError without a descriptor."""
    try:
        return os.pidfd_open(pid)
    except OSError as error:
        if not lacks_pidfds(error):
            raise
        return None


def kill_unwatched(pid: int) -> None:
    """SIGKILL a child of ours that could not be adopted: while nobody reaps it, its pid cannot be anyone else's."""
    if pid in own_children():
        os.kill(pid, signal.SIGKILL)


def kill_group(leader_pid: int) -> None:
    """SIGKILL a process group. Only while its leader is not reaped: then the number is surely the leader's."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader_pid, signal.SIGKILL)


def spawn(arguments: Sequence[str], *, keep_fds: Sequence[int], environment: Mapping[str, str], output_fd: int | None = None) -> Process:
    """Exec a program in a session of its own, signals reset, with only the named descriptors (and 0, 1, 2).

    What it writes to standard output and error goes to `output_fd`, if there is one. Raises OSError.
    """
    outputs = [] if output_fd is None else [(os.POSIX_SPAWN_DUP2, output_fd, fd) for fd in (1, 2)]
    pid = os.posix_spawn(
        arguments[0],
        list(arguments),
        environment,
        file_actions=[*((os.POSIX_SPAWN_DUP2, fd, fd) for fd in keep_fds), *outputs],
        setsid=True,
        setsigmask=[],
        setsigdef=sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}),
    )
    process = Process.adopt(pid)
    if process is None:  # our own child, not reaped by anyone: it cannot be gone
        raise ChildProcessError(f"process {pid} was reaped by somebody else")
    return process


def replace(arguments: Sequence[str], *, keep_fds: Sequence[int], environment: Mapping[str, str], seconds: float) -> NoReturn:
    """Become another program, with the same pid, children, blocked signals, and the named descriptors (and 0, 1, 2).

    It has so long until it must have called `has_begun`: then a SIGALRM ends it. Raises OSError; then nothing has changed.
    """
    try:
        signal.setitimer(signal.ITIMER_REAL, seconds)
        for fd in keep_fds:
            os.set_inheritable(fd, True)
        os.execve(arguments[0], list(arguments), environment)  # noqa: S606 - without a shell is the point
    finally:
        for fd in keep_fds:
            os.set_inheritable(fd, False)
        has_begun()


def has_begun() -> None:
    """We are at work: the time of `replace` is over."""
    signal.setitimer(signal.ITIMER_REAL, 0)


@dataclass(frozen=True, slots=True)
class Ended:
    """A child that has ended and waits to be reaped."""

    pid: int
    status: ExitStatus


def peek_ended() -> Ended | None:
    """One of our children that has ended, left as it is: until `reap` its pid is not given to anyone else."""
    try:
        info = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return None
    if info is None:
        return None
    if info.si_code == os.CLD_EXITED:
        return Ended(info.si_pid, ExitStatus(code=info.si_status))
    return Ended(info.si_pid, ExitStatus(signal=info.si_status))


def reap(pid: int) -> int:
    """Collect a child that has ended; its largest resident set in bytes, or that of a descendant that it has waited for.

    What a process shared with its parent at the fork counts as its own from the start.
    """
    return os.wait4(pid, 0)[2].ru_maxrss * 1024


@dataclass(frozen=True, slots=True)
class Stat:
    """What /proc says of a process. Ticks count from the kernel's boot."""

    state: str
    parent_pid: int
    session: int
    start_ticks: int


def stat(pid: int) -> Stat | None:
    """Facts of a process; None when it is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rsplit(")", 1)[1].split()
    return Stat(fields[0], int(fields[1]), int(fields[3]), int(fields[19]))


def kernel_function(pid: int) -> str:
    """The function of the kernel that a process waits in; empty when it runs, is gone, or is not ours to look at."""
    try:
        text = pathlib.Path(f"/proc/{pid}/wchan").read_text()
    except OSError:
        return ""
    return "" if text == "0" else text


def own_children() -> list[int]:
    """The pids of our direct children."""
    text = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [int(pid) for pid in text.split()]


def environment_of(pid: int) -> bytes:
    """The environment that a process was exec'd with; empty when it is gone or not ours to read."""
    try:
        return pathlib.Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return b""


def title_of(pid: int) -> bytes:
    """What `ps` shows of a process: its arguments, or what it has written over them; empty when it is gone."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0")
    except OSError:
        return b""


def kernel_boot_id() -> str:
    """Changes with each boot of the kernel."""
    return pathlib.Path("/proc/sys/kernel/random/boot_id").read_text().strip()
