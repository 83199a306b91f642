"""Which queues a daemon serves."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase


def is_served(queue: str, patterns: Iterable[str]) -> bool:
    """Whether one of these shell patterns (app.queues) names the queue."""
    return any(fnmatchcase(queue, pattern) for pattern in patterns)
