"""A database for the run verbs, and a worker that does by hand what a child does."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest

from orbitd import store
from orbitd.store import Ask, Claimed, Failure, Lane, PipelineSpec, Report
from orbitd.store.connection import Connection, connect
from orbitd.store.steps import append_logs, record_progress, record_step
from tests.ctl.conftest import Orbitctl
from tests.ctl.terminal import Terminal, terminal

ANYTHING = '{"required": [], "optional": [], "open": true}'
FETCH = "fetch\x1b[2J"

OnTerminal = Callable[..., AbstractContextManager[Terminal]]


@pytest.fixture(autouse=True)
def database(environ: pytest.MonkeyPatch, dsn: str) -> str:
    environ.setenv("DATABASE_URL", dsn)
    return dsn


@pytest.fixture
def on_terminal(database: str) -> OnTerminal:
    """`orbitctl` with these words on a terminal of its own."""

    def call(*words: str) -> AbstractContextManager[Terminal]:
        return terminal([sys.executable, "-m", "orbitd.ctl.main", *words], DATABASE_URL=database)

    return call


@dataclass
class Worker:
    """A child of a host, that claims and reports by hand."""

    conn: Connection
    host_id: int
    child_id: int
    lanes: list[Lane]

    def claim(self) -> Claimed:
        """The next run, as soon as there is one."""
        while True:
            claimed = store.claim(self.conn, self.child_id, Ask.of([lane.id for lane in self.lanes])).claimed
            if claimed is not None:
                return claimed

    def finish(self, report: Report) -> None:
        assert not store.finish(self.conn, [report]).fenced

    def fail(self, error: str = "ValueError: no") -> int:
        """Let the next run fail; its id."""
        claimed = self.claim()
        self.finish(Report.failed(claimed.fence, Failure("error", error)))
        return claimed.run_id

    def succeed(self) -> int:
        """Let the next run succeed; its id."""
        claimed = self.claim()
        self.finish(Report.succeeded(claimed.fence, "1"))
        return claimed.run_id

    def say(self, claimed: Claimed, *lines: tuple[str, str]) -> None:
        """Write lines, each a level and a message, to the log of a run that is in hand."""
        assert append_logs(self.conn, claimed.fence, [(now(), level, message) for level, message in lines]) == len(lines)

    def die(self) -> None:
        """End with the whole host; what it held waits for a person."""
        store.end_host(self.conn, "boot", "host_lost", "hold")


def now(ago_seconds: float = 0) -> str:
    """The time, as documents and logs have it."""
    at = datetime.now(UTC) - timedelta(seconds=ago_seconds)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@pytest.fixture
def worker(dsn: str) -> Iterator[Worker]:
    with connect(dsn, connect_timeout_seconds=5, call_timeout_seconds=10, application_name="worker") as conn:
        host_id = store.register(conn, boot_id="boot", name="prod-a", pid=1, version="1", lease_seconds=60)
        specs = [PipelineSpec(name, "billing", 0, ANYTHING, 3, 3) for name in ("invoice.sync", "invoice.send")]
        lanes = store.register_pipelines(conn, host_id, specs)
        store.beat(conn, host_id, 60)
        yield Worker(conn, host_id, store.start_child(conn, host_id=host_id, slot=3, nonce="n", pid=2), lanes)


@pytest.fixture
def failed_run(orbitctl: Orbitctl, worker: Worker) -> str:
    """A run that failed, with all that can be known of one."""
    run = orbitctl("enqueue", "invoice.sync", "tenant_id=42", "--tenant", "t-1").out.strip()
    claimed = worker.claim()
    record_step(worker.conn, claimed.fence, FETCH, '{"pages": 3}', 1.5)
    record_progress(worker.conn, claimed.fence, 0.5, "half\rway")
    failure = Failure("error", "ValueError: \x1b[31mred\nand more", "Traceback:\n  File \x1b[1m\nValueError")
    worker.finish(Report.failed(claimed.fence, failure))
    return run


@pytest.fixture
def enqueued(orbitctl: Orbitctl) -> Callable[..., str]:
    """Make a run of `invoice.sync`; its id."""
    make = partial(orbitctl, "enqueue", "invoice.sync")
    return lambda *words: make(*words).out.strip()


def short(run: str) -> str:
    """The short form of an id."""
    return str(int(run) % 2**39)
