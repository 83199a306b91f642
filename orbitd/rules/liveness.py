"""Who shows no sign of life, who does not die, and whether all of us were frozen: pure rules.

Three clocks: an idle child's main line ticks at each of its turns, a child with a run in hand ticks each second (so a long
run never looks hung, nor does one that drains), and the run has its deadline (`supervise.kill_the_late`). A child that boots
has its boot timeout and no tick; one that waits for its database is in a state that somebody will mend.

    a second before a run is killed      asked for its stacks, which are stored with the run
    no tick for stall_seconds            told once, with what the kernel says of the process and its stacks
    no tick for children.stall_timeout   killed, where that is set
    killed, and there after 10 s         given up: its runs are taken back at once, another slot has its place
"""

from __future__ import annotations

from collections.abc import Iterator

from orbitd.rules.actions import Abandon, AbandonJanitor, AbandonMold, Action, DumpStack, Kill, TellStall
from orbitd.rules.limits import Limits
from orbitd.rules.roster import Child, Roster
from orbitd.rules.states import Activity, Phase, Reason

UNKILLABLE_SECONDS = 10.0
_TOLD_AGAIN_SECONDS = 60.0
_LATE_SECONDS = 2.0
_DUMP_SECONDS = 1.0
_MOMENT_SECONDS = 0.2
_AT_WORK = (Phase.UP, Phase.DRAINING)
_WORDS = {
    "R": "it burns CPU",
    "S": "it sleeps in a system call",
    "D": "it cannot be interrupted: its control group is frozen, or a device or file system does not answer",
    "T": "a signal has stopped it",
    "t": "a debugger has stopped it",
    "Z": "it has ended, but a thread of it has not",
}


def watch(roster: Roster, limits: Limits, now: float) -> Iterator[Action]:
    """What is done about children that stand still, and about all who will not go."""
    for child in list(roster.children()):
        if child.run_deadline and child.phase in _AT_WORK and now >= dump_at(child, limits) and not is_dumped(child):
            yield DumpStack(child.slot)
        if is_stalled(child, limits, now):
            if _is_news(child, now):
                yield TellStall(child.slot)
            elif limits.stall_kill_seconds and now >= max(
                child.vigil.tick_at + limits.stall_kill_seconds, child.vigil.told_at + _MOMENT_SECONDS
            ):
                yield Kill(child.slot, Reason.STALLED)
        elif is_unkillable(child.vigil.killed_at or None, now) and not child.vigil.is_abandoned:
            yield Abandon(child.slot)
    for mold in list(roster.molds.values()):
        if is_unkillable(mold.killed_at, now):
            yield AbandonMold(mold.generation)
    if roster.janitor.pid is not None and is_unkillable(roster.janitor.killed_at, now):
        yield AbandonJanitor()


def is_suspect(child: Child, limits: Limits, now: float) -> bool:
    """Whether it is worth a look how the kernel has it: it stands still, or was killed and is still there."""
    return child.phase is Phase.DYING or is_stalled(child, limits, now)


def is_stalled(child: Child, limits: Limits, now: float) -> bool:
    """Whether a child that should have shown a sign of life has not."""
    if child.phase not in _AT_WORK or not child.vigil.tick_at:
        return False
    match child.activity:
        case Activity.BUSY:
            return now >= child.vigil.tick_at + limits.stall_seconds
        case Activity.IDLE:
            return now >= child.vigil.tick_at + limits.idle_stall_seconds
        case _:
            return False


def dump_at(child: Child, limits: Limits) -> float:
    """When a run that does not heed its timeout is asked for its stacks, before it is killed: to write them takes a moment."""
    return child.run_deadline + limits.kill_after_seconds - min(_DUMP_SECONDS, limits.kill_after_seconds)


def is_dumped(child: Child) -> bool:
    """Whether it was asked for them."""
    return child.vigil.dumped_deadline == child.run_deadline


def kill_at(child: Child, limits: Limits) -> float:
    """When a run that does not heed its timeout is killed: never before it has had a moment to write its stacks."""
    if not is_dumped(child):
        return float("inf")
    return max(child.run_deadline + limits.kill_after_seconds, child.vigil.dumped_at + _MOMENT_SECONDS)


def is_unkillable(killed_at: float | None, now: float) -> bool:
    """Whether who was killed then should have ended by now."""
    return killed_at is not None and now >= killed_at + UNKILLABLE_SECONDS


def in_words(state: str, kernel_function: str) -> str:
    """What it means that the kernel has a process in this state (the letter of /proc/PID/stat) and place (wchan)."""
    words = _WORDS.get(state, "it is gone" if not state else f"its state is {state}")
    return f"{words} ({kernel_function})" if kernel_function else words


def frozen_seconds(slept_at: float, due: float, now: float) -> float:
    """For how long we were not scheduled: slept from `slept_at`, meant to wake at `due`, woke `now`. 0 for a usual delay.

    When in our sleep it began nobody knows: rather a little too much is counted than too little.
    """
    return now - max(slept_at, due - _LATE_SECONDS) if now > due + _LATE_SECONDS else 0.0


def _is_news(child: Child, now: float) -> bool:
    """Each stall is told once, and a child that stalls again and again not all the time."""
    vigil = child.vigil
    return not vigil.told_at or (vigil.told_tick_at != vigil.tick_at and now >= vigil.told_at + _TOLD_AGAIN_SECONDS)
