"""Log events: one name, fields in a fixed order, one line each, to standard error.

A reader who has stalled must never stall us: a line is written only when the descriptor can take it, in one write of at
most 4096 bytes; otherwise it is dropped and counted, and the next line that goes through says how many were.
"""

from __future__ import annotations

import logging
import os
import select
import sys
from datetime import UTC, datetime
from typing import Any

from pythonjsonlogger.json import JsonFormatter

LONGEST_LINE_BYTES = 4096
_FIRST_FIELDS = ("role", "slot", "gen", "pid", "run", "pipeline", "step", "attempt")

_log = logging.getLogger("orbitd")


class _Stderr(logging.Handler):
    """Writes to descriptor 2 without ever blocking and without O_NONBLOCK, which others share."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        if self._dropped:
            record.dropped_lines = self._dropped
        line = self.format(record).encode(errors="backslashreplace")
        self._dropped = 0 if _write(line) else self._dropped + 1


def _write(line: bytes) -> bool:
    if len(line) >= LONGEST_LINE_BYTES:
        line = line[: LONGEST_LINE_BYTES - 20] + b" [cut]"
    poll = select.poll()
    poll.register(2, select.POLLOUT)
    try:
        if not any(events & select.POLLOUT for _, events in poll.poll(0)):
            return False
        os.write(2, line + b"\n")
    except OSError:
        return False
    return True


class _Json(JsonFormatter):
    """`ts level event`, then the fields."""

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:  # noqa: ARG002 - the base class calls it
        log_data["ts"] = _timestamp(record)
        log_data["level"] = record.levelname.lower()
        log_data["event"] = record.getMessage()
        log_data.update(_fields(record))


class _Text(logging.Formatter):
    """For people: time, level, event, then `key=value`. Values are escaped, so that one event stays one line."""

    def format(self, record: logging.LogRecord) -> str:
        fields = " ".join(f"{name}={_plain(value)}" for name, value in _fields(record).items())
        return f"{_timestamp(record)[11:23]} {record.levelname.lower():<7} {record.getMessage()} {fields}".rstrip()


def _timestamp(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _plain(value: object) -> str:
    text = str(value)
    return text if text.isprintable() and " " not in text and text else ascii(text)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields: dict[str, Any] = dict(getattr(record, "fields", {}))
    if hasattr(record, "dropped_lines"):
        fields["dropped_lines"] = record.dropped_lines
    return fields


def set_up(*, level: str, style: str, role: str) -> None:
    """Log as `role`. `style` is "json", "text", or "auto": text on a terminal."""
    handler = _Stderr()
    is_text = style == "text" or (style == "auto" and sys.stderr.isatty())
    handler.setFormatter(_Text() if is_text else _Json())
    _log.handlers[:] = [handler]
    _log.setLevel(level.upper())
    _log.propagate = False
    _standing.clear()
    _standing["role"] = role


_standing: dict[str, object] = {}


def always(**fields: object) -> None:
    """Fields that every later event of this process carries."""
    _standing.update(fields)


def event(name: str, level: int = logging.INFO, **fields: object) -> None:
    """Log that something happened. Fields that are None are left out."""
    if _log.isEnabledFor(level):
        given = {**_standing, **fields}
        ordered = {key: _told(given[key]) for key in (*_FIRST_FIELDS, *given) if given.get(key) is not None}
        _log.log(level, name, extra={"fields": ordered})


def _told(value: object) -> object:
    return value if isinstance(value, int | float) else str(value)


def warn(name: str, **fields: object) -> None:
    """Log what a person should look at."""
    event(name, logging.WARNING, **fields)


def fault(name: str, **fields: object) -> None:
    """Log what went wrong."""
    event(name, logging.ERROR, **fields)
