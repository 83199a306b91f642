"""`orbitctl logs`: the log of a run, which the database keeps, or that of the daemon, which is in files."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from orbitd import store
from orbitd.config import load_keys
from orbitd.ctl import show_runs
from orbitd.ctl.awaiting import EXIT_CODES, looks, new_lines, told_end
from orbitd.ctl.database import connected
from orbitd.errors import ExitCode, NoSuchObject, OrbitError, Refused, UsageError, why
from orbitd.rules.ids import short_id
from orbitd.store import admin
from orbitd.system.log.text import as_text
from orbitd.units import parse_duration, rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orbitd.ctl.app import Session, Verb

Item = dict[str, Any]
Wanted = Callable[[Item | None], bool]

_FOLDER = ("logging", "dir")
_USUAL_LINES = 50
_LOOK_SECONDS = 0.25
_GRAVE = {"error", "critical"}


def logs(session: Session) -> int:
    """`orbitctl logs [RUN]`; with --follow the run's until it has ended, the daemon's until Ctrl-C."""
    if session.args["lines"] is not None and session.args["lines"] < 0:
        raise UsageError(f"--lines {session.args['lines']} is less than none")
    return _run_log(session) if session.args["run"] else _daemon_log(session)


# --- of a run ---


def _run_log(session: Session) -> int:
    with connected(session) as conn:
        run_id = admin.resolve(conn, session.args["run"])
        is_wanted = _wanted(session)
        kept = list(new_lines(conn, run_id))
        chosen = _last([item for item in kept if is_wanted(item)], session.args["lines"])
        shown = _Attempts(session)
        if not session.args["follow"]:
            document = {"schema": "orbit.logs/1", "run": str(run_id), "items": chosen}
            session.out.document(document, (line for item in chosen for line in shown.lines(item)))
            if not chosen:
                session.out.note(f"run {short_id(run_id)} {'has no such lines' if kept else 'has said nothing'}")
            return ExitCode.OK
        for item in chosen:
            session.out.item(item, shown.lines(item))
        _follow_run(session, conn, run_id, kept[-1]["line"] if kept else 0, shown)
    return ExitCode.OK


def _follow_run(session: Session, conn: store.Connection, run_id: int, line: int, shown: _Attempts) -> None:
    """The new lines until the run has ended. Its state is asked for before its lines, so that the last ones are seen."""
    is_wanted = _wanted(session)
    for _ in looks():
        state = admin.place(conn, run_id).state
        for item in new_lines(conn, run_id, line):
            line = item["line"]
            if is_wanted(item):
                session.out.item(item, shown.lines(item))
        if state in EXIT_CODES:
            session.out.note(told_end(conn, run_id, state))
            return


class _Attempts:
    """A run's log as lines for people, with a word where another attempt begins."""

    def __init__(self, session: Session) -> None:
        self._style = session.out.style
        self._attempt = 0

    def lines(self, item: Item) -> Iterator[str]:
        if self._attempt not in {0, item["attempt"]}:
            yield self._style.paint(f"attempt {item['attempt']}", "bold")
        self._attempt = item["attempt"]
        yield from show_runs.log_line(item, self._style)


# --- of the daemon ---


def _daemon_log(session: Session) -> int:
    path, is_wanted = _log_file(session), _wanted(session)
    with _opened(path) as file:
        lines = _latest_lines(file, path, is_wanted, _lines_wanted(session), _first_time(session))
        if not session.args["follow"]:
            items = [item for line in lines if (item := _item(line))]
            document = {"schema": "orbit.logs/1", "run": None, "items": items}
            session.out.document(document, (as_text(line, colour=session.out.style.colour) for line in lines))
            return ExitCode.OK
        for line in itertools.chain(lines, (line for line in _new_lines(file, path) if is_wanted(_item(line)))):
            _tell_line(session, line)
    return ExitCode.OK


def _log_file(session: Session) -> Path:
    """The newest file of the daemon's log. Raises NoSuchObject when it keeps none."""
    folder = load_keys(session.config_file(), [_FOLDER], session.environ)[_FOLDER]
    if not folder:
        raise NoSuchObject(
            "orbitd keeps no log files: logging.dir is not set",
            "see `journalctl -u orbitd -f`, or set logging.dir; of a run: orbitctl logs RUN",
        )
    graver = Path(folder) / "orbitd-error.log"
    return graver if session.args["errors"] and graver.exists() else Path(folder) / "orbitd.log"


