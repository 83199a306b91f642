"""What travels on the control socket: one JSON object a line, as pure functions on bytes.

    request   {"command": "scale", "args": {"amount": "+2"}}
    answer    {"ok": true, "result": {…}}
              {"ok": false, "error": {"code": "usage", "message": "…", "hint": null, "exit_code": 2}}

A request has at most 64 KiB; an answer, which comes from the daemon and may list a thousand slots, at most 4 MiB.
Nothing of a request is ever used as the name of an attribute: a command is looked up in the table, or refused.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from orbitd.control.commands import COMMANDS, Command, find
from orbitd.errors import (
    ConfigError,
    Conflict,
    DaemonNotRunning,
    DatabaseUnavailable,
    NoSuchObject,
    OrbitError,
    Refused,
    UsageError,
    WaitTimeout,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_REQUEST_BYTES = 64 * 1024
LONGEST_ANSWER_BYTES = 4 * 1024 * 1024

_ERRORS = (UsageError, DaemonNotRunning, NoSuchObject, Refused, Conflict, DatabaseUnavailable, ConfigError, WaitTimeout)


class Garbled(UsageError):
    """A line that is no request at all: whoever wrote it cannot be talked to."""

    code = "garbled"


class Request(NamedTuple):
    """A command of the table, with all of its arguments checked; `uid` is the asker's."""

    command: Command
    args: Mapping[str, Any]
    uid: int = -1


class Answer(NamedTuple):
    """A result, or an error with its exit code."""

    result: Mapping[str, Any] | None = None
    error: OrbitError | None = None


def parse_request(line: bytes, uid: int = -1) -> Request:
    """The request in a line. Raises Garbled for what is none, UsageError for a wrong command or argument."""
    if len(line) > LONGEST_REQUEST_BYTES:
        raise Garbled(f"a request has at most {LONGEST_REQUEST_BYTES} bytes")
    document = _object(line, "a request")
    if not document.keys() <= {"command", "args"}:
        raise UsageError("a request has the keys command and args, and no others")
    name, args = document.get("command"), document.get("args", {})
    if not isinstance(name, str) or not isinstance(args, dict):
        raise UsageError("command is not a text, or args is not an object")
    command = COMMANDS[find(name)]
    return Request(command, command.checked(args), uid)


def encode_request(command: str, args: Mapping[str, Any]) -> bytes:
    """The line for a request. Raises UsageError when it would be too long."""
    line = _line({"command": command, "args": args})
    if len(line) > LONGEST_REQUEST_BYTES:
        raise UsageError(f"the arguments of {command} are too long for the control socket")
    return line


def encode_answer(answer: Answer) -> bytes:
    """The line for an answer."""
    if answer.error is None:
        return _line({"ok": True, "result": answer.result})
    error = answer.error
    told = {"code": error.code, "message": error.message, "hint": error.hint, "exit_code": int(error.exit_code)}
    return _line({"ok": False, "error": told})


def parse_answer(line: bytes) -> dict[str, Any]:
    """The result in a line. Raises the error that stands there instead, or Garbled."""
    document = _object(line, "an answer")
    result, error = document.get("result"), document.get("error")
    if document.get("ok") is True and isinstance(result, dict):
        return result
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        raise Garbled("an answer holds neither result nor error")
    raise error_of(error.get("exit_code"), error["message"], error.get("hint"))


def error_of(exit_code: object, message: str, hint: str | None) -> OrbitError:
    """The error that ends in this exit code."""
    return next((kind for kind in _ERRORS if kind.exit_code == exit_code), OrbitError)(message, hint)


def _line(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _object(line: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(line.decode(), object_pairs_hook=_unique, parse_constant=_refused_constant)
    except (ValueError, RecursionError):
        raise Garbled(f"{what} is one JSON object in one line", "see orbitctl(1)") from None
    if not isinstance(document, dict):
        raise Garbled(f"{what} is one JSON object in one line, not a {type(document).__name__}", "see orbitctl(1)")
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _refused_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
