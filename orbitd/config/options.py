"""What an option is: how its value is written, what it stands for, and what a person should know about it.

A kind reads a value in three steps, each of which raises ValueError with words for the operator:
    from_text   the text of `--set` or of an environment variable → the value as TOML would give it
    read        the value as TOML gives it → checked, in base units (float seconds, int bytes)
    resolve     what that means on this machine: `auto`, `$HOSTNAME`, `env:NAME`, `file:PATH`
"""

from __future__ import annotations

import keyword
import re
import socket
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orbitd.config.cpus import usable_cpus
from orbitd.config.files import read_text_file
from orbitd.units import parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping

_CONTROL_CHARACTER = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_DSN = re.compile(r"postgres(?:ql)?://|\s*[a-z_]+\s*=")
_DSN_PASSWORD = re.compile(r"://[^/?#@]*:[^/?#]+@|\bpassword\s*=|[?&]password=")
_LARGEST_SECRET_BYTES = 64 * 1024


class Reload(StrEnum):
    """When a changed value counts after `orbitctl reload`."""

    LIVE = "live"
    NEW_RUNS = "new runs"
    ROLLING = "rolling"
    RESTART = "restart"


class Kind:
    """A text as it stands; the base of the other kinds."""

    words = "text"

    def from_text(self, text: str) -> object:
        """The value that TOML would have given for this text."""
        return text

    def read(self, value: object) -> Any:
        """The checked value, in base units."""
        if not isinstance(value, str):
            raise ValueError(f'is {naming(value)}: write a text in quotes, such as "name"')  # noqa: TRY004
        if _CONTROL_CHARACTER.search(value):
            raise ValueError("holds a control character")
        return value

    def resolve(self, value: Any, environ: Mapping[str, str]) -> Any:  # noqa: ARG002
        """What the value stands for on this machine."""
        return value


@dataclass(frozen=True)
class Duration(Kind):
    """A time such as "5s", as float seconds; `least` and `most` are written the same way."""

    least: str = "0"
    most: str = "52w"
    or_zero: bool = False

    @property
    def words(self) -> str:  # type: ignore[override]
        """What may be written."""
        return f"duration, {self.least} to {self.most}{', or 0' if self.or_zero else ''}"

    def read(self, value: object) -> float:
        """Seconds."""
        if not isinstance(value, str):
            if value != 0 or isinstance(value, bool):
                raise ValueError(f'is {naming(value)}: write a duration in quotes, such as "500ms", "30s", "10m"')
            value = "0"
        seconds = parse_duration(value)
        if not (self.or_zero and seconds == 0) and not parse_duration(self.least) <= seconds <= parse_duration(self.most):
            raise ValueError(f'"{value}" is out of range: {self.words}')
        return seconds


@dataclass(frozen=True)
class Size(Kind):
    """An amount such as "500MiB", as int bytes."""

    least: str = "0"
    most: str = "1024GiB"
    or_zero: bool = False

    @property
    def words(self) -> str:  # type: ignore[override]
        """What may be written."""
        return f"size, {self.least} to {self.most}{', or 0' if self.or_zero else ''}"

    def read(self, value: object) -> int:
        """Bytes."""
        if not isinstance(value, str):
            if value != 0 or isinstance(value, bool):
                raise ValueError(f'is {naming(value)}: write a size in quotes, such as "256KiB", "500MiB", "2GiB"')
            value = "0"
        size_bytes = parse_size(value)
        if not (self.or_zero and size_bytes == 0) and not parse_size(self.least) <= size_bytes <= parse_size(self.most):
            raise ValueError(f'"{value}" is out of range: {self.words}')
        return size_bytes


