"""`orbitd once`: do what is due, then end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from orbitd.system.postgres import Cluster
from tests.daemon.conftest import Begin
from tests.support.daemon import PATIENCE_SECONDS, Daemon, eventually

pytestmark = pytest.mark.daemon

WORK = """
    import os
    import signal
    import time
    from pathlib import Path

    @pipeline("quick")
    def quick(ctx: Context) -> None:
        pass

    @pipeline("holds")
    def holds(ctx: Context, until: str) -> None:
        while not Path(until).exists():
            time.sleep(0.01)

    @pipeline("fails")
    def fails(ctx: Context) -> None:
        raise Permanent("never")

    @pipeline("retries", max_attempts=5)
    def retries(ctx: Context) -> None:
        raise Retry(after=3600)

    @pipeline("crashes", max_crashes=2)
    def crashes(ctx: Context) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
"""

Run = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def place(begin: Begin) -> Daemon:
    """Configuration and database, where no daemon runs."""
    return begin(WORK, start=False)


@pytest.fixture
def once(place: Daemon) -> Iterator[Run]:
    """Start `orbitd once` on the place's database."""
    started: list[subprocess.Popen[str]] = []

    def once(*arguments: str) -> subprocess.Popen[str]:
        with place.log_file.open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "orbitd", "once", "-c", str(place.config), "--allow-root", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
                cwd=place.folder,
            )
        started.append(process)
        return process

    yield once
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and what it said."""
    told, _ = process.communicate(timeout=PATIENCE_SECONDS)
    return process.returncode, told.strip()


def states(place: Daemon, runs: list[int]) -> list[str]:
    return [place.describe(run_id)["state"] for run_id in runs]


def test_it_does_what_is_due_and_ends(place: Daemon, once: Run) -> None:
    runs = [place.enqueue("quick") for _ in range(20)]
    assert ended(once()) == (0, "20 succeeded, 0 failed")
    assert states(place, runs) == ["succeeded"] * 20
    assert place.query("select count(*) as living from orbit.hosts where ended_at is null") == [{"living": 0}]


def test_it_ends_at_once_when_nothing_is_due(place: Daemon, once: Run) -> None:
    place.execute("select orbit.enqueue('quick', run_at => now() + interval '1 hour')")
    code, _ = ended(once())
    assert code == 0
    assert not place.events("run_ended")
    assert not place.events("health_changed")


def test_it_ends_as_soon_as_the_last_run_has(place: Daemon, once: Run) -> None:
    waits = []
    for _ in range(3):
        place.enqueue("quick")
        assert ended(once())[0] == 0
        last, stopping = place.events("run_ended")[-1], place.events("stopping")[-1]
        waits.append(datetime.fromisoformat(stopping["ts"]) - datetime.fromisoformat(last["ts"]))
    assert sorted(waits)[1] < timedelta(seconds=1)


def test_it_waits_for_the_run_in_hand_and_does_what_arrives_meanwhile(place: Daemon, once: Run, tmp_path: Path) -> None:
    first = place.enqueue("holds", until=str(tmp_path / "done"))
    process = once()
    place.await_run(first, "running")
    second = place.enqueue("quick")
    place.await_run(second, "succeeded")
    (tmp_path / "done").touch()
    assert ended(process)[0] == 0
    assert states(place, [first, second]) == ["succeeded"] * 2


def test_a_run_that_failed_shows_in_the_exit_code_and_what_is_to_be_retried_is_left(place: Daemon, once: Run) -> None:
    runs = [place.enqueue(name) for name in ("quick", "fails", "retries")]
    assert ended(once()) == (20, "1 succeeded, 2 failed")
    assert states(place, runs) == ["succeeded", "failed", "scheduled"]


def test_a_run_that_kills_its_child_is_tried_again_and_counts_as_failed(place: Daemon, once: Run) -> None:
    crashing, quick = place.enqueue("crashes"), place.enqueue("quick")
    assert ended(once()) == (20, "1 succeeded, 2 failed")
    assert states(place, [crashing, quick]) == ["failed", "succeeded"]


@pytest.mark.parametrize("most", [1, 3, 7])
def test_it_begins_exactly_as_many_runs_as_it_was_told(place: Daemon, once: Run, most: int) -> None:
    runs = [place.enqueue("quick") for _ in range(10)]
    assert ended(once("--max", str(most))) == (0, f"{most} succeeded, 0 failed")
    assert sorted(states(place, runs)) == ["pending"] * (10 - most) + ["succeeded"] * most


def test_a_limit_that_is_not_reached_does_not_keep_it(place: Daemon, once: Run) -> None:
    place.enqueue("quick")
    assert ended(once("--max", "50")) == (0, "1 succeeded, 0 failed")


def test_two_beside_a_daemon_share_the_work(begin: Begin, place: Daemon, once: Run) -> None:
    place.execute("select orbit.enqueue('quick') from generate_series(1, 400)")
    begin(WORK)
    codes = [ended(process)[0] for process in (once(), once())]
    assert codes == [0, 0]
    eventually(lambda: place.query("select count(*) as waiting from orbit.live"), lambda rows: rows == [{"waiting": 0}])
    outcomes = place.query("select count(*) as attempts, count(distinct run_id) as runs from orbit.outcomes where outcome = 'succeeded'")
    assert outcomes == [{"attempts": 400, "runs": 400}]


def test_term_lets_it_finish_the_run_in_hand_and_begin_no_other(place: Daemon, once: Run, tmp_path: Path) -> None:
    place.configure(**{"children.count": 1})
    held, left = place.enqueue("holds", until=str(tmp_path / "done")), place.enqueue("quick")
    process = once()
    place.await_run(held, "running")
    process.send_signal(signal.SIGTERM)
    eventually(lambda: place.events("stopping"))
    (tmp_path / "done").touch()
    assert ended(process)[0] == 0
    assert states(place, [held, left]) == ["succeeded", "pending"]


def test_pipelines_that_cannot_be_imported_end_it(place: Daemon, once: Run) -> None:
    place.write_code("1 / 0")
    assert ended(once())[0] == 78


def test_a_database_that_is_not_there_ends_it(place: Daemon, once: Run, folder: Path) -> None:
    place.use_database(f"postgresql://nobody@/nothing?host={folder}")
    place.configure(**{"database.connect_timeout": "300ms"})
    code, _ = ended(once())
    assert code == 69
    assert "the database cannot be used" in place.log()


def test_a_database_that_goes_away_for_good_ends_it(place: Daemon, once: Run, own_cluster: Cluster, tmp_path: Path) -> None:
    from orbitd import store

    store.migrate(own_cluster.dsn())
    place.use_database(own_cluster.dsn())
    place.configure(**{"host.lease": "2s", "host.beat": "500ms", "shutdown.drain_timeout": "100ms", "runs.kill_after": "100ms"})
    held = place.enqueue("holds", until=str(tmp_path / "done"))
    process = once()
    place.await_run(held, "running")
    own_cluster.stop()
    assert ended(process)[0] == 69


def test_janitors_that_never_say_a_word_end_it(place: Daemon, once: Run) -> None:
    place.configure(
        **{"host.lease": "2s", "host.beat": "500ms", "database.connect_timeout": "500ms", "database.call_timeout": "500ms"},
    )
    process = once()

    def has_ended() -> bool:
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            for pid in children:
                if b"\0janitor\0" in Path(f"/proc/{pid}/cmdline").read_bytes():  # not yet in its work, which has another title
                    os.kill(int(pid), signal.SIGSTOP)
        return process.poll() is not None

    eventually(has_ended)
    assert ended(process)[0] == 69
