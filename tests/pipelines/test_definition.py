"""@pipeline: what it accepts, what it refuses, and how arguments are checked."""

from __future__ import annotations

import asyncio
import functools
import json
import typing
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, Optional, TypedDict, Union

import pytest
from hypothesis import given, strategies as st

from orbitd import AsyncContext, Context, Permanent, Retry, Snooze, pipeline
from orbitd.errors import ConfigError
from orbitd.pipelines.definition import Pipeline


class Address(TypedDict):
    city: str


def plain(ctx: Context, tenant_id: int, since: str = "1970-01-01") -> dict[str, Any]:
    return {"ctx": ctx, "tenant_id": tenant_id, "since": since}


def test_a_pipeline_is_still_the_plain_function_that_it_was() -> None:
    made = pipeline("invoice.sync")(plain)
    assert made("context", 1, since="2024-01-01") == {"ctx": "context", "tenant_id": 1, "since": "2024-01-01"}


def test_what_the_decorator_says_is_kept_in_base_units() -> None:
    made = pipeline("a.b", queue="billing", timeout="15m", max_attempts=5, max_crashes=2, backoff=["1m", 300, "6h"], priority=-2)(plain)
    assert (made.queue, made.timeout_seconds, made.max_attempts, made.max_crashes) == ("billing", 900.0, 5, 2)
    assert (made.backoff, made.priority, made.is_async) == ((60.0, 300.0, 21600.0), -2, False)


def test_what_the_decorator_does_not_say_is_left_to_the_configuration() -> None:
    made = pipeline("a")(plain)
    assert (made.timeout_seconds, made.max_attempts, made.max_crashes, made.backoff) == (None, None, None, None)
    assert (made.queue, made.priority) == ("default", 0)


def test_one_wait_and_exponential_are_backoffs_too() -> None:
    assert pipeline("a", backoff="5m")(plain).backoff == (300.0,)
    assert pipeline("a", backoff="exponential")(plain).backoff == "exponential"


def test_an_async_function_makes_an_async_pipeline() -> None:
    @pipeline("a")
    async def double(_ctx: AsyncContext, number: int) -> int:
        return 2 * number

    assert double.is_async
    assert asyncio.run(double(None, 4)) == 8


def test_a_pipeline_knows_where_it_was_written() -> None:
    assert __file__ in pipeline("a")(plain).place


def generator(_ctx: Context) -> Iterator[int]:
    yield 1


async def async_generator(_ctx: Context) -> AsyncIterator[int]:
    yield 1


class Callee:
    def __call__(self, ctx: Context) -> None: ...


def no_parameters() -> None: ...
def no_context(tenant_id: int) -> None: ...
def keyword_context(*, ctx: Context) -> None: ...
def star(ctx: Context, *args: int) -> None: ...
def positional_only(ctx: Context, tenant_id: int, /) -> None: ...


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (generator, "generator"),
        (async_generator, "generator"),
        (Callee, "not a function"),
        (Callee(), "not a function"),
        (print, "not a function"),
        (functools.partial(plain, tenant_id=1), "not a function"),
        (None, "not a function"),
        ("text", "not a function"),
        (pipeline("first")(plain), 'the pipeline "first" already'),
        (no_parameters, "first parameter must be the context"),
        (no_context, "first parameter must be the context"),
        (keyword_context, "first parameter must be the context"),
        (star, "cannot be given by name"),
        (positional_only, "cannot be given by name"),
    ],
)
def test_u23_what_cannot_be_a_pipeline_is_refused_when_it_is_declared(function: Any, complaint: str) -> None:
    with pytest.raises(ConfigError, match='pipeline "x": ') as refusal:
        pipeline("x")(function)
    assert complaint in refusal.value.message


@pytest.mark.parametrize("name", ["", " ", "a b", "-a", ".a", ":a", "a\n", "a" * 129, "ä", "٣", "a/b", "a*", None, 7, b"a"])
def test_a_bad_name_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="name"):
        pipeline(name)(plain)


@pytest.mark.parametrize(
    "options",
    [
        {"timeout": "15"},
        {"timeout": "15 m"},
        {"timeout": -1},
        {"timeout": float("nan")},
        {"timeout": float("inf")},
        {"timeout": True},
        {"timeout": [1]},
        {"max_attempts": 0},
        {"max_attempts": True},
        {"max_attempts": 2.0},
        {"max_attempts": 10**30},
        {"max_crashes": 0},
        {"backoff": []},
        {"backoff": "fast"},
        {"backoff": ["1m", "soon"]},
        {"on_lease_lost": "panic"},
        {"priority": 3},
        {"priority": -3},
        {"queue": ""},
        {"queue": "a b"},
    ],
)
def test_a_value_out_of_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match='pipeline "x": '):
        pipeline("x", **options)(plain)


def test_the_context_may_be_called_as_the_author_likes() -> None:
    def by_name(_context: object) -> None: ...
    def by_annotation(job: Context) -> None: ...
    def by_text(job: orbitd.Context) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - as under TYPE_CHECKING

    for function in (by_name, by_annotation, by_text):
        assert pipeline("a")(function).signature.required == ()


