"""Every end of a child is named: how it ended, who brought it about, what its run pays."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from orbitd.rules.exits import Circumstances, Ender, Exit, ExitStatus, Verdict, judge
from orbitd.rules.states import Charge, Reason

SIGKILL, SIGSEGV = ExitStatus(signal=signal.SIGKILL), ExitStatus(signal=signal.SIGSEGV)
LEFT, LOST = ExitStatus(code=0), ExitStatus()


def asked(reason: Reason, **more: bool) -> Circumstances:
    return Circumstances(reason, **more)


def killed(reason: Reason) -> Circumstances:
    return Circumstances(reason, is_killed=True, has_run=True)


CASES = [
    # complaint 26: rq#1193, rq#1817: the exact cause, not "work-horse terminated unexpectedly"
    (SIGSEGV, Circumstances(), Verdict("crashed:SIGSEGV", Charge.CRASH, Ender.ITSELF)),
    (SIGKILL, Circumstances(), Verdict("crashed:SIGKILL", Charge.CRASH, Ender.STRANGER)),
    (SIGKILL, Circumstances(is_out_of_memory=True), Verdict("out_of_memory", Charge.CRASH, Ender.KERNEL)),
    (SIGSEGV, Circumstances(is_out_of_memory=True), Verdict("crashed:SIGSEGV", Charge.CRASH, Ender.ITSELF)),
    (ExitStatus(signal=signal.SIGRTMIN + 1), Circumstances(), Verdict("crashed:SIG35", Charge.CRASH, Ender.STRANGER)),
    (LEFT, Circumstances(), Verdict("exited:0", Charge.CRASH, Ender.ITSELF)),
    (ExitStatus(code=3), asked(Reason.SURPLUS), Verdict("exited:3", Charge.CRASH, Ender.ITSELF)),
    (LOST, Circumstances(), Verdict("lost", Charge.CRASH, Ender.UNKNOWN)),
    # what it was asked for, it does
    *((LEFT, asked(reason), Verdict("exited:0", Charge.CRASH, Ender.ORBITD)) for reason in Reason),
    (LEFT, asked(Reason.OUTDATED, has_run=True), Verdict("exited:0", Charge.CRASH, Ender.ITSELF)),
    # killed by us
    (SIGKILL, killed(Reason.RUN_TIMEOUT), Verdict("timeout", Charge.ERROR, Ender.ORBITD)),
    (SIGKILL, killed(Reason.DRAIN_TIMEOUT), Verdict("interrupted", Charge.NONE, Ender.ORBITD)),
    (SIGKILL, killed(Reason.STOPPING), Verdict("interrupted", Charge.NONE, Ender.ORBITD)),
    (SIGKILL, killed(Reason.OVER_MEMORY), Verdict("memory_limit", Charge.ERROR, Ender.ORBITD)),
    (SIGKILL, killed(Reason.STALLED), Verdict("stalled", Charge.CRASH, Ender.ORBITD)),
    (SIGKILL, killed(Reason.KILL_ASKED), Verdict("crashed:SIGKILL", Charge.CRASH, Ender.ORBITD)),
    (SIGKILL, replace(killed(Reason.OVER_MEMORY), is_out_of_memory=True), Verdict("memory_limit", Charge.ERROR, Ender.ORBITD)),
    (LOST, killed(Reason.BOOT_TIMEOUT), Verdict("interrupted", Charge.NONE, Ender.ORBITD)),
    # asked to leave, and killed by others meanwhile
    (SIGKILL, asked(Reason.OUTDATED, has_run=True), Verdict("crashed:SIGKILL", Charge.CRASH, Ender.STRANGER)),
    (SIGKILL, asked(Reason.OUTDATED, is_out_of_memory=True), Verdict("out_of_memory", Charge.CRASH, Ender.KERNEL)),
    # it was faster than our kill
    (SIGSEGV, killed(Reason.STOPPING), Verdict("crashed:SIGSEGV", Charge.CRASH, Ender.ITSELF)),
]


@pytest.mark.parametrize(("status", "known", "verdict"), CASES)
def test_the_end_of_a_child_is_judged(status: ExitStatus, known: Circumstances, verdict: Verdict) -> None:
    assert judge(status, known) == verdict


def test_what_orbitd_did_is_counted_under_its_reason() -> None:
    left = Exit(1.0, 7, 1, "exited:0", Ender.ORBITD, Reason.MAX_RUNS, 5.0, 0, None, 0, "")
    assert left.counted_as == "max_runs"
    assert replace(left, by=Ender.STRANGER, cause="crashed:SIGKILL").counted_as == "crashed:SIGKILL"
