"""What people ask of the store, through orbitctl: runs and what becomes of them, lists, acts, dead letters, audits.

No daemon loads it: janitor and children would hold it in memory for as long as they live.
"""

from __future__ import annotations

from orbitd.client import Enqueued
from orbitd.store.acts import cancel, rerun, resume, retry
from orbitd.store.auditing import MOST_FOUND, Audit, audit
from orbitd.store.deadletters import dlq_delete, dlq_list, dlq_pinned, dlq_resolve, dlq_show, resolve_group
from orbitd.store.filters import TERMS as FILTER_TERMS, Filter, parse as parse_filter
from orbitd.store.lists import ACTIONABLE, MOST_COUNTED, Act, Page, list_pipelines, list_runs, pinned, pins_of, pipeline_names
from orbitd.store.recovery import Recovered, check_interrupted, recover
from orbitd.store.rows import Pinned, Place
from orbitd.store.runs import describe, enqueue, enqueue_many, place, read_logs, resolve, text_arguments

__all__ = [
    "ACTIONABLE",
    "FILTER_TERMS",
    "MOST_COUNTED",
    "MOST_FOUND",
    "Act",
    "Audit",
    "Enqueued",
    "Filter",
    "Page",
    "Pinned",
    "Place",
    "Recovered",
    "audit",
    "cancel",
    "check_interrupted",
    "describe",
    "dlq_delete",
    "dlq_list",
    "dlq_pinned",
    "dlq_resolve",
    "dlq_show",
    "enqueue",
    "enqueue_many",
    "list_pipelines",
    "list_runs",
    "parse_filter",
    "pinned",
    "pins_of",
    "pipeline_names",
    "place",
    "read_logs",
    "recover",
    "rerun",
    "resolve",
    "resolve_group",
    "resume",
    "retry",
    "text_arguments",
]
