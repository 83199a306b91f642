"""The files of logging.dir: everything, errors apart, begun anew at a size, and what happens to them on a bad day."""

from __future__ import annotations

import errno
import json
import os
import resource
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from orbitd.system.log.file import File
from tests.support.logs import DEFAULTS, command, entries, logged


class Complaints(list[dict[str, Any]]):
    """What a file has told the console."""

    def __call__(self, name: str, **fields: object) -> None:
        self.append({"event": name, **fields})


@pytest.fixture
def complaints() -> Complaints:
    return Complaints()


@pytest.fixture
def make(tmp_path: Path, complaints: Complaints) -> Callable[..., File]:
    """A file `log` in the test's folder."""
    return lambda max_bytes=1000, max_files=3: File(tmp_path / "log", max_bytes, max_files, complain=complaints)


def entry(number: int, **fields: object) -> dict[str, Any]:
    return {"ts": "2025-11-24T09:08:07.123Z", "level": "info", "event": "line", "n": number, **fields}


def numbers(folder: Path) -> list[int]:
    """The lines of all files, the oldest file first."""
    files = sorted(folder.glob("log*"), key=lambda path: -int(path.suffix[1:] or 0))
    return [line["n"] for path in files for line in entries(path)]


def test_files_are_a_copy_of_what_standard_error_gets_with_errors_apart(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "here"
    lines = logged("log.event('one'); log.warn('two'); log.fault('three')", dir=str(folder))
    assert [json.loads(line) for line in lines] == entries(folder / "orbitd.log")
    assert [line["event"] for line in entries(folder / "orbitd-error.log")] == ["three"]
    assert stat.S_IMODE((folder / "orbitd.log").stat().st_mode) == 0o640
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750


def test_a_file_holds_longer_lines_than_standard_error(tmp_path: Path) -> None:
    logged("log.fault('long', error='x' * 30_000)", dir=str(tmp_path))
    assert len(entries(tmp_path / "orbitd.log")[0]["error"]) == 30_000


def test_a_file_begins_anew_at_its_size_and_the_oldest_goes(tmp_path: Path, make: Callable[..., File]) -> None:
    file = make(max_bytes=1000, max_files=3)
    for number in range(60):
        file.take(entry(number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())
    kept = numbers(tmp_path)
    assert kept == list(range(kept[0], 60))


def test_with_one_file_to_keep_there_is_one(tmp_path: Path, make: Callable[..., File]) -> None:
    file = make(max_files=1)
    for number in range(60):
        file.take(entry(number))
    assert [path.name for path in tmp_path.iterdir()] == ["log"]
    assert numbers(tmp_path)[-1] == 59


def test_files_of_a_time_when_more_were_kept_go_too(tmp_path: Path, make: Callable[..., File]) -> None:
    for number in (1, 2, 3, 4):
        (tmp_path / f"log.{number}").write_text("")
    file = make(max_files=3)
    for number in range(30):
        file.take(entry(number))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["log", "log.1", "log.2"]


def test_who_was_killed_while_moving_files_has_lost_none(tmp_path: Path, make: Callable[..., File]) -> None:
    (tmp_path / "log.2").write_text(json.dumps(entry(-1)) + "\n")  # and log.1 is free: it was about to be filled
    file = make(max_bytes=150, max_files=3)
    for number in range(2):
        file.take(entry(number))
    assert numbers(tmp_path) == [-1, 0, 1]


def test_many_processes_rotate_one_file_and_lose_no_line(tmp_path: Path) -> None:
    code = "for n in range(600): log.event('line', who=os.getpid(), n=n)"
    options = replace(DEFAULTS, dir=str(tmp_path), max_size=8000, max_files=200)
    children = [subprocess.Popen(command(code, options), stderr=subprocess.DEVNULL) for _ in range(4)]
    assert [child.wait(30) for child in children] == [0] * 4
    lines = [line for path in tmp_path.glob("orbitd.log*") for line in entries(path)]
    assert sorted((line["who"], line["n"]) for line in lines) == sorted((child.pid, n) for child in children for n in range(600))
    assert 20 < len(list(tmp_path.iterdir())) < 100, "nobody moved a file that was new"


def test_a_fork_rotates_for_itself(tmp_path: Path) -> None:
    code = """
os.fork(); os.fork()
for n in range(300): log.event('line', n=n)
try:
    while True: os.wait()
except ChildProcessError: pass
"""
    subprocess.run(command(code, replace(DEFAULTS, dir=str(tmp_path), max_size=5000, max_files=100)), check=True, stderr=subprocess.DEVNULL)
    assert sum(len(entries(path)) for path in tmp_path.iterdir()) == 4 * 300


def test_a_file_that_is_renamed_truncated_or_deleted_goes_on_with_the_next_line(tmp_path: Path, make: Callable[..., File]) -> None:
    file, path = make(), tmp_path / "log"
    file.take(entry(1))
    path.rename(tmp_path / "away")
    file.take(entry(2))
    assert [line["n"] for line in entries(path)] == [2]
    os.truncate(path, 0)
    file.take(entry(3))
    assert path.read_text()[0] == "{", "no hole of zeros where the old text was"
    assert [line["n"] for line in entries(path)] == [3]
    path.unlink()
    file.take(entry(4))
    assert [line["n"] for line in entries(path)] == [4]


def test_a_folder_that_is_deleted_is_made_again(tmp_path: Path, complaints: Complaints) -> None:
    file = File(tmp_path / "folder" / "log", 1000, 3, complain=complaints)
    file.take(entry(1))
    (tmp_path / "folder" / "log").unlink()
    (tmp_path / "folder").rmdir()
    file.take(entry(2))
    assert [line["n"] for line in entries(tmp_path / "folder" / "log")] == [2]
    assert complaints == []


def _directory(path: Path) -> None:
    path.mkdir()


def _dangling_link(path: Path) -> None:
    path.symlink_to(path.with_name("elsewhere"))


@pytest.mark.parametrize("replace_by", [_directory, os.mkfifo, _dangling_link])
def test_what_is_no_file_is_left_alone_and_the_loss_is_told_once_and_afterwards(
    tmp_path: Path, make: Callable[..., File], complaints: Complaints, replace_by: Callable[[Path], None]
) -> None:
    file, path = make(), tmp_path / "log"
    replace_by(path)
    for number in range(5):
        file.take(entry(number))
    (complaint,) = complaints
    assert (complaint["event"], complaint["dropped_lines"]) == ("log_not_written", 1)
    assert not (tmp_path / "elsewhere").exists()
    path.rmdir() if path.is_dir() else path.unlink()
    file.take(entry(5))
    file.take(entry(6))
    assert [(line["n"], line.get("dropped_lines")) for line in entries(path)] == [(5, 5), (6, None)]


def test_a_file_that_cannot_be_moved_grows_on_and_the_reason_is_told(
    tmp_path: Path, make: Callable[..., File], complaints: Complaints
) -> None:
    (tmp_path / "log.1").mkdir()
    (tmp_path / "log.1" / "inside").touch()
    file = make(max_bytes=200, max_files=2)
    for number in range(10):
        file.take(entry(number))
    assert [line["n"] for line in entries(tmp_path / "log")] == list(range(10))
    assert [complaint["event"] for complaint in complaints] == ["log_not_rotated"]


def test_a_full_disk_loses_lines_and_tears_none_of_those_that_follow(
    tmp_path: Path, make: Callable[..., File], complaints: Complaints
) -> None:
    file, path = make(max_bytes=100_000), tmp_path / "log"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # to a write the same as a disk that is full: a part of the line still goes in
    try:
        for number in range(20):
            file.take(entry(number))
        size = path.stat().st_size
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert size == 1000
    file.take(entry(20))
    lines = path.read_text().splitlines()
    with pytest.raises(ValueError, match=r"Unterminated|Expecting"):
        json.loads(lines[-2])
    last = json.loads(lines[-1])
    assert last["n"] == 20
    assert last["dropped_lines"] + len(lines) - 2 == 20
    assert complaints[0]["error"] in {os.strerror(errno.ENOSPC), os.strerror(errno.EFBIG)}


def test_a_line_that_a_power_cut_has_torn_is_ended_before_the_next(tmp_path: Path, make: Callable[..., File]) -> None:
    path = tmp_path / "log"
    path.write_text('{"ts": "2025')
    os.utime(path, (0, 0))
    make().take(entry(1))
    assert json.loads(path.read_text().splitlines()[1])["n"] == 1


def test_trouble_with_a_file_is_told_on_standard_error_where_the_line_stands_too(tmp_path: Path) -> None:
    (tmp_path / "orbitd.log").mkdir()
    events = [json.loads(line) for line in logged("log.event('one'); log.event('two')", dir=str(tmp_path))]
    assert [event["event"] for event in events] == ["one", "log_not_written", "two"]
    assert events[1]["file"] == str(tmp_path / "orbitd.log")


def test_no_descriptor_is_kept(tmp_path: Path) -> None:
    code = "before = os.listdir('/proc/self/fd')\nlog.fault('line')\nassert os.listdir('/proc/self/fd') == before"
    logged(code, dir=str(tmp_path))
