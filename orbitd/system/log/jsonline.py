"""Events as JSON lines, by python-json-logger. Pure ASCII: what could steer a terminal, or end a line, is an escape."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from orbitd.system.log.entry import Entry

if TYPE_CHECKING:
    from pythonjsonlogger.core import BaseJsonFormatter


def json_of(entry: Entry) -> str:
    """The entry's fields in their order, on one line."""
    line = _formatter().serialize_log_record(entry)  # an entry is plain data already: a LogRecord around it costs more than all else
    return line.replace("\x7f", "\\u007f")  # the one control character that JSON leaves as it is


@cache
def _formatter() -> BaseJsonFormatter:
    from pythonjsonlogger.json import JsonFormatter  # here: whoever only reads logs pays nothing for it

    return JsonFormatter(json_ensure_ascii=True)
