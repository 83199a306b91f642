"""The watermark: claims begin where runs may wait, at the same cost whatever has gone before, and no run is ever overlooked."""

from __future__ import annotations

import os
import time

from orbitd.store.migrate import migrate
from orbitd.system.postgres import Cluster
from tests.store.traffic import NaiveSearch, NoWatermark, Traffic

SECONDS = float(os.environ.get("ORBITD_WATERMARK_SECONDS", "3"))
DRAIN_SECONDS = 10.0


def begin(traffic: Traffic) -> None:
    for produce in (traffic.held, traffic.quick, traffic.quick, traffic.slow, traffic.slow, traffic.bulk, traffic.fickle):
        traffic.start(produce, produces=True)
    for name in ("a", "b"):
        traffic.host(name, children=2)


def assert_nothing_lost(traffic: Traffic) -> None:
    traffic.stop_producing()
    traffic.wait_until_done(DRAIN_SECONDS)
    assert len(traffic.finished) > 100
    assert traffic.lost() == set()
    assert traffic.doubled() == set()
    assert traffic.late > 0
    assert traffic.overlooked == 0


def test_no_run_is_lost_or_done_twice_however_late_its_producer_commits(dsn: str, cluster: Cluster) -> None:
    with Traffic(dsn) as traffic:
        begin(traffic)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            time.sleep(SECONDS / 4)
            traffic.cut_a_connection(cluster)
        assert_nothing_lost(traffic)


def test_no_run_is_lost_when_the_server_crashes_in_between(own_cluster: Cluster) -> None:
    own_cluster.create_database("orbit")
    dsn = own_cluster.dsn("orbit")
    migrate(dsn)
    with Traffic(dsn) as traffic:
        begin(traffic)
        time.sleep(SECONDS / 3)
        own_cluster.restart("immediate")
        time.sleep(SECONDS / 3)
        assert_nothing_lost(traffic)


def test_the_naive_bound_loses_runs(dsn: str) -> None:
    """The control: this traffic can lose runs."""
    with Traffic(dsn, search=NaiveSearch, watermark=NoWatermark) as traffic:
        begin(traffic)
        time.sleep(1.5)
        traffic.stop_producing()
        traffic.wait_until_done(1.5)
        assert len(traffic.lost()) > 0
        assert traffic.doubled() == set()
