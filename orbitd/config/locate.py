"""Where each key of a TOML text stands, for texts that `tomllib` has accepted: it keeps no positions itself.

This scanner knows just enough of the grammar to find keys: it steps over strings, comments and brackets, and reads the keys of
headers, statements and inline tables. What stands inside an array has no place of its own.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

Path = tuple[str, ...]
Place = tuple[int, int]
"""Line and column, both from 1; the column counts characters."""

_BLANK = re.compile(r"(?:[ \t\r\n,]|#[^\n]*)*+")
_KEY = re.compile(r"""[ \t]*+(?P<key>"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'|[A-Za-z0-9_-]++)[ \t]*+(?P<next>\.?)""")
_HEADER = re.compile(r"\[\[?")
_HEADER_END = re.compile(r"[ \t]*+\]\]?")
_EQUALS = re.compile(r"[ \t]*+=[ \t]*+")
_SCALAR = re.compile(
    r'''"""(?:[^\\]|\\.)*?"{3,5}|\'\'\'.*?'{3,5}|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+'|[^"'#\[\]{},\n]++''',
    re.DOTALL,
)


def places_of(text: str) -> dict[Path, Place]:
    """The place of every table and key, where it is first named."""
    scanner = _Scanner(text.replace("\r\n", "\n"))
    scanner.read_document()
    starts = [0, *(found.end() for found in re.finditer("\n", scanner.text))]
    return {path: _place(starts, offset) for path, offset in scanner.offsets.items()}


def _place(starts: list[int], offset: int) -> Place:
    line = bisect_right(starts, offset)
    return line, offset - starts[line - 1] + 1


class _Scanner:
    """Reads on from `at`, and remembers where keys begin, unless it is inside an array."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.offsets: dict[Path, int] = {}
        self._arrays = 0

    def read_document(self) -> None:
        table: Path = ()
        while self._has_more(""):
            if self._skip(_HEADER):
                table = self._read_key(())
                self._skip(_HEADER_END)
            else:
                self._read_pair(table)

    def _read_pair(self, table: Path) -> None:
        """`key = value`."""
        key = self._read_key(table)
        self._skip(_EQUALS)
        self._read_value(key)

    def _read_key(self, table: Path) -> Path:
        """A key of one part or of several, each of which names a table."""
        path = table
        while part := _KEY.match(self.text, self.at):
            self.at = part.end()
            written = part["key"]
            path += (str(tomllib.loads(f"value = {written}")["value"]) if written[0] in "\"'" else written,)
            if not self._arrays:
                self.offsets.setdefault(path, part.start("key"))
            if not part["next"]:
                break
        return path

    def _read_value(self, path: Path) -> None:
        """Whatever may stand behind an equals sign."""
        opening = self.text[self.at : self.at + 1]
        if opening == "{":
            self.at += 1
            while self._has_more("}"):
                self._read_pair(path)
        elif opening == "[":
            self.at += 1
            self._arrays += 1
            while self._has_more("]"):
                self._read_value(path)
            self._arrays -= 1
        else:
            self._skip(_SCALAR)

    def _has_more(self, closing: str) -> bool:
        """Step over blanks and commas; at the closing bracket, or the end of the text, over that too, and False."""
        self._skip(_BLANK)
        if self.text[self.at : self.at + 1] in {closing, ""}:
            self.at += 1
            return False
        return True

    def _skip(self, pattern: re.Pattern[str]) -> bool:
        found = pattern.match(self.text, self.at)
        if found:
            self.at = found.end()
        return found is not None