def test_the_store_gets_the_names_of_the_arguments() -> None:
    told = json.loads(pipeline("a")(plain).signature.to_json())
    assert told == {"required": ["tenant_id"], "optional": ["since"], "open": False, "text": ["since"]}

    def takes_any(ctx: Context, /, a: int, **rest: Any) -> None: ...

    assert json.loads(pipeline("a")(takes_any).signature.to_json()) == {"required": ["a"], "optional": [], "open": True, "text": []}


@pytest.mark.parametrize(
    ("arguments", "problems"),
    [
        ({"tenant_id": 1}, []),
        ({"tenant_id": 1, "since": "2024"}, []),
        ({}, ['argument "tenant_id" is missing']),
        ({"tenantid": 1}, ['argument "tenant_id" is missing', 'argument "tenantid" is unknown, did you mean "tenant_id"?']),
        ({"tenant_id": "1"}, ['argument "tenant_id" is text, expected an integer']),
        ({"tenant_id": True}, ['argument "tenant_id" is a boolean, expected an integer']),
        ({"tenant_id": 1.0}, ['argument "tenant_id" is a number, expected an integer']),
        ({"tenant_id": None}, ['argument "tenant_id" is null, expected an integer']),
        ({"tenant_id": 1, "ctx": 1}, ['argument "ctx" is unknown']),
    ],
)
def test_arguments_are_checked_against_the_signature(arguments: dict[str, Any], problems: list[str]) -> None:
    assert pipeline("a")(plain).check_arguments(arguments) == problems


def test_an_open_pipeline_takes_any_name_but_that_of_its_context() -> None:
    def takes_any(ctx: Context, /, **rest: Any) -> None: ...

    assert pipeline("a")(takes_any).check_arguments({"what": 1}) == []
    assert pipeline("a")(takes_any).check_arguments({"ctx": 1}) == ['argument "ctx" is unknown']


def test_null_fits_where_the_default_is_none() -> None:
    def lenient(ctx: Context, since: str = None) -> None: ...  # type: ignore[assignment]  # noqa: RUF013

    assert pipeline("a")(lenient).check_arguments({"since": None}) == []


FITTING: list[tuple[Any, list[Any], list[Any]]] = [
    (str, ["", "a"], [1, None, ["a"]]),
    (float, [1, 1.5], [True, "1", None]),
    (bool, [True], [1, 0, None]),
    (list[int], [[], ["not looked into"]], ["a", {}, None]),
    (dict[str, int], [{}], [[], "a"]),
    (Sequence[str], [["a"]], ["a", {}]),
    (Mapping[str, int], [{}], [[]]),
    (Address, [{}], [[], "a"]),
    (Optional[int], [1, None], ["a", 1.5]),  # noqa: UP045 - authors write it so too
    (Union[int, str], [1, "a"], [None, 1.5, []]),  # noqa: UP007
    (int | list[str] | None, [1, [], None], ["a", {}]),
    (typing.Annotated[int, "more"], [1], ["a"]),
    (Literal["a", "b"], ["a", 1, None], []),
    (Any, ["a", 1, None, []], []),
    (object, ["a", 1, None], []),
    (int | Callee, ["a", 1, None], []),
    ("SeenByTypeCheckersOnly", ["a", 1, None], []),
    ("1 / 0", ["a", 1, None], []),
    (["no", "type"], ["a", 1, None], []),
]


@pytest.mark.parametrize(("annotation", "fitting", "unfitting"), FITTING, ids=[str(row[0]) for row in FITTING])
def test_simple_types_are_checked_and_others_left_alone(annotation: Any, fitting: list[Any], unfitting: list[Any]) -> None:
    def function(ctx: Context, it: Any) -> None: ...

    function.__annotations__["it"] = annotation
    made = pipeline("a")(function)
    assert [value for value in fitting if made.check_arguments({"it": value})] == []
    assert [value for value in unfitting if not made.check_arguments({"it": value})] == []


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "c", "ctx", "self", "name"]), JSON_VALUES))
def test_arguments_without_problems_can_be_passed(arguments: dict[str, Any]) -> None:
    def function(ctx: Context, a: int, b: str | None = None, **rest: Any) -> int:
        return a

    made: Pipeline[..., int] = pipeline("a")(function)
    if not made.check_arguments(arguments):
        assert made(None, **arguments) == arguments["a"]


@pytest.mark.parametrize("make", [Retry, Snooze])
@pytest.mark.parametrize("after", ["soon", "5", -1, float("nan"), float("inf"), True, b"5m", 1e300])
def test_a_wait_that_is_none_is_refused_where_it_is_written(make: Callable[[Any], Exception], after: Any) -> None:
    with pytest.raises(ValueError, match=r"duration|years"):
        make(after)


def test_waits_are_words_or_seconds() -> None:
    assert Retry("5m").after_seconds == 300
    assert Retry(2.5).after_seconds == 2.5
    assert Retry(message="busy").after_seconds is None
    assert Snooze("10m").after_seconds == 600
    assert str(Retry(1, "the bank is busy")) == "the bank is busy"
    assert str(Permanent("no such tenant")) == "no such tenant"
