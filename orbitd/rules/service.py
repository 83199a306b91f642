"""What the service manager hears of us: a pure function of how we do and of what it has heard already (sd_notify(3)).

    STARTING --the first child has booted--> READY --a reload begins--> RELOADING --it has ended, well or not--> READY
    any of them --a stop begins--> STOPPING

Beside these: one line for people when it has changed, the sign of life, and the request for more time while the first import
or a drain takes long. That one is repeated, and lapses soon after the last: whoever hangs meanwhile is noticed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from orbitd.printable import printable
from orbitd.rules.roster import Child, Roster
from orbitd.rules.states import Activity, DaemonState, Phase, SlotState, StopLevel
from orbitd.rules.supervise import Desired
from orbitd.units import counted

NEVER = float("-inf")
_STATUS_PAUSE_SECONDS = 0.5
_EXTENSION_SECONDS = 30.0
_EXTEND_EACH_SECONDS = 10.0
_LONGEST_STATUS = 300


class Standing(StrEnum):
    """Where a service stands for its manager: what it said last of these."""

    STARTING = "starting"
    READY = "READY=1"
    RELOADING = "RELOADING=1"
    STOPPING = "STOPPING=1"


@dataclass(frozen=True, slots=True)
class Facts:
    """How the daemon does. `is_up`: a child has booted, with or without a database. `reload`: the number of the last, or of the start."""

    is_up: bool
    is_importing: bool
    reload: int
    is_reloading: bool
    is_stopping: bool
    status: str


@dataclass(frozen=True, slots=True)
class Said:
    """What was said, and when: seconds on the clock of `now`."""

    standing: Standing = Standing.STARTING
    reload: int = 1
    status: str = ""
    status_at: float = NEVER
    extended_at: float = NEVER
    alive_at: float = NEVER


def say(said: Said, facts: Facts, watchdog_seconds: float, now: float, monotonic_usec: int) -> tuple[list[str], Said]:
    """The messages that are due, each for a packet of its own, and what has been said once they are out.

    `watchdog_seconds` is 0 without a watchdog; `monotonic_usec` is CLOCK_MONOTONIC, which the manager compares reloads by.
    """
    messages = []
    for standing in _steps(said, facts):
        messages.append(f"{standing}\nMONOTONIC_USEC={monotonic_usec}" if standing is Standing.RELOADING else str(standing))
        said = replace(said, standing=standing, extended_at=NEVER)  # more time for the start is none for the stop
    said = replace(said, reload=facts.reload)
    lines = []
    if facts.status != said.status and (messages or now >= said.status_at + _STATUS_PAUSE_SECONDS):
        lines.append(f"STATUS={facts.status}")
        said = replace(said, status=facts.status, status_at=now)
    if _takes_long(said, facts) and now >= said.extended_at + _EXTEND_EACH_SECONDS:
        lines.append(f"EXTEND_TIMEOUT_USEC={_EXTENSION_SECONDS * 1e6:.0f}")
        said = replace(said, extended_at=now)
    if watchdog_seconds and now >= said.alive_at + watchdog_seconds / 2:
        lines.append("WATCHDOG=1")
        said = replace(said, alive_at=now)
    if lines:
        messages.append("\n".join([*messages[-1:], *lines]))
        del messages[-2:-1]
    return messages, said


def next_deadline(said: Said, facts: Facts, watchdog_seconds: float) -> float:
    """When `say` may have something to say although nothing happens; infinity when never."""
    times = []
    if facts.status != said.status:
        times.append(said.status_at + _STATUS_PAUSE_SECONDS)
    if _takes_long(said, facts):
        times.append(said.extended_at + _EXTEND_EACH_SECONDS)
    if watchdog_seconds:
        times.append(said.alive_at + watchdog_seconds / 2)
    return min(times, default=float("inf"))


def _steps(said: Said, facts: Facts) -> list[Standing]:
    """What to announce. A reload that has failed before we could say that it began is said to begin and to end all the same."""
    if facts.is_stopping:
        return [] if said.standing is Standing.STOPPING else [Standing.STOPPING]
    if said.standing is Standing.STARTING:
        return [Standing.READY] if facts.is_up else []
    begun = [Standing.RELOADING] if facts.reload != said.reload else []
    is_over = not facts.is_reloading and (begun or said.standing is Standing.RELOADING)
    return [*begun, Standing.READY] if is_over else begun


def _takes_long(said: Said, facts: Facts) -> bool:
    """The import of a reload keeps nobody waiting."""
    return facts.is_stopping or (facts.is_importing and said.standing is Standing.STARTING)


def state_of(roster: Roster, desired: Desired, now: float, *, reload: int, is_under_way: bool, is_database_up: bool) -> DaemonState:
    """The one word for the daemon that people read. `is_under_way`: the reload of that number, or the start, has not ended."""
    is_held = any(roster.slot_state(slot, now) is SlotState.HELD for slot in roster.slots)
    states = [
        (DaemonState.STOPPING, desired.stop_level > StopLevel.DRAIN),
        (DaemonState.DRAINING, desired.stop_level == StopLevel.DRAIN),
        (DaemonState.DEGRADED, roster.is_degraded or is_held),
        (DaemonState.STARTING, roster.generation == 0 or (is_under_way and reload == 1)),
        (DaemonState.WAITING_DATABASE, not is_database_up),
        (DaemonState.RELOADING, is_under_way),
        (DaemonState.PAUSED, desired.is_paused),
    ]
    return next((state for state, applies in states if applies), DaemonState.RUNNING)


def facts_of(roster: Roster, desired: Desired, state: DaemonState, *, reload: int, is_under_way: bool, trouble: str) -> Facts:
    """What concerns the service manager."""
    ready = roster.ready()
    status = status_line(
        state,
        ready=len(ready),
        busy=sum(child.activity is Activity.BUSY for child in ready),
        target=desired.count,
        left=sum(1 for _ in roster.children()),
        trouble=trouble,
    )
    return Facts(
        is_up=bool(roster.able()) or (roster.generation > 0 and not desired.count),
        is_importing=roster.generation == 0 or any(_imports(roster, child) for child in roster.serving()),
        reload=reload,
        is_reloading=is_under_way and reload > 1,
        is_stopping=bool(desired.stop_level),
        status=status,
    )


def _imports(roster: Roster, child: Child) -> bool:
    """Whether it is exec'd, and imports the pipelines itself."""
    mold = roster.molds.get(child.generation)
    return child.phase is Phase.STARTING and mold is not None and not mold.forks


def status_line(state: DaemonState, *, ready: int, busy: int, target: int, left: int, trouble: str) -> str:
    """One line for `systemctl status`. `left`: all children, those that leave among them; `trouble`: the gravest, if any."""
    at_work = f"{ready} of {target} children ready, {busy} busy"
    match state:
        case DaemonState.DRAINING | DaemonState.STOPPING:
            line = f"{state}: {counted(left, 'child is', 'children are')} left"
        case DaemonState.STARTING if not left:
            line = "starting: the pipelines are being imported"
        case DaemonState.WAITING_DATABASE:
            line = f"waiting for the database: {trouble}"
        case DaemonState.RUNNING if not trouble:
            line = at_work
        case DaemonState.RUNNING:
            line = f"{at_work}; {trouble}"
        case _:
            line = f"{state}: {at_work}" + (f"; {trouble}" if trouble else "")
    return printable(" ".join(line.split()), _LONGEST_STATUS)
