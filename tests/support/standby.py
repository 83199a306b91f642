"""Two PostgreSQL servers for a failover."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orbitd.store.migrate import migrate
from orbitd.system.postgres import PORT, SUPERUSER, Cluster
from tests.support.postgres import FAST_SETTINGS


@contextmanager
def primary_and_standby() -> Iterator[tuple[Cluster, Cluster]]:
    """A primary with a migrated database, and a standby that has what it had when it was made: all later commits are lost to it."""
    with ExitStack() as stack:
        primary, standby = (stack.enter_context(_a_cluster()) for _ in range(2))
        primary.start()
        migrate(primary.dsn())
        primary.stop()
        shutil.copytree(primary.data, standby.data)
        (standby.data / "standby.signal").touch()
        for path in (standby.data, *standby.data.rglob("*")):
            shutil.chown(path, primary.user.uid, primary.user.gid)
        primary.start()
        standby.start()
        yield primary, standby


@contextmanager
def _a_cluster() -> Iterator[Cluster]:
    folder = Path(tempfile.mkdtemp(prefix="orbitd-test-"))
    cluster = Cluster(folder, settings={**FAST_SETTINGS, "wal_level": "replica"})
    try:
        yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(cluster.home, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)


def either_of(primary: Cluster, standby: Cluster) -> str:
    """The DSN of whichever takes writes."""
    both = f"host={primary.socket},{standby.socket} port={PORT},{PORT}"
    return f"{both} user={SUPERUSER} dbname={SUPERUSER} target_session_attrs=read-write"
