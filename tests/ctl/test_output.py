"""The forms of an answer."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from orbitd.ctl.output import Format, Output
from orbitd.ctl.render import Column, table
from orbitd.errors import NoSuchObject
from tests.ctl.conftest import Orbitctl

ITEMS = [{"id": "1", "tags": ["a", "b"], "slot": None, "n": -1, "ok": True}, {"id": "2", "tags": [], "slot": 3, "n": 2.5, "ok": False}]
DOCUMENT = {"schema": "orbit.x/1", "items": ITEMS, "next": None}
COLUMNS = (
    Column("A", lambda row: row["a"]),
    Column("B", lambda row: row["b"], step=1, elastic=True),
    Column("C", lambda _: "c", wide_only=True),
)
ROWS = [{"a": "", "b": "x" * 500}, {"a": "", "b": ""}]


def printed(capfd: pytest.CaptureFixture[str], form: Format, document: dict[str, Any] = DOCUMENT) -> str:
    Output("orbitctl", form, environ={}).document(document, ["one", "two"])
    return capfd.readouterr().out


def test_lines_for_people(capfd: pytest.CaptureFixture[str]) -> None:
    assert printed(capfd, Format.TABLE) == printed(capfd, Format.WIDE) == "one\ntwo\n"


def test_the_document(capfd: pytest.CaptureFixture[str]) -> None:
    assert json.loads(printed(capfd, Format.JSON)) == DOCUMENT


def test_a_line_for_each_item(capfd: pytest.CaptureFixture[str]) -> None:
    lines = printed(capfd, Format.JSONL).splitlines()
    assert lines[0] == '{"id":"1","tags":["a","b"],"slot":null,"n":-1,"ok":true}'
    assert [json.loads(line) for line in lines] == ITEMS


def test_a_row_for_each_item(capfd: pytest.CaptureFixture[str]) -> None:
    assert printed(capfd, Format.CSV) == 'id,tags,slot,n,ok\r\n1,"[""a"", ""b""]",,-1,true\r\n2,[],3,2.5,false\r\n'


@pytest.mark.parametrize("form", [Format.JSONL, Format.CSV])
def test_no_items_are_no_lines_and_no_items_at_all_is_one(capfd: pytest.CaptureFixture[str], form: Format) -> None:
    assert printed(capfd, form, {"schema": "x", "items": []}) == ""
    assert len(printed(capfd, form, {"schema": "x"}).splitlines()) == (1 if form is Format.JSONL else 2)


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@x", "\tx", "\rx", '=HYPERLINK("x")'])
def test_a_text_is_no_formula_for_a_spreadsheet(capfd: pytest.CaptureFixture[str], text: str) -> None:
    out = printed(capfd, Format.CSV, {"error": text})
    assert list(csv.reader(io.StringIO(out, newline=""))) == [["error"], [f"'{text}"]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(blacklist_categories=["Cs"])), min_size=1))
def test_any_text_comes_back_from_csv(capfd: pytest.CaptureFixture[str], texts: list[str]) -> None:
    out = printed(capfd, Format.CSV, {"items": [{"text": text, "n": 1} for text in texts]})
    rows = list(csv.reader(io.StringIO(out, newline="")))[1:]
    assert [row[0].removeprefix("'") for row in rows] == [text.removeprefix("'") for text in texts]


def test_an_answer_without_end_comes_item_by_item(capfd: pytest.CaptureFixture[str]) -> None:
    for form, expected in ((Format.TABLE, "a line\n"), (Format.JSON, '{"n":1}\n'), (Format.CSV, "n,fields\r\n1,\r\n")):
        Output("orbitctl", form, environ={}).item({"n": 1}, ["a line"])
        assert capfd.readouterr().out == expected


def test_the_names_of_a_csv_are_those_of_all_items(capfd: pytest.CaptureFixture[str]) -> None:
    out = printed(capfd, Format.CSV, {"items": [{"a": 1}, {"b": 2, "a": 3}, {"c": None}]})
    assert out == "a,b,c\r\n1,,\r\n3,2,\r\n,,\r\n"


def test_an_endless_csv_keeps_what_later_items_have_besides(capfd: pytest.CaptureFixture[str]) -> None:
    out = Output("orbitctl", Format.CSV, environ={})
    for item in ({"a": 1}, {"b": 2, "a": 3}):
        out.item(item, [])
    assert list(csv.reader(io.StringIO(capfd.readouterr().out, newline=""))) == [["a", "fields"], ["1", ""], ["3", '{"b": 2}']]


@pytest.mark.parametrize(
    ("environ", "unicode"),
    [
        ({}, True),
        ({"LC_ALL": "C"}, False),
        ({"LC_ALL": "POSIX", "LANG": "en_US.UTF-8"}, False),
        ({"LC_ALL": "", "LC_CTYPE": "C", "LANG": "en_US.UTF-8"}, False),
        ({"LC_ALL": "C.UTF-8"}, True),
        ({"LC_ALL": "C.utf8"}, True),
        ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, True),
        ({"LANG": "C"}, False),
        ({"LANG": "de_DE.UTF-8"}, True),
    ],
)
@pytest.mark.usefixtures("capfd")
def test_the_c_locale_is_ascii_whatever_python_makes_of_it(environ: dict[str, str], *, unicode: bool) -> None:
    assert Output("orbitctl", environ=environ).style.unicode is unicode


def test_what_is_said_beside_the_answer_is_json_too(capfd: pytest.CaptureFixture[str]) -> None:
    for form in (Format.JSON, Format.JSONL):
        out = Output("orbitctl", form, environ={})
        out.note("by the way")
        out.error(NoSuchObject("no run 4711", "see `orbitctl runs`"))
        note, error = map(json.loads, capfd.readouterr().err.splitlines())
        assert note == {"note": "by the way"}
        assert error == {"error": {"code": "no_such_object", "message": "no run 4711", "hint": "see `orbitctl runs`"}}


def test_a_table_in_a_file_is_cut_to_something_that_can_be_read_and_a_wide_one_is_not() -> None:
    out = Output("orbitctl", Format.TABLE, environ={})
    assert max(map(len, table(COLUMNS, ROWS, out.style))) < 130
    wide = list(table(COLUMNS, ROWS, Output("orbitctl", Format.WIDE, environ={"COLUMNS": "60"}).style))
    assert wide[0].split() == ["A", "B", "C"]
    assert "x" * 500 in wide[1]


@pytest.mark.usefixtures("daemon")
def test_every_form_of_a_real_answer(orbitctl: Orbitctl) -> None:
    assert [slot["slot"] for slot in map(json.loads, orbitctl("list", "-o", "jsonl").out.splitlines())] == [0, 1, 2, 3]
    assert [row["state"] for row in csv.DictReader(orbitctl("list", "-ocsv").out.splitlines())] == ["idle", "busy", "held", "backoff"]
    assert orbitctl("list", "-o", "wide").out.splitlines()[0].endswith("LAST EXIT")
