"""How the daemon does, read from the memory that it really shares with its children; only the clocks are set by hand."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from orbitd.config import Settings, load
from orbitd.rules.health import News
from orbitd.rules.limits import Backoff, Limits
from orbitd.rules.roster import Child, Roster
from orbitd.rules.states import Phase, StopLevel
from orbitd.rules.supervise import Desired
from orbitd.system import clock
from orbitd.system.slots import SharedSlots
from orbitd.vitals import UpkeepNews, Vitals

BORN_AT = 1_000.0
NEW_YEAR = 1_767_225_600.0  # 2026-01-01T00:00:00Z


class Daemon:
    """What vitals look at: shared memory, a roster of children that are up, and a clock that stands still."""

    def __init__(self, slots: SharedSlots) -> None:
        self.now = BORN_AT
        self.slots = slots
        self.roster = Roster.of(4, Limits(backoff=Backoff(), janitor_backoff=Backoff()))
        self.desired = Desired(count=2)
        for slot in (0, 1):
            self.roster.slots[slot].child = Child(slot, 1, BORN_AT, Phase.UP)

    def hold(self, slot: int, *, since: float, deadline: float) -> None:
        record = self.slots.records[slot]
        record.run_id, record.since, record.run_deadline = 7, since, deadline

    def end(self, slot: int, seconds: float, *, has_failed: bool = False) -> None:
        self.slots.records[slot].count(self.now, seconds, has_failed=has_failed)


@pytest.fixture
def daemon(monkeypatch: pytest.MonkeyPatch) -> Iterator[Daemon]:
    slots = SharedSlots.create()
    daemon = Daemon(slots)
    monkeypatch.setattr(clock, "now", lambda: daemon.now)
    monkeypatch.setattr(time, "time", lambda: NEW_YEAR + daemon.now - BORN_AT)
    yield daemon
    for fd in slots.fds:
        os.close(fd)


@pytest.fixture
def vitals(daemon: Daemon) -> Vitals:
    return Vitals(daemon.slots)


def with_options(*overrides: str) -> Settings:
    return load(None, overrides=overrides, environ={})


def judged(vitals: Vitals, daemon: Daemon, *overrides: str) -> list[str]:
    findings = vitals.judge(with_options(*overrides), daemon.roster, daemon.desired, News(), UpkeepNews(), is_starting=False)
    return [finding.code for finding in findings]


def test_what_children_have_ended_is_added_up_and_counted_once(vitals: Vitals, daemon: Daemon) -> None:
    daemon.end(0, 1.0)
    daemon.end(1, 3.0, has_failed=True)
    for slot in (0, 1, 0, 1):
        vitals.look(slot)
    assert (vitals.tally.succeeded, vitals.tally.failed) == (1, 1)
    daemon.end(0, 2.0)
    vitals.look(0)
    assert (vitals.tally.total, vitals.tally.average_seconds) == (3, 2.0)


def test_a_childs_death_counts_what_it_had_ended_and_what_it_took_with_it(vitals: Vitals, daemon: Daemon) -> None:
    daemon.end(0, 1.0)
    daemon.now += 5
    vitals.bury(0, lost_runs=2)
    assert (vitals.tally.succeeded, vitals.tally.failed, vitals.tally.failures_in_row) == (1, 2, 2)
    assert vitals.metrics()["lastRunTime"] == "2026-01-01T00:00:05.000Z"
    daemon.slots.clear(0)
    daemon.end(0, 1.0)
    vitals.look(0)
    assert (vitals.tally.succeeded, vitals.tally.failed) == (2, 2)


def test_a_run_is_stuck_once_it_has_outlived_its_time_and_the_grace_after_it(vitals: Vitals, daemon: Daemon) -> None:
    kill_after_seconds = with_options().runs.kill_after
    daemon.hold(0, since=BORN_AT, deadline=BORN_AT + 60)
    daemon.now = BORN_AT + 60 + kill_after_seconds + 5
    assert judged(vitals, daemon) == []
    daemon.now += 0.1
    assert judged(vitals, daemon) == ["stuck_runs"]
    assert vitals.stuck_runs == 1


def test_a_run_without_a_deadline_is_never_stuck_by_itself(vitals: Vitals, daemon: Daemon) -> None:
    daemon.hold(0, since=BORN_AT, deadline=0)
    daemon.now += 86_400
    assert judged(vitals, daemon) == []


def test_with_stuck_after_the_time_in_hand_decides_and_not_the_deadline(vitals: Vitals, daemon: Daemon) -> None:
    daemon.hold(0, since=BORN_AT, deadline=0)
    daemon.hold(1, since=BORN_AT + 1, deadline=BORN_AT + 2)
    daemon.now += 30.5
    assert judged(vitals, daemon, "health.stuck_after=30s") == ["stuck_runs"]
    assert vitals.stuck_runs == 1
    assert judged(vitals, daemon, "health.stuck_after=31s") == []


def test_a_child_that_waits_for_work_and_a_slot_without_a_child_hold_nothing_up(vitals: Vitals, daemon: Daemon) -> None:
    daemon.slots.records[0].since = BORN_AT
    daemon.hold(3, since=BORN_AT, deadline=BORN_AT)
    daemon.now += 3_600
    assert judged(vitals, daemon, "health.stuck_after=1s") == []


def test_failures_and_then_silence_are_told_until_they_are_over(vitals: Vitals, daemon: Daemon) -> None:
    for _ in range(6):
        daemon.end(0, 1.0, has_failed=True)
    vitals.look(0)
    assert judged(vitals, daemon) == []
    daemon.now += 300
    assert judged(vitals, daemon) == ["failing"]
    daemon.end(0, 1.0)
    vitals.look(0)
    assert judged(vitals, daemon) == []


def test_what_the_operator_wants_is_judged_too(vitals: Vitals, daemon: Daemon) -> None:
    daemon.desired.is_paused = True
    assert judged(vitals, daemon) == ["paused"]
    assert judged(vitals, daemon, "health.queue_paused=false") == []
    daemon.desired.is_paused, daemon.desired.stop_level = False, StopLevel.DRAIN
    assert judged(vitals, daemon) == ["stopping"]
    daemon.desired.stop_level = StopLevel.NONE
    for slot in daemon.roster.slots:
        slot.child = None
    assert judged(vitals, daemon) == ["no_child"]


def test_the_metrics_are_in_percent_milliseconds_and_rfc_3339(vitals: Vitals, daemon: Daemon) -> None:
    daemon.end(0, 0.25)
    daemon.end(0, 1.0)
    daemon.end(1, 2.0, has_failed=True)
    vitals.look(0)
    vitals.look(1)
    daemon.now += 2 * 3600 + 15 * 60 + 32.5
    assert vitals.metrics() == {
        "uptime": "2h 15m 32s",
        "uptimeSeconds": 8132,
        "totalRuns": 3,
        "succeeded": 2,
        "failed": 1,
        "successRate": 66.67,
        "errorRate": 33.33,
        "runsPerHour": 1.33,
        "avgExecutionTime": 1083,
        "minExecutionTime": 250,
        "maxExecutionTime": 2000,
        "workerStartTime": "2026-01-01T00:00:00.000Z",
        "lastRunTime": "2026-01-01T00:00:00.000Z",
        "timestamp": "2026-01-01T02:15:32.500Z",
        "foundBySweep": 0,
    }


def test_the_report_has_the_same_in_words(vitals: Vitals, daemon: Daemon) -> None:
    daemon.end(0, 0.25)
    daemon.end(0, 0.75, has_failed=True)
    vitals.look(0)
    daemon.now += 3600
    assert vitals.report() == {
        "uptime": "1h 0m 0s",
        "totalRuns": 2,
        "succeeded": 1,
        "failed": 1,
        "errorRate": "50.00%",
        "successRate": "50.00%",
        "runsPerHour": "2.00",
        "avgDuration": "500ms",
        "minDuration": "250ms",
        "maxDuration": "750ms",
    }


def test_a_daemon_that_has_done_nothing_yet_has_numbers_too(vitals: Vitals) -> None:
    metrics = vitals.metrics()
    assert (metrics["uptime"], metrics["totalRuns"], metrics["successRate"], metrics["lastRunTime"]) == ("0s", 0, 0, None)
