"""Who must be replaced although nobody asked for it: children that have grown too heavy, too old, or have run enough.

For the whole fleet there is one *retire token*: its holder is replaced, and only when it has gone another may be. So limits
never restart everything together, however many children reach them at once.
"""

from __future__ import annotations

from orbitd.rules.limits import Limits
from orbitd.rules.roster import Child, Roster
from orbitd.rules.states import Activity, Phase, Reason
from orbitd.units import format_size

_ROOM = 1.5
"""A limit must leave a child so many times the memory that it has when it has done nothing yet."""
_WORTH_BYTES = 16 * 1024 * 1024
"""A child that has grown by less is not worth a replacement, whose first breaths cost as much."""

RECYCLED = frozenset({Reason.OVER_MEMORY, Reason.MEMORY_PRESSURE, Reason.MAX_RUNS, Reason.MAX_LIFETIME})


def retiring(roster: Roster, limits: Limits, now: float) -> tuple[Child, Reason] | None:
    """Who holds the retire token, and why; None when nobody needs it, or when its last holder has not gone yet."""
    if any(child.reason in RECYCLED and not child.is_serving and not child.vigil.is_abandoned for child in roster.children()):
        return None
    candidates = [(child, reason) for child in roster.serving() if child.is_able and (reason := why_retire(child, limits, now))]
    if candidates:
        return max(candidates, key=lambda each: (each[1] is Reason.OVER_MEMORY, _weight(each[0])))
    if roster.is_under_pressure and (fattest := _fattest_idle(roster, limits, now)):
        return fattest, Reason.MEMORY_PRESSURE
    return None


def why_retire(child: Child, limits: Limits, now: float) -> Reason | None:
    """Which limit a child has reached."""
    if child.is_heavy:
        return Reason.OVER_MEMORY
    if child.is_worn:
        return Reason.MAX_RUNS
    if child.booted_at is not None and now >= retire_at(child, child.booted_at, limits):
        return Reason.MAX_LIFETIME
    return None


def retire_at(child: Child, booted_at: float, limits: Limits) -> float:
    """When a child has lived long enough, each at a time of its own."""
    if not limits.max_lifetime_seconds:
        return float("inf")
    return booted_at + limits.max_lifetime_seconds * (1 + limits.jitter * (2 * child.draw - 1))


def most_runs(limits: Limits, draw: float) -> int:
    """How many runs a child may begin, each a number of its own; 0 for any number."""
    return max(1, round(limits.max_runs * (1 + limits.jitter * (2 * draw - 1)))) if limits.max_runs else 0


def refusal(child: Child, limits: Limits) -> str | None:
    """Why a memory limit cannot be meant: a child that has done nothing yet comes near it. By its first full sample."""
    for option, limit_bytes, has_bytes in (
        ("children.max_own_memory", limits.max_own_bytes, child.baseline_own_bytes),
        ("children.max_rss", limits.max_rss_bytes, child.baseline_rss_bytes),
    ):
        if limit_bytes and limit_bytes < _ROOM * has_bytes:
            given, has, least = format_size(limit_bytes), format_size(has_bytes), format_size(round(_ROOM * has_bytes))
            return f"{option}: {given} is too little, a child that has run nothing yet has {has}: write at least {least}, or 0 for no limit"
    return None


def _fattest_idle(roster: Roster, limits: Limits, now: float) -> Child | None:
    """The idle child whose end frees most: one that has grown, and has lived long enough that this cannot go round and round."""
    idle = [
        child
        for child in roster.serving()
        if child.activity is Activity.IDLE
        and child.phase is Phase.UP
        and child.booted_at is not None
        and now >= child.booted_at + limits.backoff.min_uptime_seconds
        and _weight(child) > child.baseline_own_bytes + _WORTH_BYTES
    ]
    return max(idle, key=_weight, default=None)


def _weight(child: Child) -> int:
    return child.own_bytes or child.rss_bytes


def excess(child: Child, limits: Limits) -> str:
    """By how much a child is over the limit for which its run is stopped: the end of a sentence about the run."""
    own_bytes = child.own_bytes or 0
    if 0 < limits.max_own_bytes * limits.memory_hard_factor < own_bytes:
        has, option, limit_bytes = f"{format_size(own_bytes)} of its own", "children.max_own_memory", limits.max_own_bytes
    else:
        has, option, limit_bytes = f"{format_size(child.rss_bytes)} resident", "children.max_rss", limits.max_rss_bytes
    return f"its child has {has}, more than {limits.memory_hard_factor:g} times {option}, {format_size(limit_bytes)}"
