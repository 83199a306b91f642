"""A TOML file with the place of each of its keys, however broken: whatever is wrong is one fault, told at once and in words."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from orbitd.config.faults import Fault
from orbitd.config.locate import places_of
from orbitd.errors import why
from orbitd.system.files import read_text_file

_LARGEST_FILE_BYTES = 256 * 1024
# tomllib needs time in the square of a key's parts: a file of dots alone would keep it busy for hours.
_ENDLESS_KEY = re.compile(r"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){64}""")
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)")


class Document(NamedTuple):
    """What a file says; `places` has line and column of every key."""

    path: Path
    values: dict[str, Any]
    places: dict[tuple[str, ...], tuple[int, int]]


class Unreadable(Exception):
    """A file that is no TOML, or no file, or not there."""

    def __init__(self, fault: Fault, *, is_missing: bool = False) -> None:
        super().__init__(str(fault))
        self.fault = fault
        self.is_missing = is_missing


def drop_ins(path: Path) -> list[Path]:
    """The files that add to this one, `PATH.d/*.toml`, by name. Raises Unreadable."""
    folder = Path(f"{path}.d")
    if not os.path.lexists(folder):
        return []
    try:
        found = sorted(folder.iterdir())
    except OSError as error:
        raise Unreadable(Fault.of("", "", f"{folder} cannot be read: {why(error)}")) from error
    return [one for one in found if one.suffix == ".toml" and not one.name.startswith(".")]


def read_document(path: Path) -> Document:
    """The document in a file. Raises Unreadable."""
    try:
        text = read_text_file(path, _LARGEST_FILE_BYTES)
    except ValueError as error:
        raise Unreadable(Fault.of("", "", error), is_missing=isinstance(error.__cause__, FileNotFoundError)) from error
    try:
        _refuse_endless_key(path, text)
        return Document(path, tomllib.loads(text), places_of(text))
    except RecursionError:
        raise Unreadable(Fault.of(str(path), "", "brackets are nested too deeply")) from None
    except tomllib.TOMLDecodeError as error:
        raise Unreadable(_syntax_fault(path, text, str(error))) from error
    except ValueError as error:
        # Not TOML's own: int() refuses a number of thousands of digits, datetime() the 31st of February.
        raise Unreadable(Fault.of(str(path), "", f"not TOML: a number or date that cannot be: {error}")) from error


def _refuse_endless_key(path: Path, text: str) -> None:
    if endless := _ENDLESS_KEY.search(text):
        raise Unreadable(Fault.of(_place(path, text[: endless.start()]), "", "a key with more than 64 parts"))


def _syntax_fault(path: Path, text: str, message: str) -> Fault:
    """Of tomllib's "What (at line 3, column 4)"."""
    found = _TOML_PLACE.search(message)
    if found is None:
        return Fault.of(str(path), "", f"not TOML: {message}")
    place = f"{path}:{found[1]}:{found[2]}" if found[1] else _place(path, text)
    what = message[: found.start()]
    return Fault.of(place, "", f"not TOML: {what[:1].lower()}{what[1:]}")


def _place(path: Path, text_before: str) -> str:
    return f"{path}:{text_before.count(chr(10)) + 1}:{len(text_before) - text_before.rfind(chr(10))}"
