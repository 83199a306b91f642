"""Where `orbitctl` writes: the document alone to standard output, everything said beside it to standard error."""

from __future__ import annotations

import io
import json
import os
import sys
from typing import TYPE_CHECKING, Any, TextIO

from orbitd.ctl.render import Style

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from orbitd.errors import OrbitError

_USUAL_WIDTH = 80
_NARROWEST_WIDTH = 40


class Output:
    """Standard output and standard error of one call, and what they can show."""

    def __init__(self, *, as_json: bool, color: str, environ: Mapping[str, str]) -> None:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")
        self.as_json = as_json
        self.style = _style(sys.stdout, color, environ)
        self._error_style = _style(sys.stderr, color, environ)

    def document(self, document: Mapping[str, Any], lines: Iterable[str]) -> None:
        """The answer: the JSON document, or the lines for people."""
        if self.as_json:
            print(json.dumps(document, indent=2 if self.style.width else None))
        else:
            for line in lines:
                print(line)

    def note(self, message: str) -> None:
        """Something beside the answer."""
        say(self._error_style.plain(message))

    def error(self, error: OrbitError) -> None:
        """What is wrong, and what to do next."""
        if self.as_json:
            say(json.dumps({"error": {"code": error.code, "message": error.message, "hint": error.hint}}))
            return
        style = self._error_style
        for line in error.message.splitlines():
            say(f"{style.paint('orbitctl:', 'red')} {style.plain(line)}")
        if error.hint:
            say(f"{style.paint('hint:', 'dim')} {style.plain(error.hint)}")


def say(text: str, end: str = "\n") -> None:
    """Write to standard error, if there is one: print() would take standard output in its place."""
    if sys.stderr is not None:
        print(text, end=end, file=sys.stderr, flush=True)


def stderr_is_terminal() -> bool:
    """Whether somebody looks on."""
    return sys.stderr is not None and sys.stderr.isatty()


def _style(stream: TextIO | None, color: str, environ: Mapping[str, str]) -> Style:
    if stream is None:
        return Style()
    terminal = stream.isatty()
    return Style(
        colour=_wants_colour(color, environ, terminal=terminal),
        unicode=(stream.encoding or "").lower().replace("-", "") == "utf8",
        width=_width(stream, environ) if terminal or environ.get("COLUMNS", "") else None,
    )


def _wants_colour(color: str, environ: Mapping[str, str], *, terminal: bool) -> bool:
    if color != "auto":
        return color == "always"
    if environ.get("NO_COLOR"):
        return False
    return bool(environ.get("FORCE_COLOR")) or (terminal and environ.get("TERM", "") not in {"", "dumb"})


def _width(stream: TextIO, environ: Mapping[str, str]) -> int:
    columns = environ.get("COLUMNS", "")
    width = int(columns) if columns.isdecimal() and columns.isascii() and len(columns) < 6 else 0
    if not width:
        try:
            width = os.get_terminal_size(stream.fileno()).columns
        except OSError:
            width = 0
    return max(_NARROWEST_WIDTH, width or _USUAL_WIDTH)
