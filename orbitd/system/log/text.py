"""Events as text for people: time, level, who, event, then `key=value`. One event is one line that no text in it can leave."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from orbitd.printable import printable

_COLOURS = {"debug": "\x1b[2m", "warning": "\x1b[33m", "error": "\x1b[31m", "critical": "\x1b[1;31m"}
_PLAIN = "\x1b[0m"
_SAID_ALWAYS = frozenset({"ts", "level", "event", "host", "role"})
_SAID_BY_ROLE = {"child": frozenset({"slot", "pid"}), "mold": frozenset({"pid"}), "janitor": frozenset({"pid"})}


def as_text(line: str, *, colour: bool = False) -> str:
    """A JSON line of the log for a terminal, with its date. What is no such line comes back escaped."""
    with contextlib.suppress(ValueError, RecursionError):
        entry = json.loads(line)
        if isinstance(entry, dict) and {"ts", "level", "event"} <= entry.keys():
            return text_of(entry, colour=colour, dated=True)
    return printable(line.rstrip("\n"))


def text_of(entry: Mapping[str, Any], *, colour: bool = False, dated: bool = False) -> str:
    """The whole line."""
    at = printable(str(entry["ts"])).replace("T", " ")
    level = printable(str(entry["level"]))
    shown = painted(f"{level:<7}", level) if colour else f"{level:<7}"
    return f"{at if dated else at[11:]} {shown} {_who(entry):<8} {_event(entry):<17} {_pairs(entry)}".rstrip()


def painted(text: str, level: str) -> str:
    """The text in the colour of that level, if it has one."""
    return f"{_COLOURS[level]}{text}{_PLAIN}" if level in _COLOURS else text


def message_of(entry: Mapping[str, Any]) -> str:
    """The event and its fields, without when and who."""
    return f"{_event(entry)} {_pairs(entry)}".rstrip()


def _event(entry: Mapping[str, Any]) -> str:
    return printable(str(entry["event"]))


def _who(entry: Mapping[str, Any]) -> str:
    role = printable(str(entry.get("role", "")))
    return f"{role} {printable(str(entry['slot']))}" if role == "child" and "slot" in entry else role


def _pairs(entry: Mapping[str, Any]) -> str:
    """`key=value` of what the line does not say already."""
    known = _SAID_BY_ROLE.get(str(entry.get("role")), frozenset()) | _SAID_ALWAYS
    return " ".join(f"{printable(name)}={_value(value)}" for name, value in entry.items() if name not in known)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable(text) if text and not any(each in text for each in ' "=\\') else _quoted(text)


def _quoted(text: str) -> str:
    inner = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{printable(inner)}"'
