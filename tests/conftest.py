"""Fixtures for every layer; a test that asks for none of them pays for none."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import nullcontext

import pytest
from hypothesis import HealthCheck, settings

from orbitd.store.connection import Connection, connect
from orbitd.system.postgres import Cluster
from orbitd.system.slots import SharedSlots
from tests.support.pooler import PooledCluster, Pooler
from tests.support.postgres import Databases, throwaway_cluster

# Who starts the suite in the background (`make test &`) has the shell ignore Ctrl-C for it, and for all that it starts.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Hypothesis would fail an example that takes longer than 200 ms: a busy machine is no fault of the code.
settings.register_profile("calm", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("calm")


@pytest.fixture
def slots() -> Iterator[SharedSlots]:
    """The shared memory of a host of the test's own."""
    slots = SharedSlots.create()
    yield slots
    for fd in slots.fds:
        os.close(fd)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """The PostgreSQL that all tests share: never stop or kill it."""
    with throwaway_cluster() as cluster:
        yield cluster


@pytest.fixture
def own_cluster() -> Iterator[Cluster]:
    """A PostgreSQL for this test alone, to be stopped, crashed and killed."""
    with throwaway_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def databases(cluster: Cluster) -> Databases:
    """The maker of databases on the shared cluster."""
    return Databases(cluster)


@pytest.fixture
def dsn(databases: Databases) -> Iterator[str]:
    """The DSN of a migrated database for this test alone."""
    with databases.copy_of(databases.migrated) as dsn:
        yield dsn


@pytest.fixture(scope="session")
def pooler(cluster: Cluster) -> Iterator[None]:
    """A transaction pooler in front of the shared cluster; `through` makes a DSN lead through it."""
    with nullcontext() if isinstance(cluster, PooledCluster) else Pooler(cluster):
        yield


@pytest.fixture
def empty_dsn(databases: Databases) -> Iterator[str]:
    """The DSN of a database for this test alone, with nothing in it."""
    with databases.copy_of("template0") as dsn:
        yield dsn


@pytest.fixture
def conn(dsn: str) -> Iterator[Connection]:
    """The store's connection to a migrated database for this test alone."""
    with connect(dsn, connect_timeout_seconds=5, call_timeout_seconds=10, application_name="test") as connection:
        yield connection
