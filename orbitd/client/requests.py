"""What a producer asks for, and what it is told."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypeAlias

from orbitd.errors import UsageError
from orbitd.rules.states import RunState
from orbitd.units import as_seconds

Duration: TypeAlias = str | float | timedelta
"""Text such as "10m", a number of seconds, or a timedelta."""


@dataclass(frozen=True, slots=True)
class Enqueued:
    """A run that was asked for; not `created` when another run had the same key already."""

    id: int
    created: bool
    state: RunState


@dataclass(frozen=True, slots=True)
class Request:
    """One run to be asked for, with its options. Raises UsageError for times that cannot be.

    `args` is a mapping, or JSON text. While a run of the pipeline with this `key` has not ended, no second one is made; with
    `key_for` also after its end, until so much time has passed since it was asked for. The run starts no sooner than `at`, or than
    after the time `in_`, by the database's clock. `priority` (-2 to 2, higher first) and `queue` are the pipeline's unless given.
    """

    pipeline: str
    args: Mapping[str, Any] | str = field(default_factory=dict)
    _: KW_ONLY
    key: str | None = None
    key_for: Duration | None = None
    at: datetime | None = None
    in_: Duration | None = None
    tenant: str | None = None
    priority: int | None = None
    queue: str | None = None

    def __post_init__(self) -> None:
        if self.at is not None and self.in_ is not None:
            raise UsageError("at and in_ exclude each other", "leave one away")
        if self.at is not None and self.at.tzinfo is None:
            raise UsageError(f"the time {self.at.isoformat()} has no zone", "add one: datetime.now(UTC), or 2030-01-01T08:00:00Z")
        for name in ("key_for", "in_"):
            _seconds(name, getattr(self, name))

    def parameters(self) -> dict[str, str | float | None]:
        """What the statement `enqueue` takes. Raises UsageError for arguments that are not JSON."""
        return {
            "pipeline": self.pipeline,
            "args": self.args if isinstance(self.args, str) else json_text(self.args),
            "key": self.key,
            "key_for_seconds": _seconds("key_for", self.key_for),
            "at": None if self.at is None else self.at.isoformat(),
            "in_seconds": _seconds("in_", self.in_),
            "tenant": self.tenant,
            "priority": self.priority,
            "queue": self.queue,
        }

    def item(self) -> dict[str, Any]:
        """What orbit.enqueue_many takes of it."""
        item = {
            "pipeline": self.pipeline,
            "args": _parsed(self.args) if isinstance(self.args, str) else self.args,
            "key": self.key,
            "key_for": _interval(_seconds("key_for", self.key_for)),
            "run_at": None if self.at is None else self.at.isoformat(),
            "run_in": _interval(_seconds("in_", self.in_)),
            "tenant": self.tenant,
            "priority": self.priority,
            "queue": self.queue,
        }
        return {name: value for name, value in item.items() if value is not None}


def enqueued(row: Sequence[Any]) -> Enqueued:
    """The answer of the statement `enqueue`."""
    run_id, created, state = row
    return Enqueued(run_id, created, RunState(state))


def json_text(value: Any) -> str:
    """Raises UsageError for what is not JSON."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the arguments are not JSON: {error}") from error


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the arguments are not JSON: {error}") from error


def _seconds(name: str, duration: Duration | None) -> float | None:
    try:
        return None if duration is None else as_seconds(duration)
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error


def _interval(seconds: float | None) -> str | None:
    return None if seconds is None else f"{seconds!r} seconds"
