"""The line of each key in a TOML text that `tomllib` has accepted.

tomllib keeps no positions; this scanner knows just enough of the grammar to find statements: it steps over strings,
comments and brackets, and reads the keys at the beginning of a statement. Keys within an inline table have its line.
"""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[ \t]*("(?:[^"\\\n]|\\.)*"|'[^'\n]*'|[A-Za-z0-9_-]+)[ \t]*(\.?)""")
_OPENING = re.compile(r"[ \t]*\[?\[")
_VALUE_PART = re.compile(
    r'''"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|#[^\n]*|[\[{]|[\]}]|\n|[^"'#\[\]{}\n]+''', re.DOTALL
)


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """The first line (from 1) of every table and key that a statement names."""
    lines: dict[tuple[str, ...], int] = {}
    text = text.replace("\r\n", "\n")
    line, counted = 1, 0
    for path, offset in _statements(text):
        line += text.count("\n", counted, offset)
        counted = offset
        for length in range(1, len(path) + 1):
            lines.setdefault(path[:length], line)
    return lines


def _statements(text: str) -> Iterator[tuple[tuple[str, ...], int]]:
    table: tuple[str, ...] = ()
    offset = 0
    while (offset := _end(_BLANK, text, offset)) < len(text):
        start = offset
        opening = _OPENING.match(text, offset)
        keys, offset = _keys(text, opening.end() if opening else offset)
        if opening:
            table = keys
        yield (keys if opening else table + keys), start
        offset = _end_of_value(text, offset)


def _keys(text: str, offset: int) -> tuple[tuple[str, ...], int]:
    keys = []
    while matched := _KEY.match(text, offset):
        written, dot = matched.groups()
        keys.append(str(tomllib.loads(f"value = {written}")["value"]) if written[0] in "\"'" else written)
        offset = matched.end()
        if not dot:
            break
    return tuple(keys), offset


def _end_of_value(text: str, offset: int) -> int:
    """Where the statement ends: the first line end outside strings and brackets."""
    depth = 0
    while offset < len(text):
        part = _VALUE_PART.match(text, offset)
        if part is None or (part[0] == "\n" and depth <= 0):
            break
        depth += (part[0] in "[{") - (part[0] in "]}")
        offset = part.end()
    return offset + 1


def _end(pattern: re.Pattern[str], text: str, offset: int) -> int:
    matched = pattern.match(text, offset)
    return matched.end() if matched else offset
