"""Rows as JSON takes them: ids as decimal text, because readers in other languages lose digits, and times in UTC."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from orbitd.errors import NoSuchObject
from orbitd.units import rfc3339


def document(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row as a part of a document."""
    return {name: str(value) if name == "id" else _plain(value) for name, value in row.items()}


def decoded(text: str) -> Any:
    """The value of a JSON text; the text itself if Python cannot take it, which Postgres could."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def no_such_run(run: object) -> NoSuchObject:
    """The error for an id, or what was taken for one, that no run has."""
    return NoSuchObject(f'no run "{run}"', "see `orbitctl runs`")


def _plain(value: Any) -> Any:
    return rfc3339(value) if isinstance(value, datetime) else value
