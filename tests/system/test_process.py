from __future__ import annotations

import os
import resource
import select
import signal
import sys

import pytest

from orbitd.rules.exits import ExitStatus
from orbitd.system import memory, process
from tests.support.daemon import eventually


def _sleeper(code: str = "import time; time.sleep(60)", keep_fds: tuple[int, ...] = ()) -> process.Process:
    return process.spawn([sys.executable, "-c", code], keep_fds=list(keep_fds), environment={**os.environ, "MARK": "here"})


def _await_end(child: process.Process) -> process.Ended:
    poll = select.poll()
    assert child.pidfd is not None
    poll.register(child.pidfd, select.POLLIN)
    assert poll.poll(10_000), "it did not end"
    ended = process.peek_ended()
    assert ended
    assert ended.pid == child.pid
    process.reap(child.pid)
    child.close()
    return ended


def test_a_killed_session_is_seen_through_its_pidfd_and_reaped_by_us() -> None:
    child = _sleeper()
    facts = process.stat(child.pid)
    assert facts
    assert (facts.parent_pid, facts.session, facts.start_ticks) == (os.getpid(), child.pid, child.start_ticks)
    child.kill_session()
    assert _await_end(child).status == ExitStatus(signal=signal.SIGKILL)
    assert process.stat(child.pid) is None
    child_gone = process.Process.adopt(child.pid)
    assert child_gone is None


def test_an_exit_code_is_told_from_a_signal() -> None:
    assert _await_end(_sleeper("raise SystemExit(3)")).status == ExitStatus(code=3)


def test_a_peeked_process_keeps_its_pid_until_it_is_reaped() -> None:
    child = _sleeper("pass")
    assert child.pidfd is not None
    select.select([child.pidfd], [], [], 10)
    assert process.peek_ended() == process.peek_ended()
    assert process.stat(child.pid)
    _await_end(child)
    assert process.peek_ended() is None


def test_only_the_named_descriptors_are_inherited() -> None:
    reader, writer = os.pipe()
    other_reader, other_writer = os.pipe()
    others = f"os.path.exists('/proc/self/fd/{other_writer}')"
    code = f"import os; os.write({writer}, b'b' if {others} else b'a')"
    child = _sleeper(code, keep_fds=(writer,))
    assert os.read(reader, 1) == b"a"
    _await_end(child)
    for fd in (reader, writer, other_reader, other_writer):
        os.close(fd)


def test_the_environment_of_a_process_can_be_read_and_that_of_none_is_empty() -> None:
    child = _sleeper()
    eventually(lambda: process.environment_of(child.pid), lambda seen: b"MARK=here" in seen)  # it has none yet until it is exec'd
    child.kill_session()
    _await_end(child)
    assert process.environment_of(child.pid) == b""


def test_a_child_dies_with_its_parent() -> None:
    reader, writer = os.pipe()
    middle = os.fork()
    if middle == 0:
        parent_pid = os.getpid()
        if os.fork() == 0:
            process.die_with_parent(parent_pid)
            os.write(writer, b"1")
            signal.pause()
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    os.close(writer)
    os.waitpid(middle, 0)
    assert os.read(reader, 1) == b"", "the grandchild still holds the pipe"
    os.close(reader)


def test_the_resident_set_counts_what_was_touched_and_nothing_of_the_dead() -> None:
    reader, writer = os.pipe()
    child = _sleeper(f"import os, time; data = bytearray(64 << 20); os.write({writer}, b'x'); time.sleep(60)", keep_fds=(writer,))
    os.read(reader, 1)
    share = memory.share_of(child.pid)
    assert share
    assert share.pss_bytes >= share.own_bytes > 64 << 20
    assert memory.rss_bytes(child.pid) > 64 << 20
    child.kill_session()
    _await_end(child)
    assert memory.rss_bytes(child.pid) == 0
    assert memory.share_of(child.pid) is None
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize("pid", [0x7FFFFFFF])
def test_nothing_is_known_of_a_pid_that_nobody_has(pid: int) -> None:
    assert process.stat(pid) is None
    assert process.Process.adopt(pid) is None


def test_the_peak_of_a_dead_child_is_told_when_it_is_reaped() -> None:
    child = _sleeper("data = bytearray(64 << 20); del data")
    assert child.pidfd is not None
    select.select([child.pidfd], [], [], 10)
    ours = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # where a spawned process starts: see exits.Exit
    assert 64 << 20 < process.reap(child.pid) < (200 << 20) + ours
    child.close()
