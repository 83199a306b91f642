"""What is not well, in words for people: the judgement is in `health.py` and `upkeep.py`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How grave it is; the gravest reason counts."""

    HEALTHY = "healthy"
    WARNING = "warning"
    ERROR = "error"


_GRAVITY = tuple(Status)


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not well, and what to type."""

    code: str
    status: Status
    message: str
    command: str


def gravest(statuses: Iterable[Status]) -> Status:
    """The gravest of them; healthy when there is none."""
    return max(statuses, key=_GRAVITY.index, default=Status.HEALTHY)
