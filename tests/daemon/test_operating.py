"""What an operator does to the daemon: scale, pause, reload, stop; and what it says when it cannot start."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orbitd.errors import ConfigError, DaemonNotRunning, OrbitError, UsageError
from orbitd.system import process
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually

pytestmark = pytest.mark.daemon

VERSION = """
    import time
    from pathlib import Path

    @pipeline("version")
    def version(ctx: Context) -> int:
        return {version}

    @pipeline("holds")
    def holds(ctx: Context, until: str) -> int:
        while not Path(until).exists():
            time.sleep(0.01)
        return {version}
"""


@pytest.fixture
def daemon(begin: Begin) -> Daemon:
    return begin(VERSION.format(version=1))


def _ready(count: int) -> Callable[[dict[str, Any]], bool]:
    return lambda status: bool(status["children"]["ready"] == count == len([slot for slot in status["slots"] if slot["pid"]]))


def test_processes_have_titles_that_say_what_they_are(daemon: Daemon, tmp_path: Path) -> None:
    def titles() -> list[str]:
        pids = [daemon.pid, daemon.pid_of("mold"), daemon.pid_of("janitor"), *daemon.child_pids()]
        return [Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").decode() for pid in pids]

    wanted = ["orbitd: arbiter", "orbitd: mold g1", "orbitd: janitor", "orbitd: child 0 g1 idle", "orbitd: child 1 g1 idle"]
    eventually(titles, lambda seen: seen == wanted)
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    slot = daemon.slot_running(run_id)
    title = Path(f"/proc/{slot['pid']}/cmdline").read_bytes().rstrip(b"\0").decode()
    assert title == f"orbitd: child {slot['slot']} g1 holds {run_id & (2**39 - 1)}"
    (tmp_path / "done").touch()


def test_ttin_and_ttou_change_the_number_of_children(daemon: Daemon) -> None:
    daemon.signal(signal.SIGTTIN)
    daemon.await_status(_ready(3))
    daemon.signal(signal.SIGTTOU)
    daemon.await_status(_ready(2))
    assert [event["children"] for event in daemon.events("scaled")] == [3, 2]


def test_fewer_than_none_are_none_and_one_more_is_one(daemon: Daemon) -> None:
    """Complaint 25: celery#1926: a number of workers below zero."""
    with pytest.raises(UsageError, match="cannot scale from 2 to -5"):
        daemon.ask("scale", amount="-7")
    daemon.ask("scale", amount="0", wait=True)
    for _ in range(3):
        daemon.signal(signal.SIGTTOU)
        eventually(lambda: daemon.events("scaled")[-1]["children"] == 0)
    daemon.signal(signal.SIGTTIN)
    daemon.await_status(lambda status: (status["children"]["target"], status["children"]["ready"]) == (1, 1))


def test_scale_waits_until_the_children_are_there(daemon: Daemon) -> None:
    assert daemon.ask("scale", amount="4", wait=True)["children"] == 4
    assert len(daemon.child_pids()) == 4
    assert daemon.ask("scale", amount="-3", wait=True)["children"] == 1
    daemon.await_status(_ready(1))
    assert daemon.ask("scale", amount="1")["changed"] is False


def test_a_scale_down_waits_for_the_busy_and_takes_the_idle(daemon: Daemon, tmp_path: Path) -> None:
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    busy = daemon.slot_running(run_id)["slot"]
    daemon.ask("scale", amount="1", wait=True)
    eventually(daemon.slots, lambda slots: [slot["slot"] for slot in slots] == [busy])
    (tmp_path / "done").touch()
    daemon.await_run(run_id, "succeeded")


def test_a_paused_daemon_starts_nothing_and_goes_on_when_unpaused(daemon: Daemon) -> None:
    assert daemon.ask("pause")["changed"] is True
    assert daemon.ask("pause")["changed"] is False
    assert daemon.status()["state"] == "paused"
    run_id = daemon.enqueue("version")
    daemon.signal(signal.SIGTTIN)
    daemon.await_status(lambda status: status["children"]["ready"] == 3)
    assert daemon.describe(run_id)["state"] == "pending"
    daemon.ask("unpause")
    daemon.await_run(run_id, "succeeded")


