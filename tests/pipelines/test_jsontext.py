"""JSON in and out: nothing is changed silently."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import json
import math
from typing import Any

import pytest
from hypothesis import given, strategies as st

from orbitd.pipelines.exceptions import BadResult
from orbitd.pipelines.jsontext import decode, encode

MOST = 10_000


class Colour(enum.Enum):
    RED = "red"
    NONE = math.nan


@dataclasses.dataclass
class Point:
    x: int


def cycle() -> list[Any]:
    ring: list[Any] = []
    ring.append(ring)
    return ring


def nested(depth: int) -> list[Any]:
    inner: list[Any] = []
    for _ in range(depth):
        inner = [inner]
    return inner


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        [1, {"a": -math.inf}],
        Colour.NONE,
        "\ud800",
        {"\udfff": 1},
        "a\0b",
        {"a\0": 1},
        "\\\0",
        "\\\\\0",
        b"bytes",
        {1, 2},
        {1: 2},
        {None: 1},
        {("a",): 1},
        2**64,
        -(2**63) - 1,
        10**4000,
        1j,
        object(),
        Point(1),
        dt.datetime(2024, 1, 1, tzinfo=dt.UTC),
        dt.date(2024, 1, 1),
        cycle(),
        nested(5000),
        "x" * MOST,
        ["x"] * MOST,
        lambda: None,
        iter([1]),
        range(3),
    ],
    ids=lambda value: type(value).__name__,
)
def test_u14_what_json_or_postgres_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(BadResult, match=r"^the result (is|has) "):
        encode(value, "the result", MOST)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ((1, 2), "[1,2]"),
        ({"a": [True, None, 1.5, "ä\n"]}, '{"a":[true,null,1.5,"ä\\n"]}'),
        ("\\u0000", '"\\\\u0000"'),
        ("\\\\u0000", '"\\\\\\\\u0000"'),
        (2**64 - 1, "18446744073709551615"),
        ([None, Colour.RED, "null"], '[null,"red","null"]'),
        (nested(200), "[" * 201 + "]" * 201),
    ],
)
def test_what_json_can_hold_is_written(value: Any, text: str) -> None:
    assert encode(value, "the result", MOST) == text


def test_the_limit_is_in_bytes_and_inclusive() -> None:
    assert encode("ä" * 4, "the result", 10) == '"ääää"'
    with pytest.raises(BadResult, match=r"is 10B of JSON, more than 9B \(runs.max_result\)"):
        encode("ä" * 4, "the result", 9)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), inner, max_size=4)
    ),
    max_leaves=10,
)


@given(JSON)
def test_what_is_written_is_read_back(value: Any) -> None:
    assert decode(encode(value, "it", 2**20)) == value


@given(
    st.recursive(
        st.none() | st.integers() | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(), inner),
    )
)
def test_what_is_written_is_what_a_strict_reader_sees(value: Any) -> None:
    try:
        text = encode(value, "it", 2**20)
    except BadResult:
        return
    assert json.loads(text) == value
    assert "\0" not in json.loads(text) if isinstance(value, str) else True


@given(st.integers())
def test_integers_of_any_length_are_read_exactly(number: int) -> None:
    assert decode(f'{{"n": {number}}}') == {"n": number}


@pytest.mark.parametrize(
    "text", ["", "{", "NaN", "1e400", '"\\ud800"', "\ud800", "[" * 6000 + "]" * 6000, "1" * 5000, "[" * 1020 + "1" * 20 + "]" * 1020]
)
def test_what_cannot_be_read_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode(text)
