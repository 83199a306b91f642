"""`ctx.log`: the run's own log, with the methods of a logging.Logger. It never raises."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from typing import Any

from orbitd.pipelines.failure import clean, traceback_text

LONGEST_MESSAGE_BYTES = 8 * 1024
LONGEST_LINE_BYTES = 16 * 1024

_LEVELS = ((logging.ERROR, "error"), (logging.WARNING, "warning"), (logging.INFO, "info"))


class RunLog:
    """Lines for the run's log: debug, info, warning, error. `extra` is appended as key=value, `exc_info` as the traceback.

    `write` takes the level's word and the line.
    """

    def __init__(self, write: Callable[[str, str], None]) -> None:
        self._write = write

    def debug(self, message: object, *args: Any, **options: Any) -> None:
        """A line for those who look for a fault."""
        self.log(logging.DEBUG, message, *args, **options)

    def info(self, message: object, *args: Any, **options: Any) -> None:
        """A line about what goes on."""
        self.log(logging.INFO, message, *args, **options)

    def warning(self, message: object, *args: Any, **options: Any) -> None:
        """A line about what is odd."""
        self.log(logging.WARNING, message, *args, **options)

    def error(self, message: object, *args: Any, **options: Any) -> None:
        """A line about what went wrong."""
        self.log(logging.ERROR, message, *args, **options)

    def critical(self, message: object, *args: Any, **options: Any) -> None:
        """An error too: a run has no graver level."""
        self.log(logging.CRITICAL, message, *args, **options)

    def exception(self, message: object, *args: Any, **options: Any) -> None:
        """An error with the traceback of the exception that is being handled."""
        self.log(logging.ERROR, message, *args, **{"exc_info": True, **options})

    def log(self, level: int, message: object, *args: Any, extra: Any = None, exc_info: Any = None, **_options: Any) -> None:
        """A line of a level of the logging module. What else a Logger would take is accepted and ignored."""
        try:
            parts = [_formatted(message, args), *_fields(extra), *_trace(exc_info)]
            line = clean("".join(parts), LONGEST_LINE_BYTES)
        except Exception as error:  # noqa: BLE001 - the author's objects are asked for their text, and may raise anything
            line = f"<a line that cannot be written: {type(error).__name__}>"
        self._write(_word(level), line)


def _word(level: object) -> str:
    known = level if isinstance(level, int) else logging.INFO
    return next((word for least, word in _LEVELS if known >= least), "debug")


def _formatted(message: object, args: tuple[Any, ...]) -> str:
    """The message with its %-arguments, or the two side by side when they do not fit. One mapping serves "%(name)s"."""
    values = args[0] if len(args) == 1 and isinstance(args[0], Mapping) else args
    try:
        text = str(message) % values if args else str(message)
    except (TypeError, ValueError, KeyError):
        text = f"{message} {args!r}"
    return clean(text, LONGEST_MESSAGE_BYTES)


def _fields(extra: object) -> list[str]:
    return [clean(f" {key}={value}", LONGEST_MESSAGE_BYTES) for key, value in extra.items()] if isinstance(extra, Mapping) else []


def _trace(exc_info: object) -> list[str]:
    """The traceback that exc_info stands for: an exception, a triple, or True for the one that is being handled."""
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if error and not isinstance(error, BaseException):
        error = sys.exception()
    return ["\n" + traceback_text(error)] if isinstance(error, BaseException) else []
