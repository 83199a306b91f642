"""What the machine has no more of: descriptors, room on the disk. (Processes and memory: test_steps_fail.py; readers: test_logs.py.)"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from orbitd.control.wire import encode_request, parse_answer
from orbitd.errors import OrbitError
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, kill_process_of
from tests.support.leftovers import assert_nothing_is_left_over, open_descriptors
from tests.support.rigs import missing_rig

pytestmark = pytest.mark.daemon

WORK = """
    @pipeline("quick")
    def quick(ctx: Context) -> str:
        return "done"
"""
MOST_DESCRIPTORS = 4096


def test_an_arbiter_without_a_free_descriptor_answers_whoever_is_connected_and_all_others_later(begin: Begin) -> None:
    daemon = begin(WORK)
    descriptors = open_descriptors(daemon)
    with _connected(daemon) as first:
        assert _is_answered(first)
        _limit_descriptors(daemon, 1)  # no number is free below it
        with _connected(daemon) as later:
            later.sendall(encode_request("ping", {}))
            cpu = _cpu_seconds(daemon)
            assert all(_is_answered(first) for _ in range(5))
            first.sendall(encode_request("reload", {"wait": True}))
            with pytest.raises(OrbitError, match="too many open files"):
                parse_answer(first.recv(4096))
            with pytest.raises(TimeoutError):
                later.recv(1)
            assert _cpu_seconds(daemon) - cpu < 0.5, "of the second that we waited: it does not turn for nothing"
            _limit_descriptors(daemon, MOST_DESCRIPTORS)
            later.settimeout(10)
            assert parse_answer(later.recv(4096))
    daemon.ask("reload", wait=True)
    daemon.await_run(daemon.enqueue("quick"), "succeeded")
    assert_nothing_is_left_over(daemon, count=2, descriptors=descriptors)


def _connected(daemon: Daemon) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(1)
    connection.connect(str(daemon.socket))
    return connection


def _is_answered(connection: socket.socket) -> bool:
    connection.sendall(encode_request("ping", {}))
    return bool(parse_answer(connection.recv(4096)))


def _cpu_seconds(daemon: Daemon) -> float:
    times = psutil.Process(daemon.pid).cpu_times()
    return times.user + times.system


def _limit_descriptors(daemon: Daemon, most: int) -> None:
    resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (most, MOST_DESCRIPTORS))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few pages."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=False).returncode:
        missing_rig("only root may mount a small disk, and not everywhere")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


def test_a_full_disk_under_logs_and_state_costs_lines_and_no_work(begin: Begin, small_disk: Path) -> None:
    logs = small_disk / "logs"
    daemon = begin(WORK, **{"logging.dir": str(logs), "instance.state_dir": str(small_disk / "state")})
    filler = small_disk / "filler"
    _fill(filler)
    victim, _ = daemon.child_pids()
    assert kill_process_of(daemon, victim)
    daemon.await_status(lambda status: status["children"]["ready"] == 2 and victim not in [slot["pid"] for slot in status["slots"]])
    daemon.ask("reload", wait=True)
    daemon.await_run(daemon.enqueue("quick"), "succeeded")
    assert {event["error"] for event in daemon.events("log_not_written")} == {"No space left on device"}
    filler.unlink()
    daemon.ask("scale", amount="3", wait=True)
    lines = [json.loads(line) for line in (logs / "orbitd.log").read_text().splitlines() if line.endswith("}")]
    assert lines[-1]["event"] in {"child_booted", "scaled"}
    assert daemon.stop() == 0


def _fill(path: Path) -> None:
    """To the last byte."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
