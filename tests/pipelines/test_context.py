"""What a run may ask of the daemon: steps, progress, log, transactions, and the fence around them."""

from __future__ import annotations

import logging
import math
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from orbitd import AsyncContext, Context
from orbitd.pipelines.exceptions import BadResult, Fenced, RunCancelled
from orbitd.pipelines.execution import EndKind
from orbitd.pipelines.interruption import Interruption
from orbitd.system import clock
from tests.pipelines.ledgers import MemoryLedger, attempt_facts, run

MISSING: dict[str, int] = {}


def context(ledger: MemoryLedger | None = None, **facts: Any) -> Context:
    return Context(attempt_facts(**facts), ledger or MemoryLedger(), Interruption())


def test_the_context_tells_the_facts_of_the_attempt() -> None:
    ctx = context(MemoryLedger(deadline=clock.now() + 60))
    assert (ctx.run_id, ctx.attempt, ctx.tenant, ctx.cancelled) == (42, 1, "7", False)
    assert 0 < ctx.remaining() <= 60
    assert context().remaining() == math.inf
    assert context(MemoryLedger(deadline=1.0)).remaining() == 0.0
    assert ctx.idempotency_key("charge") == "42:charge"


def test_a_run_that_asks_for_more_time_has_it_and_never_less_than_before() -> None:
    ctx = context(MemoryLedger(deadline=clock.now() + 60))
    ctx.extend("1h")
    assert 3590 < ctx.remaining() <= 3600
    ctx.extend(5)
    assert 3590 < ctx.remaining() <= 3600
    endless = context()
    endless.extend("1m")
    assert endless.remaining() == math.inf


@pytest.mark.parametrize("duration", ["soon", -1, math.nan, None])
def test_what_is_no_duration_extends_nothing(duration: Any) -> None:
    ledger = MemoryLedger(deadline=5.0)
    with pytest.raises(ValueError, match="is not a duration"):
        context(ledger).extend(duration)
    assert ledger.deadline == 5.0


def test_a_step_is_called_with_its_arguments_and_recorded() -> None:
    ledger = MemoryLedger()
    assert context(ledger).step("add", pow, 2, 3) == 8
    assert context(ledger).step("keywords", dict, a=1) == {"a": 1}
    assert ledger.recorded == {"add": "8", "keywords": '{"a":1}'}


def test_a_recorded_step_is_not_called_again() -> None:
    def never() -> None:
        raise AssertionError("called again")

    assert context(MemoryLedger({"add": '{"sum": 3}'})).step("add", never) == {"sum": 3}


def test_a_name_used_again_counts_up() -> None:
    ledger = MemoryLedger({"load#2": '"stored"'})
    ctx = context(ledger)
    assert [ctx.step("load", abs, number) for number in range(3)] == [0, "stored", 2]
    assert ledger.recorded == {"load": "0", "load#2": '"stored"', "load#3": "2"}


def test_the_first_run_gets_the_types_that_a_resumed_run_gets() -> None:
    ledger = MemoryLedger()
    first = context(ledger).step("pair", lambda: (1, {"a": (2,)}))
    assert first == context(ledger).step("pair", lambda: None) == [1, {"a": [2]}]


def test_the_first_recorded_output_wins() -> None:
    ledger = MemoryLedger()

    def somebody_was_first() -> int:
        ledger.recorded["race"] = "1"
        return 2

    assert context(ledger).step("race", somebody_was_first) == 1


def test_steps_may_stand_inside_steps() -> None:
    ledger = MemoryLedger()
    ctx = context(ledger)
    assert ctx.step("outer", lambda: ctx.step("inner", lambda: 1) + 1) == 2
    assert ledger.recorded == {"inner": "1", "outer": "2"}


@pytest.mark.parametrize("name", ["", "a#2", "a\n", "\0", "\ud800", "x" * 201])
def test_a_bad_step_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="step name"):
        context().step(name, lambda: 1)


def test_an_output_that_is_not_json_is_refused_with_the_steps_name() -> None:
    with pytest.raises(BadResult, match=r'the output of step "load" is not JSON: .*set'):
        context().step("load", lambda: {1})
    with pytest.raises(BadResult, match="more than 10B"):
        context(max_result_bytes=10).step("load", lambda: "x" * 10)


