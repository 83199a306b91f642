"""Documents of a busy daemon and of its database, as they come: what the tests show, check and let a fake daemon answer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

Document = dict[str, Any]

NOW = datetime(2026, 1, 1, 10, 5, tzinfo=UTC)
RUN = str((2154 << 39) + 4711)

_SLOT: Document = {
    "slot": 0,
    "pid": 2100,
    "state": "idle",
    "generation": 7,
    "run": None,
    "pipeline": None,
    "since": "2026-01-01T10:00:00Z",
    "rss_bytes": 45_000_000,
    "own_bytes": 9_000_000,
    "pss_bytes": 12_000_000,
    "runs": 12,
    "failed": 0,
    "restarts": 0,
    "last_exit": None,
}
SLOTS: list[Document] = [
    _SLOT,
    _SLOT | {"slot": 1, "pid": 2101, "state": "busy", "run": RUN, "pipeline": "invoice.\x1b[31msync", "since": "2026-01-01T10:04:48Z"},
    _SLOT
    | {
        "slot": 2,
        "pid": None,
        "state": "held",
        "rss_bytes": None,
        "own_bytes": None,
        "pss_bytes": None,
        "restarts": 11,
        "last_exit": "killed by SIGSEGV",
    },
    _SLOT
    | {
        "slot": 3,
        "pid": None,
        "state": "backoff",
        "rss_bytes": None,
        "own_bytes": None,
        "pss_bytes": None,
        "failed": 2,
        "last_exit": "exited with 3",
    },
]
STATUS: Document = {
    "schema": "orbit.status/1",
    "state": "degraded",
    "pid": 812,
    "version": "0.1.0",
    "generation": 7,
    "config": "/etc/orbitd.toml",
    "children": {"target": 4, "ready": 2, "busy": 1, "draining": 0, "starting": 0, "backoff": 2},
    "problems": [{"code": "slot_held", "message": "slot 2 is held: 11 early deaths\nthe last: SIGSEGV", "command": "orbitctl list"}],
    "last_reload": {"ok": False, "generation": 8, "at": "2026-01-01T10:03:00Z", "error": "ImportError: no module\nmore", "stage": None},
    "last_beat_at": "2026-01-01T10:04:59Z",
    "memory": {"children_pss_bytes": 48_000_000, "used_bytes": 900_000_000, "limit_bytes": 1_073_741_824},
    "age_seconds": 310.0,
    "processes": [
        {"role": "arbiter", "pid": 812, "state": "running", "generation": None},
        {"role": "mold", "pid": 813, "state": "starting", "generation": 7},
        {"role": "janitor", "pid": 814, "state": "running", "generation": None},
    ],
    "slots": SLOTS,
}
STATUS_WELL: Document = STATUS | {
    "state": "running",
    "children": {"target": 4, "ready": 4, "busy": 1, "draining": 0, "starting": 0, "backoff": 0},
    "problems": [],
    "last_reload": {
        "ok": True,
        "generation": 7,
        "at": "2026-01-01T08:00:00Z",
        "error": None,
        "stage": None,
        "restart_needed": ["control.group"],
    },
    "memory": {"children_pss_bytes": 48_000_000, "used_bytes": None, "limit_bytes": None},
    "slots": [_SLOT | {"slot": number} for number in range(4)],
}
STATUS_FIRST: Document = STATUS | {
    "state": "starting",
    "generation": 1,
    "config": None,
    "children": {"target": 4, "ready": 0, "busy": 0, "draining": 0, "starting": 4, "backoff": 0},
    "problems": [],
    "last_reload": None,
    "last_beat_at": None,
    "memory": {"children_pss_bytes": 0, "used_bytes": None, "limit_bytes": None},
    "processes": [{"role": "arbiter", "pid": 812, "state": "running", "generation": None}],
    "slots": [],
}
STATUS_OFFLINE: Document = STATUS | {
    "state": "unknown",
    "offline": True,
    "version": "unknown",
    "config": None,
    "children": {"target": 2, "ready": 2, "busy": 1, "draining": 0, "starting": 0, "backoff": 0},
    "problems": [
        {
            "code": "arbiter_stopped",
            "message": "the arbiter is stopped by a signal (SIGSTOP): nobody looks after the children",
            "command": "kill -CONT 812",
        }
    ],
    "last_reload": None,
    "age_seconds": 0.0,
    "processes": [{"role": "arbiter", "pid": 812, "state": "stopped", "generation": None}],
    "slots": [slot | dict.fromkeys(("rss_bytes", "own_bytes", "pss_bytes", "restarts")) for slot in SLOTS[:2]],
}
LIST: Document = {"schema": "orbit.list/1", "generation": 7, "age_seconds": 0.0, "slots": SLOTS}
_EXIT: Document = {
    "at": "2026-01-01T10:04:40.000Z",
    "cause": "out_of_memory",
    "by": "kernel",
    "reason": None,
    "pid": 2099,
    "generation": 7,
    "run": RUN,
    "pipeline": "invoice.\x1b[31msync",
    "uptime_seconds": 3671.5,
    "peak_bytes": 512_000_000,
    "own_peak_bytes": 470_000_000,
}
_LEFT: Document = _EXIT | {"cause": "exited:0", "by": "orbitd", "reason": "outdated", "run": None, "pipeline": None, "own_peak_bytes": None}
LIST_EXITS: Document = LIST | {
    "slots": [slot | {"exits": [_EXIT, _LEFT | {"generation": 6}] if slot["slot"] == 2 else []} for slot in SLOTS]
}
SLOT: Document = {"schema": "orbit.slot/1", **LIST_EXITS["slots"][2]}
LIST_EMPTY: Document = LIST | {"slots": []}
STACK: Document = {
    "schema": "orbit.stack/1",
    "slot": 1,
    "pid": 2101,
    "state": "busy",
    "run": RUN,
    "pipeline": "invoice.\x1b[31msync",
    "process_state": "S",
    "kernel_function": "hrtimer_nanosleep",
    "message": "it sleeps in a system call (hrtimer_nanosleep)",
    "stack": 'Thread 0x00007f00 (most recent call first):\n  File "/srv/invoice.py", line 12 in sync\n  File "\x1b/x.py", line 1 in x\n',
}
STACK_IDLE: Document = STACK | {"state": "idle", "run": None, "pipeline": None, "kernel_function": None, "message": "it burns CPU"}
HEALTH: Document = {
    "schema": "orbit.health/1",
    "status": "error",
    "message": "none of 4 children can start a run",
    "last_activity": "2026-01-01T09:41:12Z",
    "stuck_runs": 2,
    "age_seconds": 0.4,
    "reasons": [
        {"code": "no_child", "message": "none of 4 children can start a run", "command": "orbitctl list"},
        {"code": "stuck_runs", "message": "2 runs have outlived their time", "command": "orbitctl list"},
    ],
}
HEALTH_WELL: Document = HEALTH | {"status": "healthy", "message": "all is well", "stuck_runs": 0, "reasons": []}
HEALTH_FIRST: Document = HEALTH | {
    "status": "warning",
    "message": "the pipelines are being imported for the first time",
    "last_activity": None,
    "stuck_runs": 0,
    "reasons": [{"code": "starting", "message": "the pipelines are being imported for the first time", "command": "orbitctl status"}],
}
METRICS: Document = {
    "schema": "orbit.metrics/1",
    "uptime": "2h 15m 32s",
    "uptimeSeconds": 8132,
    "totalRuns": 1482,
    "succeeded": 1476,
    "failed": 6,
    "successRate": 99.6,
    "errorRate": 0.4,
    "runsPerHour": 656.07,
    "avgExecutionTime": 812,
    "minExecutionTime": 3,
    "maxExecutionTime": 61204,
    "workerStartTime": "2026-01-01T07:49:28.000Z",
    "lastRunTime": "2026-01-01T10:04:58.120Z",
    "childExits": {"crashed:SIGSEGV": 1, "max_runs": 12, "out_of_memory": 2},
    "dutyAgeSeconds": {"beat": 2.1, "look": 31.5, "leftovers": 301.2, "partitions": 1822.0, "retention": 12.9},
    "timestamp": "2026-01-01T10:05:00.000Z",
    "age_seconds": 0.004,
}
METRICS_FIRST: Document = METRICS | {
    "uptime": "4s",
    "uptimeSeconds": 4,
    **dict.fromkeys(("totalRuns", "succeeded", "failed", "avgExecutionTime", "minExecutionTime", "maxExecutionTime"), 0),
    **dict.fromkeys(("successRate", "errorRate", "runsPerHour"), 0.0),
    "lastRunTime": None,
    "childExits": {},
    "dutyAgeSeconds": {},
}
_CHANGE: Document = {
    "key": "children.count",
    "reload": "live",
    "reload_words": "at once",
    "old": "auto",
    "old_meaning": "2",
    "new": 4,
    "new_meaning": "",
    "origin": "/etc/orbitd.toml:12:1",
}
RELOAD_PLAN: Document = {
    "schema": "orbit.reload_plan/1",
    "generation": 7,
    "items": [
        _CHANGE,
        _CHANGE
        | {
            "key": "database.url",
            "reload": "restart",
            "reload_words": "only after a restart of orbitd",
            "old": "env:DATABASE_URL",
            "old_meaning": "******** (sha256 1d0f2c3b)",
            "new": "env:DATABASE_URL",
            "new_meaning": "******** (sha256 9e8d7c6b)",
            "origin": "default",
        },
    ],
    "variables": ["BILLING_\x1b[31mTOKEN", "DATABASE_URL"],
    "warnings": [],
}
RELOAD_PLAN_EMPTY: Document = RELOAD_PLAN | {"items": [], "variables": []}
_ARBITER = {"host": "prod-a", "role": "arbiter"}
EVENTS: Document = {
    "schema": "orbit.events/1",
    "items": [
        {"number": 41, "ts": "2026-01-01T10:03:00.001Z", "level": "info", "event": "reload_asked", **_ARBITER, "uid": 0},
        {
            "number": 42,
            "ts": "2026-01-01T10:03:00.442Z",
            "level": "error",
            "event": "mold_failed",
            **_ARBITER,
            "gen": 8,
            "error": "ImportError: no module\nmore",
        },
        {
            "number": 43,
            "ts": "2026-01-01T10:03:12.900Z",
            "level": "warning",
            "event": "child_died",
            **_ARBITER,
            "slot": 2,
            "pid": 2102,
            "cause": "SIGSEGV",
        },
    ],
    "next": 43,
}
EVENTS_EMPTY: Document = EVENTS | {"items": [], "next": 0}

_RUN: Document = {
    "id": RUN,
    "pipeline": "invoice.sync",
    "queue": "billing",
    "state": "running",
    "tenant": "42",
    "attempt": 1,
    "created_at": "2026-01-01T10:04:40.120Z",
    "started_at": "2026-01-01T10:04:48.002Z",
    "finished_at": None,
    "host": "prod-a",
    "slot": 1,
    "error": None,
}
RUN_ITEMS: list[Document] = [
    _RUN,
    _RUN
    | {
        "id": str(int(RUN) - 1),
        "pipeline": "lead.enrich",
        "queue": "leads",
        "state": "succeeded",
        "tenant": None,
        "finished_at": "2026-01-01T10:04:51.500Z",
    },
    _RUN
    | {
        "id": str(int(RUN) - 2),
        "state": "failed",
        "attempt": 3,
        "created_at": "2026-01-01T08:00:00.000Z",
        "started_at": "2026-01-01T09:12:00.000Z",
        "finished_at": "2026-01-01T09:12:30.250Z",
        "error": "ConnectionError: \x1b[31mthe billing service refused: 503 Service Unavailable, retry after 120 s\nsecond line",
    },
    _RUN
    | {
        "id": str(int(RUN) - 3),
        "pipeline": "unknown.to.every.daemon",
        "queue": None,
        "state": "scheduled",
        "tenant": None,
        "attempt": 0,
        "started_at": None,
        "host": None,
        "slot": None,
    },
]
RUNS: Document = {"schema": "orbit.runs/1", "items": RUN_ITEMS, "next": str(int(RUN) - 3)}
RUNS_EMPTY: Document = RUNS | {"items": [], "next": None}
_ATTEMPT: Document = {
    "attempt": 1,
    "outcome": "retried",
    "cause": "error",
    "error": "ConnectionError: the billing service refused",
    "traceback": None,
    "stack": None,
    "host": "prod-a",
    "slot": 1,
    "started_at": "2026-01-01T08:00:01.000Z",
    "finished_at": "2026-01-01T08:00:31.000Z",
}
_LAST_ATTEMPT: Document = _ATTEMPT | {
    "attempt": 2,
    "outcome": "failed",
    "error": RUN_ITEMS[2]["error"],
    "traceback": 'Traceback (most recent call last):\n  File "/srv/app/pipelines.py", line 7, in sync\nConnectionError: \x1b[31mrefused',
}
RUN_DETAIL: Document = {
    "schema": "orbit.run_detail/1",
    **RUN_ITEMS[2],
    "attempt": 2,
    "priority": 0,
    "key": "inv-42",
    "due_at": None,
    "cause": "error",
    "group": "g5f2c0a1b",
    "created_by": "orbit",
    "pipeline_known": True,
    "args": {"tenant_id": 42, "since": "2026-01-01"},
    "result": None,
    "progress": {"fraction": 0.5, "note": "loading page 3 of 6", "at": "2026-01-01T09:12:20.000Z"},
    "cancel_asked": None,
    "steps": [{"key": "fetch", "state": "done", "seconds": 1.5}, {"key": "load[0]", "state": "done", "seconds": 0.25}],
    "attempts": [_ATTEMPT, _LAST_ATTEMPT],
    "usage": [],
}
RUN_DETAIL_FIRST: Document = RUN_DETAIL | {
    **RUN_ITEMS[3],
    "pipeline_known": False,
    **dict.fromkeys(("key", "cause", "group", "progress"), None),
    "due_at": "2026-01-01T11:00:00.000Z",
    "args": {},
    "steps": [],
    "attempts": [],
}
_PIPELINE: Document = {
    "name": "invoice.sync",
    "queue": "billing",
    "priority": 0,
    "max_attempts": 3,
    "max_crashes": 3,
    "hosts": ["prod-a", "prod-b"],
    "pending": 12,
    "running": 1,
    "scheduled": 4,
    "failed": 6,
    "arguments": {"required": ["tenant_id"], "optional": ["since"], "open": False},
    "registered_at": "2026-01-01T07:49:28.500Z",
}
_UNKNOWN_PIPELINE: Document = {
    **_PIPELINE,
    "name": "invoice.snyc",
    **dict.fromkeys(("queue", "priority", "max_attempts", "max_crashes", "registered_at")),
    "hosts": [],
    "pending": 3,
    **dict.fromkeys(("running", "scheduled", "failed"), 0),
    "arguments": {"required": [], "optional": [], "open": True},
}
PIPELINES: Document = {
    "schema": "orbit.pipelines/1",
    "items": [
        _PIPELINE,
        _PIPELINE
        | {
            "name": "lead.enrich",
            "queue": "leads",
            "priority": 1,
            "hosts": [],
            **dict.fromkeys(("pending", "running", "scheduled", "failed"), 0),
            "arguments": {"required": [], "optional": [], "open": True},
        },
        _UNKNOWN_PIPELINE,
    ],
}
PIPELINES_EMPTY: Document = PIPELINES | {"items": []}
PIPELINE: Document = {"schema": "orbit.pipeline/1", **_PIPELINE}
PIPELINE_UNKNOWN: Document = {"schema": "orbit.pipeline/1", **_UNKNOWN_PIPELINE}
_LETTER: Document = {
    "id": RUN_ITEMS[2]["id"],
    "pipeline": "invoice.sync",
    "error": RUN_ITEMS[2]["error"],
    "cause": "error",
    "failed_at": "2026-01-01T09:12:30.250Z",
    "group": "g5f2c0a1b",
    "resolved": False,
    "queue": "billing",
    "tenant": "42",
    "resolved_by": None,
    "attempts": 2,
}
DLQ: Document = {
    "schema": "orbit.dlq/1",
    "items": [
        _LETTER,
        _LETTER | {"id": str(int(RUN) - 2000), "cause": "crashed:SIGSEGV", "error": None, "resolved": True, "resolved_by": "anna"},
    ],
    "next": None,
}
DLQ_EMPTY: Document = DLQ | {"items": []}
DEAD_LETTER: Document = {
    "schema": "orbit.dead_letter/1",
    **{name: value for name, value in _LETTER.items() if name != "attempts"},
    "priority": 0,
    "args": RUN_DETAIL["args"],
    "created_at": "2026-01-01T08:00:00.000Z",
    "attempt": 2,
    "errors": 2,
    "crashes": 0,
    "attempts": RUN_DETAIL["attempts"],
    "resolved_at": None,
    "notes": None,
}
INTERRUPTED: Document = {
    "schema": "orbit.interrupted/1",
    "items": [
        {
            "id": RUN,
            "pipeline": "invoice.sync",
            "attempt": 1,
            "state": "interrupted",
            "cause": "host_lost",
            "since": "2026-01-01T09:58:00.000Z",
            "host": "prod-b",
            "slot": 2,
            "last_step": "load[3]",
            "steps": 4,
        },
        {
            "id": str(int(RUN) + 1),
            "pipeline": "lead.enrich",
            "attempt": 2,
            "state": "running",
            "cause": None,
            "since": "2026-01-01T10:03:00.000Z",
            "host": "prod-b",
            "slot": 0,
            "last_step": None,
            "steps": 0,
        },
    ],
}
AUDIT = {
    "schema": "orbit.audit/1",
    "since": "2026-03-01T08:00:00Z",
    "looked_at": {"runs": 120345, "live": 311, "delayed": 20, "interrupted": 0, "keys": 41, "requeued": 7, "cancel_requests": 1},
    "counts": {"lost": 1, "abandoned": 1, "key_left": 1},
    "items": [
        {"id": "1237940039289004711", "pipeline": "invoice.sync", "finding": "lost", "details": "it waits nowhere, and has not ended"},
        {
            "id": "1237940039289004712",
            "pipeline": "invoice.sync",
            "finding": "abandoned",
            "details": "child 17, which has it, has ended: killed:SIGKILL",
        },
        {"id": "1237940039289004713", "pipeline": None, "finding": "key_left", "details": 'the key "inv-42" of a run that is gone'},
    ],
}
AUDIT_WELL = {**AUDIT, "since": None, "counts": {}, "items": []}

INTERRUPTED_LOST: Document = INTERRUPTED | {"items": INTERRUPTED["items"][1:]}
INTERRUPTED_EMPTY: Document = INTERRUPTED | {"items": []}
LOGS: Document = {
    "schema": "orbit.logs/1",
    "run": RUN_ITEMS[2]["id"],
    "items": [
        {"line": 1, "ts": "2026-01-01T09:12:00.120Z", "attempt": 2, "level": "info", "message": "3 pages to load"},
        {"line": 2, "ts": "2026-01-01T09:12:10.005Z", "attempt": 2, "level": "warning", "message": "slow: \x1b[2Jpage 2 took 9 s\nagain"},
        {"line": 3, "ts": "2026-01-01T09:12:30.249Z", "attempt": 2, "level": "error", "message": "gave up"},
    ],
}