def test_tstp_and_cont_pause_and_unpause(daemon: Daemon) -> None:
    daemon.signal(signal.SIGTSTP)
    daemon.await_status(lambda status: status["state"] == "paused")
    daemon.signal(signal.SIGCONT)
    daemon.await_status(lambda status: status["state"] == "running")


def test_a_reload_runs_the_new_code_and_a_busy_old_child_finishes(daemon: Daemon, tmp_path: Path) -> None:
    """Complaint 3 (gunicorn#2449): the code is preloaded, and a reload takes up the new one."""
    held = daemon.enqueue("holds", until=str(tmp_path / "done"))
    old_pid = daemon.slot_running(held)["pid"]
    daemon.write_code(VERSION.format(version=2))
    daemon.configure(**{"control.group": "root"})
    assert daemon.ask("reload", wait=True)["message"] == "generation 2 serves; restart orbitd for: control.group"
    assert daemon.await_run(daemon.enqueue("version"), "succeeded")["result"] == 2
    assert process.stat(old_pid)
    (tmp_path / "done").touch()
    assert daemon.await_run(held, "succeeded")["result"] == 1
    status = daemon.await_status(_ready(2))
    assert {slot["generation"] for slot in status["slots"]} == {2}
    daemon.await_status(lambda status: [each["generation"] for each in status["processes"] if each["role"] == "mold"] == [2])
    assert (status["last_reload"]["ok"], status["last_reload"]["restart_needed"]) == (True, ["control.group"])


def test_hup_takes_up_the_configuration_too(daemon: Daemon) -> None:
    daemon.configure(**{"children.count": 3})
    daemon.signal(signal.SIGHUP)
    daemon.await_status(lambda status: status["generation"] == 2 and status["children"]["ready"] == 3)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("this is no python", "SyntaxError"),
        ("raise RuntimeError('no such table')", "no such table"),
        ("import os; os._exit(9)", "exited:9"),
        ("x = 1", "no pipeline"),
    ],
)
def test_broken_code_leaves_the_old_fleet_at_work_and_says_why(daemon: Daemon, code: str, says: str) -> None:
    before = daemon.child_pids()
    (daemon.code / "work.py").write_text(code)
    with pytest.raises(OrbitError, match=says) as caught:
        daemon.ask("reload", wait=True)
    assert caught.value.exit_code in (1, 78)
    assert daemon.child_pids() == before
    status = daemon.status()
    assert status["state"] == "running"
    assert status["generation"] == 1
    assert status["last_reload"]["ok"] is False
    assert [problem["code"] for problem in status["problems"]] == ["reload_failed"]
    assert daemon.await_run(daemon.enqueue("version"), "succeeded")["result"] == 1
    daemon.write_code(VERSION.format(version=3))
    daemon.ask("reload", wait=True)
    assert daemon.await_run(daemon.enqueue("version"), "succeeded")["result"] == 3
    assert daemon.status()["problems"] == []


def test_broken_configuration_changes_nothing_and_exits_with_78(daemon: Daemon) -> None:
    before = daemon.child_pids()
    daemon.config.write_text(daemon.config.read_text().replace("[children]\ncount = 2", '[children]\ncuont = 3\ncount = "many"'))
    with pytest.raises(ConfigError, match="cuont"):
        daemon.ask("reload", wait=True)
    assert daemon.child_pids() == before
    assert daemon.status()["last_reload"]["ok"] is False


def test_an_import_that_hangs_is_given_up(begin: Begin) -> None:
    daemon = begin(VERSION.format(version=1), **{"children.boot_timeout": "1s"})
    daemon.write_code("import time; time.sleep(60)\n")
    with pytest.raises(OrbitError, match=r"longer than children\.boot_timeout, 1s"):
        daemon.ask("reload", wait=True)
    assert daemon.await_run(daemon.enqueue("version"), "succeeded")["result"] == 1


