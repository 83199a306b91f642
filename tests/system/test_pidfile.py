"""The pid file: whole, locked, ours alone, and gone with us."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orbitd.errors import ConfigError, Conflict
from orbitd.system.pidfile import PidFile

HOLDER = """
import sys
from pathlib import Path
from orbitd.system.pidfile import PidFile
PidFile.write(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orbitd.pid"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that has written the file and lives."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_it_holds_the_pid_and_is_gone_afterwards(path: Path) -> None:
    ours = PidFile.write(path)
    assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_mode & 0o777 == 0o644
    assert list(path.parent.iterdir()) == [path]
    ours.remove()
    assert list(path.parent.iterdir()) == []


def test_one_that_a_living_process_holds_is_refused_and_names_it(path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(Conflict, match=f"process {holder.pid}") as caught:
        PidFile.write(path)
    assert caught.value.exit_code == 6
    assert path.read_text() == f"{holder.pid}\n"
    assert list(path.parent.iterdir()) == [path]


def test_one_that_a_killed_process_left_behind_is_replaced(path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    ours = PidFile.write(path)
    assert path.read_text() == f"{os.getpid()}\n"
    ours.remove()


def test_the_pid_of_a_stranger_who_got_the_number_since_is_replaced_too(path: Path) -> None:
    path.write_text(f"{os.getppid()}\n")
    PidFile.write(path).remove()
    assert not path.exists()


def test_an_empty_one_is_replaced(path: Path) -> None:
    path.touch()
    PidFile.write(path).remove()


def test_one_that_somebody_has_replaced_since_is_left_alone(path: Path) -> None:
    ours = PidFile.write(path)
    path.unlink()
    path.write_text("12345\n")
    ours.remove()
    assert path.read_text() == "12345\n"


@pytest.mark.parametrize("content", ["root:x:0:0:root:/root:/bin/bash\n", "12 34\n", "-1\n"])
def test_a_file_that_is_no_pid_file_is_never_replaced(path: Path, content: str) -> None:
    path.write_text(content)
    with pytest.raises(ConfigError, match="is no pid file"):
        PidFile.write(path)
    assert path.read_text() == content


def test_a_directory_a_fifo_and_a_link_are_refused(path: Path) -> None:
    path.mkdir()
    with pytest.raises(ConfigError, match="is no pid file"):
        PidFile.write(path)
    path.rmdir()
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="is no pid file"):
        PidFile.write(path)
    path.unlink()
    path.symlink_to("/etc/passwd")
    with pytest.raises(ConfigError, match="cannot be written"):
        PidFile.write(path)


def test_a_directory_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file or directory") as caught:
        PidFile.write(tmp_path / "nowhere" / "orbitd.pid")
    assert caught.value.exit_code == 78
    assert "--pid" in (caught.value.hint or "")
