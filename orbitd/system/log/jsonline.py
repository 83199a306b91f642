"""Events as JSON lines, by python-json-logger. Pure ASCII: what could steer a terminal, or end a line, is an escape."""

from __future__ import annotations

import logging
from functools import cache
from typing import Any

from orbitd.system.log.entry import Entry


def json_of(entry: Entry) -> str:
    """The entry's fields in their order, on one line."""
    line = _formatter().format(logging.LogRecord("orbitd", logging.NOTSET, "", 0, entry, None, None))
    return line.replace("\x7f", "\\u007f")  # the one control character that JSON leaves as it is


@cache
def _formatter() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter  # here: whoever only reads logs pays nothing for it

    class Lines(JsonFormatter):
        """The entry, and nothing of the record that carries it."""

        def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:  # noqa: ARG002 - the base class calls it
            log_data.update(message_dict)

    return Lines(json_ensure_ascii=True)
