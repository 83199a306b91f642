"""The embedded PostgreSQL: real servers, really killed."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from orbitd.errors import Conflict, DatabaseUnavailable
from orbitd.system import postgres
from orbitd.system.postgres import Cluster, Installation, ServerUser, hold_lock, installations, server_user
from tests.support.addresses import around
from tests.support.postgres import FAST_SETTINGS

NOBODY = 65534
OWNER = """
import sys
from pathlib import Path
from orbitd.system.postgres import Cluster
cluster = Cluster(Path(sys.argv[1]), settings={"fsync": "off"})
cluster.start()
print(cluster.pid, flush=True)
sys.stdin.read()
cluster.stop()
"""

pytestmark = pytest.mark.slow  # a server for each test

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root has to run the server as somebody else")


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can enter, which pytest's own is not."""
    made = Path(tempfile.mkdtemp(prefix="orbitd-test-"))
    yield made
    with suppress(OSError):
        shutil.rmtree((made / "elsewhere").readlink())
    shutil.rmtree(made)


@contextmanager
def started(folder: Path, **options: dict[str, str]) -> Iterator[Cluster]:
    cluster = Cluster(folder, **{"settings": FAST_SETTINGS, **options})
    cluster.start()
    try:
        yield cluster
    finally:
        cluster.stop("immediate")


