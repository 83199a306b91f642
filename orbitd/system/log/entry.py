"""An event as plain data, ready to be written: its fields in order, their values bounded, secrets masked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from orbitd.system.log.redact import MASK, is_secret, masked

Entry = dict[str, Any]

FIRST_FIELDS = ("host", "role", "slot", "gen", "pid", "run", "pipeline", "step", "attempt")

_LONGEST_VALUE = 32 * 1024
_MOST_ITEMS = 64
_MOST_NESTING = 4
_CUT = " [cut] "
_WORD_LIMIT = 2**63


def told(name: str, value: object, nesting: int = 0) -> Any:
    """The value as JSON can hold it. Raises nothing, whatever the value's own text does."""
    if is_secret(name):
        return MASK
    if not isinstance(value, str):
        if value is None or isinstance(value, bool) or _is_ordinary(value):
            return value
        if nesting < _MOST_NESTING and isinstance(value, dict):
            return {key: told(key, item, nesting + 1) for key, item in _items(value)}
        if nesting < _MOST_NESTING and isinstance(value, list | tuple):
            return [told("", item, nesting + 1) for item in value[:_MOST_ITEMS]]
    return cut(masked(ends(_text(value), _LONGEST_VALUE)), _LONGEST_VALUE)


def _is_ordinary(value: object) -> bool:
    """True for a number that every reader of JSON understands."""
    return (isinstance(value, int) and -_WORD_LIMIT <= value < _WORD_LIMIT) or (isinstance(value, float) and math.isfinite(value))


def ends(text: str, longest: int) -> str:
    """The text, without the middle of one that is far too long: for whoever looks at all of it before it is cut."""
    return text if len(text) <= 2 * longest else text[:longest] + text[-longest:]


def cut(text: str, longest: int) -> str:
    """Head and tail of a text, the tail being where a traceback says what happened."""
    if len(text) <= longest:
        return text
    half = max(0, longest - len(_CUT)) // 2
    return text[:half] + _CUT + text[len(text) - half :]


def fitted(entry: Entry, render: Callable[[Entry], str], longest_bytes: int) -> bytes:
    """The rendered line, newline included, in at most `longest_bytes`: values are cut, and fields left out in the last resort."""
    for share in (1, 4 / 3, 4, 16, 64):
        line = _encoded(render(entry if share == 1 else shortened(entry, int(longest_bytes / share))))
        if len(line) <= longest_bytes:
            return line
    return _encoded(render({name: entry[name] for name in ("ts", "level", "event")}))


def _encoded(line: str) -> bytes:
    return line.encode(errors="backslashreplace") + b"\n"


def shortened(entry: Entry, longest: int) -> Entry:
    """The entry with no value of more than so many characters: a list or mapping that has more becomes text."""
    return {name: _cut_value(value, longest) for name, value in entry.items()}


def _cut_value(value: Any, longest: int) -> Any:
    if isinstance(value, dict | list) and len(text := json.dumps(value)) > longest:
        value = text
    return cut(value, longest) if isinstance(value, str) else value


def _items(value: Mapping[Any, Any]) -> list[tuple[str, Any]]:
    return [(cut(_text(key), 200), item) for key, item in list(value.items())[:_MOST_ITEMS]]


def _text(value: object) -> str:
    try:
        return str.__str__(value) if isinstance(value, str) else str.__str__(hex(value) if isinstance(value, int) else str(value))
    except Exception as error:  # noqa: BLE001 - an object that has no text is no reason not to log
        return f"<a {type(value).__name__} without a text: {type(error).__name__}>"
