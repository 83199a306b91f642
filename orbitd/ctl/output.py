"""Where a program writes: the document alone to standard output, everything said beside it to standard error.

    table, wide    lines for people; wide cuts nothing and shows every column
    json           the document
    jsonl, csv     one line or row for each of the document's items or slots; the document itself when it has neither.
                   Of csv the first row names every field; where the items have no end, those of the first, and `fields`
                   holds what others have besides

With json and jsonl, standard error is lines of JSON too: {"note": …}, {"progress": …} and {"error": {"code", "message", "hint"}}.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TextIO

from orbitd.ctl.render import Style
from orbitd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orbitd.errors import OrbitError

_USUAL_WIDTH = 80
_NARROWEST_WIDTH = 40
_FURTHER_FIELDS = "fields"
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


class Format(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    WIDE = "wide"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"


class Output:
    """Standard output and standard error of one call, and what they can show."""

    def __init__(self, program: str, form: Format = Format.TABLE, color: str = "auto", environ: Mapping[str, str] = os.environ) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        self.form = form
        self.style = _style(sys.stdout, color, environ, wide=form is Format.WIDE)
        self.screen_redraws = not self.as_json and _moves_cursor(sys.stdout, environ)
        """Whether what stands on standard output can be written over."""
        self.notes_redraw = not self.as_json and _moves_cursor(sys.stderr, environ)
        """The same of standard error."""
        self._program = program
        self._error_style = _style(sys.stderr, color, environ)
        self._csv_fields: Sequence[str] | None = None

    @classmethod
    def asked(cls, program: str, flags: Mapping[str, Any], environ: Mapping[str, str]) -> Output:
        """As --json, --output and --color say. Raises UsageError when they contradict each other."""
        form = Format(flags.get("output", Format.JSON if flags.get("json") else Format.TABLE))
        if flags.get("json") and form is not Format.JSON:
            raise UsageError(f"--json is -o json, and goes not with -o {form}", "leave one away")
        return cls(program, form, flags.get("color", "auto"), environ)

    @property
    def as_json(self) -> bool:
        """Whether a program reads the answer, and what is said beside it."""
        return self.form in {Format.JSON, Format.JSONL}

    def document(self, document: Mapping[str, Any], lines: Iterable[str]) -> None:
        """The answer: the document in the form that was asked for, or the lines for people."""
        if self.form is Format.JSON:
            print(json.dumps(document, indent=2 if self.style.width else None))
        elif self.form is Format.JSONL:
            for item in _items(document):
                self.item(item, [])
        elif self.form is Format.CSV:
            self._rows(_items(document))
        else:
            for line in lines:
                print(line)

    def item(self, item: Mapping[str, Any], lines: Iterable[str]) -> None:
        """One item of an answer that has no end, at once: with json too it is one line."""
        if self.as_json:
            print(json.dumps(item, separators=(",", ":")), flush=True)
        elif self.form is Format.CSV:
            self._row(item)
        else:
            for line in lines:
                print(line, flush=True)

    def note(self, message: str) -> None:
        """Something beside the answer."""
        say(json.dumps({"note": message}) if self.as_json else self.told(message))

    def told(self, text: str) -> str:
        """A text as standard error can show it."""
        return self._error_style.plain(text)

    def error(self, error: OrbitError) -> None:
        """What is wrong, and what to do next."""
        if self.as_json:
            say(json.dumps({"error": {"code": error.code, "message": error.message, "hint": error.hint}}))
            return
        style = self._error_style
        for line in error.message.splitlines():
            say(f"{style.paint(f'{self._program}:', 'red')} {style.plain(line)}")
        if error.hint:
            say(f"{style.paint('hint:', 'dim')} {style.plain(error.hint)}")

    def _rows(self, items: Sequence[Mapping[str, Any]]) -> None:
        """The first row names the fields of all items."""
        fields = list(dict.fromkeys(field for item in items for field in item))
        if fields:
            print(_csv_row(fields), end="")
        for item in items:
            print(_csv_row([_csv_cell(item.get(field)) for field in fields]), end="")

    def _row(self, item: Mapping[str, Any]) -> None:
        """The first row names the fields of the first item; what a later one has besides stands in the last column."""
        if self._csv_fields is None:
            self._csv_fields = list(item)
            print(_csv_row([*self._csv_fields, _FURTHER_FIELDS]), end="")
        further = {field: value for field, value in item.items() if field not in self._csv_fields}
        cells = [*(item.get(field) for field in self._csv_fields), further or None]
        print(_csv_row(map(_csv_cell, cells)), end="", flush=True)


def say(text: str, end: str = "\n") -> None:
    """Write to standard error, if there is one: print() would take standard output in its place.

    Where it cannot be written there is nobody to tell, and what was done counts all the same.
    """
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            print(text, end=end, file=sys.stderr, flush=True)


def stderr_is_terminal() -> bool:
    """Whether somebody looks on."""
    return sys.stderr is not None and sys.stderr.isatty()


def end_line() -> None:
    """Leave the line on which a terminal shows `^C`."""
    if stderr_is_terminal():
        say("")


def _items(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found: Sequence[Mapping[str, Any]] = document.get("items", document.get("slots", [document]))
    return found


def _csv_row(cells: Iterable[str]) -> str:
    import csv

    row = io.StringIO(newline="")
    csv.writer(row).writerow(cells)
    return row.getvalue()


def _csv_cell(value: object) -> str:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it: stored text must not run there."""
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return f"'{value}" if value.startswith(_FORMULA_STARTS) else value


def _style(stream: TextIO | None, color: str, environ: Mapping[str, str], *, wide: bool = False) -> Style:
    if stream is None:
        return Style()
    return Style(
        colour=_wants_colour(color, environ, terminal=_moves_cursor(stream, environ)),
        unicode=_means_utf8(stream.encoding or "") and _speaks_unicode(environ),
        width=_width(stream, environ) if not wide and (stream.isatty() or environ.get("COLUMNS", "")) else None,
        wide=wide,
    )


def _speaks_unicode(environ: Mapping[str, str]) -> bool:
    """What the locale says of the reader's end. Python takes the C locale for UTF-8, and so its streams do not tell."""
    locale = next((environ[name] for name in ("LC_ALL", "LC_CTYPE", "LANG") if environ.get(name)), "")
    language, _, encoding = locale.partition(".")
    return language not in {"C", "POSIX"} or _means_utf8(encoding)


def _means_utf8(encoding: str) -> bool:
    return encoding.lower().replace("-", "") == "utf8"


def _wants_colour(color: str, environ: Mapping[str, str], *, terminal: bool) -> bool:
    if color != "auto":
        return color == "always"
    if environ.get("NO_COLOR"):
        return False
    return bool(environ.get("FORCE_COLOR")) or terminal


def _moves_cursor(stream: TextIO | None, environ: Mapping[str, str]) -> bool:
    return stream is not None and stream.isatty() and environ.get("TERM", "") not in {"", "dumb"}


def _width(stream: TextIO, environ: Mapping[str, str]) -> int:
    columns = environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and columns.isascii() and len(columns) < 6 else 0
    if not width:
        try:
            width = os.get_terminal_size(stream.fileno()).columns
        except OSError:
            width = 0
    return max(_NARROWEST_WIDTH, width or _USUAL_WIDTH)
