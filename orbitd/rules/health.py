"""Whether all is well: pure judgement, with hysteresis, so that a value at its limit does not flap.

failing        nothing has ended for `silence` and more than `errors_unhealthy` failures in a row
               (well again below `errors_healthy`, which the next success brings)
failure_rate   more than `failure_rate` of the recent attempts failed (well again below it)
overlooked_runs  the watermark has hidden runs until a look in full found them: since the daemon was started
paused, stuck_runs, no_child, and the daemon's own problems: as long as they last
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orbitd.errors import telling_line
from orbitd.rules import liveness
from orbitd.rules.findings import Finding, Status
from orbitd.rules.roster import Roster
from orbitd.rules.states import SlotState
from orbitd.units import counted


@dataclass(frozen=True, slots=True)
class Bounds:
    """What is still well. `silence_seconds` is also the least time that the failure rate is taken over."""

    failure_rate: float = 0.05
    errors_unhealthy: int = 5
    errors_healthy: int = 3
    silence_seconds: float = 300.0
    min_runs: int = 20
    is_pause_unhealthy: bool = True


@dataclass(frozen=True, slots=True)
class Facts:
    """What is judged. `silent_seconds`: since the last attempt ended, or since the start.

    `found_by_sweep`: runs that only a look in full has found, see watermark.
    """

    ended: int = 0
    failed: int = 0
    failures_in_row: int = 0
    silent_seconds: float = 0.0
    stuck_runs: int = 0
    found_by_sweep: int = 0
    able: int = 0
    target: int = 0
    is_starting: bool = False
    is_stopping: bool = False
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class News:
    """What the daemon has heard last. `database_why`: why the database cannot be used; None when it can.

    `is_deaf`: nothing that the database announces is heard.
    `hazards`: what the import leaves that no fork survives, one a line.
    """

    database_why: str | None = None
    database_command: str = ""
    reload_error: str | None = None
    upgrade_error: str | None = None
    hazards: str = ""
    is_deaf: bool = False


def troubles(roster: Roster, news: News, now: float) -> Iterator[Finding]:
    """What keeps the daemon itself from working as it should."""
    if news.database_why is not None and roster.generation:
        message = f"the database cannot be used: {news.database_why}"
        yield Finding("database_down", Status.ERROR, message, news.database_command)
    if news.is_deaf:
        message = "the database is reached through a pooler and there is no direct_url: work is found by the poll alone"
        yield Finding("poll_only", Status.WARNING, message, "orbitd check --connect")
    if news.reload_error is not None:
        message = f"the last reload failed, generation {roster.generation} goes on: {telling_line(news.reload_error)}"
        yield Finding("reload_failed", Status.WARNING, message, "orbitctl reload --wait")
    if news.upgrade_error is not None:
        message = f"the last upgrade failed, the version before goes on: {telling_line(news.upgrade_error)}"
        yield Finding("upgrade_failed", Status.WARNING, message, "orbitctl upgrade --wait")
    if roster.generation and roster.generation not in roster.molds and roster.mold_history.is_waiting(now):
        message = "the mold has ended, and the next one is started after a pause: until then children that die are not replaced"
        yield Finding("mold_failed", Status.WARNING, message, "orbitctl reload --wait")
    if roster.is_degraded:
        message = f"{len({slot for _, slot in roster.early_deaths})} slots' children died soon after their start: one is tried at a time"
        yield Finding("degraded", Status.ERROR, message, "orbitctl list -o wide")
    if news.hazards:
        message = f"each child imports the pipelines for itself, it cannot be forked: {telling_line(news.hazards)}"
        yield Finding("unsafe_to_fork", Status.WARNING, message, "orbitd check --import")
    yield from _immobile(roster, now)
    for slot in roster.slots:
        if roster.slot_state(slot, now) is SlotState.HELD:
            message = f"slot {slot.index} is held: its child died {len(slot.history.deaths)} times, last of {slot.last_exit}"
            yield Finding("crash_loop", Status.WARNING, message, f"orbitctl restart {slot.index}")


def _immobile(roster: Roster, now: float) -> Iterator[Finding]:
    """Children that show no sign of life, or do not die."""
    for child in roster.children():
        vigil = child.vigil
        if liveness.is_unkillable(vigil.killed_at or None, now):
            message = f"pid {child.pid} of slot {child.slot} was killed and does not end: {vigil.words} (state {vigil.state})"
            yield Finding("unkillable", Status.WARNING, message, f"cat /proc/{child.pid}/cgroup /proc/{child.pid}/stack")
        elif liveness.is_stalled(child, roster.limits, now):
            message = f"slot {child.slot}, pid {child.pid}, shows no sign of life for {now - vigil.tick_at:.0f} s: {vigil.words}"
            is_stopped = vigil.state == "T"
            yield Finding("stalled", Status.WARNING, message, f"kill -CONT {child.pid}" if is_stopped else f"orbitctl stack {child.slot}")


def judge(facts: Facts, bounds: Bounds, before: frozenset[str]) -> Iterator[Finding]:
    """What is not well. `before`: the codes of the last judgement."""
    if facts.is_stopping:
        yield Finding("stopping", Status.WARNING, "the daemon is stopping", "orbitctl status")
    elif facts.is_starting:
        yield Finding("starting", Status.WARNING, "the pipelines are being imported for the first time", "orbitctl status")
    elif facts.target and not facts.able:
        yield Finding("no_child", Status.ERROR, f"none of {facts.target} children can start a run", "orbitctl list")
    if _is_failing(facts, bounds, was_failing="failing" in before):
        message = f"the last {facts.failures_in_row} attempts failed, and none has ended for {facts.silent_seconds:.0f} s"
        yield Finding("failing", Status.ERROR, message, "orbitctl dlq list")
    if _is_rate_high(facts, bounds, was_high="failure_rate" in before):
        message = f"{facts.failed} of the last {facts.ended} attempts failed, more than {bounds.failure_rate:.0%}"
        yield Finding("failure_rate", Status.WARNING, message, "orbitctl runs state:failed since:1h")
    if facts.stuck_runs:
        message = counted(facts.stuck_runs, "run has outlived its time", "runs have outlived their time")
        yield Finding("stuck_runs", Status.WARNING, message, "orbitctl list")
    if facts.found_by_sweep:
        message = f"{counted(facts.found_by_sweep, 'run was', 'runs were')} found only by a look in full: please report it"
        yield Finding("overlooked_runs", Status.WARNING, message, "orbitctl events")
    if facts.is_paused and bounds.is_pause_unhealthy:
        yield Finding("paused", Status.WARNING, "the daemon is paused: it starts no runs", "orbitctl unpause")


def _is_failing(facts: Facts, bounds: Bounds, *, was_failing: bool) -> bool:
    if was_failing:
        return facts.failures_in_row >= bounds.errors_healthy
    return facts.silent_seconds >= bounds.silence_seconds and facts.failures_in_row > bounds.errors_unhealthy


def _is_rate_high(facts: Facts, bounds: Bounds, *, was_high: bool) -> bool:
    """Too few attempts tell nothing: it stays as it was, until there are none at all."""
    if facts.ended < bounds.min_runs:
        return was_high and facts.ended > 0
    rate = facts.failed / facts.ended
    return rate >= bounds.failure_rate if was_high else rate > bounds.failure_rate