def test_a_second_reload_restarts_the_first_with_the_newest_files(daemon: Daemon) -> None:
    daemon.write_code("import time; time.sleep(60)\n")
    daemon.ask("reload")
    daemon.await_status(lambda status: status["state"] == "reloading")
    daemon.write_code(VERSION.format(version=2))
    assert daemon.ask("reload", wait=True)["generation"] == 3
    assert daemon.await_run(daemon.enqueue("version"), "succeeded")["result"] == 2
    daemon.await_status(lambda status: [each["generation"] for each in status["processes"] if each["role"] == "mold"] == [3])


def test_term_finishes_the_run_in_hand_and_ends_with_0(daemon: Daemon, tmp_path: Path) -> None:
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    daemon.slot_running(run_id)
    daemon.signal(signal.SIGTERM)
    daemon.await_status(lambda status: status["state"] == "draining" and status["children"]["draining"] == 1)
    (tmp_path / "done").touch()
    assert daemon.await_exit() == 0
    assert daemon.describe(run_id)["state"] == "succeeded"
    with pytest.raises(DaemonNotRunning):
        daemon.ask("status")
    assert not daemon.socket.exists()
    assert not (daemon.folder / "state" / "incarnation.json").exists()


@pytest.mark.parametrize("numbers", [[signal.SIGQUIT], [signal.SIGTERM, signal.SIGINT]])
def test_quit_or_a_second_term_interrupts_the_run_which_resumes_later(begin: Begin, tmp_path: Path, numbers: list[int]) -> None:
    daemon = begin(VERSION.format(version=1))
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    daemon.slot_running(run_id)
    for number in numbers:
        daemon.signal(number)
        daemon.await_status_or_exit("draining", "stopping")
    assert daemon.await_exit() == 0
    run = daemon.describe(run_id)
    assert run["state"] == "pending"
    assert [(attempt["outcome"], attempt["cause"]) for attempt in run["attempts"]] == [("interrupted", "interrupted")]
    (tmp_path / "done").touch()
    daemon.start()
    assert daemon.await_run(run_id, "succeeded")["attempt"] == 2