def test_a_step_that_raises_is_not_recorded() -> None:
    ledger = MemoryLedger()
    with pytest.raises(ZeroDivisionError):
        context(ledger).step("divide", lambda: 1 / 0)
    assert ledger.recorded == {}


@pytest.mark.parametrize(
    ("fraction", "note", "told"),
    [
        (0.5, "half", (0.5, "half")),
        (1, None, (1.0, None)),
        (None, "on the way", (None, "on the way")),
        (1.0000001, None, (1.0, None)),
        (-3, None, (0.0, None)),
        (math.nan, None, (0.0, None)),
        (math.inf, None, (1.0, None)),
        (0, "a\0\ud800", (0.0, r"a\x00\ud800")),
    ],
)
def test_progress_is_bounded_and_clean(fraction: Any, note: Any, told: Any) -> None:
    ledger = MemoryLedger()
    context(ledger).progress(fraction, note)
    assert ledger.told == [told]


def test_a_transaction_commits_on_leaving() -> None:
    ledger = MemoryLedger()
    with context(ledger).transaction() as connection:
        assert connection == "connection"
        assert ledger.transactions == ["open"]
    assert ledger.transactions == ["committed"]


def test_a_transaction_rolls_back_on_an_error() -> None:
    ledger = MemoryLedger()
    with pytest.raises(ZeroDivisionError), context(ledger).transaction():
        1 / 0  # noqa: B018
    assert ledger.transactions == ["rolled back"]


# The log


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError

    __repr__ = __str__


@pytest.mark.parametrize(
    ("message", "args", "options", "line"),
    [
        ("plain", (), {}, "plain"),
        ("%d pages of %s", (3, "x"), {}, "3 pages of x"),
        ("%(a)s", ({"a": 1},), {}, "1"),
        ("100%", (), {}, "100%"),
        ("%d", ("x",), {}, "%d ('x',)"),
        ("one", ("two",), {}, "one ('two',)"),
        ("%s %s", ("one",), {}, "%s %s ('one',)"),
        (7, (), {}, "7"),
        ("done", (), {"extra": {"pages": 3, "of": "x"}}, "done pages=3 of=x"),
        ("done", (), {"extra": 7, "stacklevel": 3, "stack_info": True}, "done"),
        ("a\0\ud800", (), {}, r"a\x00\ud800"),
        ("%s", (Unprintable(),), {}, "<a line that cannot be written: RuntimeError>"),
        ("a", (), {"extra": {"k": Unprintable()}}, "<a line that cannot be written: RuntimeError>"),
    ],
)
def test_a_line_is_written_whatever_it_is_given(message: Any, args: Any, options: Any, line: str) -> None:
    ledger = MemoryLedger()
    context(ledger).log.info(message, *args, **options)
    assert ledger.lines == [("info", line)]


def test_a_run_has_four_levels() -> None:
    ledger = MemoryLedger()
    log = context(ledger).log
    for write in (log.debug, log.info, log.warning, log.error, log.critical, log.exception):
        write("x")
    log.log(logging.INFO + 1, "x")
    log.log("high", "x")  # type: ignore[arg-type]
    assert [level for level, _ in ledger.lines] == ["debug", "info", "warning", "error", "error", "error", "info", "info"]


def test_an_exception_is_logged_with_its_traceback() -> None:
    ledger = MemoryLedger()
    try:
        MISSING["missing"]
    except KeyError as error:
        context(ledger).log.exception("no %s", "luck")
        context(ledger).log.warning("again", exc_info=error)
        context(ledger).log.warning("and again", exc_info=(KeyError, error, None))
    context(ledger).log.exception("nothing is being handled")
    assert [line.count("KeyError: 'missing'") for _, line in ledger.lines] == [1, 1, 1, 0]


def test_a_huge_line_is_cut() -> None:
    ledger = MemoryLedger()
    context(ledger).log.info("x" * 50_000_000)
    assert len(ledger.lines[0][1]) <= 16 * 1024


