"""What the daemon says of its own work: the report in the log, `metrics`, `health`."""

from __future__ import annotations

import operator
import signal
from functools import partial

import pytest

from orbitd.system.postgres import Cluster
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually, kill_process_of

pytestmark = pytest.mark.daemon

WORK = """
    import os

    @pipeline("works")
    def works(ctx: Context) -> int:
        return 1

    @pipeline("fails", max_attempts=1)
    def fails(ctx: Context) -> None:
        raise ValueError("no")

    @pipeline("dies", max_crashes=1)
    def dies(ctx: Context) -> None:
        os._exit(3)
"""
SOON_SECONDS = 5.0  # a few looks, and well before the arbiter turns to see whether its janitor does
REPORT_FIELDS = ["uptime", "totalRuns", "succeeded", "failed", "errorRate", "successRate", "runsPerHour", "avgDuration", "minDuration"]


def metrics_of(daemon: Daemon, total: int) -> dict[str, object]:
    return eventually(lambda: daemon.ask("metrics"), lambda seen: seen["totalRuns"] == total)


def codes_of(daemon: Daemon) -> list[str]:
    return [reason["code"] for reason in daemon.ask("health")["reasons"]]


def test_metrics_count_successes_failures_and_crashes_over_all_children(begin: Begin) -> None:
    daemon = begin(WORK)
    for name in ("works", "works", "works", "fails", "dies"):
        daemon.enqueue(name)
    metrics = metrics_of(daemon, 5)
    assert (metrics["succeeded"], metrics["failed"], metrics["successRate"], metrics["errorRate"]) == (3, 2, 60.0, 40.0)
    assert metrics["lastRunTime"]


def test_metrics_before_the_first_run_are_zeros(begin: Begin) -> None:
    metrics = begin(WORK).ask("metrics")
    assert {metrics[name] for name in ("totalRuns", "successRate", "errorRate", "runsPerHour", "avgExecutionTime")} == {0}
    assert metrics["lastRunTime"] is None


def test_a_child_that_is_replaced_takes_no_count_with_it(begin: Begin) -> None:
    daemon = begin(WORK)
    daemon.enqueue("works")
    metrics_of(daemon, 1)
    daemon.ask("reload", wait=True)
    daemon.enqueue("works")
    metrics_of(daemon, 2)


def test_the_report_is_one_line_with_the_names_that_dashboards_know(begin: Begin) -> None:
    daemon = begin(WORK, **{"metrics.report_interval": "1s"})
    daemon.enqueue("fails")
    metrics_of(daemon, 1)
    report = eventually(lambda: [line for line in daemon.events("report") if line["totalRuns"]], bool)[0]
    assert [name for name in report if name in REPORT_FIELDS] == REPORT_FIELDS
    assert (report["failed"], report["errorRate"], report["successRate"]) == (1, "100.00%", "0.00%")


def test_no_report_is_written_when_it_is_turned_off(begin: Begin) -> None:
    daemon = begin(WORK, **{"metrics.report_interval": "0"})
    daemon.enqueue("works")
    metrics_of(daemon, 1)
    assert daemon.events("report") == []


def test_a_fleet_at_rest_is_healthy_and_a_paused_one_says_what_to_type(begin: Begin) -> None:
    daemon = begin(WORK)
    eventually(lambda: daemon.ask("health"), lambda seen: seen["status"] == "healthy")
    daemon.ask("pause")
    health = eventually(lambda: daemon.ask("health"), lambda seen: seen["status"] == "warning")
    assert [(reason["code"], reason["command"]) for reason in health["reasons"]] == [("paused", "orbitctl unpause")]
    daemon.ask("unpause")
    eventually(lambda: codes_of(daemon), lambda seen: seen == [])


def test_failures_and_then_silence_are_an_error_until_the_next_success(begin: Begin) -> None:
    daemon = begin(WORK, **{"health.silence": "1s", "health.errors_unhealthy": 2, "health.errors_healthy": 1, "health.min_runs": 1000})
    for _ in range(3):
        daemon.enqueue("fails")
    health = eventually(lambda: daemon.ask("health"), lambda seen: seen["status"] == "error")
    assert [reason["code"] for reason in health["reasons"]] == ["failing"]
    assert eventually(lambda: daemon.events("health_changed"), lambda seen: seen[-1]["reasons"] == "failing")
    daemon.enqueue("works")
    eventually(lambda: codes_of(daemon), lambda seen: seen == [])


def test_a_failure_rate_over_the_limit_is_a_warning(begin: Begin) -> None:
    daemon = begin(WORK, **{"health.min_runs": 4})
    for name in ("works", "works", "works", "fails"):
        daemon.enqueue(name)
    eventually(lambda: codes_of(daemon), lambda seen: seen == ["failure_rate"])
    health = daemon.ask("health")
    assert health["status"] == "warning"
    assert "1 of the last 4" in health["message"]


def test_a_database_that_is_gone_is_an_error_with_its_cause(begin: Begin) -> None:
    daemon = begin(WORK)
    daemon.use_database("host=/nonexistent dbname=none")
    daemon.stop()
    daemon.start(wait=False)
    daemon.await_status(bool)
    health = eventually(lambda: daemon.ask("health"), lambda seen: any(r["code"] == "database_down" for r in seen["reasons"]))
    assert health["status"] == "error"
    assert eventually(lambda: daemon.events("database_down"))[0]["why"]


def test_a_daemon_without_children_reports_unasked(begin: Begin) -> None:
    daemon = begin(WORK, **{"children.count": 0, "metrics.report_interval": "1s"})
    before = len(daemon.events("report"))
    eventually(lambda: len(daemon.events("report")), lambda count: count >= before + 2)


def test_that_the_last_child_is_gone_for_good_is_told_unasked(begin: Begin) -> None:
    options = {"children.count": 1, "metrics.report_interval": "0s", "restart.max_restarts": 1, "restart.backoff_longest": "1h"}
    daemon = begin(WORK, **options)
    for booted in (1, 2):
        eventually(lambda: len(daemon.events("child_booted")), partial(operator.eq, booted))
        assert kill_process_of(daemon, daemon.events("child_booted")[-1]["pid"])
    eventually(lambda: daemon.events("health_changed")[-1]["reasons"], lambda reasons: "no_child" in reasons, seconds=SOON_SECONDS)


def test_a_daemon_without_children_tells_unasked_that_it_is_paused(begin: Begin) -> None:
    daemon = begin(WORK, **{"children.count": 0, "metrics.report_interval": "0s"})
    daemon.signal(signal.SIGTSTP)
    eventually(lambda: daemon.events("health_changed")[-1]["reasons"], lambda reasons: reasons == "paused", seconds=SOON_SECONDS)


def test_status_and_the_log_say_the_same_as_health(begin_apart: Begin, own_cluster: Cluster) -> None:
    daemon = begin_apart(WORK)
    eventually(lambda: codes_of(daemon), lambda seen: seen == [])
    own_cluster.stop("fast")
    eventually(lambda: codes_of(daemon), lambda seen: seen == ["database_down"])
    assert [problem["code"] for problem in daemon.status()["problems"]] == ["database_down"]
    eventually(lambda: daemon.events("health_changed"), lambda seen: seen[-1]["reasons"] == "database_down")


def test_a_pause_is_among_the_problems_of_the_status(begin: Begin) -> None:
    daemon = begin(WORK)
    daemon.ask("pause")
    assert daemon.ask("pause")["message"].startswith("already paused")
    assert [problem["command"] for problem in daemon.status()["problems"]] == ["orbitctl unpause"]
