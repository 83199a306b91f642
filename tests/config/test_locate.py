"""The line of a key is the line where a person would look for it."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import given, strategies as st

from orbitd.config.locate import lines_of

_DOCUMENT = """\
# [not.a.table] = 1
top = "a # no comment \\" = [" # [neither]
dotted . "quo.ted" .'lit' = { inline = 1, nested = { x = [1, 2] } }

[first]
one = [
  1, # ] = "
  "]", '''
[no.table]
''',
]
  two = \"\"\"
[nor.this]
key = 1 \\\"\"\"
\"\"\"\"
[[ array . of ]]
three = 'it''s' if false else 0
""".replace("three = 'it''s' if false else 0", "three = 'x'")


def test_strings_comments_and_brackets_are_stepped_over() -> None:
    tomllib.loads(_DOCUMENT)
    assert lines_of(_DOCUMENT) == {
        ("top",): 2,
        ("dotted",): 3,
        ("dotted", "quo.ted"): 3,
        ("dotted", "quo.ted", "lit"): 3,
        ("first",): 5,
        ("first", "one"): 6,
        ("first", "two"): 12,
        ("array",): 16,
        ("array", "of"): 16,
        ("array", "of", "three"): 17,
    }


def test_dos_line_ends_count_once() -> None:
    assert lines_of("[a]\r\n\r\nb = 1\r\n")["a", "b"] == 3


_KEYS = st.one_of(st.from_regex(r"[A-Za-z0-9_-]{1,6}", fullmatch=True), st.text(st.characters(exclude_categories=["Cs"]), max_size=6))
_SCALARS = st.one_of(st.integers(-(2**60), 2**60), st.booleans(), st.text(st.characters(exclude_categories=["Cs"]), max_size=12))
_TABLES = st.dictionaries(_KEYS, st.dictionaries(_KEYS, st.one_of(_SCALARS, st.lists(_SCALARS, max_size=3)), max_size=4), max_size=4)


def _quoted(text: str) -> str:
    # JSON writes DEL as it is, TOML wants it escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _value(value: Any) -> str:
    if isinstance(value, str):
        return f'"""\n{value}"""' if value.isalnum() else _quoted(value)
    if isinstance(value, list):
        return "[ # ]\n" + "".join(f"  {_value(item)},\n" for item in value) + "]"
    return json.dumps(value)


def _written(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[tuple[str, ...], str]]:
    for name, table in tables.items():
        yield (name,), f"[{_quoted(name)}] # comment"
        for key, value in table.items():
            yield (name, key), f"{_quoted(key)} = {_value(value)}"


@given(_TABLES)
def test_every_key_that_tomllib_finds_has_its_line(tables: dict[str, dict[str, Any]]) -> None:
    expected, text = {}, ""
    for path, statement in _written(tables):
        expected[path] = text.count("\n") + 1
        text += f"{statement}\n\n"
    assert tomllib.loads(text) == tables
    assert lines_of(text) == expected


@given(st.text(alphabet="ab.=[]{}\"'#\\\n 1,", max_size=60))
def test_whatever_tomllib_accepts_is_located(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert {(key,) for key in document} <= set(lines_of(text))
