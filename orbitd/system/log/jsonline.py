"""Events as JSON lines. Pure ASCII: what could steer a terminal, or end a line, is an escape.

Nearly all are ASCII as they are, and orjson writes these in a fraction of a microsecond; a busy child has one for each run.
python-json-logger writes the others.
"""

from __future__ import annotations

import json
from functools import cache, partial
from typing import TYPE_CHECKING

import orjson

from orbitd.system.log.entry import Entry

if TYPE_CHECKING:
    from pythonjsonlogger.core import BaseJsonFormatter


def json_of(entry: Entry) -> str:
    """The entry's fields in their order, on one line."""
    try:
        line = orjson.dumps(entry)
        if line.isascii() and b"\x7f" not in line:
            return line.decode()
    except TypeError:  # half a character, which only an escape can be
        pass
    return _formatter().serialize_log_record(entry).replace("\x7f", "\\u007f")  # the one control character that JSON leaves as it is


def prepare() -> None:
    """Load what that needs: once in the mold, and not again in each child that it has forked."""
    _formatter()


@cache
def _formatter() -> BaseJsonFormatter:
    from pythonjsonlogger.json import JsonFormatter  # here: whoever only reads logs pays nothing for it

    return JsonFormatter(json_ensure_ascii=True, json_serializer=partial(json.dumps, separators=(",", ":")))