def test_past_the_drain_timeout_the_run_is_interrupted(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(VERSION.format(version=1), **{"shutdown.drain_timeout": "200ms"})
    run_id = daemon.enqueue("holds", until=str(tmp_path / "done"))
    daemon.slot_running(run_id)
    assert daemon.stop() == 0
    assert daemon.describe(run_id)["state"] == "pending"


def test_code_that_will_not_stop_is_killed_and_its_run_is_not_charged(begin: Begin) -> None:
    daemon = begin(
        """
        import time

        @pipeline("stubborn")
        def stubborn(ctx: Context) -> None:
            while True:
                try:
                    time.sleep(60)
                except BaseException:
                    pass
        """,
        **{"runs.kill_after": "300ms"},
    )
    run_id = daemon.enqueue("stubborn")
    daemon.slot_running(run_id)
    daemon.signal(signal.SIGQUIT)
    assert daemon.await_exit() == 0
    run = daemon.describe(run_id)
    assert (run["state"], run["attempts"][0]["cause"]) == ("pending", "interrupted")
    assert daemon.query("select crashes, errors from orbit.live") == [{"crashes": 0, "errors": 0}]


def test_a_child_over_its_memory_limit_finishes_its_run_and_is_replaced_first(begin: Begin, tmp_path: Path) -> None:
    """Complaints 11 (gunicorn#1299: no memory limit) and 17 (uwsgi#105: one that ends work in hand)."""
    daemon = begin(
        """
        import time
        from pathlib import Path

        @pipeline("hoards")
        def hoards(ctx: Context, until: str) -> int:
            kept = bytearray(200 << 20)
            while not Path(until).exists():
                time.sleep(0.01)
            return len(kept)
        """,
        **{"children.max_rss": "150MiB", "children.count": 1},
    )
    run_id = daemon.enqueue("hoards", until=str(tmp_path / "done"))
    old = daemon.slot_running(run_id)
    status = daemon.await_status(lambda status: status["children"]["draining"] == 1)
    assert status["children"]["ready"] == 1
    assert daemon.describe(run_id)["state"] == "running"
    (tmp_path / "done").touch()
    assert daemon.await_run(run_id, "succeeded")["result"] == 200 << 20
    daemon.await_status(lambda status: old["pid"] not in [slot["pid"] for slot in status["slots"]])
    assert [event["reason"] for event in daemon.events("child_drained")] == ["over_memory"]


def test_a_second_daemon_on_the_same_state_says_that_one_is_running(daemon: Daemon) -> None:
    second = subprocess.run(
        [sys.executable, "-m", "orbitd", "-c", str(daemon.config), "--allow-root"], capture_output=True, text=True, timeout=20, check=False
    )
    assert second.returncode == 6
    assert "another orbitd runs" in second.stderr
    assert "Traceback" not in second.stderr
    assert daemon.status()["state"] == "running"


UNUSABLE = [("raise RuntimeError('boom')", "boom"), ("x = 1", "no pipeline"), ("import os; os._exit(3)", "exited:3")]


@pytest.mark.parametrize(("code", "says"), UNUSABLE)
def test_a_first_start_without_usable_pipelines_ends_with_78(begin: Begin, code: str, says: str) -> None:
    daemon = begin("", start=False)
    (daemon.code / "work.py").write_text(code)
    daemon.start(wait=False)
    assert daemon.await_exit() == 78
    assert says in daemon.log()


def test_a_first_import_that_takes_too_long_is_the_end_and_says_so(begin: Begin) -> None:
    daemon = begin("import time; time.sleep(600)", start=False, **{"children.boot_timeout": "2s"}).start(wait=False)
    assert daemon.await_exit() == 78
    (failed,), (stopped,) = daemon.events("mold_failed"), daemon.events("stopped")
    told = "the import took longer than children.boot_timeout, 2s"
    assert failed["error"].splitlines()[0] == told
    assert stopped["why"] == f"the pipelines cannot be imported: {told}"
    assert f'{daemon.code}/work.py", line 2 in <module>' in daemon.log(), "where it hung"


def test_root_is_refused_unless_told(begin: Begin) -> None:
    daemon = begin(VERSION.format(version=1), start=False)
    command = [sys.executable, "-m", "orbitd", "-c", str(daemon.config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 5
    assert "--allow-root" in ended.stderr


def test_an_application_with_a_thousand_pipelines_starts(begin: Begin) -> None:
    code = """
        def make(number: int):
            @pipeline(f"a.pipeline.with.a.rather.long.name.{number}")
            def work(ctx: Context, first_argument: int, second_argument: str = "") -> int:
                return number
            return work

        for number in range(1000):
            globals()[f"work_{number}"] = make(number)
    """
    daemon = begin(code)
    run_id = daemon.enqueue("a.pipeline.with.a.rather.long.name.999", first_argument=1)
    assert daemon.await_run(run_id, "succeeded")["result"] == 999


def test_a_control_socket_that_somebody_removed_is_made_again(daemon: Daemon) -> None:
    daemon.socket.unlink()
    eventually(daemon.socket.exists)
    assert daemon.status()["state"] == "running"


def test_with_no_descriptors_left_those_who_live_go_on(daemon: Daemon) -> None:
    before = daemon.child_pids()
    open_fds = len(list(Path(f"/proc/{daemon.pid}/fd").iterdir()))
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (open_fds, 4096))
    daemon.signal(signal.SIGTTIN)
    eventually(lambda: daemon.events("spawn_failed"))
    assert all(process.stat(pid) for pid in before)
    daemon.await_run(daemon.enqueue("version"), "succeeded")
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (4096, 4096))
    daemon.await_status(_ready(3))
