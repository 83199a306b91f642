"""The fleet of the store's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from orbitd.rules.states import RunState
from orbitd.store import Report
from tests.store.fleet import FAILURE, Fleet
from tests.support.postgres import Databases


@pytest.fixture(scope="module")
def shared_dsn(databases: Databases) -> Iterator[str]:
    """The DSN of a migrated database for the tests of one module, one after the other."""
    with databases.copy_of(databases.migrated) as dsn:
        yield dsn


@pytest.fixture
def fleet(shared_dsn: str) -> Iterator[Fleet]:
    """Hosts and children on an empty database, whose schema the test leaves as it is."""
    with Fleet(shared_dsn) as fleet:
        try:
            yield fleet
        finally:
            fleet.wipe()


@pytest.fixture
def own_fleet(dsn: str) -> Iterator[Fleet]:
    """The same on a database of this test's own, to be altered."""
    with Fleet(dsn) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def unwritten(databases: Databases) -> Iterator[Fleet]:
    """A database for all tests of a module that write nothing to it."""
    with databases.copy_of(databases.migrated) as dsn, Fleet(dsn) as fleet:
        yield fleet


@pytest.fixture
def one_of_each(fleet: Fleet) -> dict[RunState, int]:
    """A run in each state, made in the order of the states."""
    child = fleet.worker("p")
    runs: dict[RunState, int] = {}
    for state in RunState:
        if state is RunState.SCHEDULED:
            runs[state] = fleet.enqueue("p", in_seconds=3600)
            continue
        runs[state] = fleet.enqueue("later" if state is RunState.PENDING else "p")
        if state is RunState.PENDING:
            continue
        fence = child.must_claim().fence
        match state:
            case RunState.RUNNING:
                child = fleet.worker("p")
            case RunState.INTERRUPTED:
                fleet.crash(child, fence, mode="hold")
                child = fleet.worker("p")
            case RunState.SUCCEEDED:
                child.succeed(fence)
            case RunState.FAILED:
                child.finish(Report.failed(fence, FAILURE))
            case RunState.CANCELLED:
                child.finish(Report.cancelled(fence))
    return runs
