"""From what children may be forked, and that they live where nothing can be forked: each is exec'd then (issue 4)."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from orbitd.system import process
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually, kill_process_of

pytestmark = pytest.mark.daemon

WHO = """
    import os

    @pipeline("who")
    def who(ctx: Context) -> dict:
        return {"pid": os.getpid(), "parent": os.getppid(), "loaded_by": LOADED_BY}

    LOADED_BY = os.getpid()
"""
THREAD = """
    import threading, time
    threading.Thread(target=time.sleep, args=[600], name="ticker").start()
"""


def _roles(daemon: Daemon) -> list[str]:
    return [each["role"] for each in daemon.status()["processes"]]


def test_an_import_that_starts_a_thread_is_named_and_each_child_imports_for_itself(begin: Begin) -> None:
    """Complaint 21 (pitchfork#79): no child is forked beside a thread that may hold a lock. The mold does not live on."""
    daemon = begin(THREAD + WHO)
    (event,) = daemon.events("unsafe_to_fork")
    assert 'thread "ticker" was started at ' in event["causes"]
    assert "work.py:4 (threading.Thread(" in event["causes"]
    ran = daemon.await_run(daemon.enqueue("who"), "succeeded")["result"]
    assert ran["loaded_by"] == ran["pid"]
    assert ran["parent"] == daemon.pid
    eventually(lambda: _roles(daemon), lambda roles: roles == ["arbiter", "janitor"])
    before = set(daemon.child_pids())
    assert kill_process_of(daemon, min(before))
    daemon.await_status(lambda status: status["children"]["ready"] == 2 and set(daemon.child_pids()) != before)
    daemon.signal(signal.SIGHUP)
    status = daemon.await_status(lambda status: status["generation"] == 2 and status["state"] == "running")
    assert status["children"]["ready"] == 2
    assert daemon.stop() == 0
    assert all(process.stat(pid) is None for pid in before)
