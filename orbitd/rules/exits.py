"""How a process ended, in words, and what the end of a child means: its cause, who brought it about, what its run pays."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from enum import StrEnum

from orbitd.rules.states import Charge, Reason


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """Exit code or signal of a process; exactly one of them is set, or none when nobody saw the end."""

    code: int | None = None
    signal: int | None = None

    def __str__(self) -> str:
        if self.signal is not None:
            return f"crashed:{signal_name(self.signal)}"
        return "lost" if self.code is None else f"exited:{self.code}"


def signal_name(number: int) -> str:
    """The name of a signal, such as SIGSEGV; real-time signals have no name of their own: "SIG35"."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"SIG{number}"


class Ender(StrEnum):
    """Who brought a child's end about, as far as anybody can tell."""

    ITSELF = "itself"
    """It exited, or did what no program may do (SIGSEGV and the like)."""
    ORBITD = "orbitd"
    """It left because the arbiter had asked it to, or was killed by the arbiter: the reason tells why."""
    KERNEL = "kernel"
    """The kernel killed it for want of memory."""
    STRANGER = "stranger"
    """A signal that the arbiter did not send: an operator's, a program's, or its own to itself."""
    UNKNOWN = "unknown"
    """Nobody saw it end."""


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What the arbiter knows of a child's end beside its status.

    `reason`: why it was asked to leave. `is_killed`: SIGKILL was sent to it. `is_out_of_memory`: the kernel has killed one of
    our control group for want of memory. `has_run`: it had a run in hand.
    """

    reason: Reason | None = None
    is_killed: bool = False
    is_out_of_memory: bool = False
    has_run: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the end of a child was. `cause` is told with its run and of the child itself; `charge` is what the run pays."""

    cause: str
    charge: Charge
    by: Ender


@dataclass(frozen=True, slots=True)
class Exit:
    """What is kept of a child that has ended. `at` is CLOCK_BOOTTIME; `run_id` is 0 when it had none in hand.

    `peak_bytes` is the kernel's figure: its largest resident set, with what it shared with its mold, or that of a program which
    it ran and waited for, whichever was more. `own_peak_bytes` is the most of its own that a sample has seen; None without one.
    """

    at: float
    pid: int | None
    generation: int
    cause: str
    by: Ender
    reason: Reason | None
    uptime_seconds: float
    peak_bytes: int
    own_peak_bytes: int | None
    run_id: int
    pipeline: str

    @property
    def counted_as(self) -> str:
        """The one word that it is counted under: the arbiter's reason when it was the arbiter's doing, else the cause."""
        return self.reason if self.by is Ender.ORBITD and self.reason else self.cause


FAULTS = frozenset({signal.SIGSEGV, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGABRT, signal.SIGSYS, signal.SIGTRAP})
_OF_A_KILL = {
    Reason.RUN_TIMEOUT: ("timeout", Charge.ERROR),
    Reason.OVER_MEMORY: ("memory_limit", Charge.ERROR),
    Reason.STALLED: ("stalled", Charge.CRASH),
    Reason.KILL_ASKED: ("crashed:SIGKILL", Charge.CRASH),
}


def judge(status: ExitStatus, known: Circumstances) -> Verdict:
    """What the end of a child was, from how it ended and what the arbiter had done.

    Our own stop is no fault of the run. A run killed past its deadline pays an error, as a soft timeout does; so does one
    killed for its memory.
    """
    cause = str(status)
    if known.is_killed and known.reason and (status.signal == signal.SIGKILL or status == ExitStatus()):
        return Verdict(*_OF_A_KILL.get(known.reason, ("interrupted", Charge.NONE)), Ender.ORBITD)
    if status.signal == signal.SIGKILL and known.is_out_of_memory:
        return Verdict("out_of_memory", Charge.CRASH, Ender.KERNEL)
    if status.signal is not None:
        return Verdict(cause, Charge.CRASH, Ender.ITSELF if status.signal in FAULTS else Ender.STRANGER)
    if status.code is None:
        return Verdict(cause, Charge.CRASH, Ender.UNKNOWN)
    has_left_as_asked = status.code == 0 and known.reason is not None and not known.has_run
    return Verdict(cause, Charge.CRASH, Ender.ORBITD if has_left_as_asked else Ender.ITSELF)
