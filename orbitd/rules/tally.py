"""What this daemon's children have done, added up: the numbers of the report, and what `health` is judged by.

Each child counts in shared memory from its birth; the tally takes the difference since the last look. Ended attempts are
counted here: what was put off (snoozed, cancelled, interrupted) is neither a success nor a failure. Times are CLOCK_BOOTTIME.
"""

from __future__ import annotations

from dataclasses import dataclass, field

_MINUTE_SECONDS = 60.0
_MINUTES_KEPT = 60


@dataclass(frozen=True, slots=True)
class Count:
    """What one child says that it has done since its birth."""

    succeeded: int = 0
    failed: int = 0
    seconds_total: float = 0.0
    seconds_least: float = 0.0
    seconds_most: float = 0.0
    ended_at: float = 0.0


@dataclass(slots=True)
class _Minute:
    number: int
    succeeded: int = 0
    failed: int = 0


@dataclass(slots=True)
class Tally:
    """The sum over all children, those who have died included."""

    started_at: float
    succeeded: int = 0
    failed: int = 0
    seconds_total: float = 0.0
    seconds_least: float = 0.0
    seconds_most: float = 0.0
    last_ended_at: float | None = None
    failures_in_row: int = 0
    """Failures since the last success."""
    _timed: int = 0
    _seen: dict[int, Count] = field(default_factory=dict)
    _minutes: list[_Minute] = field(default_factory=list)

    @property
    def total(self) -> int:
        """All ended attempts."""
        return self.succeeded + self.failed

    @property
    def success_rate(self) -> float:
        """The share of attempts that succeeded; 0 when there was none."""
        return self.succeeded / self.total if self.total else 0.0

    @property
    def error_rate(self) -> float:
        """The share of attempts that failed; 0 when there was none."""
        return self.failed / self.total if self.total else 0.0

    @property
    def average_seconds(self) -> float:
        """How long an attempt took, crashed ones not counted; 0 when there was none."""
        return self.seconds_total / self._timed if self._timed else 0.0

    def runs_per_hour(self, now: float) -> float:
        """Since the start."""
        return self.total * 3600 / max(now - self.started_at, 1.0)

    def note(self, slot: int, count: Count, now: float) -> tuple[int, int]:
        """What the child of a slot says now; how many attempts have succeeded and failed since it last did."""
        before = self._seen.get(slot, Count())
        self._seen[slot] = count
        succeeded, failed = count.succeeded - before.succeeded, count.failed - before.failed
        if succeeded <= 0 and failed <= 0:
            return 0, 0
        self._add(succeeded, failed, now)
        self._timed += succeeded + failed
        self.seconds_total += max(0.0, count.seconds_total - before.seconds_total)
        self.seconds_least = min(self.seconds_least or count.seconds_least, count.seconds_least)
        self.seconds_most = max(self.seconds_most, count.seconds_most)
        self.last_ended_at = max(self.last_ended_at or 0.0, count.ended_at)
        return succeeded, failed

    def bury(self, slot: int, *, lost_runs: int, now: float) -> None:
        """The child of a slot is dead; attempts that it had begun have failed with it."""
        self._seen.pop(slot, None)
        if lost_runs:
            self._add(0, lost_runs, now)
            self.last_ended_at = now

    def recent(self, now: float, least_seconds: float, least_runs: int) -> tuple[int, int]:
        """(ended, failed) in the shortest time up to now that is `least_seconds` long and has `least_runs`; an hour at most."""
        ended = failed = 0
        newest = int(now // _MINUTE_SECONDS)
        for minute in reversed(self._minutes):
            age_seconds = (newest - minute.number) * _MINUTE_SECONDS
            if age_seconds >= _MINUTES_KEPT * _MINUTE_SECONDS or (age_seconds >= least_seconds and ended >= least_runs):
                break
            ended += minute.succeeded + minute.failed
            failed += minute.failed
        return ended, failed

    def _add(self, succeeded: int, failed: int, now: float) -> None:
        self.succeeded += succeeded
        self.failed += failed
        self.failures_in_row = 0 if succeeded else self.failures_in_row + failed
        number = int(now // _MINUTE_SECONDS)
        if not self._minutes or self._minutes[-1].number != number:
            self._minutes = [*self._minutes[1 - _MINUTES_KEPT :], _Minute(number)]
        self._minutes[-1].succeeded += succeeded
        self._minutes[-1].failed += failed
