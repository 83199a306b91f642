"""How this daemon does: what its children have ended, and whether that is healthy.

The arbiter's look at shared memory feeds it; `orbitctl metrics`, `orbitctl health` and the periodic report read it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from orbitd.config.model import Health, Settings
from orbitd.rules import health, upkeep
from orbitd.rules.findings import Finding
from orbitd.rules.roster import Roster
from orbitd.rules.states import StopLevel
from orbitd.rules.supervise import Desired
from orbitd.rules.tally import Count, Tally
from orbitd.system import clock
from orbitd.system.slots import Record, SharedSlots
from orbitd.units import rfc3339

_MARGIN_SECONDS = 5.0
"""A run that is killed at the end of its time is gone by then."""


@dataclass(slots=True)
class DatabaseNews:
    """What the janitor last said of the database, and since when it says so: until its first word, since it could say one.

    `is_word`: it has said one. `was_up`: the database has been there once. `is_deaf`: what it announces is not heard,
    for a pooler is in between, and nobody has said so in the configuration.
    """

    is_up: bool = False
    why: str | None = "not connected yet"
    command: str = "orbitd check --connect"
    since: float = field(default_factory=clock.now)
    is_word: bool = False
    was_up: bool = False
    is_deaf: bool = False


@dataclass(frozen=True, slots=True)
class UpkeepNews:
    """What the janitor last said of the upkeep: how the fleet's duties go, who holds back vacuum most, and when it said so."""

    duties: Sequence[upkeep.Duty] = ()
    holder: upkeep.Holder | None = None
    at: float | None = None

    def as_of(self, now: float) -> list[upkeep.Duty]:
        """The duties with their present ages; that of this host, to look after them, among them. None before the first word."""
        if self.at is None:
            return []
        since = now - self.at
        return [
            upkeep.Duty("look", upkeep.LOOK_SECONDS, since, None),
            *(replace(duty, age_seconds=duty.age_seconds + since) for duty in self.duties),
        ]


