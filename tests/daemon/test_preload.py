"""From what children may be forked, and that they live where nothing can be forked: each is exec'd then (issue 4)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from orbitd.errors import Conflict
from orbitd.system import process
from orbitd.system.stacks import DUMP_SIGNAL
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually, kill_process_of

pytestmark = pytest.mark.daemon

WHO = """
    import os

    @pipeline("who")
    def who(ctx: Context) -> dict:
        return {"pid": os.getpid(), "parent": os.getppid(), "loaded_by": LOADED_BY, "warm": WARM}

    LOADED_BY, WARM = os.getpid(), 0

    def warm_up() -> None:
        global WARM
        WARM += 1
"""
BROKEN = "\n    boom\n" + WHO
THREAD = """
    import threading, time
    threading.Thread(target=time.sleep, args=[600], name="ticker").start()
"""
SOCKET = """
    import socket
    listener = socket.create_server(("127.0.0.1", 0))
    connection = socket.create_connection(listener.getsockname())
"""
SLOW = """
    import os, time
    from pathlib import Path
    if "ORBITD_CHILD" in os.environ:
        Path("{folder}/imports").write_text(str(os.getpid()))
        while not Path("{folder}/go").exists():
            time.sleep(0.01)
"""
AN_OLD_KERNEL = """
import ctypes, errno, os

def pidfd_open(pid, flags=0):
    raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

class Library(ctypes.CDLL):
    def __getitem__(self, name):
        function = super().__getitem__(name)
        if name != "prctl":
            return function

        def prctl(option, *rest):
            if option in (36, 37):
                ctypes.set_errno(errno.EINVAL)
                return -1
            return function(option, *rest)

        return prctl

