"""Log events: one name, fields in a fixed order, one line each.

    event ──┬─► console    standard error: text on a terminal, else JSON; or the journal's own fields under systemd
            ├─► orbitd.log           in logging.dir: everything
            └─► orbitd-error.log     in logging.dir: errors only

Every place takes a line at once or not at all: a reader who has stalled and a disk that is full must never stall us. What
could not be written is counted, and the next line that goes through says how many were. Text that others wrote (an
exception's, a pipeline's) is escaped, so that it can neither begin a line of its own nor steer a terminal, and passwords in
it are masked. What anybody tells the standard `logging` module becomes an event too: `said`.

There are no locks and no descriptors kept: user code may fork, close every descriptor, or be interrupted at any instruction.
"""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from orbitd.system import clock
from orbitd.system.log import redact
from orbitd.system.log.budget import Budget
from orbitd.system.log.console import Console
from orbitd.system.log.entry import FIRST_FIELDS, Entry, told
from orbitd.system.log.file import File
from orbitd.system.log.journal import Journal, is_journal
from orbitd.system.log.sink import Sink
from orbitd.units import rfc3339

_NUMBERS = {"debug": 10, "info": 20, "warning": 30, "warn": 30, "error": 40, "critical": 50, "fatal": 50}
_WORDS = {10: "debug", 20: "info", 30: "warning", 40: "error", 50: "critical"}
_MOST_SAID_LINES_A_SECOND = 1000
_MOST_SAID_BYTES_A_SECOND = 256 * 1024


class Options(Protocol):
    """What set_up reads: the section [logging] of the configuration."""

    @property
    def level(self) -> str:
        """The lowest level that is written."""

    @property
    def format(self) -> str:
        """`auto`, `text` or `json`."""

    @property
    def dir(self) -> str:
        """The folder of the files; empty for none."""

    @property
    def max_size(self) -> int:
        """Bytes of a file before the next one begins."""

    @property
    def max_files(self) -> int:
        """How many files of a kind are kept."""

    @property
    def redact(self) -> Sequence[str]:
        """Patterns of the names whose values are secrets."""


class Header(Protocol):
    """Where the level that an operator asks for at run time stands: shared memory."""

    @property
    def log_level(self) -> int:
        """A number of the logging module; 0: as configured."""


class _Place:
    """A sink, and the least level that goes there."""

    def __init__(self, sink: Sink, least: int = logging.NOTSET) -> None:
        self.sink, self.least = sink, least


class _Ear(logging.Handler):
    """Hears what anybody tells the standard logging module. It needs no lock, which an interruption could leave locked."""

    def __init__(self) -> None:
        super().__init__()
        self.claim: Callable[[logging.LogRecord], bool] = lambda _record: False

    def createLock(self) -> None:  # noqa: N802 - the base class calls it so
        self.lock = None

    def handle(self, record: logging.LogRecord) -> bool:
        is_let_through = bool(self.filter(record))
        if is_let_through:
            self.emit(record)
        return is_let_through

    def emit(self, record: logging.LogRecord) -> None:
        if not self.claim(record):
            hear(record)


class _Log:
    """This process's log."""

    def __init__(self) -> None:
        self.places: list[_Place] = []
        self.listeners: list[Sink] = []
        self.standing: dict[str, object] = {}
        self.told_standing: Entry = {}
        self.configured = self.in_force = logging.INFO
        self.header: Header | None = None
        self.ear = _Ear()
        self.budget = Budget(_MOST_SAID_LINES_A_SECOND, _MOST_SAID_BYTES_A_SECOND)

    def threshold(self) -> int:
        """The least level that is written now. The root logger lets the same through, unless somebody has set it otherwise."""
        asked = self.header.log_level if self.header else 0
        number = asked if logging.NOTSET < asked <= logging.CRITICAL else self.configured
        if number != self.in_force:
            if logging.root.level == self.in_force:
                logging.root.setLevel(number)
            self.in_force = number
        return number

    def write(self, entry: Entry, level: int, threshold: int) -> None:
        for place in self.places:
            if level >= max(threshold, place.least):
                place.sink.take(entry)
        for sink in self.listeners:
            sink.take(entry)


_log = _Log()


