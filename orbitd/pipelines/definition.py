"""`@pipeline`: a function becomes a pipeline, and stays callable as the plain function that it was.

The decorator marks, it does not register: the registry finds pipelines in the modules that the configuration names.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, Generic, Literal, ParamSpec, TypeVar

from orbitd.errors import ConfigError
from orbitd.pipelines.signature import Signature, signature_of
from orbitd.rules.batching import AUTO, MOST_IN_HAND, Batch
from orbitd.units import as_seconds

P = ParamSpec("P")
R = TypeVar("R")

EXPONENTIAL = "exponential"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}", re.ASCII)


@dataclass(frozen=True, eq=False)
class Pipeline(Generic[P, R]):
    """A named unit of the author's code. None leaves a setting to the configuration.

    `timeout_seconds` 0 is no timeout; `backoff` is "exponential" or the seconds to wait after the first, second … error.
    `priority` goes from -2 to 2, the higher the sooner. `batch` is how many runs a child may claim at once, or "auto".
    `on_lease_lost` is "continue" or "interrupt".
    """

    name: str
    function: Callable[Concatenate[Any, P], R]
    signature: Signature
    is_async: bool
    queue: str = "default"
    timeout_seconds: float | None = None
    max_attempts: int | None = None
    max_crashes: int | None = None
    backoff: str | tuple[float, ...] | None = None
    priority: int = 0
    batch: Batch | None = None
    on_lease_lost: str = "continue"

    def __call__(self, ctx: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the plain function, as a test does."""
        return self.function(ctx, *args, **kwargs)

    @property
    def place(self) -> str:
        """Where it is defined, for people: "app.billing (/srv/app/billing.py:12)"."""
        code = self.function.__code__
        return f"{self.function.__module__} ({code.co_filename}:{code.co_firstlineno})"

    def check_arguments(self, arguments: Mapping[str, Any]) -> list[str]:
        """What is wrong with the arguments, a sentence each; empty when they fit."""
        return self.signature.problems(arguments)


def pipeline(
    name: str,
    *,
    queue: str = "default",
    timeout: str | float | None = None,
    max_attempts: int | None = None,
    max_crashes: int | None = None,
    backoff: str | Sequence[str | float] | None = None,
    priority: int = 0,
    batch: Batch | None = None,
    on_lease_lost: Literal["continue", "interrupt"] = "continue",
) -> Callable[[Callable[Concatenate[Any, P], R]], Pipeline[P, R]]:
    """Declare the decorated function, sync or async, to be the pipeline of that name.

    Durations are "15m" or seconds; `backoff` is "exponential", one wait, or a list of waits. `batch`, for very many very short
    runs: how many a child may claim at once, or "auto".
    `on_lease_lost`: a run goes on while its host has no database, though another host may begin it anew; or it is interrupted
    before that can be, for work that must never run twice at once.
    Raises ConfigError when the function cannot be a pipeline, or a value is out of its range.
    """

    def decorate(function: Callable[Concatenate[Any, P], R]) -> Pipeline[P, R]:
        try:
            _check_function(function)
            return Pipeline(
                name=_checked_name("name", name),
                function=function,
                signature=signature_of(function),
                is_async=inspect.iscoroutinefunction(function),
                queue=_checked_name("queue", queue),
                timeout_seconds=None if timeout is None else as_seconds(timeout),
                max_attempts=_checked_range("max_attempts", max_attempts, 1, 1000),
                max_crashes=_checked_range("max_crashes", max_crashes, 1, 1000),
                backoff=_checked_backoff(backoff),
                priority=_checked_range("priority", priority, -2, 2) or 0,
                batch=AUTO if batch == AUTO else _checked_range("batch", batch, 1, MOST_IN_HAND),
                on_lease_lost=_checked_choice("on_lease_lost", on_lease_lost, ("continue", "interrupt")),
            )
        except ValueError as error:
            raise ConfigError(f'pipeline "{name}": {error}') from error

    return decorate


def _check_function(function: object) -> None:
    if isinstance(function, Pipeline):
        raise ValueError(f'it is the pipeline "{function.name}" already')  # noqa: TRY004 - one error for all that cannot be a pipeline
    if not inspect.isfunction(function):
        raise ValueError(f"{function!r} is not a function: decorate a def or async def")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise ValueError("a generator cannot be a pipeline: return one value instead of yielding many")


def _checked_name(kind: str, name: object) -> str:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(f'{kind} {name!r} must be 1 to 128 of the characters a-z A-Z 0-9 _ . : -, and not begin with ". : -"')
    return name


def _checked_range(kind: str, number: object, least: int, most: int) -> int | None:
    if number is None:
        return None
    if type(number) is not int or not least <= number <= most:
        raise ValueError(f"{kind} {number!r} must be an integer from {least} to {most}")
    return number


def _checked_choice(kind: str, word: str, choices: Sequence[str]) -> str:
    if word not in choices:
        raise ValueError(f"{kind} {word!r} must be one of: {', '.join(choices)}")
    return word


def _checked_backoff(backoff: str | Sequence[str | float] | None) -> str | tuple[float, ...] | None:
    if backoff is None or backoff == EXPONENTIAL:
        return backoff
    if isinstance(backoff, str | int | float):
        return (as_seconds(backoff),)
    if not backoff:
        raise ValueError("backoff has no wait in it: leave it out, or give at least one")
    return tuple(as_seconds(wait) for wait in backoff)
