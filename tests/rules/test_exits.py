from __future__ import annotations

import signal

import pytest

from orbitd.rules.exits import ExitStatus, Verdict, judge
from orbitd.rules.states import Charge, Reason

CASES = [
    (ExitStatus(signal=signal.SIGSEGV), None, Verdict("crashed:SIGSEGV", Charge.CRASH)),
    (ExitStatus(code=0), None, Verdict("exited:0", Charge.CRASH)),
    (ExitStatus(signal=signal.SIGKILL), Reason.RUN_TIMEOUT, Verdict("timeout", Charge.ERROR)),
    (ExitStatus(signal=signal.SIGKILL), Reason.DRAIN_TIMEOUT, Verdict("interrupted", Charge.NONE)),
    (ExitStatus(signal=signal.SIGKILL), Reason.STOPPING, Verdict("interrupted", Charge.NONE)),
    (ExitStatus(signal=signal.SIGSEGV), Reason.STOPPING, Verdict("crashed:SIGSEGV", Charge.CRASH)),
    (ExitStatus(code=3), Reason.SURPLUS, Verdict("exited:3", Charge.CRASH)),
    (ExitStatus(signal=signal.SIGRTMIN + 1), None, Verdict("crashed:SIG35", Charge.CRASH)),
    (ExitStatus(), None, Verdict("lost", Charge.CRASH)),
]


@pytest.mark.parametrize(("status", "reason", "verdict"), CASES)
def test_the_end_of_a_child_is_judged(status: ExitStatus, reason: Reason | None, verdict: Verdict) -> None:
    assert judge(status, reason) == verdict
