"""How a process ended, in words: "exited:0", "crashed:SIGSEGV"."""

from __future__ import annotations

import signal
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the death of a child means for the run that it held."""

    cause: str
    charge: Charge


def judge(status: ExitStatus, reason: Reason | None) -> Verdict:
    """The cause that the operator reads and what the run pays, from how the child ended and what the arbiter had asked.

    Our own stop is no fault of the run. A run killed past its deadline pays an error, as a soft timeout does.
    """
    match reason:
        case Reason.RUN_TIMEOUT:
            return Verdict("timeout", Charge.ERROR)
        case Reason.OVER_MEMORY if status.signal == signal.SIGKILL:
            return Verdict("memory_limit", Charge.ERROR)
        case Reason.STOPPING | Reason.DRAIN_TIMEOUT | Reason.SURPLUS | Reason.OUTDATED | Reason.RESTART_ASKED if (
            status.signal == signal.SIGKILL
        ):
            return Verdict("interrupted", Charge.NONE)
        case _:
            return Verdict(str(status), Charge.CRASH)
