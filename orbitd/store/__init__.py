"""The store: runs in Postgres. This is its whole interface; the tables behind it are in `migrations/`."""

from __future__ import annotations

from orbitd.client import Enqueued
from orbitd.store.acts import cancel, rerun, resume, retry
from orbitd.store.claims import claim, finish, finish_and_claim, new_token
from orbitd.store.connection import CANCEL_CHANNEL, WORK_CHANNEL, Connection, connect
from orbitd.store.deadletters import dlq_delete, dlq_list, dlq_pinned, dlq_resolve, dlq_show, resolve_group
from orbitd.store.faults import Fenced, LeaseLost, SchemaMismatch, is_outage
from orbitd.store.filters import TERMS as FILTER_TERMS, Filter, parse as parse_filter
from orbitd.store.hosts import (
    Mode,
    beat,
    end_host,
    end_missing_children,
    interrupt,
    lanes_of,
    reconcile,
    register,
    register_pipelines,
    rescue,
    start_child,
)
from orbitd.store.lists import ACTIONABLE, MOST_COUNTED, Act, Page, list_pipelines, list_runs, pinned, pins_of, pipeline_names
from orbitd.store.migrate import check_schema, make_partitions, migrate
from orbitd.store.outcomes import Failure, Outcome, Report, clean_text
from orbitd.store.recovery import Recovered, TakenBack, check_interrupted, recover
from orbitd.store.rows import (
    CATCH_ALL_LANE,
    Beat,
    Claimed,
    Fence,
    FinishedAndClaimed,
    Lane,
    Pinned,
    PipelineSpec,
    Place,
)
from orbitd.store.runs import describe, enqueue, enqueue_many, place, read_logs, resolve, text_arguments
from orbitd.store.steps import append_logs, hold_run, load_steps, record_progress, record_step

__all__ = [
    "ACTIONABLE",
    "CANCEL_CHANNEL",
    "CATCH_ALL_LANE",
    "FILTER_TERMS",
    "MOST_COUNTED",
    "WORK_CHANNEL",
    "Act",
    "Beat",
    "Claimed",
    "Connection",
    "Enqueued",
    "Failure",
    "Fence",
    "Fenced",
    "Filter",
    "FinishedAndClaimed",
    "Lane",
    "LeaseLost",
    "Mode",
    "Outcome",
    "Page",
    "Pinned",
    "PipelineSpec",
    "Place",
    "Recovered",
    "Report",
    "SchemaMismatch",
    "TakenBack",
    "append_logs",
    "beat",
    "cancel",
    "check_interrupted",
    "check_schema",
    "claim",
    "clean_text",
    "connect",
    "describe",
    "dlq_delete",
    "dlq_list",
    "dlq_pinned",
    "dlq_resolve",
    "dlq_show",
    "end_host",
    "end_missing_children",
    "enqueue",
    "enqueue_many",
    "finish",
    "finish_and_claim",
    "hold_run",
    "interrupt",
    "is_outage",
    "lanes_of",
    "list_pipelines",
    "list_runs",
    "load_steps",
    "make_partitions",
    "migrate",
    "new_token",
    "parse_filter",
    "pinned",
    "pins_of",
    "pipeline_names",
    "place",
    "read_logs",
    "reconcile",
    "record_progress",
    "record_step",
    "recover",
    "register",
    "register_pipelines",
    "rerun",
    "rescue",
    "resolve",
    "resolve_group",
    "resume",
    "retry",
    "start_child",
    "text_arguments",
]
