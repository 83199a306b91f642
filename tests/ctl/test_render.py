"""Tables fit their width, show what they cut, and never let stored text reach the terminal's ears."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, strategies as st

from orbitd.ctl.render import MARKS, Cell, Column, Style, display_width, table
from orbitd.printable import printable
from orbitd.rules.states import DaemonState, RunState, SlotState

COLUMNS = (
    Column("ID", lambda row: row["id"], right=True),
    Column("NAME", lambda row: row["name"], elastic=True),
    Column("SIZE", lambda row: row["size"], step=2, right=True),
    Column("NOTE", lambda row: Cell(row["note"], "red"), step=1, elastic=True),
)
ROWS = [
    {"id": "1", "name": "a name of some length", "size": "12KiB", "note": "a note that is rather long"},
    {"id": "22", "name": "short", "size": "", "note": ""},
]


def lines(width: int | None = None, *, colour: bool = False, unicode: bool = True) -> list[str]:
    return list(table(COLUMNS, ROWS, Style(colour=colour, unicode=unicode, width=width)))


def test_nothing_is_cut_where_there_is_no_width() -> None:
    assert lines() == [
        "ID  NAME                    SIZE  NOTE",
        " 1  a name of some length  12KiB  a note that is rather long",
        "22  short",
    ]


def test_columns_give_way_before_texts_are_cut() -> None:
    assert lines(60) == lines()
    assert lines(55)[1] == " 1  a name of some length  12KiB  a note that is rathe…"
    assert lines(50)[1] == " 1  a name of some length  a note that is rather …"
    assert lines(40)[1] == " 1  a name of some l…  a note that is r…"
    assert lines(25)[1] == " 1  a name of some length"
    assert lines(20)[1] == " 1  a name of some …"


@given(st.integers(16, 200), st.booleans())
def test_no_line_is_wider_than_the_terminal(width: int, unicode: bool) -> None:  # noqa: FBT001
    assert max(map(display_width, lines(width, unicode=unicode))) <= width


def test_a_column_without_content_is_left_out() -> None:
    assert list(table(COLUMNS, [{"id": "1", "name": "", "size": "", "note": ""}], Style())) == ["ID  NAME", " 1"]


def test_colours_do_not_count_as_width_and_never_stand_alone() -> None:
    coloured = lines(60, colour=True)
    assert [re.sub(r"\x1b\[\d+m", "", line).rstrip() for line in coloured] == lines(60)
    assert "\x1b[31m" in coloured[1]
    assert "\x1b[31m" not in coloured[2]


def test_wide_characters_take_two_places() -> None:
    rows = [
        {"id": "1", "name": "日本語のとても長い名前です", "size": "x", "note": ""},
        {"id": "2", "name": "e\u0301tude", "size": "y", "note": ""},
    ]
    shown = list(table(COLUMNS, rows, Style(width=24)))
    assert max(map(display_width, shown)) <= 24
    assert "…" in shown[1]


@pytest.mark.parametrize("text", ["\x1b[2J", "a\rb", "a\nb", "\x9b31m", "\u202egnp.exe", "\u2028", "\x07", "\ud800", "\x7f"])
def test_stored_text_cannot_act_on_the_terminal(text: str) -> None:
    shown = "\n".join(table(COLUMNS, [{"id": text, "name": text, "size": text, "note": text}], Style()))
    assert shown.replace("\n", "").isprintable()
    assert shown.count("\n") == 1


@given(st.text())
def test_printable_text_is_printable_and_plain_text_unchanged(text: str) -> None:
    assert printable(text).isprintable()
    if text.isprintable():
        assert printable(text) == text


@given(st.text(), st.integers(1, 50))
def test_cut_text_has_the_width(text: str, limit: int) -> None:
    assert len(printable(text, limit)) <= limit


def test_without_unicode_everything_is_ascii() -> None:
    assert all(line.isascii() for line in lines(40, unicode=False))
    assert all(Style(unicode=False).state(state).text.isascii() for state in MARKS)


@pytest.mark.parametrize("state", [*RunState, *SlotState, *DaemonState])
def test_every_state_has_a_symbol_of_its_own_kind(state: str) -> None:
    assert state in MARKS


@pytest.mark.parametrize("states", [RunState, SlotState])
def test_no_two_states_look_alike(states: type[RunState | SlotState]) -> None:
    for symbols in ([MARKS[state].symbol for state in states], [MARKS[state].ascii for state in states]):
        assert len(set(symbols)) == len(symbols)
