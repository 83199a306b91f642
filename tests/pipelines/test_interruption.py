"""Stopping a run from outside, with real signals, and at each instant."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import sys
import threading
import time
import weakref
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from orbitd import AsyncContext, Context
from orbitd.pipelines.exceptions import RunCancelled, RunInterrupted, RunStopped, RunTimeout
from orbitd.pipelines.execution import Ended, EndKind
from orbitd.pipelines.interruption import Interruption
from tests.pipelines.ledgers import MemoryLedger, run, striking

FOREVER_SECONDS = 3600.0
PATIENCE_SECONDS = 10.0  # less than pytest's own timeout, whose signal would cut short what ours did not
STOPS = [(RunTimeout, EndKind.TIMEOUT), (RunCancelled, EndKind.CANCELLED), (RunInterrupted, EndKind.INTERRUPTED)]


def run_struck(
    function: Callable[[Any, threading.Event], Any], stop: RunStopped | None = None, ledger: MemoryLedger | None = None
) -> Ended:
    """Run `function(ctx, event)`; once it sets the event, the signal comes."""
    interruption = Interruption()
    began = time.monotonic()
    with striking(interruption, stop or RunTimeout("timed out after 15m")) as event:

        def sync(ctx: Context) -> Any:
            return function(ctx, event)

        async def unsync(ctx: AsyncContext) -> Any:
            return await function(ctx, event)

        ended = run(unsync if inspect.iscoroutinefunction(function) else sync, ledger=ledger, interruption=interruption)
    assert time.monotonic() - began < PATIENCE_SECONDS
    return ended


def sleeps(_ctx: Context, event: threading.Event) -> None:
    event.set()
    time.sleep(FOREVER_SECONDS)


def computes(_ctx: Context, event: threading.Event) -> None:
    event.set()
    for _ in itertools.count():
        pass


def waits_for_a_lock(_ctx: Context, event: threading.Event) -> None:
    event.set()
    threading.Event().wait()


def sleeps_in_a_step(ctx: Context, event: threading.Event) -> None:
    ctx.step("slow", sleeps, ctx, event)


def sleeps_in_a_transaction(ctx: Context, event: threading.Event) -> None:
    with ctx.transaction():
        sleeps(ctx, event)


def catches_exceptions(ctx: Context, event: threading.Event) -> str:
    try:
        sleeps(ctx, event)
    except Exception:  # noqa: BLE001
        return "swallowed"
    return "unnoticed"


def swallows_everything(ctx: Context, event: threading.Event) -> str:
    try:
        sleeps(ctx, event)
    except BaseException:  # noqa: BLE001
        return "swallowed"
    return "unnoticed"


def raises_another(ctx: Context, event: threading.Event) -> None:
    try:
        sleeps(ctx, event)
    finally:
        raise ValueError("clean-up failed")


class SleepsWhenItGoes:
    def __init__(self, event: threading.Event) -> None:
        self.event = event

    def __del__(self) -> None:
        self.event.set()
        time.sleep(FOREVER_SECONDS)


def sleeps_in_a_finalizer(ctx: Context, event: threading.Event) -> None:
    SleepsWhenItGoes(event)
    sleeps(ctx, event)


async def awaits(_ctx: AsyncContext, event: threading.Event) -> None:
    event.set()
    await asyncio.sleep(FOREVER_SECONDS)


async def awaits_in_a_step(ctx: AsyncContext, event: threading.Event) -> None:
    await ctx.step("slow", awaits, ctx, event)


async def awaits_in_a_group(ctx: AsyncContext, event: threading.Event) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(asyncio.sleep(FOREVER_SECONDS))
        group.create_task(awaits(ctx, event))


async def swallows_the_cancellation(ctx: AsyncContext, event: threading.Event) -> str:
    try:
        await awaits(ctx, event)
    except asyncio.CancelledError:
        return "swallowed"
    return "unnoticed"


STOPPABLE = [
    sleeps,
    computes,
    waits_for_a_lock,
    sleeps_in_a_step,
    sleeps_in_a_transaction,
    catches_exceptions,
    swallows_everything,
    raises_another,
    sleeps_in_a_finalizer,
    awaits,
    awaits_in_a_step,
    awaits_in_a_group,
    swallows_the_cancellation,
]


@pytest.mark.parametrize(("stop", "kind"), STOPS)
@pytest.mark.parametrize("function", STOPPABLE)
def test_u2_u21_code_that_would_go_on_for_ever_is_cut_short(function: Any, stop: type[RunStopped], kind: EndKind) -> None:
    ended = run_struck(function, stop("because"))
    assert ended.kind is kind
    assert ended.error == "because"
    assert ended.result_text is None


def test_the_traceback_shows_where_the_code_was() -> None:
    text = run_struck(sleeps).traceback
    assert "time.sleep(FOREVER_SECONDS)" in text
    assert "/pipelines/interruption.py" not in text


def test_a_stop_does_not_keep_what_the_run_held() -> None:
    held: list[weakref.ref[threading.Event]] = []
    interruption = Interruption()

    def function(_ctx: Context) -> None:
        mine = threading.Event()
        held.append(weakref.ref(mine))
        interruption.request(RunTimeout("over"))

    assert run(function, interruption=interruption).kind is EndKind.TIMEOUT
    gc.collect()
    assert held[0]() is None


def test_finally_cleans_up_and_may_still_write() -> None:
    def function(ctx: Context, event: threading.Event) -> None:
        try:
            sleeps(ctx, event)
        finally:
            ctx.log.info("cleaned up")
            with ctx.transaction():
                pass

    ledger = MemoryLedger()
    assert run_struck(function, ledger=ledger).kind is EndKind.TIMEOUT
    assert ledger.lines == [("info", "cleaned up")]
    assert ledger.transactions == ["committed"]


def test_code_that_goes_on_regardless_begins_no_step() -> None:
    called: list[int] = []

    def function(ctx: Context, event: threading.Event) -> None:
        swallows_everything(ctx, event)
        with pytest.raises(RunTimeout):
            ctx.step("another", called.append, 1)

    assert run_struck(function).kind is EndKind.TIMEOUT
    assert called == []


def test_a_transaction_that_is_interrupted_rolls_back() -> None:
    ledger = MemoryLedger()
    assert run_struck(sleeps_in_a_transaction, ledger=ledger).kind is EndKind.TIMEOUT
    assert ledger.transactions == ["rolled back"]


@pytest.mark.parametrize("write", ["step", "progress", "log", "transaction"])
def test_a_write_is_not_torn_and_the_stop_comes_when_it_is_done(write: str) -> None:
    interruption = Interruption()
    ledger = MemoryLedger()
    went_on = []

    with striking(interruption, RunTimeout("late")) as event:

        def strike_in_the_middle() -> None:
            event.set()
            while interruption.requested is None:
                pass

        def function(ctx: Context) -> None:
            ledger.before_write = strike_in_the_middle
            match write:
                case "step":
                    ctx.step("one", lambda: 1)
                case "progress":
                    ctx.progress(0.5)
                case "log":
                    ctx.log.info("one")
                case _:
                    with ctx.transaction():
                        went_on.append("inside")
            went_on.append("after")

        assert run(function, ledger=ledger, interruption=interruption).kind is EndKind.TIMEOUT
    assert ledger.begun == ledger.finished > 0
    assert went_on == []


def test_a_request_before_the_code_begins_keeps_it_from_beginning() -> None:
    began: list[Context] = []

    def function(ctx: Context) -> None:
        began.append(ctx)

    for stop, kind in STOPS:
        interruption = Interruption()
        interruption.request(stop("early"))
        assert run(function, interruption=interruption).kind is kind
    assert began == []


def test_a_request_before_an_async_pipeline_begins_keeps_it_from_beginning() -> None:
    began: list[AsyncContext] = []

    async def function(ctx: AsyncContext) -> None:
        began.append(ctx)

    interruption = Interruption()
    interruption.request(RunCancelled("early"))
    assert run(function, interruption=interruption).kind is EndKind.CANCELLED
    assert began == []


def test_a_request_after_the_code_has_ended_is_kept_and_does_nothing() -> None:
    interruption = Interruption()
    assert run(lambda _ctx: 1, interruption=interruption).kind is EndKind.SUCCEEDED
    interruption.request(RunTimeout("late"))
    assert isinstance(interruption.requested, RunTimeout)
    assert interruption.delivered is None


def test_only_the_first_request_counts() -> None:
    def function(_ctx: Context) -> None:
        with pytest.raises(RunCancelled):
            interruption.request(RunCancelled("first"))
        interruption.request(RunTimeout("second"))

    interruption = Interruption()
    assert run(function, interruption=interruption).kind is EndKind.CANCELLED


def test_a_request_that_is_repeated_does_not_tear_an_async_clean_up() -> None:
    interruption = Interruption()
    cleaned_up = []

    async def function(_ctx: AsyncContext) -> None:
        try:
            interruption.request(RunCancelled("first"))
            await asyncio.sleep(FOREVER_SECONDS)
        finally:
            interruption.request(RunCancelled("repeated"))
            await asyncio.sleep(0)
            cleaned_up.append("all of it")

    assert run(function, interruption=interruption).kind is EndKind.CANCELLED
    assert cleaned_up == ["all of it"]


def test_an_exception_whose_text_takes_for_ever_is_cut_short() -> None:
    class Endless(Exception):
        def __str__(self) -> str:
            event.set()
            time.sleep(FOREVER_SECONDS)
            return ""

    interruption = Interruption()
    with striking(interruption, RunTimeout("timed out")) as event:

        def function(_ctx: Context) -> None:
            raise Endless

        assert run(function, interruption=interruption).kind is EndKind.TIMEOUT


def test_regions_mean_nothing_on_other_threads() -> None:
    interruption = Interruption()

    def elsewhere() -> None:
        with interruption.exposed(), interruption.shielded():
            interruption.request(RunTimeout("seen by nobody here"))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert interruption.delivered is None
    with pytest.raises(RunTimeout), interruption.exposed():
        pytest.fail("not reached")


# One stop at each instant at which Python runs signal handlers: on entering a function, and after a call into C.


def uses_everything(ctx: Context) -> str:
    ctx.step("one", len, "abc")
    with ctx.transaction():
        ctx.progress(0.5)
    try:
        ctx.step("fails", lambda: 1 / 0)
    except ZeroDivisionError:
        ctx.log.exception("as %s", "expected")
    return "done"


async def uses_everything_async(ctx: AsyncContext) -> str:
    await ctx.step("one", asyncio.sleep, 0, "abc")
    with ctx.transaction():
        await asyncio.sleep(0)
    return "done"


def strike_at(instant: int, function: Any, ledger: MemoryLedger) -> tuple[Ended, bool]:
    """Run the function with a stop requested at the n-th instant; the second value tells whether there were that many."""
    interruption = Interruption()
    left = instant

    def look(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal left
        if event in {"call", "c_return"}:
            left -= 1
            if left == 0:
                interruption.request(RunTimeout("struck"))

    former = sys.getprofile()
    sys.setprofile(look)
    try:
        ended = run(function, ledger=ledger, interruption=interruption)
    finally:
        sys.setprofile(former)
    return ended, left <= 0


@pytest.mark.parametrize("function", [uses_everything, uses_everything_async])
def test_a_stop_at_any_instant_ends_in_order(function: Any) -> None:
    kinds = set()
    for instant in itertools.count(1):
        ledger = MemoryLedger()
        ended, was_struck = strike_at(instant, function, ledger)
        if not was_struck:
            break
        gc.collect(0)
        kinds.add(ended.kind)
        assert ended.kind in {EndKind.TIMEOUT, EndKind.SUCCEEDED}, instant
        assert ledger.begun == ledger.finished, instant
        assert "open" not in ledger.transactions, instant
        assert (ended.kind is EndKind.SUCCEEDED) == (ended.result_text == '"done"'), instant
    assert kinds == {EndKind.TIMEOUT, EndKind.SUCCEEDED}
    assert sys.exception() is None
