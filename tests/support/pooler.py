"""pgbouncer in transaction mode in front of a test's PostgreSQL.

It listens on a Unix socket in a folder that only the server's user can enter, never on TCP, and hands each transaction to the
next of its server connections, so that whatever leans on a session fails. Start-up parameters that it does not keep apart for
its clients are refused, as by default. `make test-pooler` has the whole suite behind it.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import textwrap
from types import TracebackType
from typing import Self

import psycopg

from orbitd.system.postgres import PORT, SUPERUSER, Cluster, in_our_shadow
from tests.support.addresses import POOLER_PORT, through
from tests.support.daemon import eventually
from tests.support.rigs import missing_rig


class PooledCluster(Cluster):
    """A cluster whose DSNs lead through a pooler."""

    def dsn(self, database: str = SUPERUSER) -> str:
        """The URL of one database, by way of the pooler."""
        return through(super().dsn(database))


class Pooler:
    """A pooler in front of a running cluster; it outlives the server's restarts. `with Pooler(cluster): …`."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster, self._folder = cluster, cluster.home / "pooler"

    def __enter__(self) -> Self:
        user = self._cluster.user
        self._folder.mkdir(mode=0o700)
        shutil.chown(self._folder, user.uid, user.gid)
        settings = self._folder / "pgbouncer.ini"
        settings.write_text(self._settings())
        with (self._cluster.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program(), "-q", str(settings)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=in_our_shadow(signal.SIGKILL),  # noqa: PLW1509  (our tests start it from their main thread)
                **user.identity,
            )
        eventually(self._answers)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder)

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._cluster.folder / "log").read_text()[-2000:]
        try:
            psycopg.connect(through(self._cluster.dsn())).close()
        except psycopg.OperationalError:
            return False
        return True

    def _settings(self) -> str:
        return textwrap.dedent(f"""
            [databases]
            * = host={self._cluster.socket} port={PORT} auth_user={SUPERUSER}
            [pgbouncer]
            unix_socket_dir = {self._folder}
            unix_socket_mode = 0700
            listen_port = {POOLER_PORT}
            auth_type = trust
            auth_query = SELECT usename, passwd FROM pg_shadow WHERE usename = $1
            pool_mode = transaction
            server_round_robin = 1
            default_pool_size = 20
            max_client_conn = 500
            server_login_retry = 0.1
            query_wait_timeout = 3
            """)


def _program() -> str:
    """Where pgbouncer is; Debian's folder of it need not be on the path of an ordinary user."""
    return shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") or missing_rig("no pgbouncer on this machine")
