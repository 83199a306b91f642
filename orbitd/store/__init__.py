"""The store: runs in Postgres. This is its whole interface; the tables behind it are in `migrations/`.

What only people and producers ask for is found on first use: a janitor and its children hold it in memory for as long as they live.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from orbitd.store.claims import claim, finish, finish_and_claim, release
from orbitd.store.connection import CANCEL_CHANNEL, WORK_CHANNEL, Connection, application_name, connect, name_of_child
from orbitd.store.faults import Fenced, LeaseLost, SchemaMismatch, is_outage
from orbitd.store.hosts import (
    Mode,
    beat,
    end_host,
    end_missing_children,
    end_sessions,
    interrupt,
    lanes_of,
    reconcile,
    register,
    register_pipelines,
    rescue,
    start_child,
    sweep,
)
from orbitd.store.migrate import check_schema, migrate
from orbitd.store.outcomes import Failure, Outcome, Report, clean_text
from orbitd.store.rows import (
    CATCH_ALL_LANE,
    Ask,
    Beat,
    Claimed,
    Fence,
    Finished,
    FinishedAndClaimed,
    Lane,
    Offer,
    Pinned,
    PipelineSpec,
    Place,
    Sight,
    Sweep,
    TakenBack,
)
from orbitd.store.steps import append_logs, count_commit, hold_run, last_commit, load_steps, record_progress, record_step
from orbitd.store.upkeep import (
    Retention,
    duties,
    end_duty,
    horizon,
    make_partitions,
    promote_overdue,
    prune_partitions,
    prune_rows,
    take_duty,
)
from orbitd.store.waking import doze, look, stay_awake

if TYPE_CHECKING:
    from typing import Any

    from orbitd.client import Enqueued
    from orbitd.store.acts import cancel, rerun, resume, retry
    from orbitd.store.auditing import MOST_FOUND, Audit, audit
    from orbitd.store.deadletters import dlq_delete, dlq_list, dlq_pinned, dlq_resolve, dlq_show, resolve_group
    from orbitd.store.filters import TERMS as FILTER_TERMS, Filter, parse as parse_filter
    from orbitd.store.lists import ACTIONABLE, MOST_COUNTED, Act, Page, list_pipelines, list_runs, pinned, pins_of, pipeline_names
    from orbitd.store.recovery import Recovered, check_interrupted, recover
    from orbitd.store.runs import describe, enqueue, enqueue_many, place, read_logs, resolve, text_arguments

__all__ = [
    "ACTIONABLE",
    "CANCEL_CHANNEL",
    "CATCH_ALL_LANE",
    "FILTER_TERMS",
    "MOST_COUNTED",
    "MOST_FOUND",
    "WORK_CHANNEL",
    "Act",
    "Ask",
    "Audit",
    "Beat",
    "Claimed",
    "Connection",
    "Enqueued",
    "Failure",
    "Fence",
    "Fenced",
    "Filter",
    "Finished",
    "FinishedAndClaimed",
    "Lane",
    "LeaseLost",
    "Mode",
    "Offer",
    "Outcome",
    "Page",
    "Pinned",
    "PipelineSpec",
    "Place",
    "Recovered",
    "Report",
    "Retention",
    "SchemaMismatch",
    "Sight",
    "Sweep",
    "TakenBack",
    "append_logs",
    "application_name",
    "audit",
    "beat",
    "cancel",
    "check_interrupted",
    "check_schema",
    "claim",
    "clean_text",
    "connect",
    "count_commit",
    "describe",
    "dlq_delete",
    "dlq_list",
    "dlq_pinned",
    "dlq_resolve",
    "dlq_show",
    "doze",
    "duties",
    "end_duty",
    "end_host",
    "end_missing_children",
    "end_sessions",
    "enqueue",
    "enqueue_many",
    "finish",
    "finish_and_claim",
    "hold_run",
    "horizon",
    "interrupt",
    "is_outage",
    "lanes_of",
    "last_commit",
    "list_pipelines",
    "list_runs",
    "load_steps",
    "look",
    "make_partitions",
    "migrate",
    "name_of_child",
    "parse_filter",
    "pinned",
    "pins_of",
    "pipeline_names",
    "place",
    "promote_overdue",
    "prune_partitions",
    "prune_rows",
    "read_logs",
    "reconcile",
    "record_progress",
    "record_step",
    "recover",
    "register",
    "register_pipelines",
    "release",
    "rerun",
    "rescue",
    "resolve",
    "resolve_group",
    "resume",
    "retry",
    "start_child",
    "stay_awake",
    "sweep",
    "take_duty",
    "text_arguments",
]

_HOMES = {
    "Enqueued": ("orbitd.client", "Enqueued"),
    "cancel": ("orbitd.store.acts", "cancel"),
    "rerun": ("orbitd.store.acts", "rerun"),
    "resume": ("orbitd.store.acts", "resume"),
    "retry": ("orbitd.store.acts", "retry"),
    "MOST_FOUND": ("orbitd.store.auditing", "MOST_FOUND"),
    "Audit": ("orbitd.store.auditing", "Audit"),
    "audit": ("orbitd.store.auditing", "audit"),
    "dlq_delete": ("orbitd.store.deadletters", "dlq_delete"),
    "dlq_list": ("orbitd.store.deadletters", "dlq_list"),
    "dlq_pinned": ("orbitd.store.deadletters", "dlq_pinned"),
    "dlq_resolve": ("orbitd.store.deadletters", "dlq_resolve"),
    "dlq_show": ("orbitd.store.deadletters", "dlq_show"),
    "resolve_group": ("orbitd.store.deadletters", "resolve_group"),
    "FILTER_TERMS": ("orbitd.store.filters", "TERMS"),
    "Filter": ("orbitd.store.filters", "Filter"),
    "parse_filter": ("orbitd.store.filters", "parse"),
    "ACTIONABLE": ("orbitd.store.lists", "ACTIONABLE"),
    "MOST_COUNTED": ("orbitd.store.lists", "MOST_COUNTED"),
    "Act": ("orbitd.store.lists", "Act"),
    "Page": ("orbitd.store.lists", "Page"),
    "list_pipelines": ("orbitd.store.lists", "list_pipelines"),
    "list_runs": ("orbitd.store.lists", "list_runs"),
    "pinned": ("orbitd.store.lists", "pinned"),
    "pins_of": ("orbitd.store.lists", "pins_of"),
    "pipeline_names": ("orbitd.store.lists", "pipeline_names"),
    "Recovered": ("orbitd.store.recovery", "Recovered"),
    "check_interrupted": ("orbitd.store.recovery", "check_interrupted"),
    "recover": ("orbitd.store.recovery", "recover"),
    "describe": ("orbitd.store.runs", "describe"),
    "enqueue": ("orbitd.store.runs", "enqueue"),
    "enqueue_many": ("orbitd.store.runs", "enqueue_many"),
    "place": ("orbitd.store.runs", "place"),
    "read_logs": ("orbitd.store.runs", "read_logs"),
    "resolve": ("orbitd.store.runs", "resolve"),
    "text_arguments": ("orbitd.store.runs", "text_arguments"),
}

if not TYPE_CHECKING:  # else the type checker would take every name for one of ours

    def __getattr__(name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        home, own_name = _HOMES[name]
        return getattr(import_module(home), own_name)
