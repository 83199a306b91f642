"""Daemons for tests: each in a folder of its own, destroyed at the test's end."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from orbitd import store
from orbitd.system.postgres import Cluster
from tests.support.daemon import Daemon

Begin = Callable[..., Daemon]


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a socket's name has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="orbitd-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def begin(folder: Path, dsn: str) -> Iterator[Begin]:
    """Make (and start) a daemon: `begin(PIPELINES, **options)`."""
    daemons: list[Daemon] = []

    def begin(pipelines: str, *, start: bool = True, **options: object) -> Daemon:
        daemon = Daemon(folder / f"d{len(daemons)}", dsn, pipelines, **options)
        daemons.append(daemon)
        return daemon.start() if start else daemon

    yield begin
    for daemon in daemons:
        daemon.destroy()


@pytest.fixture
def begin_apart(begin: Begin, own_cluster: Cluster) -> Begin:
    """The same on a Postgres of the test's own (`own_cluster`), to be stopped and crashed."""

    def begin_apart(pipelines: str, **options: object) -> Daemon:
        store.migrate(own_cluster.dsn())
        daemon = begin(pipelines, start=False, **options)
        daemon.use_database(own_cluster.dsn())
        return daemon.start()

    return begin_apart