@contextmanager
def owner_process(folder: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Another process that has a server on the folder; with the server's pid."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdin
    assert owner.stdout
    try:
        yield owner, int(owner.stdout.readline())
    finally:
        with suppress(BrokenPipeError):
            owner.stdin.close()
        owner.wait()
        owner.stdout.close()


def await_end(pid: int) -> None:
    """Wait for the end of a process that need not be our child."""
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        select.select([pidfd], [], [])
        os.close(pidfd)


def as_nobody(work: Callable[[], None]) -> None:
    """Do the work in a copy of this process that is an ordinary user's."""
    if os.geteuid() != 0:
        work()
        return
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            work()
        except BaseException:  # noqa: BLE001  (it must not get back into pytest)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def fetch(cluster: Cluster, sql: str, database: str = "postgres") -> object:
    with psycopg.connect(cluster.dsn(database), autocommit=True) as connection:
        row = connection.execute(sql.encode()).fetchone()
        return row and row[0]


def test_a_server_starts_serves_and_stops(folder: Path) -> None:
    with started(folder) as cluster:
        assert fetch(cluster, "show listen_addresses") == ""
        assert fetch(cluster, "show cluster_name") == "orbitd"
        pid = cluster.pid
    assert not cluster.is_running()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_stopping_and_starting_twice_is_fine(folder: Path) -> None:
    with started(folder) as cluster:
        pid = cluster.pid
        cluster.start()
        assert cluster.pid == pid
        cluster.stop()
        cluster.stop()


def test_the_server_leads_a_session_of_its_own(cluster: Cluster) -> None:
    assert os.getsid(cluster.pid) == cluster.pid


def test_nobody_else_can_reach_the_socket(cluster: Cluster) -> None:
    assert cluster.socket.stat().st_mode & 0o777 == 0o700
    assert cluster.data.stat().st_mode & 0o777 == 0o700


def test_backends_are_ours_and_other_processes_are_not(cluster: Cluster) -> None:
    with psycopg.connect(around(cluster.dsn())) as connection:
        assert cluster.is_ours(connection.info.backend_pid)
    assert cluster.is_ours(cluster.pid)
    assert not cluster.is_ours(os.getpid())
    assert not cluster.is_ours(1)


def test_a_database_is_a_copy_of_its_template(own_cluster: Cluster) -> None:
    own_cluster.create_database("first")
    with psycopg.connect(around(own_cluster.dsn("first")), autocommit=True) as connection:
        connection.execute("create table seven as select 7 as n")
    own_cluster.create_database("second", template="first")
    assert fetch(own_cluster, "select n from seven", "second") == 7
    assert own_cluster.has_database("second")
    assert not own_cluster.has_database("third")
    with pytest.raises(DatabaseUnavailable, match='database "second" already exists'):
        own_cluster.create_database("second")


@pytest.mark.parametrize("mode", ["fast", "immediate", "kill"])
def test_what_was_committed_outlives_a_restart(own_cluster: Cluster, mode: postgres.StopMode) -> None:
    former = own_cluster.pid
    with psycopg.connect(own_cluster.dsn(), autocommit=True) as connection:
        connection.execute("create table kept as select 1 as n")
        own_cluster.restart(mode)
    assert own_cluster.pid != former
    assert fetch(own_cluster, "select n from kept") == 1


def test_a_server_that_was_killed_is_restarted(own_cluster: Cluster) -> None:
    os.kill(own_cluster.pid, signal.SIGKILL)
    await_end(own_cluster.pid)
    assert not own_cluster.is_running()
    own_cluster.restart()
    assert fetch(own_cluster, "select 1") == 1


def test_kill_9_of_the_owner_shuts_the_server_down_cleanly(folder: Path) -> None:
    with owner_process(folder) as (owner, server_pid):
        owner.kill()
        await_end(server_pid)
    assert "database system is shut down" in (folder / "log").read_text()
    with started(folder):
        assert "database system was interrupted" not in (folder / "log").read_text()


def test_kill_9_of_owner_and_server_leaves_data_that_start_again(folder: Path) -> None:
    with owner_process(folder) as (owner, server_pid):
        os.kill(server_pid, signal.SIGSTOP)  # it must not see its owner's end
        owner.kill()
        owner.wait()
        os.kill(server_pid, signal.SIGKILL)
        await_end(server_pid)
    assert (folder / "data" / "postmaster.pid").exists()
    with started(folder) as cluster:
        assert fetch(cluster, "select 1") == 1


def test_a_start_waits_for_the_server_of_a_dead_owner_to_end(folder: Path) -> None:
    with owner_process(folder) as (owner, server_pid):
        owner.kill()
        owner.wait()
        with started(folder) as cluster:
            assert cluster.pid != server_pid
            assert fetch(cluster, "select 1") == 1


def test_a_second_start_says_that_one_is_running(folder: Path) -> None:
    with owner_process(folder) as (owner, _), pytest.raises(Conflict, match=rf"one is running already in {folder} \(process {owner.pid}\)"):
        Cluster(folder).start()


def test_a_lock_is_free_again_when_its_holder_closes_it(tmp_path: Path) -> None:
    for _ in range(2):
        os.close(hold_lock(tmp_path / "lock"))


def test_a_data_directory_cut_short_is_made_anew(folder: Path) -> None:
    (folder / "data.unfinished").mkdir()
    (folder / "data.unfinished" / "PG_VERSION").write_text("15\n")
    with started(folder) as cluster:
        assert fetch(cluster, "select 1") == 1


def test_a_path_too_long_for_a_socket_moves_data_and_socket(folder: Path) -> None:
    deep = folder / ("d" * 60) / ("e" * 60)
    with started(deep) as cluster:
        home = cluster.home
        assert home != deep
        cluster.create_database("kept")
    with started(deep) as cluster:
        assert cluster.home == home
        assert cluster.has_database("kept")
    shutil.rmtree(home)


@as_root
def test_a_folder_that_the_server_cannot_enter_moves_data_and_socket(folder: Path) -> None:
    closed = folder / "closed"
    closed.mkdir(mode=0o700)
    with started(closed / "postgres") as cluster:
        assert cluster.home.parent == Path("/var/tmp")
        assert fetch(cluster, "select 1") == 1
    shutil.rmtree(cluster.home)


def test_a_stand_in_that_others_can_write_to_is_not_taken(folder: Path) -> None:
    taken = folder / "taken"
    taken.mkdir()
    taken.chmod(0o777)
    (folder / "elsewhere").symlink_to(taken)
    home = postgres.stand_in_for(folder)
    assert home != taken
    assert postgres.stand_in_for(folder) == home


def test_an_ordinary_user_runs_it_as_themselves(folder: Path) -> None:
    folder.chmod(0o777)

    def work() -> None:
        with started(folder / "own") as cluster:
            assert cluster.user.is_us
            assert cluster.home == folder / "own"
            assert fetch(cluster, "select 1") == 1

    as_nobody(work)


@as_root
def test_root_never_runs_the_server(cluster: Cluster) -> None:
    assert cluster.user.uid != 0
    assert Path(f"/proc/{cluster.pid}").stat().st_uid == cluster.user.uid


@as_root
def test_data_keep_their_owner(folder: Path) -> None:
    with started(folder, environ=dict(os.environ) | {"ORBITD_PG_USER": "nobody"}):
        pass
    with started(folder) as cluster:
        assert cluster.user.uid == NOBODY
        assert fetch(cluster, "select 1") == 1


@as_root
def test_the_servers_user_can_be_chosen() -> None:
    assert server_user({"ORBITD_PG_USER": "nobody"}).uid == NOBODY
    with pytest.raises(DatabaseUnavailable, match='no user "noone"'):
        server_user({"ORBITD_PG_USER": "noone"})


def test_the_callers_postgres_variables_do_not_matter(folder: Path) -> None:
    misleading = {"PGPORT": "1", "PGHOST": "/nowhere", "PGDATA": "/nowhere", "PGOPTIONS": "-c nonsense=1", "LC_ALL": "xx_XX"}
    with started(folder, environ=dict(os.environ) | misleading) as cluster:
        assert cluster.has_database("postgres")


def test_a_server_that_does_not_start_says_why(folder: Path) -> None:
    with (
        pytest.raises(DatabaseUnavailable, match=r'(?s)ended at start.*parameter "shared_buffers".*look into .*/log'),
        started(folder, settings={"shared_buffers": "lots"}),
    ):
        pass
    with started(folder):
        pass


def test_a_folder_that_cannot_be_made_is_named(folder: Path) -> None:
    (folder / "file").touch()
    with pytest.raises(DatabaseUnavailable, match=rf"cannot start PostgreSQL in {folder}/file/postgres"):
        Cluster(folder / "file" / "postgres").start()


def test_no_postgresql_at_all(folder: Path) -> None:
    with pytest.raises(DatabaseUnavailable, match=r"no PostgreSQL found on this machine(?s:.*)apt-get install postgresql"):
        Cluster(folder, environ={"ORBITD_PG_BIN": "/nowhere"}).start()


def test_only_the_version_that_is_asked_for_is_taken(folder: Path) -> None:
    there = next(installations(os.environ)).major
    assert {each.major for each in installations({**os.environ, "ORBITD_PG_MAJOR": str(there)})} == {there}
    with pytest.raises(DatabaseUnavailable, match="no PostgreSQL 9 found on this machine"):
        Cluster(folder, environ={**os.environ, "ORBITD_PG_MAJOR": "9"}).start()


def test_data_of_another_version_are_refused_by_name(folder: Path) -> None:
    (folder / "data").mkdir()
    (folder / "data" / "PG_VERSION").write_text("9\n")
    with pytest.raises(DatabaseUnavailable, match=r"were made by PostgreSQL 9, found only \d+"):
        Cluster(folder).start()


@as_root
def test_a_wheel_under_a_closed_home_is_copied_for_the_server(folder: Path) -> None:
    site = folder / "site"
    programs = site / postgres.WHEEL / "pginstall" / "bin"
    programs.mkdir(parents=True)
    (programs / "postgres").write_text("#!/bin/sh\n")
    (programs / "postgres").chmod(0o700)
    libraries = site / f"{postgres.WHEEL}.libs"
    libraries.mkdir()
    (libraries / "libpq.so").touch(mode=0o600)
    site.chmod(0o700)
    user = ServerUser(NOBODY, NOBODY)
    home = folder / "home"
    home.mkdir()
    for path in (folder, home):
        path.chmod(0o711)

    copied = postgres._programs_for(user, Installation(programs, 16, site), home)

    assert user.reaches(copied / "postgres")
    assert user.reaches(copied.parents[2] / libraries.name)
    assert (copied.parents[2] / libraries.name / "libpq.so").stat().st_mode & 0o444 == 0o444
    assert postgres._programs_for(user, Installation(programs, 16, site), home) == copied
