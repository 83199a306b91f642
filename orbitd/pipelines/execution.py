"""One attempt of a run: from the arguments' text to an `Ended`, the value that says how it ended.

`execute` returns, whatever the author's code does: it may raise SystemExit, return a coroutine, fork and return twice,
swallow its own timeout. What it did to the process besides is for the child to look after.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self

from orbitd.pipelines.context import AsyncContext, Attempt, Context, Ledger
from orbitd.pipelines.exceptions import (
    BadArguments,
    BadResult,
    Permanent,
    Retry,
    RunCancelled,
    RunOverMemory,
    RunStopped,
    RunTimeout,
    Snooze,
)
from orbitd.pipelines.failure import LONGEST_ERROR_BYTES, clean, headline, traceback_text
from orbitd.pipelines.jsontext import decode, encode

if TYPE_CHECKING:
    from orbitd.pipelines.definition import Pipeline
    from orbitd.pipelines.interruption import Interruption

_COPY_EXIT_CODE = 70
_NO_TEXT = "the pipeline raised an exception that cannot be described"


class EndKind(StrEnum):
    """How an attempt can end. Where it is a failure, the word is also the cause that the operator reads."""

    SUCCEEDED = "succeeded"
    RETRY = "retry"
    SNOOZE = "snooze"
    PERMANENT = "permanent"
    ERROR = "error"
    BAD_ARGS = "bad_args"
    BAD_RESULT = "bad_result"
    TIMEOUT = "timeout"
    MEMORY_LIMIT = "memory_limit"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"
    FENCED = "fenced"


_STOPPED: Mapping[type[RunStopped], EndKind] = {
    RunTimeout: EndKind.TIMEOUT,
    RunOverMemory: EndKind.MEMORY_LIMIT,
    RunCancelled: EndKind.CANCELLED,
}


@dataclass(frozen=True)
class Ended:
    """How an attempt ended. Made by the constructors below only, so that no illegal mixture exists."""

    kind: EndKind
    result_text: str | None = None
    delay_seconds: float | None = None
    error: str = ""
    traceback: str = ""

    @classmethod
    def succeeded(cls, result_text: str) -> Self:
        """The pipeline returned; the result as JSON text."""
        return cls(EndKind.SUCCEEDED, result_text=result_text)

    @classmethod
    def retry(cls, after_seconds: float | None, error: str, traceback: str) -> Self:
        """It asked for another attempt; None: after its backoff."""
        return cls(EndKind.RETRY, delay_seconds=after_seconds, error=error, traceback=traceback)

    @classmethod
    def snooze(cls, after_seconds: float) -> Self:
        """It asked to be run later, without counting this attempt."""
        return cls(EndKind.SNOOZE, delay_seconds=after_seconds)

    @classmethod
    def permanent(cls, error: str, traceback: str) -> Self:
        """It said that no further attempt will help."""
        return cls(EndKind.PERMANENT, error=error, traceback=traceback)

    @classmethod
    def failed(cls, error: str, traceback: str) -> Self:
        """It raised anything else."""
        return cls(EndKind.ERROR, error=error, traceback=traceback)

    @classmethod
    def bad_args(cls, error: str) -> Self:
        """Its code never began: the arguments do not fit."""
        return cls(EndKind.BAD_ARGS, error=error)

    @classmethod
    def bad_result(cls, error: str, traceback: str) -> Self:
        """What it returned, or a step did, is not JSON."""
        return cls(EndKind.BAD_RESULT, error=error, traceback=traceback)

    @classmethod
    def stopped(cls, stop: RunStopped, traceback: str) -> Self:
        """The daemon ended it."""
        kind = next((kind for stopped, kind in _STOPPED.items() if isinstance(stop, stopped)), EndKind.INTERRUPTED)
        return cls(kind, error=str(stop), traceback=traceback)

    @classmethod
    def fenced(cls) -> Self:
        """The run is no longer ours: there is nothing to report."""
        return cls(EndKind.FENCED)


def context_for(pipeline: Pipeline[..., Any], attempt: Attempt, ledger: Ledger, interruption: Interruption) -> Context | AsyncContext:
    """The kind of context that the pipeline takes."""
    return (AsyncContext if pipeline.is_async else Context)(attempt, ledger, interruption)


def execute(pipeline: Pipeline[..., Any], args_text: str | None, context: Context | AsyncContext) -> Ended:
    """Run the pipeline once with the arguments of the JSON text (None: it is lost); to be called on the main thread.

    Raises nothing. A copy of this process that the author's code forked does not come back from here.
    """
    try:
        arguments = _arguments(pipeline, args_text)
    except BadArguments as error:
        return Ended.bad_args(clean(str(error), LONGEST_ERROR_BYTES))
    try:
        with context.interruption.surviving_finalizers():
            ended = _attempt(pipeline, context, arguments)
    except BaseException:  # noqa: BLE001 - an interruption on the way in or out of the author's code
        ended = Ended.failed(_NO_TEXT, "")
    context.end()
    if context.is_fenced:
        return Ended.fenced()
    if (stop := context.interruption.delivered) is not None:
        stop.__traceback__ = None  # else its frames would keep the run's objects, an open transaction among them, alive
        return Ended.stopped(stop, ended.traceback)
    return ended


def _arguments(pipeline: Pipeline[..., Any], args_text: str | None) -> dict[str, Any]:
    if args_text is None:
        raise BadArguments("the database has lost the run's row in orbit.runs, with its arguments")
    try:
        arguments = decode(args_text)
    except ValueError as error:
        raise BadArguments(f"the arguments cannot be read: {error}") from error
    if not isinstance(arguments, dict):
        raise BadArguments(f"the arguments are a JSON {type(arguments).__name__}, expected an object")
    if problems := pipeline.check_arguments(arguments):
        raise BadArguments("; ".join(problems))
    return arguments


def _attempt(pipeline: Pipeline[..., Any], context: Context | AsyncContext, arguments: Mapping[str, Any]) -> Ended:
    try:
        value = (_call_async if pipeline.is_async else _call)(pipeline, context, arguments)
    except BaseException as error:  # noqa: BLE001 - SystemExit and its like are failures of the run too
        with context.interruption.exposed():  # the exception's own text is code of the author's
            return _verdict(error, pipeline)
    try:
        return Ended.succeeded(encode(value, "the result", context.max_result_bytes))
    except BadResult as error:
        return Ended.bad_result(clean(str(error), LONGEST_ERROR_BYTES), "")


def _call(pipeline: Pipeline[..., Any], context: Context | AsyncContext, arguments: Mapping[str, Any]) -> Any:
    pid = os.getpid()
    try:
        with context.interruption.exposed():
            return pipeline.function(context, **arguments)
    finally:
        _end_copies(pid)


def _call_async(pipeline: Pipeline[..., Any], context: Context | AsyncContext, arguments: Mapping[str, Any]) -> Any:
    with asyncio.Runner() as runner:  # its end cancels the tasks that are left, and waits for them
        return runner.run(_await(pipeline, context, arguments))


async def _await(pipeline: Pipeline[..., Any], context: Context | AsyncContext, arguments: Mapping[str, Any]) -> Any:
    pid = os.getpid()
    try:
        with context.interruption.cancelling():
            return await pipeline.function(context, **arguments)
    finally:
        _end_copies(pid)


def _end_copies(pid: int) -> None:
    """Let only the process that was given the run come back from it: a fork of it would report the run a second time."""
    if os.getpid() != pid:
        os._exit(_COPY_EXIT_CODE)


def _verdict(error: BaseException, pipeline: Pipeline[..., Any]) -> Ended:
    text, trace = headline(error), traceback_text(error, pipeline.function.__code__)
    match _only_member(error):
        case Retry(after_seconds=after_seconds):
            return Ended.retry(after_seconds, text, trace)
        case Snooze(after_seconds=after_seconds):
            return Ended.snooze(after_seconds)
        case Permanent():
            return Ended.permanent(text, trace)
        case BadResult():
            return Ended.bad_result(text, trace)
        case _:
            return Ended.failed(text, trace)


def _only_member(error: BaseException) -> BaseException:
    """What a group with one member stands for: an asyncio.TaskGroup wraps whatever ends it."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