@dataclass(frozen=True)
class Integer(Kind):
    """A whole number in a range."""

    least: int
    most: int

    @property
    def words(self) -> str:  # type: ignore[override]
        """What may be written."""
        return f"a whole number, {self.least} to {self.most}"

    def from_text(self, text: str) -> object:
        """The number, or the text as it stands when it is none."""
        return int(text) if _INTEGER.fullmatch(text) else text

    def read(self, value: object) -> int:
        """The number."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"is {naming(value)}: write {self.words}")  # noqa: TRY004
        if not self.least <= value <= self.most:
            raise ValueError(f"is out of range: {self.words}")
        return value


@dataclass(frozen=True)
class ChildrenCount(Integer):
    """A number of children, or "auto": one for each CPU that this process may use."""

    @property
    def words(self) -> str:  # type: ignore[override]
        """What may be written."""
        return f'"auto", or {super().words}'

    def read(self, value: object) -> Any:
        """The number, or "auto"."""
        return value if value == "auto" else super().read(value)

    def resolve(self, value: Any, environ: Mapping[str, str]) -> Any:  # noqa: ARG002
        """The number; "auto" is no more than what may be written, however large the machine."""
        return min(usable_cpus(), self.most) if value == "auto" else value


@dataclass(frozen=True)
class Choice(Kind):
    """One of a few words."""

    choices: tuple[str, ...]

    @property
    def words(self) -> str:  # type: ignore[override]
        """What may be written."""
        return " | ".join(self.choices)

    def read(self, value: object) -> str:
        """The word."""
        if value not in self.choices:
            raise ValueError(f"is {naming(value)}: write one of {self.words}")
        return str(value)


class TextList(Kind):
    """A list of texts, as a tuple; on the command line separated by commas."""

    words = "list of texts"

    def from_text(self, text: str) -> object:
        """The items of `a,b`, or of a TOML list."""
        return _toml_value(text) if text.startswith("[") else [item.strip() for item in text.split(",") if item.strip()]

    def read(self, value: object) -> tuple[str, ...]:
        """The items."""
        if not isinstance(value, list):
            raise ValueError(f'is {naming(value)}: write a list of texts, such as ["a", "b"]')  # noqa: TRY004
        return tuple(self._item(item) for item in value)

    def _item(self, item: object) -> str:
        if not isinstance(item, str) or not item:
            raise ValueError(f"holds {naming(item)} where a text is due")
        text: str = Kind.read(self, item)
        return text


class ModuleList(TextList):
    """Where pipelines are found: dotted module names, and directories (with a slash) of .py files."""

    words = "list of module names or directories"

    def _item(self, item: object) -> str:
        text = super()._item(item)
        if "/" not in text and not all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split(".")):
            raise ValueError(f'"{text}" is neither a module name such as "app.pipelines" nor a directory such as "./pipelines"')
        return text


class Backoff(TextList):
    """How long a run waits after each error: "exponential", or a list of durations of which the last repeats."""

    words = '"exponential", a duration, or a list of durations'

    def from_text(self, text: str) -> object:
        """A word or a single duration as it stands, else a list."""
        return super().from_text(text) if text.startswith("[") or "," in text else text

    def read(self, value: object) -> Any:
        """The word "exponential", or a tuple of float seconds."""
        if value == "exponential":
            return value
        durations = super().read([value] if isinstance(value, str) else value)
        if not durations:
            raise ValueError(f"is an empty list: write {self.words}")
        return tuple(Duration().read(duration) for duration in durations)


@dataclass(frozen=True)
class AbsolutePath(Kind):
    """A path from the root, or the one word that may stand in its place."""

    instead: str

    @property
    def words(self) -> str:  # type: ignore[override]
        """What may be written."""
        return f'absolute path, or "{self.instead}"'

    def read(self, value: object) -> str:
        """The path as written."""
        text: str = super().read(value)
        if text.startswith("~"):
            raise ValueError(f'"{text}": ~ is not expanded here, write the whole path')
        if text != self.instead and not text.startswith("/"):
            raise ValueError(f'"{text}" is not an {self.words}')
        return text


class HostName(Kind):
    """A name of at most 200 characters, or "$HOSTNAME"."""

    words = 'text, or "$HOSTNAME"'

    def read(self, value: object) -> str:
        """The name as written."""
        text: str = super().read(value)
        if not 0 < len(text) <= 200:
            raise ValueError("has no or more than 200 characters")
        return text

    def resolve(self, value: Any, environ: Mapping[str, str]) -> Any:  # noqa: ARG002
        """The name."""
        return socket.gethostname() if value == "$HOSTNAME" else value


class Dsn(Kind):
    """The address of a database, a secret: `env:NAME`, `file:PATH` or the address itself; never shown in an error."""

    words = "env:NAME, file:PATH, or a Postgres address"

    def resolve(self, value: Any, environ: Mapping[str, str]) -> Any:
        """The address; "" when nothing is written and DATABASE_URL is not set."""
        scheme, _, name = (value or "env:DATABASE_URL").partition(":")
        if scheme == "env":
            if name not in environ and name != "DATABASE_URL":
                raise ValueError(f"names the environment variable {name}, which is not set")
            return _checked_dsn(environ.get(name, ""), f"the environment variable {name} ")
        if scheme == "file":
            if not name.startswith("/"):
                raise ValueError(f'"file:{name}" is not an absolute path')
            return _checked_dsn(read_text_file(Path(name), _LARGEST_SECRET_BYTES).strip(), f"the file {name} ")
        return _checked_dsn(value, "")

    def holds_password(self, text: str) -> bool:
        """Whether a password stands in this very text."""
        return bool(_DSN_PASSWORD.search(text))


def _checked_dsn(text: str, where: str) -> str:
    if _CONTROL_CHARACTER.search(text) or "%00" in text:
        raise ValueError(f"{where}holds a control character")
    if text and not _DSN.match(text):
        raise ValueError(f"{where}is no Postgres address: write postgresql://user@host/database, or host=… dbname=…")
    return text


@dataclass(frozen=True)
class Option:
    """One row of the table of settings; `default` is the value as TOML would give it."""

    kind: Kind
    default: str | int | list[str]
    doc: str
    reload: Reload

    @property
    def secret(self) -> bool:
        """Whether the value must never be shown."""
        return isinstance(self.kind, Dsn)


def option(kind: Kind, default: str | int | list[str], doc: str, reload: Reload) -> Any:
    """Declare a field of a section."""
    row = Option(kind, default, doc, reload)
    return field(repr=not row.secret, metadata={"option": row})


def naming(value: object) -> str:
    """A value as an error calls it, short whatever it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value[:60]}"'
    for kind, name in ((int | float, "a number"), (list, "a list"), (dict, "a table")):
        if isinstance(value, kind):
            return name
    return "a date or time"


def _toml_value(text: str) -> object:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        raise ValueError(f'"{text[:60]}" is not a list in TOML\'s notation, such as ["a", "b"]') from None
