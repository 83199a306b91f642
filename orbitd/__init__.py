"""orbitd: background work kept in Postgres, run by supervised child processes.

The names for pipeline authors are found on first use, so that `import orbitd` costs the arbiter and orbitctl nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from orbitd.pipelines.context import AsyncContext, Context
    from orbitd.pipelines.definition import pipeline
    from orbitd.pipelines.exceptions import Permanent, Retry, Snooze

__all__ = ["AsyncContext", "Context", "Permanent", "Retry", "Snooze", "pipeline"]

_HOMES = {
    "AsyncContext": "orbitd.pipelines.context",
    "Context": "orbitd.pipelines.context",
    "Permanent": "orbitd.pipelines.exceptions",
    "Retry": "orbitd.pipelines.exceptions",
    "Snooze": "orbitd.pipelines.exceptions",
    "pipeline": "orbitd.pipelines.definition",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*globals(), *__all__]
