"""What user code can do to its process: each has its defined outcome, and the operator reads the cause (U1–U5, U14, U15)."""

from __future__ import annotations

import signal

import pytest

from orbitd.system import process
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually, kill_process_of

pytestmark = pytest.mark.daemon

HOSTILE = """
    import ctypes, itertools, collections, os, sys, threading, time, signal

    left = []

    @pipeline("segfault", max_crashes=2)
    def segfault(ctx: Context) -> None:
        ctypes.string_at(0)

    @pipeline("abort", max_crashes=1)
    def abort(ctx: Context) -> None:
        os.abort()

    @pipeline("exit", max_crashes=2)
    def exit_(ctx: Context, code: int) -> None:
        os._exit(code)

    @pipeline("sys_exit", max_attempts=1)
    def sys_exit(ctx: Context) -> None:
        sys.exit(0)

    @pipeline("sleeps", timeout="300ms", max_attempts=1)
    def sleeps(ctx: Context) -> None:
        time.sleep(60)

    @pipeline("loops_in_c", timeout="300ms", max_attempts=1)
    def loops_in_c(ctx: Context) -> None:
        collections.deque(itertools.repeat(0), maxlen=0)

    @pipeline("swallows", timeout="300ms", max_attempts=1)
    def swallows(ctx: Context) -> None:
        while True:
            try:
                time.sleep(60)
            except BaseException:
                pass

    @pipeline("not_json", max_attempts=1)
    def not_json(ctx: Context) -> object:
        return {1, 2}

    @pipeline("nul", max_attempts=1)
    def nul(ctx: Context) -> str:
        return "a\\0b"

    @pipeline("bad_text", max_attempts=1)
    def bad_text(ctx: Context) -> None:
        raise ValueError("NUL \\0 and surrogate \\ud800 and " + "x" * 100_000)

    @pipeline("forks", max_attempts=1)
    def forks(ctx: Context) -> str:
        os.fork()
        return "once"

    @pipeline("leaves_thread")
    def leaves_thread(ctx: Context, name: str) -> None:
        for door, thread in left:
            door.set()
            thread.join()
        door = threading.Event()
        left[:] = [(door, threading.Thread(target=door.wait, name=name, daemon=True))]
        left[0][1].start()

    @pipeline("holds", max_crashes=10)
    def holds(ctx: Context, mark: str) -> str:
        if not os.path.exists(mark):
            open(mark, "w").close()
            time.sleep(60)
        return "done"
"""


@pytest.fixture
def daemon(begin: Begin) -> Daemon:
    return begin(HOSTILE, **{"runs.kill_after": "300ms"})


CASES = [
    ("segfault", {}, ["interrupted", "failed"], "crashed:SIGSEGV"),
    ("abort", {}, ["failed"], "crashed:SIGABRT"),
    ("exit", {"code": 0}, ["interrupted", "failed"], "exited:0"),
    ("exit", {"code": 7}, ["interrupted", "failed"], "exited:7"),
    ("sys_exit", {}, ["failed"], "error"),
    ("sleeps", {}, ["failed"], "timeout"),
    ("loops_in_c", {}, ["failed"], "timeout"),
    ("swallows", {}, ["failed"], "timeout"),
    ("not_json", {}, ["failed"], "bad_result"),
    ("nul", {}, ["failed"], "bad_result"),
    ("bad_text", {}, ["failed"], "error"),
]


@pytest.mark.parametrize(("pipeline", "args", "outcomes", "cause"), CASES, ids=[f"{case[0]}{case[1].get('code', '')}" for case in CASES])
def test_whatever_code_does_the_run_ends_with_its_cause(
    daemon: Daemon, pipeline: str, args: dict[str, object], outcomes: list[str], cause: str
) -> None:
    run = daemon.await_run(daemon.enqueue(pipeline, **args), "failed")
    assert [attempt["outcome"] for attempt in run["attempts"]] == outcomes
    assert {attempt["cause"] for attempt in run["attempts"]} == {cause}
    daemon.await_status(lambda status: status["children"]["ready"] == 2)


def test_a_segfault_leaves_its_stack_with_the_run(daemon: Daemon) -> None:
    run = daemon.await_run(daemon.enqueue("segfault"), "failed")
    assert "Segmentation fault" in run["attempts"][0]["stack"]
    assert "in segfault" in run["attempts"][0]["stack"]


def test_an_error_text_that_cannot_be_stored_is_cleaned_and_cut(daemon: Daemon) -> None:
    (attempt,) = daemon.await_run(daemon.enqueue("bad_text"), "failed")["attempts"]
    assert attempt["error"].startswith("ValueError: NUL")
    assert len(attempt["error"]) < 10_000


def test_a_run_that_forks_is_reported_once(daemon: Daemon) -> None:
    run = daemon.await_run(daemon.enqueue("forks"), "succeeded")
    assert run["result"] == "once"
    assert daemon.query("select count(*) as n from orbit.outcomes") == [{"n": 1}]


def test_each_run_that_leaves_a_thread_is_told_of_also_where_it_takes_the_place_of_another(begin: Begin) -> None:
    daemon = begin(HOSTILE, **{"children.count": 1})
    for name in ("first", "second"):
        daemon.await_run(daemon.enqueue("leaves_thread", name=name), "succeeded")
    assert [event["threads"] for event in daemon.events("threads_left")] == ["first", "second"]


def test_a_killed_child_is_replaced_and_its_run_done_by_another(daemon: Daemon) -> None:
    mark = daemon.folder / "mark"
    run_id = daemon.enqueue("holds", mark=str(mark))
    slot = daemon.slot_running(run_id)
    eventually(mark.exists)
    assert kill_process_of(daemon, slot["pid"])
    attempts = daemon.await_run(run_id, "succeeded")["attempts"]
    assert [(attempt["outcome"], attempt["cause"]) for attempt in attempts] == [("interrupted", "crashed:SIGKILL"), ("succeeded", None)]


def test_a_stopped_child_is_killed_past_its_deadline(daemon: Daemon) -> None:
    run_id = daemon.enqueue("sleeps")
    assert kill_process_of(daemon, daemon.slot_running(run_id)["pid"], signal.SIGSTOP)
    run = daemon.await_run(run_id, "failed")
    assert run["attempts"][0]["cause"] == "timeout"


def test_what_a_child_started_dies_with_it(begin: Begin) -> None:
    daemon = begin("""
        import os, subprocess, time

        @pipeline("starts", max_crashes=1)
        def starts(ctx: Context, path: str) -> None:
            inside = subprocess.Popen(["sleep", "600"])
            outside = subprocess.Popen(["sleep", "601"], start_new_session=True)
            with open(path + ".new", "w") as file:
                file.write(f"{inside.pid} {outside.pid}")
            os.rename(path + ".new", path)
            time.sleep(60)
    """)
    path = daemon.folder / "pids"
    run_id = daemon.enqueue("starts", path=str(path))
    eventually(path.exists)
    pids = [int(pid) for pid in path.read_text().split()]
    assert kill_process_of(daemon, daemon.slot_running(run_id)["pid"])
    eventually(lambda: [process.stat(pid) for pid in pids], lambda stats: all(stat is None for stat in stats))
