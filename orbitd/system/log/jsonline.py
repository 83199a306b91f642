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


def prepare() -> None:
    """Load what that needs: once in the mold, and not again in each child that it has forked."""
    _formatter()


@cache
def _formatter() -> logging.Formatter:
    from pythonjsonlogger.json import JsonFormatter  # here: who writes to the journal has no use for it

    class Lines(JsonFormatter):
        """The entry, and nothing of the record that carries it."""

        def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:  # noqa: ARG002 - the base class calls it
            log_data.update(message_dict)

    return Lines(json_ensure_ascii=True)
