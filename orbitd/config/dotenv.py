r"""Files of environment variables, as `.env` has made them customary.

    # a comment
    export NAME=value that ends with the line, or at a #, if a space stands before that
    NAME='exactly this, over several lines too'
    NAME="the same, but for \n \r \t \" \\ and \$"

Nothing is expanded: neither other variables nor commands. No message holds a value: it may be a secret.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_BLANK = re.compile(r"(?:\s|#[^\n]*)*+")
_NAME = re.compile(r"(?:export[ \t]+)?(?P<name>[A-Za-z_][A-Za-z0-9_.-]*)[ \t]*=[ \t]*")
_QUOTED = re.compile(r"'(?P<exact>[^']*)'|\"(?P<escaped>(?:[^\"\\]|\\.)*+)\"|`(?P<ticked>[^`]*)`", re.DOTALL)
_BARE = re.compile(r"(?P<bare>(?!#)(?:(?!\s#)[^\n])*|)")
_REST = re.compile(r"[ \t]*(?:#[^\n]*)?(?=\n|\Z)")
_ESCAPE = re.compile(r"\\([nrt\"\\$])")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_EXPANSION = re.compile(r"\$\{|\$\(")


class Entry(NamedTuple):
    """A variable, and the line where it begins."""

    name: str
    value: str
    line: int


class Problem(NamedTuple):
    """What is wrong in a line, or only remarkable."""

    line: int
    message: str


class Dotenv(NamedTuple):
    """What a file says, what is wrong with it, and what should be known."""

    entries: list[Entry]
    faults: list[Problem]
    remarks: list[Problem]


def parse(text: str) -> Dotenv:
    """The variables of a file's text; of a line with a fault none."""
    text = text.replace("\r\n", "\n")
    found = Dotenv([], [], [])
    offset, line, counted = _skip(_BLANK, text, 0), 1, 0
    while offset < len(text):
        line += text.count("\n", counted, offset)
        counted = offset
        try:
            entry, offset = _entry(text, offset, line)
        except ValueError as error:
            found.faults.append(Problem(line, str(error)))
            offset = _end_of_line(text, offset)
        else:
            found.entries.append(entry)
            if _EXPANSION.search(entry.value):
                found.remarks.append(Problem(line, f"{entry.name} is taken as it stands: nothing is expanded in such a file"))
        offset = _skip(_BLANK, text, offset)
    return found


def _entry(text: str, offset: int, line: int) -> tuple[Entry, int]:
    """The entry that begins there, and where it ends. Raises ValueError."""
    name = _NAME.match(text, offset)
    if name is None:
        raise ValueError("is not of the form NAME=value")
    value, offset = _value(text, name.end())
    if "\0" in value:
        raise ValueError(f"{name['name']} holds a NUL character")
    if (rest := _REST.match(text, offset)) is None:
        raise ValueError(f"{name['name']} goes on behind its closing quote")
    return Entry(name["name"], value, line), rest.end()


def _value(text: str, offset: int) -> tuple[str, int]:
    if text[offset : offset + 1] not in {"'", '"', "`"}:
        bare = _BARE.match(text, offset)
        assert bare is not None  # noqa: S101 - it matches the empty text too
        return bare["bare"].strip(), bare.end()
    quoted = _QUOTED.match(text, offset)
    if quoted is None:
        raise ValueError("begins a quote that does not end")
    if (escaped := quoted["escaped"]) is not None:
        return _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[1]), escaped), quoted.end()
    return quoted["exact"] if quoted["exact"] is not None else quoted["ticked"], quoted.end()


def _end_of_line(text: str, offset: int) -> int:
    end = text.find("\n", offset)
    return len(text) if end < 0 else end


def _skip(pattern: re.Pattern[str], text: str, offset: int) -> int:
    found = pattern.match(text, offset)
    return found.end() if found else offset
