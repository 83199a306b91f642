"""When `orbitd once` has done its work.

It is done when no run is in hand and either nothing that is due waits for us, or as many runs as were asked for have begun.
Whether something waits only the janitor can say, and its word counts only if it looked after the last change: a run that has
ended may have enqueued another. Times are CLOCK_BOOTTIME in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

from orbitd.errors import ExitCode


@dataclass(slots=True)
class Once:
    """What `orbitd once` was asked for, and what came of it.

    A crash is a failed attempt; one that was put off (snoozed, cancelled, interrupted) is neither.
    """

    most_runs: int | None = None
    succeeded: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Word:
    """What the janitor has seen: whether a run that is due waits for us, looked at `at`."""

    at: float
    has_work: bool


@dataclass(frozen=True, slots=True)
class Facts:
    """What the conclusion is drawn from.

    `changed_at` is when somebody last let go of a run, or died. `down_seconds` is how long the database has been away, None
    while it is there. `are_all_held`: children die as fast as they come.
    """

    is_staged: bool
    runs_in_hand: int
    changed_at: float
    may_begin: bool
    down_seconds: float | None
    patience_seconds: float
    are_all_held: bool


def conclusion(facts: Facts, word: Word | None) -> ExitCode | None:
    """What to end with, once there is nothing more to do; None as long as there is."""
    if not facts.is_staged:
        return None
    if facts.down_seconds is not None and facts.down_seconds >= facts.patience_seconds:
        return ExitCode.DATABASE_UNAVAILABLE
    if facts.are_all_held:
        return ExitCode.FAILED
    if facts.runs_in_hand:
        return None
    is_idle = word is not None and word.at > facts.changed_at and not word.has_work
    return ExitCode.OK if is_idle or not facts.may_begin else None
