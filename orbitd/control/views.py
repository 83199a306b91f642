"""The documents that the daemon answers with: pure functions from plain facts to JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orbitd.rules.findings import Finding, Status, gravest
from orbitd.rules.states import DaemonState, SlotState

Facts = Mapping[str, Any]

_READY = {SlotState.IDLE, SlotState.BUSY}
_IN_BACKOFF = {SlotState.BACKOFF, SlotState.HELD}
SLOT_FIELDS = (
    "slot",
    "pid",
    "state",
    "generation",
    "run",
    "pipeline",
    "since",
    "rss_bytes",
    "own_bytes",
    "pss_bytes",
    "runs",
    "failed",
    "restarts",
    "last_exit",
)
MEMORY_FIELDS = ("children_pss_bytes", "used_bytes", "limit_bytes")
EXIT_FIELDS = (
    "at",
    "cause",
    "by",
    "reason",
    "pid",
    "generation",
    "run",
    "pipeline",
    "uptime_seconds",
    "peak_bytes",
    "own_peak_bytes",
)

STACK_FIELDS = ("slot", "pid", "state", "run", "pipeline", "process_state", "kernel_function", "message", "stack")


def status(
    *,
    state: DaemonState,
    pid: int,
    version: str,
    generation: int,
    config: str | None,
    target: int,
    slots: Sequence[Facts],
    problems: Sequence[Finding],
    last_reload: Facts | None,
    last_beat_at: str | None,
    age_seconds: float,
    processes: Sequence[Facts],
    memory: Facts,
) -> dict[str, Any]:
    """`orbit.status/1`: how the daemon is. `last_beat_at` is when the database was last asked for work; `memory` of MEMORY_FIELDS.

    `age_seconds`, here and elsewhere, is how long ago the oldest look was taken that the answer rests on.

    Raises KeyError when a slot lacks one of SLOT_FIELDS.
    """
    return {
        "schema": "orbit.status/1",
        "state": state,
        "pid": pid,
        "version": version,
        "generation": generation,
        "config": config,
        "children": _children(target, [SlotState(slot["state"]) for slot in slots]),
        "problems": [_told(finding) for finding in problems],
        "last_reload": last_reload,
        "last_beat_at": last_beat_at,
        "age_seconds": age_seconds,
        "memory": {name: memory[name] for name in MEMORY_FIELDS},
        "processes": [{name: process[name] for name in ("role", "pid", "state", "generation")} for process in processes],
        "slots": [{name: slot[name] for name in SLOT_FIELDS} for slot in slots],
    }


def listing(status_document: Facts, exits: Mapping[int, Sequence[Facts]] | None = None) -> dict[str, Any]:
    """`orbit.list/1`: the slots alone; with the last `exits` of each, by its number, if they are asked for."""
    document = {"schema": "orbit.list/1", **{name: status_document[name] for name in ("generation", "age_seconds", "slots")}}
    if exits is not None:
        told = {number: [{name: ended[name] for name in EXIT_FIELDS} for ended in each] for number, each in exits.items()}
        document["slots"] = [{**slot, "exits": told.get(slot["slot"], [])} for slot in document["slots"]]
    return document


def health(findings: Sequence[Finding], last_activity: str | None, stuck_runs: int, age_seconds: float) -> dict[str, Any]:
    """`orbit.health/1`: the gravest reason first; the message is its."""
    ranked = sorted(findings, key=lambda finding: finding.status is not Status.ERROR)
    return {
        "schema": "orbit.health/1",
        "status": gravest(finding.status for finding in findings),
        "message": ranked[0].message if ranked else "all is well",
        "last_activity": last_activity,
        "stuck_runs": stuck_runs,
        "age_seconds": age_seconds,
        "reasons": [_told(finding) for finding in ranked],
    }


def _told(finding: Finding) -> dict[str, str]:
    return {"code": finding.code, "message": finding.message, "command": finding.command}


def stack(facts: Facts) -> dict[str, Any]:
    """`orbit.stack/1`: where every thread of a child stands. Raises KeyError when one of STACK_FIELDS lacks."""
    return {"schema": "orbit.stack/1", **{name: facts[name] for name in STACK_FIELDS}}


def metrics(numbers: Facts, age_seconds: float) -> dict[str, Any]:
    """`orbit.metrics/1`: see `Vitals.metrics`."""
    return {"schema": "orbit.metrics/1", **numbers, "age_seconds": age_seconds}


def events(items: Sequence[Facts], last_number: int) -> dict[str, Any]:
    """`orbit.events/1`: the latest last; `next` is the number to go on after."""
    return {"schema": "orbit.events/1", "items": list(items), "next": last_number}


def done(command: str, message: str, *, changed: bool = True, **facts: object) -> dict[str, Any]:
    """`orbit.done/1`: what a changing command did; `changed` is false when all was so already."""
    return {"schema": "orbit.done/1", "command": command, "changed": changed, "message": message, **facts}


def reload_plan(generation: int, changes: Iterable[Facts], variables: Sequence[str], warnings: Sequence[str]) -> dict[str, Any]:
    """`orbit.reload_plan/1`: what a reload of this generation would change: options, and the names of environment variables."""
    facts = {"generation": generation, "items": list(changes), "variables": list(variables), "warnings": list(warnings)}
    return {"schema": "orbit.reload_plan/1", **facts}


def version(daemon_version: str, pid: int) -> dict[str, Any]:
    """`orbit.version/1`."""
    return {"schema": "orbit.version/1", "daemon": daemon_version, "pid": pid}


def pong() -> dict[str, Any]:
    """`orbit.ping/1`."""
    return {"schema": "orbit.ping/1", "ok": True}


def _children(target: int, states: Iterable[SlotState]) -> dict[str, int]:
    states = list(states)
    return {
        "target": target,
        "ready": sum(state in _READY for state in states),
        "busy": states.count(SlotState.BUSY),
        "draining": states.count(SlotState.DRAINING),
        "starting": states.count(SlotState.STARTING),
        "backoff": sum(state in _IN_BACKOFF for state in states),
    }
