"""`orbitd dev`, as a person starts it: in a directory, with signals, and with a second terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.daemon import eventually

pytestmark = [pytest.mark.daemon, pytest.mark.timeout(120)]

BASICS = Path(__file__).parents[1] / "examples" / "basics"
HELLO = "from orbitd import Context, pipeline\n\n@pipeline('greet')\ndef greet(ctx: Context) -> str:\n    return {!r}\n"


class Dev:
    """One `orbitd dev` in a directory, and a second terminal there."""

    def __init__(self, directory: Path, *pipelines: object, **environment: str) -> None:
        self.directory = directory
        with (directory / "stderr").open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "orbitd", "dev", *map(str, pipelines)],
                cwd=directory,
                env=clean_environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                start_new_session=True,
            )
        self.lines: list[str] = []

    def await_up(self) -> None:
        """Read the six lines; fewer mean that it has ended."""
        assert self.process.stdout
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if len(self.lines) == 6:
                return
        pytest.fail(f"ended with {self.process.wait()}: {self.stderr}")

    @property
    def stderr(self) -> str:
        return (self.directory / "stderr").read_text(errors="replace")

    @property
    def daemon_pid(self) -> int:
        return int(self.said(r"orbitd (\d+) with")[1])

    @property
    def postgres_pid(self) -> int:
        return int(self.said(r"PostgreSQL (\d+) ")[1])

    @property
    def postgres_log(self) -> str:
        return (self.directory / ".orbitd" / "postgres" / "log").read_text()

    def said(self, pattern: str) -> re.Match[str]:
        found = re.search(pattern, "\n".join(self.lines))
        assert found, f"no {pattern} in {self.lines}"
        return found

    def orbitctl(self, *arguments: str) -> dict[str, Any]:
        """What a verb says in a second terminal."""
        done = subprocess.run(
            [sys.executable, "-m", "orbitd.ctl.main", *arguments, "--json"],
            cwd=self.directory,
            env=clean_environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait()


def clean_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("ORBITD_", "DATABASE_URL", "PG"))}


def await_end(pid: int) -> None:
    """Wait for the end of a process that is not our child."""
    with suppress(ProcessLookupError):
        pidfd = os.pidfd_open(pid)
        select.select([pidfd], [], [])
        os.close(pidfd)


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that PostgreSQL's user can enter, which pytest's own is not."""
    made = Path(tempfile.mkdtemp(prefix="orbitd-test-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def start(directory: Path) -> Iterator[Callable[..., Dev]]:
    """Starts `orbitd dev` in the directory; what still runs at the end is stopped."""
    started: list[Dev] = []

    def start(*pipelines: object, **environment: str) -> Dev:
        started.append(Dev(directory, *(pipelines or [BASICS]), **environment))
        return started[-1]

    yield start
    for dev in started:
        if dev.process.poll() is None:
            dev.end()
        assert dev.process.stdout
        dev.process.stdout.close()


@pytest.fixture
def dev(start: Callable[..., Dev]) -> Dev:
    """One that is up, with the basic examples."""
    dev = start()
    dev.await_up()
    return dev


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_postgresql_last(dev: Dev, number: signal.Signals) -> None:
    daemon, postgres = dev.daemon_pid, dev.postgres_pid
    assert dev.end(number) == 0
    for pid in (daemon, postgres):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert "database system is shut down" in dev.postgres_log
    assert "unexpected EOF" not in dev.postgres_log
    assert "terminating connection" not in dev.postgres_log


def test_the_lines_name_the_pipelines_and_the_commands_work(dev: Dev) -> None:
    assert dev.said("pipelines: (.*)")[1] == "basics.concurrent, basics.flaky, basics.hello, basics.slow"
    assert dev.orbitctl("status")["children"]["ready"] == 2
    for line in dev.lines[2:4]:
        typed = re.sub(r"^\S*orbitctl", f"{sys.executable} -m orbitd.ctl.main", line.partition(": ")[2])
        subprocess.run(typed, shell=True, check=True, cwd=dev.directory, env=clean_environment(), stdout=subprocess.DEVNULL)


def test_a_run_enqueued_from_sql_is_done(dev: Dev) -> None:
    typed = dev.said("from SQL: (.*)")[1]
    run = subprocess.run(
        f"{typed} -XAtq", shell=True, check=True, cwd=dev.directory, env=clean_environment(), capture_output=True, text=True
    ).stdout.strip()
    eventually(lambda: dev.orbitctl("describe", run)["state"] == "succeeded")


def test_signals_scale_the_daemon(dev: Dev) -> None:
    dev.process.send_signal(signal.SIGTTIN)
    eventually(lambda: dev.orbitctl("status")["children"]["ready"] == 3)
    dev.process.send_signal(signal.SIGTTOU)
    eventually(lambda: dev.orbitctl("status")["children"]["ready"] == 2)


def test_hup_runs_new_code(start: Callable[..., Dev], directory: Path) -> None:
    (directory / "app").mkdir()
    code = directory / "app" / "greeting.py"
    code.write_text(HELLO.format("before"))
    dev = start("app")
    dev.await_up()
    assert run_result(dev, "greet") == "before"
    code.write_text(HELLO.format("afterwards"))
    dev.process.send_signal(signal.SIGHUP)
    eventually(lambda: run_result(dev, "greet") == "afterwards")


def run_result(dev: Dev, pipeline: str) -> object:
    run = dev.orbitctl("enqueue", pipeline, "--wait")["id"]
    return dev.orbitctl("describe", run)["result"]


def test_a_second_start_says_that_one_is_running(dev: Dev, start: Callable[..., Dev]) -> None:
    second = start()
    assert second.process.wait() == 1
    assert f"one is running already in {dev.directory}/.orbitd (process {dev.process.pid})" in second.stderr
    assert dev.orbitctl("ping")


def test_runs_are_kept_from_one_start_to_the_next(dev: Dev, start: Callable[..., Dev]) -> None:
    run = dev.orbitctl("enqueue", "basics.hello", "--wait")["id"]
    assert dev.end() == 0
    again = start()
    again.await_up()
    assert again.orbitctl("describe", run)["state"] == "succeeded"


def test_the_settings_are_for_our_eyes_only(dev: Dev) -> None:
    mode = (dev.directory / ".orbitd" / "orbitd.toml").stat().st_mode
    assert stat.S_IMODE(mode) == 0o600
    assert (dev.directory / ".orbitd" / ".gitignore").read_text() == "*\n"


def test_kill_9_leaves_nothing_running_and_nothing_broken(dev: Dev, start: Callable[..., Dev]) -> None:
    daemon, postgres = dev.daemon_pid, dev.postgres_pid
    dev.end(signal.SIGKILL)
    await_end(daemon)
    await_end(postgres)
    assert dev.postgres_log.rstrip().endswith("database system is shut down")
    start().await_up()


def test_the_daemons_own_failure_is_passed_on(start: Callable[..., Dev], directory: Path) -> None:
    (directory / "broken").mkdir()
    (directory / "broken" / "broken_app.py").write_text("import nonsense_that_is_nowhere\n")
    dev = start("broken")
    assert dev.process.wait() == 78
    assert "nonsense_that_is_nowhere" in dev.stderr
    assert dev.process.stdout
    assert dev.process.stdout.read() == ""
    assert dev.postgres_log.rstrip().endswith("database system is shut down")


def test_kill_9_of_the_daemon_ends_it_with_a_word(dev: Dev) -> None:
    os.kill(dev.daemon_pid, signal.SIGKILL)
    assert dev.process.wait() == 128 + signal.SIGKILL
    assert "the daemon was killed by SIGKILL" in dev.stderr
    assert dev.postgres_log.rstrip().endswith("database system is shut down")


def test_a_database_of_the_environment_is_used(start: Callable[..., Dev], empty_dsn: str, directory: Path) -> None:
    dev = start(DATABASE_URL=empty_dsn)
    dev.await_up()
    assert not (directory / ".orbitd" / "postgres").exists()
    assert 'psql "$DATABASE_URL"' in dev.said("from SQL: (.*)")[1]
    run = dev.orbitctl("enqueue", "basics.hello", "--wait")["id"]
    with psycopg.connect(empty_dsn) as connection:
        assert connection.execute("select count(*) from orbit.outcomes where run_id = %s", [run]).fetchone() == (1,)
    assert dev.end() == 0


def test_options_of_the_command_line_take_the_place_of_its_own(start: Callable[..., Dev], directory: Path) -> None:
    (directory / "app").mkdir()
    (directory / "app" / "greeting.py").write_text(HELLO.replace("{!r}", "__import__('os').environ.get('GREETING')"))
    (directory / ".env").write_text("GREETING=from the file\n")
    dev = start("app", "-w", "1", "--env-file", ".env", "--set", "logging.level=warning")
    dev.await_up()
    dev.said("with 1 children")
    assert run_result(dev, "greet") == "from the file"
    assert '"level": "info"' not in dev.stderr
    settings = tomllib.loads((directory / ".orbitd" / "orbitd.toml").read_text())
    assert (settings["children"], settings["logging"]) == ({"count": 1}, {"level": "warning"})


@pytest.mark.parametrize("words", [["-c", "x.toml"], ["--set", "children.cuont=1"], ["-w", "many"]])
def test_what_it_cannot_use_is_refused_at_once(start: Callable[..., Dev], directory: Path, words: list[str]) -> None:
    dev = start(BASICS, *words)
    assert dev.process.wait() in {2, 78}
    assert dev.stderr.startswith("orbitd")
    assert "hint: " in dev.stderr
    assert "Traceback" not in dev.stderr
    assert not (directory / ".orbitd").exists()


def test_a_database_that_does_not_answer_is_an_error(start: Callable[..., Dev]) -> None:
    dev = start(DATABASE_URL="postgresql://nobody@/none?host=/nowhere")
    assert dev.process.wait() == 69
    assert "orbitd dev: " in dev.stderr


def test_a_directory_that_cannot_be_used_is_named(start: Callable[..., Dev], directory: Path) -> None:
    (directory / ".orbitd").touch()
    dev = start()
    assert dev.process.wait() == 1
    assert f"cannot work in .orbitd: [Errno 17] File exists: '{directory}/.orbitd'" in dev.stderr


def test_a_killed_postgresql_is_started_again(dev: Dev) -> None:
    os.kill(dev.postgres_pid, signal.SIGKILL)
    assert dev.process.stdout
    assert dev.process.stdout.readline().startswith("PostgreSQL had ended, and was started again")
    assert dev.orbitctl("enqueue", "basics.hello", "--wait")["state"] == "succeeded"


def test_a_signal_before_the_daemon_is_up_ends_it_with_0(start: Callable[..., Dev], directory: Path) -> None:
    dev = start()
    eventually((directory / ".orbitd" / "postgres" / "log").exists)
    assert dev.end(signal.SIGINT) == 0


@contextmanager
def terminal(directory: Path) -> Iterator[tuple[int, int]]:
    """`orbitd dev` on a terminal of its own; its pid, and our end of the terminal."""
    pid, ours = pty.fork()
    if pid == 0:
        os.chdir(directory)
        os.execve(sys.executable, [sys.executable, "-m", "orbitd", "dev", str(BASICS)], clean_environment())
    shown = b""
    while b"Ctrl-C" not in shown:
        shown += os.read(ours, 4096)
    yield pid, ours
    with suppress(OSError):
        os.close(ours)


def test_ctrl_c_on_a_terminal_ends_it_with_0(directory: Path) -> None:
    with terminal(directory) as (pid, ours):
        os.write(ours, b"\x03")
        with suppress(OSError):  # EIO: the last one has closed the terminal
            while os.read(ours, 4096):
                pass
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_closing_the_terminal_ends_it(directory: Path) -> None:
    with terminal(directory) as (pid, ours):
        os.close(ours)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_two_directories_do_not_meet(dev: Dev) -> None:
    with tempfile.TemporaryDirectory(prefix="orbitd-test-") as other:
        Path(other).chmod(0o711)
        second = Dev(Path(other), BASICS)
        second.await_up()
        assert second.postgres_pid != dev.postgres_pid
        assert second.end() == 0
        assert second.process.stdout
        second.process.stdout.close()
    assert dev.orbitctl("ping")
