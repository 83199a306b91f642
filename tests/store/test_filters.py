"""What a person may write as a filter, and what is said when it cannot be understood. What it finds: test_lists.py."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies as st

from orbitd.errors import UsageError
from orbitd.rules.states import RunState
from orbitd.store.admin import FILTER_TERMS, Filter, parse_filter

NOW = datetime(2026, 1, 31, 8, tzinfo=UTC)


def values(text: str) -> object:
    (condition,) = parse_filter(text, NOW).conditions
    return condition.parameters["values"]


@pytest.mark.parametrize("text", ["", " ", "\n\t "])
def test_the_empty_filter_means_all_runs(text: str) -> None:
    assert parse_filter(text) == Filter()
    assert parse_filter(text).means_all


def test_a_filter_is_shown_as_it_was_written() -> None:
    assert str(parse_filter("  state:failed   tenant:42 ")) == "state:failed   tenant:42"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tenant:42", ["42"]),
        ("tenant:42,43", ["42", "43"]),
        ('tenant:"a b, c",d', ["a b, c", "d"]),
        ("tenant:'a \"b\"'", ['a "b"']),
        ('tenant:"it\'s"', ["it's"]),
        ("tenant:it's", ["it's"]),
        ('tenant:"a"b"', ['a"b']),
        ("tenant:a:b", ["a:b"]),
        ('tenant:">5"', [">5"]),
        ("tenant:-1", ["-1"]),
        ("tenant:\u00e4\U0001f600", ["\u00e4\U0001f600"]),
        ("pipeline:invoice.*", ["invoice.%"]),
        ("pipeline:a_b%?\\", ["a\\_b\\%_\\\\"]),
        ("slot:3", ["[3,3]"]),
        ("attempt:>=3,<1", ["[3,)", "(,1)"]),
        ("attempt:>3,<=1", ["(3,)", "(,1]"]),
        ("took:>10s", ["(10.000000,)"]),
        ("took:<=1h30m,0", ["(,5400.000000]", "[0.000000,0.000000]"]),
        ("since:1h", NOW - timedelta(hours=1)),
        ("since:2026-01-30", datetime(2026, 1, 30, tzinfo=UTC)),
        ("since:2026-01-30T08:00:00Z", datetime(2026, 1, 30, 8, tzinfo=UTC)),
        ("since:2026-01-30T08:00:00+02:00", datetime(2026, 1, 30, 6, tzinfo=UTC)),
    ],
)
def test_values_are_read_as_they_are_meant(text: str, expected: object) -> None:
    assert values(text) == expected
    assert not parse_filter(text).conditions[0].is_negated
    assert parse_filter(f"-{text}").conditions[0].is_negated


def test_the_name_of_an_argument_is_all_that_follows_args() -> None:
    (condition,) = parse_filter("args.a.b-c:1").conditions
    assert condition.parameters == {"name": "a.b-c", "values": ["1"]}


def test_terms_are_joined_by_and() -> None:
    both = parse_filter("state:failed,running pipeline:a* -state:running since:1h", NOW)
    assert both.states == {RunState.FAILED}
    assert (both.pipelines, both.since) == (("a%",), NOW - timedelta(hours=1))
    assert len(both.conditions) == 2
    assert parse_filter("state:failed") & parse_filter("pipeline:a*") == parse_filter("state:failed pipeline:a*")


def test_a_negated_term_says_nothing_of_where_to_look() -> None:
    negated = parse_filter("-pipeline:a -key:k -group:g -since:1h")
    assert (negated.pipelines, negated.keys, negated.groups, negated.since) == (None, None, None, None)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("nonsense", '"nonsense" in the filter is not of the form name:value', "such as pipeline:nonsense"),
        (":x", "not of the form", "the terms are"),
        ("-", "not of the form", ""),
        ("tenant :x", "not of the form", ""),
        ("pipelin:x", 'unknown term "pipelin"', "did you mean pipeline? the terms are state, pipeline,"),
        ("Pipeline:x", "unknown term", "did you mean pipeline?"),
        ("arg.x:1", 'unknown term "arg.x"', "did you mean args.NAME?"),
        ("args:1", 'unknown term "args"', "did you mean args.NAME?"),
        ("args.:1", "unknown term", ""),
        ("tenant.x:1", "unknown term", "the terms are"),
        ("state.x:failed", "unknown term", ""),
        ("--tenant:1", "unknown term", ""),
        ("state:fialed", 'unknown state "fialed"', "did you mean failed? there are scheduled,"),
        ("state:*", "unknown state", "there are"),
        ("tenant:", "tenant: in the filter has an empty value", "write tenant:VALUE"),
        ("tenant: x", "empty value", ""),
        ("tenant:a,", "empty value", ""),
        ("tenant:,a", "empty value", ""),
        ('tenant:""', "empty value", ""),
        ('tenant:"a b', "not closed", "the quote that it begins with"),
        ("tenant:'", "not closed", ""),
        ('error:"a b"*', "not closed", ""),
        ("slot:x", 'slot: in the filter has "x", which is no number', "slot:>=3"),
        ("slot:-1", "no number", ""),
        ("slot:1.5", "no number", ""),
        ("slot:\u0661", "no number", ""),
        ("attempt:>", "no number", ""),
        ("attempt:=3", "no number", ""),
        ("attempt:9999999999", "no number", ""),
        ("took:10", "took: in the filter: ", "such as took:>10s"),
        ("took:>", "took: in the filter", ""),
        ("took:inf", "took: in the filter", ""),
        ("took:nan", "took: in the filter", ""),
        ("since:yesterday", "which is no time", "since:1h"),
        ("since:1h,2h", "takes one value", "give the earliest"),
        ("since:>1h", "which is no time", ""),
        ("since:2026-13-01", "which is no time", ""),
        ("since:0001-01-01T00:00:00+14:00", "which is no time", ""),
        ("since:2026-01-31T08:00:00", "has no zone", "since:2026-01-31T08:00:00Z"),
        ("args.n:>5", "args.n: in the filter takes no comparison", 'args.n:">5"'),
        ("tenant:<5", "takes no comparison", ""),
        ("tenant:a\0b", "the control character U+0000", "write ? for it"),
        ("tenant:a\ud800", "the control character U+D800", ""),
        ("\x1b[2J:x", "the control character U+001B", ""),
        ("tenant:" + "x" * 4000, "the limit is 4000", ""),
    ],
)
def test_what_cannot_be_understood_is_said_with_what_to_write(text: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_filter(text, NOW)
    assert message in error.value.message
    assert hint in (error.value.hint or "")


@given(st.text(max_size=40) | st.lists(st.sampled_from([*FILTER_TERMS, *":,-\"' <>=*", "args.x", "1h", "3", "failed"])).map("".join))
def test_any_text_is_a_filter_or_a_usage_error(text: str) -> None:
    try:
        found = parse_filter(text)
    except UsageError:
        return
    sql, parameters = found.sql()
    assert sql.count(b"AND ") >= len(found.conditions)
    assert all(f"%({name})s".encode() in sql for name in parameters)
