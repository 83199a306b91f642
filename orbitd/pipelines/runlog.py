"""`ctx.log`: the run's own log, with the methods of a logging.Logger. It never raises.

What code tells the standard logging module while it works for a run belongs to that run too (`hearing`).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from orbitd.pipelines.failure import clean, traceback_text
from orbitd.system import log
from orbitd.system.log.entry import ends
from orbitd.system.log.redact import MASK, is_secret, masked

LONGEST_MESSAGE_BYTES = 8 * 1024
LONGEST_LINE_BYTES = 16 * 1024

_LEVELS = ((logging.ERROR, "error"), (logging.WARNING, "warning"), (logging.INFO, "info"))
_OF_EVERY_RECORD = frozenset({*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName"})


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
            line = _safe("".join(parts), LONGEST_LINE_BYTES)
        except Exception as error:  # noqa: BLE001 - the author's objects are asked for their text, and may raise anything
            line = f"<a line that cannot be written: {type(error).__name__}>"
        self._write(_word(level), line)

    def hear(self, record: logging.LogRecord) -> None:
        """A line that was told to the logging module."""
        try:
            args = record.args if isinstance(record.args, tuple) else (record.args,) if record.args else ()
            origin = "" if record.name == "root" else f"{record.name}: "
            message = origin + _formatted(record.msg, args)
            extra = {key: value for key, value in record.__dict__.items() if key not in _OF_EVERY_RECORD}
        except Exception as error:  # noqa: BLE001 - as above; a record may be made of anything
            message, extra = f"<a line that cannot be written: {type(error).__name__}>", {}
        self.log(record.levelno, message, extra=extra, exc_info=record.exc_info)


_in_hand: list[RunLog] = []
step_in_hand: ContextVar[str | None] = ContextVar("orbitd_step", default=None)
_speaker: ContextVar[RunLog | None] = ContextVar("orbitd_run_log", default=None)


class hearing:  # noqa: N801 - a context manager, and a class because the generator for one costs each run a microsecond
    """While the run is executed: what its code tells the logging module is a line of the run's.

    Tasks, and threads that asyncio starts, know their run by the context that they inherit. Other threads know none: what they
    say belongs to the run in hand, if there is but one.
    """

    def __init__(self, run_log: RunLog) -> None:
        self._run_log = run_log

    def __enter__(self) -> None:
        log.listen(_claim)
        self._token = _speaker.set(self._run_log)
        _in_hand.append(self._run_log)

    def __exit__(self, *_: object) -> None:
        _in_hand.remove(self._run_log)
        _speaker.reset(self._token)


@contextmanager
def inside_step(key: str) -> Iterator[None]:
    """While a step's function runs: the lines of the run are that step's too."""
    token = step_in_hand.set(key)
    try:
        yield
    finally:
        step_in_hand.reset(token)


def _claim(record: logging.LogRecord) -> bool:
    speaker = _speaker.get()
    if speaker is None and len(_in_hand) == 1:
        speaker = _in_hand[0]
    if speaker not in _in_hand:
        return False
    speaker.hear(record)
    return True


def _word(level: object) -> str:
    known = level if isinstance(level, int) else logging.INFO
    return next((word for least, word in _LEVELS if known >= least), "debug")


def _formatted(message: object, args: tuple[Any, ...]) -> str:
    """The message with its %-arguments, or the two side by side when they do not fit. One mapping serves "%(name)s"."""
    values = args[0] if len(args) == 1 and isinstance(args[0], Mapping) else tuple(map(_bounded, args))
    try:
        text = str(message) % values if args else str(_bounded(message))
    except (TypeError, ValueError, KeyError):
        text = f"{message} {args!r}"
    return _safe(text, LONGEST_MESSAGE_BYTES)


def _fields(extra: object) -> list[str]:
    return [_field(key, value) for key, value in extra.items()] if isinstance(extra, Mapping) else []


def _field(key: object, value: object) -> str:
    return _safe(f" {key}={MASK if is_secret(str(key)) else _bounded(value)}", LONGEST_MESSAGE_BYTES)


def _safe(text: str, longest_bytes: int) -> str:
    """The text as it may be kept: without passwords, looked for before a cut could hide where one begins."""
    return clean(masked(ends(text, longest_bytes)), longest_bytes)


def _bounded(value: object) -> object:
    """The value, without the middle of a gigabyte that nobody should have to copy."""
    if isinstance(value, str):
        return ends(value, LONGEST_MESSAGE_BYTES)
    return value[: 2 * LONGEST_MESSAGE_BYTES] if isinstance(value, bytes) else value


def _trace(exc_info: object) -> list[str]:
    """The traceback that exc_info stands for: an exception, a triple, or True for the one that is being handled."""
    error = exc_info[1] if isinstance(exc_info, tuple) else exc_info
    if error and not isinstance(error, BaseException):
        error = sys.exception()
    return ["\n" + traceback_text(error)] if isinstance(error, BaseException) else []
