"""The place of a key is where a person would look for it."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from hypothesis import example, given, strategies as st

from orbitd.config.locate import places_of

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
    assert places_of(_DOCUMENT) == {
        ("top",): (2, 1),
        ("dotted",): (3, 1),
        ("dotted", "quo.ted"): (3, 10),
        ("dotted", "quo.ted", "lit"): (3, 21),
        ("dotted", "quo.ted", "lit", "inline"): (3, 31),
        ("dotted", "quo.ted", "lit", "nested"): (3, 43),
        ("dotted", "quo.ted", "lit", "nested", "x"): (3, 54),
        ("first",): (5, 2),
        ("first", "one"): (6, 1),
        ("first", "two"): (12, 3),
        ("array",): (16, 4),
        ("array", "of"): (16, 12),
        ("array", "of", "three"): (17, 1),
    }


def test_dos_line_ends_count_once() -> None:
    assert places_of("[a]\r\n\r\nb = 1\r\n")["a", "b"] == (3, 1)


def test_a_column_counts_characters_not_bytes() -> None:
    assert places_of('a = { "ä" = 1, b = 2 }')["a", "b"] == (1, 16)


def test_a_file_of_many_short_arrays_takes_no_time_to_speak_of() -> None:
    assert len(places_of("".join(f"k{number}=[[],{{a=1}}]\n" for number in range(30_000)))) == 30_000


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
    assert {path: line for path, (line, _) in places_of(text).items()} == expected


def _paths(table: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in table.items():
        yield (*above, key)
        for inner in value if isinstance(value, list) else [value]:
            # The tables of [[array]] have places, those between brackets have none.
            if isinstance(inner, dict) and not isinstance(value, list):
                yield from _paths(inner, (*above, key))


def _has_key_at(text: str, place: tuple[int, int], key: str) -> bool:
    line, column = place
    rest = text.replace("\r\n", "\n").split("\n")[line - 1][column - 1 :]
    written = re.match(r"""(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)""", rest)
    assert written
    return bool(key == (tomllib.loads(f"k = {written[0]}")["k"] if written[0][0] in "\"'" else written[0]))


@given(st.text(alphabet="ab.=[]{}\"'#\\\n\r 1,", max_size=60))
@example('a = """\\""""\nb=1')
@example("[[a]]\nb=1\n[[a]]\nc={d.e=1}")
@example('a={"b"={},c=[{b=1},{c=2}]}')
def test_whatever_tomllib_accepts_is_located_where_the_key_is_written(text: str) -> None:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    places = places_of(text)
    assert set(_paths(document)) <= set(places)
    assert all(_has_key_at(text, place, path[-1]) for path, place in places.items())
