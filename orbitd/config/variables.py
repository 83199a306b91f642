"""The environment variables that workers had before orbitd, each with its own unit, and what has become of them.

Set to nothing they count as not set. Each can be given as NAME_FILE too: the name of a file with the value.
"""

from __future__ import annotations

import os
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def _as_it_stands(text: str) -> str:
    return text


def _milliseconds(text: str) -> str:
    return f"{text}ms" if text.replace(".", "", 1).isdecimal() and text.isascii() else text


def absolute(path: str) -> str:
    """A path that may begin where orbitd was started, from the root."""
    return os.path.normpath(Path(path).absolute())


def _development(text: str) -> str | None:
    return "text" if text == "development" else None


class Variable(NamedTuple):
    """A name, and how its text becomes one that `--set` would take; None: it says nothing about the option."""

    name: str
    words: str = ""
    translate: Callable[[str], str | None] = _as_it_stands
    is_added: bool = False
    """Whether it is put before the items that are given elsewhere, not in their place."""

    @classmethod
    def in_milliseconds(cls, name: str) -> Variable:
        """A time; a bare number is in milliseconds."""
        return cls(name, "a bare number is in milliseconds", _milliseconds)

    @classmethod
    def of_directory(cls, name: str, *, is_added: bool = False) -> Variable:
        """A directory, which need not be absolute."""
        return cls(name, "may be relative", absolute, is_added)

    @classmethod
    def of_development(cls, name: str) -> Variable:
        """`development` means that a person reads the log."""
        return cls(name, "development: text", _development)


_ONE_CONNECTION = "is not needed: each process of orbitd has one connection of its own"
NOT_NEEDED: Mapping[str, str] = MappingProxyType(
    {
        "DATABASE_POOL_SIZE": _ONE_CONNECTION,
        "DATABASE_MAX_OVERFLOW": _ONE_CONNECTION,
        "DATABASE_POOL_RECYCLE": "is not needed: a broken connection is made anew",
        "MAX_CONCURRENT_ATTEMPTS_PER_JOB": "is not needed: children.count says how many runs go on at once",
    }
)

ADDRESS_PARTS = ("DATABASE_USER", "DATABASE_PASSWORD", "DATABASE_HOST", "DATABASE_PORT", "DATABASE_NAME")
"""Of which an address is composed when none is given; in the order of `libpq.composed`."""