def _opened(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NoSuchObject(f"no log file {path}", "orbitd makes it when it starts with this logging.dir") from None
    except PermissionError:
        raise Refused(f"the log file {path} is not for user {os.geteuid()}", "ask as root, or as the user that orbitd runs as") from None
    except OSError as error:
        raise OrbitError(f"the log file {path} cannot be read: {why(error)}") from error


def _lines_wanted(session: Session) -> int | None:
    """None: all of the time that was asked for."""
    lines: int | None = session.args["lines"]
    return _USUAL_LINES if lines is None and session.args["since"] is None else lines


def _latest_lines(newest: BinaryIO, path: Path, is_wanted: Wanted, count: int | None, since: str) -> list[str]:
    """The last lines that are wanted, the oldest first; files that were rotated away are read as far as is needed."""
    found: list[str] = []
    for file in _from_newest(newest, path):
        begins_before = False
        kept: deque[str] = deque(maxlen=None if count is None else count - len(found))
        for line in map(_text, file):
            item = _item(line)
            begins_before = begins_before or (item is not None and item["ts"] < since)
            if is_wanted(item):
                kept.append(line)
        found[:0] = kept
        if begins_before or len(found) == count:
            break
    return found


def _from_newest(newest: BinaryIO, path: Path) -> Iterator[BinaryIO]:
    yield newest
    for number in itertools.count(1):
        try:
            with _opened(path.with_name(f"{path.name}.{number}")) as file:
                yield file
        except NoSuchObject:
            return


def _new_lines(file: BinaryIO, path: Path) -> Iterator[str]:
    """The lines that are written from now on; endless. A file that is moved away is read to its end, then the new one."""
    with contextlib.ExitStack() as opened:
        while True:
            yield from _whole_lines(file)
            if _is_moved_away(file, path):
                yield from _whole_lines(file)
                file = opened.enter_context(_opened(path))
            elif os.fstat(file.fileno()).st_size < file.tell():
                file.seek(0)
            else:
                time.sleep(_LOOK_SECONDS)


def _whole_lines(file: BinaryIO) -> Iterator[str]:
    """What has come since the last time, but not the beginning of a line."""
    while (line := file.readline()).endswith(b"\n"):
        yield _text(line)
    file.seek(-len(line), os.SEEK_CUR)


def _is_moved_away(file: BinaryIO, path: Path) -> bool:
    """Whether another file has taken its place; as long as there is none, lines may still come to this one."""
    try:
        return path.stat().st_ino != os.fstat(file.fileno()).st_ino
    except FileNotFoundError:
        return False


def _tell_line(session: Session, line: str) -> None:
    item = _item(line)
    if item is not None or not session.out.as_json:
        session.out.item(item or {}, [as_text(line, colour=session.out.style.colour)])


def _text(line: bytes) -> str:
    return line.decode(errors="backslashreplace")


def _item(line: str) -> Item | None:
    """A line of the log; None for a line that others have written there."""
    try:
        item = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return item if isinstance(item, dict) and isinstance(item.get("ts"), str) and isinstance(item.get("level"), str) else None


# --- of both ---


def _wanted(session: Session) -> Wanted:
    """Whether a line is wanted, by --errors and --since. Times of one width and zone can be compared as texts."""
    only_errors, since = session.args["errors"], _first_time(session)

    def is_wanted(item: Item | None) -> bool:
        if item is None:
            return not only_errors and not since
        return item["ts"] >= since and (not only_errors or item["level"] in _GRAVE)

    return is_wanted


def _first_time(session: Session) -> str:
    """The time that --since means; "" for none."""
    if session.args["since"] is None:
        return ""
    return rfc3339(datetime.now(UTC) - timedelta(seconds=parse_duration(session.args["since"])))


def _last(items: Sequence[Item], count: int | None) -> Sequence[Item]:
    return items if count is None else items[len(items) - min(count, len(items)) :]


VERBS: Mapping[str, Verb] = {"logs": logs}
