"""What a run's code tells the standard logging module, and which run it then belongs to."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from orbitd.pipelines.context import Context
from orbitd.pipelines.interruption import Interruption
from orbitd.pipelines.runlog import RunLog, hearing
from orbitd.system import log
from orbitd.system.log import redact
from tests.pipelines.ledgers import MemoryLedger, attempt_facts

lib = logging.getLogger("lib.part")


@pytest.fixture(autouse=True)
def root() -> Iterator[logging.Logger]:
    """The root logger, afterwards as it was."""
    handlers, level = logging.root.handlers[:], logging.root.level
    logging.root.setLevel(logging.INFO)
    yield logging.root
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    log.listen(lambda _record: False)
    logging.root.handlers[:] = handlers


@pytest.fixture
def lines() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def run_log(lines: list[tuple[str, str]]) -> RunLog:
    return RunLog(lambda level, line: lines.append((level, line)))


def test_what_the_logging_module_is_told_is_a_line_of_the_run(run_log: RunLog, lines: list[tuple[str, str]]) -> None:
    with hearing(run_log):
        lib.warning("retry %d of %s", 2, "three", extra={"pages": 7})
        logging.root.info("%(a)s", {"a": 1})
        lib.debug("below the root logger's level")
    lib.error("after the run")
    assert lines == [("warning", "lib.part: retry 2 of three pages=7"), ("info", "1")]


def test_an_exception_brings_its_traceback(run_log: RunLog, lines: list[tuple[str, str]]) -> None:
    with hearing(run_log):
        try:
            lines[0]
        except IndexError:
            logging.root.exception("no luck")
    ((level, line),) = lines
    assert level == "error"
    assert line.splitlines()[0] == "no luck"
    assert line.endswith("IndexError: list index out of range")


class Rude:
    def __str__(self) -> str:
        raise OSError("no text")


@pytest.mark.parametrize(
    ("message", "args"),
    [("%s", (Rude(),)), (Rude(), ()), ("%d", ("x",)), ("%s %s", (1,)), ("%(a)s", ({"b": 1},)), ({"a": 1}, ()), (None, ())],
)
def test_a_record_may_be_made_of_anything(run_log: RunLog, lines: list[tuple[str, str]], message: Any, args: tuple[Any, ...]) -> None:
    logging.root.handlers[:] = []  # not so the other handlers that there are in a test
    with hearing(run_log):
        lib.error(message, *args)
    assert len(lines) == 1


def test_user_code_may_take_our_handler_away_and_the_next_run_is_heard_again(run_log: RunLog, lines: list[tuple[str, str]]) -> None:
    with hearing(run_log):
        logging.root.handlers[:] = [logging.NullHandler()]
        lib.error("unheard")
    with hearing(run_log):
        lib.error("heard")
    assert lines == [("error", "lib.part: heard")]


def test_a_thread_of_the_run_speaks_for_the_run_in_hand(run_log: RunLog, lines: list[tuple[str, str]]) -> None:
    with hearing(run_log):
        thread = threading.Thread(target=lib.error, args=("from a thread",))
        thread.start()
        thread.join()
    assert lines == [("error", "lib.part: from a thread")]


def test_two_runs_on_one_loop_are_told_apart(lines: list[tuple[str, str]]) -> None:
    async def work(name: str, both: asyncio.Barrier) -> None:
        with hearing(RunLog(lambda _level, line: lines.append((name, line)))):
            await both.wait()
            lib.error("I am %s", name)
            await asyncio.to_thread(lib.error, "a thread of %s", name)
            await both.wait()

    async def work_both() -> None:
        both = asyncio.Barrier(2)
        await asyncio.gather(work("one", both), work("two", both))

    asyncio.run(work_both())
    assert sorted(lines) == sorted((name, f"lib.part: {what} {name}") for name in ("one", "two") for what in ("I am", "a thread of"))


def test_a_thread_that_an_earlier_run_has_left_does_not_speak_for_the_next(lines: list[tuple[str, str]]) -> None:
    begun = threading.Event()

    async def leave_a_thread() -> asyncio.Future[None]:
        def late() -> None:
            begun.wait(10)
            lib.error("late")

        return asyncio.ensure_future(asyncio.to_thread(late))

    async def two_runs() -> None:
        with hearing(RunLog(lambda _level, line: lines.append(("first", line)))):
            left = await leave_a_thread()
            await asyncio.sleep(0)
        with hearing(RunLog(lambda _level, line: lines.append(("second", line)))):
            begun.set()
            await left

    asyncio.run(two_runs())
    assert lines == []


def test_secrets_are_masked_in_what_is_kept_with_the_run() -> None:
    redact.set_secret_names(["*token*"])
    ledger = MemoryLedger()
    context = Context(attempt_facts(), ledger, Interruption())
    try:
        context.log.info("using postgres://app:%s@db/x", "s3cret", extra={"Token": "s3cret", "pages": 1})
        for before in range(4050, 4130):  # around the place where a long line is cut
            context.log.info("%s postgres://app:s3cret@db/x %s", "x" * before, "x" * 9000)
            context.log.info("%s postgres://app:s3cret@db/x %s", "x" * 9000, "x" * before)
    finally:
        redact.set_secret_names(())
    assert ledger.lines[0] == ("info", "using postgres://app:********@db/x Token=******** pages=1")
    assert "s3cret" not in str(ledger.lines)


def test_a_huge_argument_is_never_copied_whole(run_log: RunLog, lines: list[tuple[str, str]]) -> None:
    import tracemalloc

    huge = "x" * 50_000_000
    tracemalloc.start()
    run_log.info("%s", huge, extra={"more": huge})
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 1_000_000
    assert len(lines) == 1
