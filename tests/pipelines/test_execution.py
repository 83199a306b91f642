"""One attempt: every way in which the author's code can end has its outcome, and nothing escapes."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import pytest

from orbitd import AsyncContext, Context, Permanent, Retry, Snooze, pipeline
from orbitd.pipelines.exceptions import RunTimeout
from orbitd.pipelines.execution import Ended, EndKind
from tests.pipelines.ledgers import MemoryLedger, run


def raising(error: BaseException) -> Ended:
    def function(_ctx: Context) -> None:
        raise error

    return run(function)


def test_a_returned_value_is_the_result() -> None:
    assert run(lambda _ctx: {"pages": 3}) == Ended.succeeded('{"pages":3}')
    assert run(lambda _ctx: None) == Ended.succeeded("null")


def test_arguments_arrive_by_name() -> None:
    def function(_ctx: Context, a: int, b: str = "b") -> list[Any]:
        return [a, b]

    assert run(function, '{"a": 123456789012345678901234567890}').kind is EndKind.BAD_RESULT
    assert run(function, '{"a": 1}').result_text == '[1,"b"]'


@pytest.mark.parametrize(
    ("args_text", "complaint"),
    [
        (None, "the database has lost"),
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[" * 6000 + "]" * 6000, "cannot be read"),
        ('{"a": 1e400}', "cannot be read"),
        ("[1]", "are a JSON list, expected an object"),
        ("null", "expected an object"),
        ("{}", 'argument "a" is missing'),
        ('{"a": 1, "c": 2}', 'argument "c" is unknown'),
        ('{"a": "1"}', 'argument "a" is text, expected an integer'),
        ('{"a": 1, "\\u0000": 2}', r"\x00"),
        ('{"a": 1, "' + "x" * 200_000 + '": 2}', "[... cut ...]"),
    ],
)
def test_arguments_that_do_not_fit_end_the_attempt_before_it_begins(args_text: str | None, complaint: str) -> None:
    def function(_ctx: Context, a: int) -> None:
        pytest.fail("began")

    ended = run(function, args_text)
    assert ended.kind is EndKind.BAD_ARGS
    assert complaint in ended.error
    assert len(ended.error) <= 8192


def test_authors_say_how_an_attempt_ends() -> None:
    retry = raising(Retry("5m", "the bank is busy"))
    assert (retry.kind, retry.delay_seconds) == (EndKind.RETRY, 300.0)
    assert retry.error == "Retry: the bank is busy"
    assert (raising(Retry()).kind, raising(Retry()).delay_seconds) == (EndKind.RETRY, None)
    assert raising(Snooze("10m")) == Ended.snooze(600.0)
    permanent = raising(Permanent("no such tenant"))
    assert (permanent.kind, permanent.error) == (EndKind.PERMANENT, "Permanent: no such tenant")


class Own(BaseException):
    pass


@pytest.mark.parametrize(
    "error",
    [
        SystemExit(),
        SystemExit(0),
        SystemExit(1),
        SystemExit("text"),
        KeyboardInterrupt(),
        GeneratorExit(),
        StopIteration(),
        StopAsyncIteration(),
        asyncio.CancelledError(),
        MemoryError(),
        RecursionError(),
        Own("own"),
        BaseExceptionGroup("many", [Own("own"), ValueError("x")]),
        RunTimeout("that nobody requested"),
    ],
    ids=repr,
)
def test_u1_whatever_is_raised_is_a_failure_of_the_run(error: BaseException) -> None:
    ended = raising(error)
    assert ended.kind is EndKind.ERROR
    assert type(error).__name__ in ended.error


@pytest.mark.parametrize(
    "error", [SystemExit(0), KeyboardInterrupt(), GeneratorExit(), asyncio.CancelledError(), Own("own"), ValueError("x")], ids=repr
)
@pytest.mark.parametrize("in_a_task", [False, True])
def test_u1_whatever_an_async_pipeline_raises_is_a_failure_of_the_run(error: BaseException, in_a_task: bool) -> None:  # noqa: FBT001
    async def fails() -> None:
        await asyncio.sleep(0)
        raise error

    async def function(_ctx: AsyncContext) -> None:
        await (asyncio.create_task(fails()) if in_a_task else fails())

    ended = run(function)
    assert ended.kind is EndKind.ERROR
    assert type(error).__name__ in ended.error


def test_code_that_exits_python_in_a_step_fails_the_run() -> None:
    ledger = MemoryLedger()
    assert run(lambda ctx: ctx.step("leave", raising_system_exit), ledger=ledger).kind is EndKind.ERROR
    assert ledger.recorded == {}


def raising_system_exit() -> None:
    raise SystemExit(0)


async def coroutine() -> None: ...


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
@pytest.mark.parametrize(
    "make",
    [
        lambda: {1},
        lambda: b"",
        lambda: float("nan"),
        lambda: "\0",
        lambda: {1: 2},
        object,
        coroutine,
        lambda: iter(()),
        lambda: (n for n in range(3)),
    ],
)
def test_u14_u23_a_result_that_is_not_json_is_a_bad_result(make: Any) -> None:
    ended = run(lambda _ctx: make())
    assert ended.kind is EndKind.BAD_RESULT
    assert ended.error.startswith("the result ")


def test_u14_a_result_that_is_too_large_is_a_bad_result() -> None:
    ended = run(lambda _ctx: "x" * 300_000_000, max_result_bytes=1024)
    assert (ended.kind, ended.error) == (EndKind.BAD_RESULT, "the result is 286MiB of JSON, more than 1KiB (runs.max_result)")


def test_a_step_that_is_not_json_is_a_bad_result_unless_it_is_caught() -> None:
    ended = run(lambda ctx: ctx.step("load", lambda: {1}))
    assert ended.kind is EndKind.BAD_RESULT
    assert 'the output of step "load" is not JSON' in ended.error


class LiesAboutItsClass(Exception):
    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            raise RuntimeError
        return super().__getattribute__(name)


class HalfARetry(Retry):
    def __init__(self) -> None: ...

    def __str__(self) -> str:
        raise SystemExit(0)


def test_u15_hostile_exceptions_are_failures_with_a_text() -> None:
    for make in (LiesAboutItsClass, HalfARetry):
        ended = raising(make())
        assert ended.kind is EndKind.ERROR
        assert ended.error


def test_u5_deep_recursion_is_a_failure_with_a_bounded_traceback() -> None:
    def function(ctx: Context) -> None:
        function(ctx)

    ended = run(function)
    assert ended.kind is EndKind.ERROR
    assert ended.error.startswith("RecursionError")
    assert len(ended.traceback) <= 64 * 1024


def test_the_traceback_shows_the_authors_frames_only() -> None:
    def inner() -> None:
        raise ValueError("boom")

    def function(ctx: Context) -> None:
        ctx.step("one", inner)

    lines = [line for line in run(function).traceback.splitlines() if "File" in line]
    assert [line.rpartition(" in ")[2] for line in lines] == ["function", "inner"]


def test_the_traceback_of_an_async_pipeline_shows_the_authors_frames_only() -> None:
    async def inner() -> None:
        raise ValueError("boom")

    async def function(ctx: AsyncContext) -> None:
        await ctx.step("one", inner)

    lines = [line for line in run(function).traceback.splitlines() if "File" in line]
    assert [line.rpartition(" in ")[2] for line in lines] == ["function", "inner"]


def test_an_instruction_that_a_task_group_wraps_still_counts() -> None:
    async def later() -> None:
        raise Snooze("10m")

    async def function(_ctx: AsyncContext) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(later())
            group.create_task(asyncio.sleep(3600))

    assert run(function) == Ended.snooze(600.0)


def test_tasks_that_an_async_pipeline_leaves_are_ended_with_it() -> None:
    ended_tasks = []

    async def left() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            ended_tasks.append("left")

    async def function(_ctx: AsyncContext) -> str:
        task = asyncio.create_task(left())
        await asyncio.sleep(0)
        return str(task.done())

    assert run(function).result_text == '"False"'
    assert ended_tasks == ["left"]


def forks(_ctx: Context) -> int:
    pid = os.fork()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) if pid else 0


def forks_and_raises(_ctx: Context) -> int:
    pid = os.fork()
    if not pid:
        raise SystemExit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


async def forks_async(ctx: AsyncContext) -> int:
    return forks(ctx)  # type: ignore[arg-type]


def forks_and_writes(ctx: Context) -> int:
    pid = os.fork()
    if not pid:
        try:
            ctx.progress(0.5)
        except BaseException:  # noqa: BLE001
            os._exit(11)
        os._exit(12)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.mark.parametrize(("function", "exit_code"), [(forks, 70), (forks_and_raises, 70), (forks_async, 70), (forks_and_writes, 11)])
def test_u7_a_copy_of_the_process_neither_comes_back_nor_writes(function: Any, exit_code: int) -> None:
    assert run(function).result_text == str(exit_code)


def test_an_attempt_leaves_nothing_for_the_next_one() -> None:
    made = pipeline("twice")(lambda ctx: ctx.step("one", lambda: 1))
    assert run(made) == run(made) == Ended.succeeded("1")
