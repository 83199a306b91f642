"""A soak: runs without end while processes are killed, sessions terminated, connections cut, answers lost and the server crashed.

Afterwards `orbitctl audit` looks at the tables: none is lost, none has finished twice. `make soak` does it with 100 000 runs
(ORBITD_SOAK_RUNS), and prints what it has been through.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from orbitd import store
from orbitd.store import admin
from orbitd.system.postgres import Cluster
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually, kill_process_of
from tests.support.proxy import Proxy

pytestmark = pytest.mark.daemon

RUNS = int(os.environ.get("ORBITD_SOAK_RUNS", "300"))
AT_ONCE = 500
COUNT = 3
PATIENCE_SECONDS = 90 + RUNS / 20
LONGEST_PAUSE_SECONDS = 0.4
LONGEST_SILENCE_SECONDS = 0.1

WORK = """
    @pipeline("quick", max_crashes=1000)
    def quick(ctx: Context) -> int:
        return ctx.attempt
"""


class Soak:
    """A daemon, its database, the proxy between them, and what is done to all three."""

    def __init__(self, daemon: Daemon, cluster: Cluster, proxy: Proxy, seed: int) -> None:
        self.daemon, self.cluster, self.proxy, self.chance = daemon, cluster, proxy, random.Random(seed)
        self.asked = 0
        self.strokes: Counter[str] = Counter()

    def blow(self) -> None:
        """Strike until all runs were asked for and most of them are done."""
        kinds = list(STROKES)
        while self.asked < RUNS or self.unfinished() > AT_ONCE / 5:
            if self.asked < RUNS and self.unfinished() < 2 * AT_ONCE:
                self.enqueue(min(AT_ONCE, RUNS - self.asked))
            # each once, in the order of the table, then by chance: a short soak has seen them all
            kind = kinds[self.strokes.total()] if self.strokes.total() < len(kinds) else self.chance.choice(kinds)
            STROKES[kind](self)
            self.strokes[kind] += 1
            time.sleep(self.chance.random() * LONGEST_PAUSE_SECONDS)
        for kind in kinds[self.strokes.total() :]:
            STROKES[kind](self)
            self.strokes[kind] += 1

    def enqueue(self, count: int) -> None:
        with self.daemon.database() as connection:
            admin.enqueue_many(connection, [{"pipeline": "quick"}] * count)
        self.asked += count

    def unfinished(self) -> int:
        (seen,) = self.daemon.query("select (select count(*) from orbit.live) + (select count(*) from orbit.delayed) as runs")
        return int(seen["runs"])

    def kill(self, role: str) -> None:
        found = [each["pid"] for each in self.daemon.status().get("processes", []) if each["role"] == role]
        if found:
            kill_process_of(self.daemon, self.chance.choice(found))

    def kill_child(self) -> None:
        found = [slot["pid"] for slot in self.daemon.status().get("slots", []) if slot["pid"]]
        if found:
            kill_process_of(self.daemon, self.chance.choice(found))

    def kill_arbiter(self) -> None:
        """And with it all its processes; the next one is started at once."""
        self.daemon.signal(signal.SIGKILL)
        self.daemon.await_exit()
        self.daemon.start()

    def terminate(self, *, every: bool) -> None:
        """End sessions of the daemon in the middle of whatever they do: one, or all at once, as when the network is cut."""
        sessions = "select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
        pids = [row["pid"] for row in self.daemon.query(sessions)]
        for pid in pids if every else pids and [self.chance.choice(pids)]:
            if self.cluster.is_ours(pid):
                self.daemon.query("select pg_terminate_backend(%s)", [pid])

    def lose_answers(self) -> None:
        """For a moment the server does all that it is asked, and nobody hears of it; then all connections are cut."""
        self.proxy.loses_answers = True
        time.sleep(self.chance.random() * LONGEST_SILENCE_SECONDS)
        self.proxy.cut()
        self.proxy.loses_answers = False

    def crash_server(self) -> None:
        self.cluster.restart("immediate")


STROKES = MappingProxyType[str, Callable[[Soak], None]](
    {
        "a child killed": Soak.kill_child,
        "a session terminated": lambda soak: soak.terminate(every=False),
        "the janitor killed": lambda soak: soak.kill("janitor"),
        "all sessions terminated": lambda soak: soak.terminate(every=True),
        "the mold killed": lambda soak: soak.kill("mold"),
        "the arbiter killed": Soak.kill_arbiter,
        "all connections cut": lambda soak: soak.proxy.cut(),
        "the answers lost": Soak.lose_answers,
        "the server crashed": Soak.crash_server,
    }
)


@pytest.fixture
def proxy(own_cluster: Cluster, folder: Path) -> Iterator[Proxy]:
    """Between the daemon and its database."""
    with Proxy.before(own_cluster.dsn(), folder / "p") as proxy:
        yield proxy


@pytest.mark.timeout(2 * PATIENCE_SECONDS + 60)
def test_whatever_is_killed_or_cut_no_run_is_lost_and_none_finishes_twice(proxy: Proxy, begin: Begin, own_cluster: Cluster) -> None:
    """Complaints 1 (riverqueue/river#1302), 12 (rails/solid_queue#761), 29 (dbos-transact-py#716) and 30 (hatchet#4494)."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"seed {seed}")  # pytest shows it with a failure
    store.migrate(own_cluster.dsn())
    options = {"children.count": COUNT, "restart.min_uptime": "50ms", "host.lease": "3s", "host.beat": "500ms"}
    daemon = begin(WORK, start=False, **options)
    daemon.use_database(own_cluster.dsn())
    daemon.configure(**{"database.url": proxy.dsn})
    daemon.start()
    soak = Soak(daemon, own_cluster, proxy, seed)
    began = time.monotonic()
    soak.blow()
    eventually(soak.unfinished, lambda runs: runs == 0, seconds=PATIENCE_SECONDS)
    seconds = time.monotonic() - began
    (seen,) = daemon.query(
        "select count(*) filter (where outcome = 'succeeded') as finishes,"
        " count(distinct run_id) filter (where outcome = 'succeeded') as runs,"
        " count(*) filter (where outcome = 'interrupted') as interrupted from orbit.outcomes"
    )
    print(json.dumps({"runs": RUNS, "seconds": round(seconds), "interrupted": seen["interrupted"], **soak.strokes}))
    assert (seen["finishes"], seen["runs"]) == (RUNS, RUNS)
    audit = orbitctl_audit(daemon)
    assert (audit["counts"], audit["items"]) == ({}, [])
    assert (audit["looked_at"]["runs"], audit["looked_at"]["live"]) == (RUNS, 0)
    assert set(soak.strokes) == set(STROKES)
    assert daemon.stop() == 0


def orbitctl_audit(daemon: Daemon) -> dict[str, Any]:
    command = [sys.executable, "-m", "orbitd.ctl.main", "-c", str(daemon.config), "audit", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == (1 if document["counts"] else 0)
    return document
