"""A reading verb again and again, until Ctrl-C: on a terminal in the same place, elsewhere one document after the other.

An error is shown like an answer, and the watching goes on: a daemon that restarts comes back. Only what cannot become right ends it.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import sys
import time
from typing import TYPE_CHECKING, NoReturn

from orbitd.ctl.render import display_width
from orbitd.errors import OrbitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from orbitd.control.commands import Command
    from orbitd.ctl.app import Session, Verb

EVERY_SECONDS = 2.0
_HOME, _ERASE_LINE, _ERASE_BELOW, _ERASE_ALL = "\033[H", "\033[K", "\033[J", "\033[2J"


def check_watchable(command: Command, args: Mapping[str, object]) -> None:
    """Raises UsageError for a verb that changes something, or that goes on by itself."""
    if command.effect != "reads":
        raise UsageError(f"--watch is for verbs that only read: {command.name} changes something")
    if args.get("follow"):
        raise UsageError("--watch and --follow exclude each other", "leave one away")


def watch(verb: Verb, session: Callable[[], Session], every_seconds: float = EVERY_SECONDS) -> NoReturn:
    """Carry out the verb each 2 s, each time with a new session, until Ctrl-C. Raises UsageError."""
    if session().out.screen_redraws:
        print(_ERASE_ALL, end="")
    while True:
        begun = session()
        if begun.out.screen_redraws:
            _redraw(begun, verb)
        else:
            _print(begun, verb)
        time.sleep(every_seconds)


def _print(session: Session, verb: Verb) -> None:
    try:
        verb(session)
    except UsageError:
        raise
    except OrbitError as error:
        session.out.error(error)
    if sys.stdout is not None:
        sys.stdout.flush()


def _redraw(session: Session, verb: Verb) -> None:
    """Written over in one go, line by line: clearing first would flicker."""
    lines = [*_heading(session), *_answer(session, verb)]
    size = os.get_terminal_size(sys.stdout.fileno())
    shown = list(_that_fit(lines, size.columns, size.lines))
    sys.stdout.write(_HOME + "".join(f"{line}{_ERASE_LINE}\n" for line in shown) + _ERASE_BELOW)
    sys.stdout.flush()


def _heading(session: Session) -> Iterator[str]:
    style = session.out.style
    told = [shlex.join([session.program, *session.argv]), time.strftime("%H:%M:%S"), "Ctrl-C ends it"]
    yield style.paint(next(style.joined([style.plain(word) for word in told], 0)), "dim")
    yield ""


def _answer(session: Session, verb: Verb) -> list[str]:
    """What the verb prints, or its error."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        _print(session, verb)
    return told.getvalue().splitlines()


def _that_fit(lines: Sequence[str], columns: int, rows: int) -> Iterator[str]:
    """As many as the screen holds, with a word of how many more there are; a long one takes several rows."""
    room = rows - 2
    for number, line in enumerate(lines):
        room -= max(1, -(-display_width(line) // columns))
        if room < 0:
            yield f"({len(lines) - number} more lines)"
            return
        yield line
