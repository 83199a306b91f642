"""The store: runs in Postgres. This is its whole interface; the tables behind it are in `migrations/`."""

from __future__ import annotations

from orbitd.store.claims import claim, finish, finish_and_claim, new_token
from orbitd.store.connection import CANCEL_CHANNEL, WORK_CHANNEL, Connection, connect
from orbitd.store.faults import Fenced, LeaseLost, SchemaMismatch, is_outage
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
from orbitd.store.migrate import check_schema, make_partitions, migrate
from orbitd.store.outcomes import Failure, Outcome, Report, clean_text
from orbitd.store.rows import CATCH_ALL_LANE, Beat, Claimed, Enqueued, Fence, FinishedAndClaimed, Lane, PipelineSpec, Place
from orbitd.store.runs import cancel, describe, enqueue, enqueue_many, list_runs, place, resolve, resume, short_id, text_arguments
from orbitd.store.steps import append_logs, hold_run, load_steps, record_progress, record_step

__all__ = [
    "CANCEL_CHANNEL",
    "CATCH_ALL_LANE",
    "WORK_CHANNEL",
    "Beat",
    "Claimed",
    "Connection",
    "Enqueued",
    "Failure",
    "Fence",
    "Fenced",
    "FinishedAndClaimed",
    "Lane",
    "LeaseLost",
    "Mode",
    "Outcome",
    "PipelineSpec",
    "Place",
    "Report",
    "SchemaMismatch",
    "append_logs",
    "beat",
    "cancel",
    "check_schema",
    "claim",
    "clean_text",
    "connect",
    "describe",
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
    "list_runs",
    "load_steps",
    "make_partitions",
    "migrate",
    "new_token",
    "place",
    "reconcile",
    "record_progress",
    "record_step",
    "register",
    "register_pipelines",
    "rescue",
    "resolve",
    "resume",
    "short_id",
    "start_child",
    "text_arguments",
]
