"""A .env file is read as its author meant it, or its line is named; its values are in no message."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from orbitd.config import dotenv


def variables(text: str) -> dict[str, str]:
    found = dotenv.parse(text)
    assert found.faults == []
    return {entry.name: entry.value for entry in found.entries}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("X=", ""),
        ("X=a", "a"),
        ("  X = a b  ", "a b"),
        ("export X=a", "a"),
        ("X=a # a comment", "a"),
        ("X=a#b", "a#b"),
        ("X=# a comment", ""),
        ("X= # a comment", ""),
        ("X='a # b'", "a # b"),
        ("X='a' # a comment", "a"),
        ("X='a\\nb'", "a\\nb"),
        ("X='two\nlines'", "two\nlines"),
        ('X="a\\nb\\t\\"c\\" \\$d \\\\"', 'a\nb\t"c" $d \\'),
        ('X=""', ""),
        ("X=it's", "it's"),
        ("X=postgresql://u:p@h/d?a=b&c=d", "postgresql://u:p@h/d?a=b&c=d"),
        ("X=a=b", "a=b"),
        ("X=é\u00a0", "é"),
        ("X=a\r", "a"),
    ],
)
def test_a_value_is_taken_as_it_is_written(line: str, value: str) -> None:
    assert variables(line) == {"X": value}
    assert variables(f"# first\n\n{line}\nY=last") == {"X": value, "Y": "last"}


def test_emptiness_and_comments_are_no_variables() -> None:
    assert variables("") == variables("\n \t\r\n") == variables("# X=1\n   # Y=2") == {}


def test_the_last_of_two_counts() -> None:
    assert variables("X=1\nX=2\n") == {"X": "2"}


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("hunter2", "is not of the form NAME=value"),
        ("1X=hunter2", "is not of the form NAME=value"),
        ("X Y=hunter2", "is not of the form NAME=value"),
        ("=hunter2", "is not of the form NAME=value"),
        ("X: hunter2", "is not of the form NAME=value"),
        ("X='hunter2'hunter2", "X goes on behind its closing quote"),
        ("X=hunter2\0", "X holds a NUL character"),
    ],
)
def test_a_broken_line_is_named_and_the_others_are_read(line: str, fault: str) -> None:
    found = dotenv.parse(f"A='\n\n'\n{line}\nB=2")
    assert found.faults == [dotenv.Problem(4, fault)]
    assert [(entry.name, entry.line) for entry in found.entries] == [("A", 1), ("B", 5)]


@pytest.mark.parametrize("quote", "'\"`")
def test_a_quote_that_does_not_end_is_a_fault_where_it_begins(quote: str) -> None:
    assert dotenv.parse(f"A=1\nX={quote}hunter2\nB=2").faults == [dotenv.Problem(2, "begins a quote that does not end")]


@pytest.mark.parametrize("value", ["${HOME}/x", '"${HOME}"', "$(id)"])
def test_nothing_is_expanded_and_that_is_said(value: str) -> None:
    found = dotenv.parse(f"\nX={value}")
    assert [entry.value for entry in found.entries] == [value.strip('"')]
    assert found.remarks == [dotenv.Problem(2, "X is taken as it stands: nothing is expanded in such a file")]


@given(st.text(st.sampled_from("ABX=' \"`#\\\n\r$({x1\0")))
def test_any_text_is_read_and_no_message_has_a_value(text: str) -> None:
    found = dotenv.parse(text.replace("x1", "hunter2"))
    assert all(problem.line <= text.count("\n") + 1 for problem in (*found.faults, *found.remarks))
    assert not any("hunter2" in problem.message for problem in (*found.faults, *found.remarks))


@pytest.mark.parametrize(
    "text", ["X='" * 300_000, '"\\' * 300_000, "X=" + " #" * 300_000, " " * 1_000_000, "A" * 1_000_000, 'X="' + "\\" * 1_000_001]
)
def test_no_text_takes_long(text: str) -> None:
    """So long are they that only a linear scan ends within the suite's timeout."""
    dotenv.parse(text)
