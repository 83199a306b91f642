"""JSON text, in and out, without silent changes: what cannot be stored as it is, is an error.

orjson does the work. Three things it lets through are caught here: NaN and infinities become null, NUL is text that
Postgres refuses, and integers beyond 64 bits are read as floats.
"""

from __future__ import annotations

import json
import re
from enum import Enum
from typing import Any

import orjson

from orbitd.pipelines.exceptions import BadResult
from orbitd.units import format_size

_OPTIONS = orjson.OPT_PASSTHROUGH_DATACLASS | orjson.OPT_PASSTHROUGH_DATETIME
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_DIGIT = re.compile(r"[0-9]")
_LONG_NUMBER = re.compile(r"[0-9]{19}")


def encode(value: Any, what: str, most_bytes: int) -> str:
    """The JSON text of a value; `what` names it in errors.

    Raises BadResult for what JSON or Postgres cannot hold, and above `most_bytes`.
    """
    try:
        encoded = orjson.dumps(value, option=_OPTIONS)
        if len(encoded) > most_bytes:
            raise BadResult(f"{what} is {format_size(len(encoded))} of JSON, more than {format_size(most_bytes)} (runs.max_result)")
        if b"null" in encoded and value is not None:
            json.dumps(value, allow_nan=False, default=_plain)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadResult(f"{what} is not JSON: {error}") from error
    if b"\\u0000" in encoded and _NUL.search(encoded):
        raise BadResult(f"{what} has a NUL character in a text, which Postgres cannot store")
    return encoded.decode()


def decode(text: str) -> Any:
    """The value of a JSON text, integers exact at any length.

    Raises ValueError for what is no JSON, too deep, or holds numbers that Python cannot.
    """
    value = orjson.loads(text)
    if not _DIGIT.search(text[18::19]) or not _LONG_NUMBER.search(text):  # of 19 digits one stands in each 19th place
        return value
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("JSON is nested too deep") from error


def _plain(value: Any) -> Any:
    """Lets the second look at a value pass over what orjson writes by itself."""
    return value.value if isinstance(value, Enum) else None