def test_a_log_that_fails_fails_nothing() -> None:
    ledger = MemoryLedger()
    ledger.before_write = lambda: 1 / 0  # type: ignore[assignment]
    context(ledger).log.error("lost")
    ledger.taken = True
    context(ledger).log.error("lost too")


# The fence


def test_u24_code_that_catches_the_fence_meets_it_again_at_each_write() -> None:
    ledger = MemoryLedger()
    called: list[int] = []

    def stubborn(ctx: Context) -> str:
        ledger.taken = True
        with pytest.raises(Fenced):
            ctx.step("first", called.append, 1)
        ledger.taken = False
        with pytest.raises(Fenced):
            ctx.step("second", called.append, 2)
        with pytest.raises(Fenced):
            ctx.progress(0.5)
        with pytest.raises(Fenced), ctx.transaction():
            called.append(3)
        ctx.log.info("not written, not raised")
        return "as if nothing had happened"

    assert run(stubborn, ledger=ledger).kind is EndKind.FENCED
    assert called == [1]
    assert (ledger.recorded, ledger.told, ledger.lines, ledger.transactions) == ({}, [], [], [])


def test_the_fence_passes_through_except_exception() -> None:
    def careless(ctx: Context) -> str:
        try:
            ctx.progress(0.5)
        except Exception:  # noqa: BLE001
            return "swallowed"
        return "unnoticed"

    ledger = MemoryLedger()
    ledger.taken = True
    assert run(careless, ledger=ledger).kind is EndKind.FENCED


def test_a_fence_that_the_log_met_is_a_fence() -> None:
    ledger = MemoryLedger()
    ledger.taken = True
    assert run(lambda ctx: ctx.log.info("x"), ledger=ledger).kind is EndKind.FENCED


def test_u8_a_thread_that_outlives_its_attempt_writes_nothing() -> None:
    over = threading.Event()
    refused: list[str] = []

    def late(ctx: Context) -> None:
        over.wait()
        ctx.log.info("not written, not raised")
        try:
            ctx.step("late", int)
        except Fenced as fence:
            refused.append(str(fence))

    def function(ctx: Context) -> None:
        threads.append(threading.Thread(target=late, args=[ctx]))
        threads[0].start()

    threads: list[threading.Thread] = []
    ledger = MemoryLedger()
    assert run(function, ledger=ledger).kind is EndKind.SUCCEEDED
    over.set()
    threads[0].join()
    assert refused == ["the attempt has ended"]
    assert (ledger.recorded, ledger.lines) == ({}, [])


def test_steps_on_several_threads_have_keys_of_their_own() -> None:
    ledger = MemoryLedger()

    def function(ctx: Context) -> None:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: ctx.step("load", abs, number), range(100)))

    assert run(function, ledger=ledger).kind is EndKind.SUCCEEDED
    assert sorted(map(int, ledger.recorded.values())) == list(range(100))


# Async


def test_async_steps_are_awaited_and_recorded() -> None:
    async def fetch(page: int) -> list[int]:
        return [page]

    async def function(ctx: AsyncContext) -> list[list[int]]:
        pages = [await ctx.step("fetch", fetch, page) for page in range(2)]
        return [*pages, await ctx.step("plain", lambda: [9])]

    ledger = MemoryLedger({"fetch#2": "[7]"})
    assert run(function, ledger=ledger).result_text == "[[0],[7],[9]]"
    assert ledger.recorded == {"fetch": "[0]", "fetch#2": "[7]", "plain": "[9]"}


def test_an_async_pipeline_has_the_rest_of_the_context_too() -> None:
    async def function(ctx: AsyncContext) -> str:
        ctx.progress(0.5)
        ctx.log.info("half")
        with ctx.transaction() as connection:
            return str(connection)

    ledger = MemoryLedger()
    assert run(function, ledger=ledger).result_text == '"connection"'
    assert (ledger.told, ledger.lines, ledger.transactions) == ([(0.5, None)], [("info", "half")], ["committed"])


def test_cancelled_is_seen_by_code_that_nothing_interrupts() -> None:
    interruption = Interruption()
    ctx = Context(attempt_facts(), MemoryLedger(), interruption)
    interruption.request(RunCancelled("by anna"))
    assert ctx.cancelled