os.pidfd_open, ctypes.CDLL = pidfd_open, Library
"""


def _roles(daemon: Daemon) -> list[str]:
    return [each["role"] for each in daemon.status()["processes"]]


def _await_replaced(daemon: Daemon, before: set[int]) -> None:
    daemon.await_status(lambda status: status["children"]["ready"] == len(before) and set(daemon.child_pids()) != before)


def test_an_import_that_starts_a_thread_is_named_and_each_child_imports_for_itself(begin: Begin) -> None:
    """Complaint 21 (pitchfork#79): no child is forked beside a thread that may hold a lock. The mold does not live on."""
    daemon = begin(THREAD + WHO)
    (event,) = daemon.events("unsafe_to_fork")
    assert 'thread "ticker" was started at ' in event["causes"]
    assert "work.py:4 (threading.Thread(" in event["causes"]
    (problem,) = daemon.status()["problems"]
    assert (problem["code"], problem["command"]) == ("unsafe_to_fork", "orbitd check --import")
    assert problem["message"].startswith(
        'each child imports the pipelines for itself, it cannot be forked: thread "ticker" was started at '
    )
    ran = daemon.await_run(daemon.enqueue("who"), "succeeded")["result"]
    assert (ran["loaded_by"], ran["parent"], ran["warm"]) == (ran["pid"], daemon.pid, 1)
    eventually(lambda: _roles(daemon), lambda roles: roles == ["arbiter", "janitor"])
    before = set(daemon.child_pids())
    assert kill_process_of(daemon, min(before))
    _await_replaced(daemon, before)
    daemon.write_code(BROKEN)
    before = set(daemon.child_pids())
    assert kill_process_of(daemon, min(before))
    assert "NameError" in eventually(lambda: daemon.events("import_failed"))[0]["error"]
    daemon.write_code(WHO)
    daemon.ask("reload", wait=True)
    assert daemon.status()["problems"] == []
    assert daemon.pid_of("mold")
    assert daemon.await_run(daemon.enqueue("who"), "succeeded")["result"]["loaded_by"] == daemon.pid_of("mold")
    assert daemon.stop() == 0


def test_an_import_that_opens_a_connection_is_refused_where_preload_is_required(begin: Begin) -> None:
    """Complaint 14 (gunicorn#1953): no connection is shared by children. The refusal is as that of a broken import.

    Complaint 2 (gunicorn#2443): after it TTIN forks from the mold that serves, and imports nothing.
    """
    daemon = begin(WHO, **{"children.preload": "require", "children.count": 1})
    before, forked_by = daemon.child_pids(), daemon.pid_of("mold")
    ran = daemon.await_run(daemon.enqueue("who"), "succeeded")["result"]
    assert (ran["loaded_by"], ran["warm"]) == (forked_by, 1)
    daemon.write_code(SOCKET + THREAD + WHO)
    daemon.signal(signal.SIGHUP)
    error = daemon.await_status(lambda status: status["last_reload"] and status["last_reload"]["ok"] is False)["last_reload"]["error"]
    assert "a connection to 127.0.0.1:" in error
    assert "work.py:5 (connection = " in error
    assert 'thread "ticker"' in error
    assert daemon.child_pids() == before
    eventually(lambda: _roles(daemon), lambda roles: roles == ["arbiter", "mold", "janitor"])
    daemon.signal(signal.SIGTTIN)
    daemon.await_status(lambda status: status["children"]["ready"] == 2)
    assert daemon.await_run(daemon.enqueue("who"), "succeeded")["result"]["loaded_by"] == forked_by
    assert daemon.stop() == 0


def test_a_child_that_still_imports_is_not_asked_for_its_stack_and_does_not_die_of_it(begin: Begin, folder: Path) -> None:
    daemon = begin(SLOW.format(folder=folder) + WHO, start=False, **{"children.preload": "off", "children.count": 1}).start(wait=False)
    pid = int(eventually(lambda: (folder / "imports").exists() and (folder / "imports").read_text()))
    with pytest.raises(Conflict, match="is only starting, and cannot show its stack yet"):
        daemon.ask("stack", object="0")
    assert kill_process_of(daemon, pid, DUMP_SIGNAL)
    (folder / "go").touch()
    daemon.await_status(lambda status: status["children"]["ready"] == 1)
    assert daemon.child_pids() == [pid]
    assert "in _wait_for_run" in daemon.ask("stack", object="0")["stack"]


def test_a_broken_import_ends_though_it_has_started_a_thread(begin: Begin) -> None:
    daemon = begin(THREAD + "\n    raise ValueError('broken')", start=False)
    daemon.start(wait=False)
    assert daemon.await_exit() == 78
    assert "ValueError: broken" in daemon.log()


def test_a_warm_up_that_fails_fails_the_reload_with_its_traceback(begin: Begin) -> None:
    daemon = begin(WHO, **{"children.preload": "off", "children.count": 1})
    assert not daemon.events("unsafe_to_fork")
    daemon.write_code(WHO + "        raise LookupError('no model')\n")
    daemon.signal(signal.SIGHUP)
    error = daemon.await_status(lambda status: status["last_reload"] and status["last_reload"]["ok"] is False)["last_reload"]["error"]
    assert "warm_up() in work failed: LookupError: no model" in error
    assert "in warm_up" in error


def test_a_mold_that_finds_other_files_begins_a_new_generation(begin: Begin) -> None:
    """Complaint 19 (puma#3596) and beyond: losing the mold costs no child, and one generation is one state of the code."""
    daemon = begin(WHO, **{"children.count": 1})
    before = daemon.child_pids()
    daemon.write_code(BROKEN)
    assert kill_process_of(daemon, daemon.pid_of("mold"))
    eventually(lambda: daemon.events("mold_failed"))
    assert daemon.child_pids() == before
    daemon.write_code(WHO)
    daemon.await_status(lambda status: status["generation"] == 2 and status["state"] == "running")
    assert [event["gen"] for event in daemon.events("code_changed")] == [1]
    assert daemon.await_run(daemon.enqueue("who"), "succeeded")["result"]["loaded_by"] == daemon.pid_of("mold")


def test_all_of_it_works_on_a_kernel_without_subreapers_and_pidfds(begin: Begin, monkeypatch: pytest.MonkeyPatch) -> None:
    daemon = begin(WHO, start=False)
    (daemon.folder / "old").mkdir()
    (daemon.folder / "old" / "sitecustomize.py").write_text(AN_OLD_KERNEL)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(daemon.folder / "old"), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]))
    daemon.start()
    (event,) = daemon.events("unsafe_to_fork")
    assert "the kernel has no subreapers" in event["causes"]
    assert "the kernel has no pidfds" in event["causes"]
    assert daemon.status()["problems"] == []
    ran = daemon.await_run(daemon.enqueue("who"), "succeeded")["result"]
    assert (ran["loaded_by"], ran["parent"]) == (ran["pid"], daemon.pid)
    before = set(daemon.child_pids())
    assert kill_process_of(daemon, min(before))
    _await_replaced(daemon, before)
    everybody = [daemon.pid_of("janitor"), *daemon.child_pids()]
    daemon.signal(signal.SIGKILL)
    daemon.await_exit()
    daemon.start()
    everybody += [daemon.pid_of("janitor"), *daemon.child_pids()]
    assert daemon.stop() == 0
    left = [facts for pid in everybody if (facts := process.stat(pid))]
    assert all(facts.state == "Z" for facts in left), left  # whoever is process 1 here reaps at its leisure
