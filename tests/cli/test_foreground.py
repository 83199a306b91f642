"""`orbitd` in the foreground: what it tells at the start, its pid file, its environment, and how it refuses."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orbitd import __version__
from orbitd.errors import OrbitError
from tests.cli.conftest import PIPELINES, Orbitd, clean_environment
from tests.support.daemon import Daemon, eventually, kill_process_of

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(60)]

Begin = Callable[..., Daemon]
CODE = PIPELINES.partition("pipeline\n")[2]


@pytest.fixture
def begin(folder: Path, dsn: str) -> Iterator[Begin]:
    """Make (and start) a daemon in the folder."""
    daemons: list[Daemon] = []

    def begin(*arguments: str, start: bool = True, **options: Any) -> Daemon:
        daemons.append(Daemon(folder / f"d{len(daemons)}", dsn, CODE, **{"children.count": 1, **options}))
        return daemons[-1].start(*arguments) if start else daemons[-1]

    yield begin
    for daemon in daemons:
        daemon.destroy()


def on_a_terminal(daemon: Daemon, *arguments: str, lines: int) -> tuple[int, list[str]]:
    """Start the daemon on a terminal; its pid, and the first lines that it shows there."""
    pid, ours = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "orbitd", "-c", str(daemon.config), "--allow-root", *arguments]
        os.chdir(daemon.folder)
        os.execve(sys.executable, command, clean_environment() | {"TERM": "xterm"})
    shown = b""
    try:
        while shown.count(b"\n") < lines:
            assert select.select([ours], [], [], 20)[0], shown
            shown += os.read(ours, 4096)
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(ours)
    return pid, shown.decode().replace("\r\n", "\n").splitlines()


def opened(pid: int) -> set[str]:
    """The files that a process has open."""
    found = set()
    for link in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            found.add(str(link.readlink()))
    return found


class TestStart:
    def test_a_terminal_gets_six_lines_before_the_log(self, begin: Begin) -> None:
        daemon = begin(start=False, **{"app.filter": ["mail.*"], "logging.format": "text"})
        pid, lines = on_a_terminal(daemon, lines=7)
        assert lines[0] == f"orbitd {__version__}, process {pid}"
        assert lines[1] == f"config: {daemon.config}"
        assert lines[2].startswith("database: ")
        assert lines[3] == f"pipelines: {daemon.code}/; filter mail.*"
        assert lines[4] == "children: 1"
        assert lines[5] == f"control socket: {daemon.socket}"
        assert "started" not in lines[6]

    def test_quiet_keeps_them_back(self, begin: Begin) -> None:
        daemon = begin(start=False, **{"logging.format": "text"})
        _, lines = on_a_terminal(daemon, "--quiet", lines=1)
        assert "started" in lines[0]

    def test_a_log_begins_with_one_event_that_says_the_same(self, begin: Begin) -> None:
        daemon = begin()
        [event] = daemon.events("started")
        assert event["version"] == __version__
        assert event["config"] == str(daemon.config)
        assert event["pipelines"] == f"{daemon.code}/"
        assert str(event["children"]) == "1"
        assert event["control_socket"] == str(daemon.socket)
        assert event["database"]

    def test_warnings_of_the_configuration_follow(self, begin: Begin, folder: Path, dsn: str) -> None:
        secret = folder / "dsn"
        secret.write_text(dsn.replace("postgres@", "postgres:s3cret@"))
        secret.chmod(0o644)
        daemon = begin(**{"database.url": f"file:{secret}"})
        assert any(f"read the password in {secret}" in event["message"] for event in daemon.events("config_warning"))
        assert "s3cret" not in daemon.log()

    def test_code_that_everyone_may_change_is_a_warning(self, begin: Begin) -> None:
        daemon = begin(start=False)
        daemon.code.chmod(0o777)
        daemon.start()
        assert any(f"everyone may write to {daemon.code}" in event["message"] for event in daemon.events("config_warning"))

    def test_a_given_group_that_is_not_there_is_a_warning_at_start_alone(self, begin: Begin) -> None:
        daemon = begin(**{"control.group": "no_such_group"})
        [told] = [event for event in daemon.events("config_warning") if "no_such_group" in event["message"]]
        daemon.ask("reload", wait=True)
        assert [event for event in daemon.events("config_warning") if "no_such_group" in event["message"]] == [told]


class TestPidFile:
    def test_it_holds_the_pid_while_the_daemon_runs(self, begin: Begin, folder: Path) -> None:
        path = folder / "orbitd.pid"
        daemon = begin("--pid", str(path))
        assert path.read_text() == f"{daemon.pid}\n"
        locks = {str(path), str(daemon.folder / "state" / "orbitd.lock")}
        holders = [
            pid for pid in (daemon.pid, daemon.pid_of("mold"), daemon.pid_of("janitor"), *daemon.child_pids()) if locks & opened(pid)
        ]
        assert holders == [daemon.pid]
        assert daemon.stop() == 0
        assert not path.exists()

    def test_one_of_a_killed_daemon_is_replaced(self, begin: Begin, folder: Path) -> None:
        path = folder / "orbitd.pid"
        daemon = begin("--pid", str(path))
        daemon.destroy()
        assert path.exists()
        daemon.start("--pid", str(path))
        assert path.read_text() == f"{daemon.pid}\n"

    def test_one_of_a_living_daemon_refuses_with_6_and_names_it(self, begin: Begin, folder: Path) -> None:
        path = folder / "orbitd.pid"
        first = begin("--pid", str(path))
        second = begin(start=False)
        second.start("--pid", str(path), wait=False)
        assert second.await_exit() == 6
        assert f"another orbitd runs as process {first.pid}" in second.log()
        assert path.read_text() == f"{first.pid}\n"
        assert not second.socket.exists()

    def test_one_that_cannot_be_written_ends_with_78(self, begin: Begin, folder: Path) -> None:
        daemon = begin(start=False)
        daemon.start("--pid", str(folder / "nowhere" / "orbitd.pid"), wait=False)
        assert daemon.await_exit() == 78
        assert "cannot be written: no such file or directory" in daemon.log()
        assert "Traceback" not in daemon.log()


class TestEnvironment:
    def test_the_env_files_variables_reach_the_pipelines_and_a_reload_reads_them_again(self, begin: Begin, folder: Path) -> None:
        env_file = folder / "app.env"
        env_file.write_text("GREETING=hello\nGONE=soon\n")
        env_file.chmod(0o600)
        daemon = begin("--env-file", str(env_file))

        def seen(name: str) -> object:
            return daemon.await_run(daemon.enqueue("mail.where", name=name), "succeeded")["result"]

        assert (seen("GREETING"), seen("GONE")) == ("hello", "soon")
        assert Path(f"/proc/{daemon.pid}/cmdline").read_bytes().startswith(b"orbitd: arbiter\0")
        env_file.write_text("GREETING=good bye\n")
        daemon.ask("reload", wait=True)
        assert (seen("GREETING"), seen("GONE")) == ("good bye", None)

    def test_a_reload_that_fails_leaves_the_old_variables_also_to_a_mold_that_is_born_anew(self, begin: Begin, folder: Path) -> None:
        env_file = folder / "app.env"
        env_file.write_text("GREETING=hello\n")
        env_file.chmod(0o600)
        daemon = begin("--env-file", str(env_file))
        mold, [child] = daemon.pid_of("mold"), daemon.child_pids()
        code = daemon.code / "work.py"
        good_code, written_at = code.read_text(), code.stat().st_mtime_ns
        env_file.write_text("GREETING=good bye\nNEW=one\n")
        code.write_text("1 / 0\n")
        with pytest.raises(OrbitError, match="the reload failed"):
            daemon.ask("reload", wait=True)
        code.write_text(good_code)
        os.utime(code, ns=(written_at, written_at))  # other files would be another generation
        assert kill_process_of(daemon, mold)
        eventually(lambda: daemon.pid_of("mold"), lambda pid: pid != mold)
        assert kill_process_of(daemon, child)
        eventually(daemon.child_pids, lambda pids: pids not in ([], [child], [None]))
        for name, value in (("GREETING", "hello"), ("NEW", None)):
            assert daemon.await_run(daemon.enqueue("mail.where", name=name), "succeeded")["result"] == value
        daemon.ask("reload", wait=True)
        run = daemon.enqueue("mail.where", name="GREETING")
        assert daemon.await_run(run, "succeeded")["result"] == "good bye"

    def test_what_the_daemon_was_started_with_counts_more(self, begin: Begin, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("GREETING", "from outside")
        env_file = folder / "app.env"
        env_file.write_text("GREETING=hello\n")
        env_file.chmod(0o600)
        daemon = begin("--env-file", str(env_file))
        run = daemon.enqueue("mail.where", name="GREETING")
        assert daemon.await_run(run, "succeeded")["result"] == "from outside"


class TestRefusals:
    def test_root_is_refused_unless_told(self, orbitd: Orbitd, dsn: str) -> None:
        done = orbitd(DATABASE_URL=dsn)
        assert done.returncode == 5
        assert done.stderr == (
            "orbitd: orbitd does not run the pipelines' code as root\n"
            "hint: start it as another user, name one in children.user, or say --allow-root\n"
        )

    def test_a_second_one_on_the_same_socket_is_refused_with_6(self, begin: Begin) -> None:
        first = begin()
        second = begin(start=False, **{"control.socket": str(first.socket)})
        second.start(wait=False)
        assert second.await_exit() == 6
        assert f"orbitd is already running: it answers on {first.socket}" in second.log()
        assert f"orbitctl --socket {first.socket} status" in second.log()
        assert first.status()["state"] == "running"

    def test_a_second_one_with_the_same_state_is_refused_with_6(self, begin: Begin) -> None:
        first = begin()
        second = begin(start=False, **{"instance.state_dir": str(first.folder / "state")})
        second.start(wait=False)
        assert second.await_exit() == 6
        assert f"another orbitd runs with the state directory {first.folder / 'state'}: process {first.pid}" in second.log()
        assert "Traceback" not in second.log()

    def test_no_database_is_an_error_with_78(self, orbitd: Orbitd) -> None:
        done = orbitd("--allow-root")
        assert done.returncode == 78
        assert "no database is configured" in done.stderr

    def test_an_address_that_cannot_be_read_is_an_error_with_78_and_not_shown(self, orbitd: Orbitd) -> None:
        done = orbitd("--allow-root", DATABASE_URL="postgresql://u:s3cret@[bad/x")
        assert done.returncode == 78
        assert "DATABASE_URL" in done.stderr
        assert "s3cret" not in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_configuration_that_is_not_there_is_named(self, orbitd: Orbitd) -> None:
        done = orbitd("-c", "nowhere.toml", "--allow-root")
        assert done.returncode == 78
        assert "nowhere.toml" in done.stderr

    def test_an_error_with_json_is_json(self, orbitd: Orbitd) -> None:
        error = json.loads(orbitd("--json", "--allow-root").stderr)["error"]
        assert error["code"] == "config"
