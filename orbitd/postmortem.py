"""What a child's death was, and the line of the log that tells it."""

from __future__ import annotations

import signal

from orbitd.fleet import Death
from orbitd.rules.exits import Circumstances, Ender, Exit, Verdict, judge
from orbitd.rules.roster import Child
from orbitd.rules.states import Phase
from orbitd.scales import Scales
from orbitd.system import clock, log


def examine(death: Death, child: Child | None, scales: Scales) -> tuple[Verdict, Exit]:
    """What it means for the runs in hand, and what the operator is told."""
    now = clock.now()
    reason, is_killed = (child.reason, child.phase is Phase.DYING) if child else (None, False)
    is_foreign_kill = death.status.signal == signal.SIGKILL and not is_killed
    has_run = bool(death.run_id or death.will.held)
    is_out_of_memory = is_foreign_kill and scales.has_oom_killed(now)
    verdict = judge(death.status, Circumstances(reason, is_killed, is_out_of_memory, has_run))
    judged = Exit(
        at=now,
        pid=child.pid if child else None,
        generation=child.generation if child else 0,
        cause=verdict.cause,
        by=verdict.by,
        reason=reason,
        uptime_seconds=now - child.asked_at if child else 0.0,
        peak_bytes=death.peak_bytes,
        own_peak_bytes=child.own_peak_bytes if child else None,
        run_id=death.run_id,
        pipeline=death.pipeline,
    )
    return verdict, judged


def tell(slot: int, judged: Exit) -> None:
    """One line: a warning, unless it was our own doing."""
    say = log.event if judged.by is Ender.ORBITD else log.warn
    say(
        "child_exited",
        slot=slot,
        pid=judged.pid,
        gen=judged.generation,
        cause=judged.cause,
        by=judged.by,
        reason=judged.reason,
        uptime_seconds=round(judged.uptime_seconds, 3),
        peak_bytes=judged.peak_bytes,
        run=judged.run_id or None,
        pipeline=judged.pipeline or None,
    )