class Vitals:
    """The tally over the shared records, and the last judgement on it."""

    def __init__(self, slots: SharedSlots) -> None:
        self._slots = slots
        self.tally = Tally(started_at=clock.now())
        self.findings: list[Finding] = []
        self.stuck_runs = 0

    def look(self, slot: int) -> tuple[int, int]:
        """Add what the child of a slot has done since the last look: so many attempts that succeeded and failed."""
        return self.tally.note(slot, _count(self._slots.records[slot]), clock.now())

    def bury(self, slot: int, *, lost_runs: int) -> tuple[int, int]:
        """A child is dead, and so many attempts have failed with it. Its record is still there; else as `look`."""
        succeeded, failed = self.look(slot)
        self.tally.bury(slot, lost_runs=lost_runs, now=clock.now())
        return succeeded, failed + lost_runs

    def judge(
        self, settings: Settings, roster: Roster, desired: Desired, news: health.News, upkept: UpkeepNews, *, is_starting: bool
    ) -> list[Finding]:
        """What is not well just now. Called at every look, so that it depends on what happened and not on who asked when."""
        now, rules = clock.now(), settings.health
        ended, failed = self.tally.recent(now, rules.silence, rules.min_runs)
        records = [self._slots.records[child.slot] for child in roster.children()]
        self.stuck_runs = sum(_is_stuck(record, rules.stuck_after, settings.runs.kill_after) for record in records)
        facts = health.Facts(
            ended=ended,
            failed=failed,
            failures_in_row=self.tally.failures_in_row,
            silent_seconds=now - (self.tally.last_ended_at or self.tally.started_at),
            stuck_runs=self.stuck_runs,
            found_by_sweep=self._slots.header.found_by_sweep,
            able=len(roster.able()),
            target=desired.count,
            is_starting=is_starting,
            is_stopping=desired.stop_level > StopLevel.NONE,
            is_paused=desired.is_paused,
        )
        before = frozenset(finding.code for finding in self.findings)
        self.findings = [
            *health.troubles(roster, news, now),
            *_untidy(upkept, rules, now, is_reachable=news.database_why is None),
            *health.judge(facts, _bounds(rules), before),
        ]
        return self.findings

    def metrics(self) -> dict[str, Any]:
        """The numbers of `orbitctl metrics`: rates in percent, execution times in milliseconds, times in RFC 3339."""
        now, tally = clock.now(), self.tally
        return {
            "uptime": _in_words(now - tally.started_at),
            "uptimeSeconds": int(now - tally.started_at),
            "totalRuns": tally.total,
            "succeeded": tally.succeeded,
            "failed": tally.failed,
            "successRate": round(tally.success_rate * 100, 2),
            "errorRate": round(tally.error_rate * 100, 2),
            "runsPerHour": round(tally.runs_per_hour(now), 2),
            "avgExecutionTime": round(tally.average_seconds * 1000),
            "minExecutionTime": round(tally.seconds_least * 1000),
            "maxExecutionTime": round(tally.seconds_most * 1000),
            "workerStartTime": _wall(tally.started_at, now),
            "lastRunTime": _wall(tally.last_ended_at, now),
            "timestamp": _wall(now, now),
            "foundBySweep": self._slots.header.found_by_sweep,
        }

    def duty_ages(self, upkept: UpkeepNews) -> dict[str, float]:
        """How many seconds ago each duty was done last: the host's beat, its look after the fleet's duties, and those."""
        now, beat_at = clock.now(), self._slots.header.beat_at
        ages = {"beat": now - beat_at} if beat_at else {}
        return {name: round(age, 3) for name, age in (ages | {duty.name: duty.age_seconds for duty in upkept.as_of(now)}).items()}

    def report(self) -> dict[str, Any]:
        """The same for the log, with the names and in the words that the Orbit worker's report has."""
        metrics = self.metrics()
        return {
            "uptime": str(metrics["uptime"]),
            "totalRuns": self.tally.total,
            "succeeded": self.tally.succeeded,
            "failed": self.tally.failed,
            "errorRate": f"{self.tally.error_rate:.2%}",
            "successRate": f"{self.tally.success_rate:.2%}",
            "runsPerHour": f"{metrics['runsPerHour']:.2f}",
            "avgDuration": f"{metrics['avgExecutionTime']}ms",
            "minDuration": f"{metrics['minExecutionTime']}ms",
            "maxDuration": f"{metrics['maxExecutionTime']}ms",
        }


def _wall(at: float | None, now: float) -> str | None:
    if at is None:
        return None
    return rfc3339(datetime.fromtimestamp(time.time() - (now - at), UTC))


def _in_words(seconds: float) -> str:
    """Such as "2h 15m 32s"."""
    hours, rest = divmod(int(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    return " ".join(part for part in (f"{hours}h" if hours else "", f"{minutes}m" if hours or minutes else "", f"{rest}s") if part)


def _count(record: Record) -> Count:
    return Count(record.succeeded, record.failed, record.seconds_total, record.seconds_least, record.seconds_most, record.ended_at)


def _is_stuck(record: Record, stuck_after_seconds: float | None, kill_after_seconds: float) -> bool:
    if not record.run_id:
        return False
    if stuck_after_seconds is not None:
        return clock.now() - record.since > stuck_after_seconds
    return 0 < record.run_deadline < clock.now() - kill_after_seconds - _MARGIN_SECONDS


def _untidy(news: UpkeepNews, rules: Health, now: float, *, is_reachable: bool) -> Iterator[Finding]:
    """What is not well with the database's upkeep. While it cannot be reached, that is the trouble."""
    if not is_reachable:
        return
    yield from upkeep.late(news.as_of(now))
    if rules.horizon_age and news.holder and news.holder.is_harmful(rules.horizon_transactions, rules.horizon_age):
        yield upkeep.held(news.holder)


def _bounds(rules: Health) -> health.Bounds:
    return health.Bounds(
        failure_rate=rules.failure_rate,
        errors_unhealthy=rules.errors_unhealthy,
        errors_healthy=rules.errors_healthy,
        silence_seconds=rules.silence,
        min_runs=rules.min_runs,
        is_pause_unhealthy=rules.queue_paused,
    )
