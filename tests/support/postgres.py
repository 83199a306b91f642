"""Real PostgreSQL for tests: a throwaway cluster, and databases on it that cost some 30 ms each."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cached_property
from pathlib import Path

import psycopg

from orbitd.errors import DatabaseUnavailable
from orbitd.store.migrate import migrate
from orbitd.system.postgres import Cluster
from tests.support.addresses import around
from tests.support.pooler import PooledCluster, Pooler
from tests.support.rigs import missing_rig

# A crash of PostgreSQL loses nothing with these (commits still reach the kernel), only a crash of the machine does.
FAST_SETTINGS = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_senders": "0",
    "wal_level": "minimal",
    "max_prepared_transactions": "20",
}


@contextmanager
def throwaway_cluster() -> Iterator[Cluster]:
    """A cluster of our own in a new folder; both are gone afterwards. With ORBITD_TEST_POOLER=1 its DSNs lead through a pooler."""
    is_pooled = bool(os.environ.get("ORBITD_TEST_POOLER"))
    folder = Path(tempfile.mkdtemp(prefix="orbitd-test-"))
    cluster = (PooledCluster if is_pooled else Cluster)(folder, settings=FAST_SETTINGS)
    try:
        try:
            cluster.start()
        except DatabaseUnavailable as error:
            missing_rig(str(error))
        with Pooler(cluster) if is_pooled else nullcontext():
            yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(cluster.home, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


class Databases:
    """Makes databases on a cluster, each a copy of a template."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._numbers = itertools.count(1)

    @cached_property
    def migrated(self) -> str:
        """The name of a database that was migrated once, to be copied from."""
        self._execute("create database migrated")
        migrate(around(self._cluster.dsn("migrated")))
        return "migrated"

    @contextmanager
    def copy_of(self, template: str) -> Iterator[str]:
        """The DSN of a new database, dropped afterwards whoever is still connected."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"create database {name} template {template} strategy file_copy")  # several times as fast as the default
        try:
            yield self._cluster.dsn(name)
        finally:
            self._execute(f"drop database {name} with (force)")

    def _execute(self, sql: str) -> None:
        # a connection for each statement: one that is kept would not survive a test that restarts the server
        with psycopg.connect(around(self._cluster.dsn()), autocommit=True) as connection:
            connection.execute(sql.encode())