def set_up(role: str, options: Options, *, host: str) -> None:
    """Log as `role` on `host`. Called again, it takes up new options; the level that was asked for at run time stays."""
    redact.set_secret_names(options.redact)
    console = Journal() if options.format == "auto" and is_journal(os.environ) else Console(options.format)
    _log.places = [_Place(console)]
    if options.dir:
        folder = Path(options.dir).absolute()
        for name, least in (("orbitd.log", logging.NOTSET), ("orbitd-error.log", logging.ERROR)):
            _log.places.append(_Place(File(folder / name, options.max_size, options.max_files, complain=_complain), least))
    always(host=host, role=role)
    _log.configured = number(options.level)
    logging.root.setLevel(_log.in_force)
    listen(_log.ear.claim)
    _log.threshold()


def follow(header: Header) -> None:
    """From now on heed the level that stands there."""
    _log.header = header
    _log.threshold()


def tell_also(sink: Sink) -> None:
    """Give every later event of this process to this place as well, whatever the options and the level are."""
    _log.listeners.append(sink)


def listen(claim: Callable[[logging.LogRecord], bool]) -> None:
    """Hear what the standard logging module is told, even if user code has put other handlers in our place.

    `claim` is asked first of each record, and returns True for one that it takes care of.
    """
    _log.ear.claim = claim
    if _log.ear not in logging.root.handlers:
        logging.root.addHandler(_log.ear)
    _log.threshold()


def number(word: str) -> int:
    """The logging module's number of a level's name, in any case. Raises ValueError."""
    try:
        return _NUMBERS[word.strip().lower()]
    except KeyError:
        raise ValueError(f"{word!r} is no level: there are debug, info, warning, error and critical") from None


def level() -> str:
    """The level in force."""
    return _word(_log.threshold())


def always(**fields: object) -> None:
    """Fields that every later event of this process carries."""
    _log.standing.update(fields)
    _log.told_standing = _all_told(_log.standing)


def event(name: str, level: int = logging.INFO, **fields: object) -> None:
    """Log that something happened. Fields that are None are left out. Raises nothing."""
    threshold = _log.threshold()
    if level >= threshold or _log.listeners:
        _log.write(_entry(name, level, fields), level, threshold)


def warn(name: str, **fields: object) -> None:
    """Log what a person should look at."""
    event(name, logging.WARNING, **fields)


def fault(name: str, **fields: object) -> None:
    """Log what went wrong."""
    event(name, logging.ERROR, **fields)


def said(message: str, level: int, **fields: object) -> None:
    """Log a line of somebody else's, whose number a second is bounded for each process; those beyond it are counted."""
    if level < _log.threshold():
        return
    if _log.budget.take(len(message), clock.now()):
        tell_unsaid()
        event("said", level, **fields, message=message)


def tell_unsaid(**fields: object) -> None:
    """Log how many lines were not said, if there were any."""
    if lines := _log.budget.refused():
        warn("said_too_much", **fields, lines=lines)


def hear(record: logging.LogRecord) -> None:
    """Log what was told to the standard logging module."""
    said(_message(record), record.levelno, logger=record.name)


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
        return text + "\n" + "".join(traceback.format_exception(record.exc_info[1])) if record.exc_info and record.exc_info[1] else text
    except Exception as error:  # noqa: BLE001 - the objects in it are anybody's, and are asked for their text
        return f"<a line that cannot be written: {type(error).__name__}>"


def _entry(name: str, level: int, fields: dict[str, object]) -> Entry:
    given = _log.told_standing | _all_told(fields)
    entry: Entry = {"ts": _timestamp(), "level": _word(level), "event": name}
    for key in (*FIRST_FIELDS, *given):
        if key not in entry and given.get(key) is not None:
            entry[key] = given[key]
    return entry


def _all_told(fields: dict[str, object]) -> Entry:
    return {key: None if value is None else told(key, value) for key, value in fields.items()}


def _timestamp() -> str:
    return rfc3339(datetime.now(UTC))


def _word(level: int) -> str:
    return _WORDS[min(max(level // 10 * 10, logging.DEBUG), logging.CRITICAL)]


def _complain(name: str, **fields: object) -> None:
    """Tell the console alone of a trouble that a file has."""
    _log.places[0].sink.take(_entry(name, logging.ERROR, fields))
