"""What may be written for an option, and what it comes to.

A kind takes a value in three steps, each of which raises ValueError with words for the operator:
    from_text   the text of `--set` or of an environment variable → the value as TOML would give it
    read        the value as TOML gives it → checked, in base units (float seconds, int bytes)
    resolve     what that means on this machine: `auto`, `$HOSTNAME`, `env:NAME`, `file:PATH`
What `read` takes is told twice more: as `words` for people, and as a JSON schema for editors.

`orbitctl status` passes here on its way to the socket, so what only some kinds need is imported by them.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

from orbitd.units import DURATION_PATTERN, SIZE_PATTERN, parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NO_UTF8 = re.compile("[\ud800-\udfff]")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_SHARE = re.compile(r"[0-9]*\.?[0-9]+")
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_LONGEST_PATH_BYTES = 4095
_LONGEST_SOCKET_PATH_BYTES = 107
_ZERO = {"const": 0}


class WrongElsewhere(ValueError):
    """The value is right, but not what it refers to: `culprit`, a file or a variable, must be corrected."""

    def __init__(self, message: str, culprit: str) -> None:
        super().__init__(message)
        self.culprit = culprit


class Kind:
    """A text as it stands; the base of the other kinds."""

    secret = False
    """Whether a value must never be shown."""

    @property
    def words(self) -> str:
        """What may be written."""
        return "text"

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema; ranges of durations and sizes are left out."""
        return {"type": "string"}

    def from_text(self, text: str) -> object:
        """The value that TOML would have given for this text."""
        return text

    def read(self, value: object) -> Any:
        """The checked value, in base units."""
        if not isinstance(value, str):
            raise ValueError(f'is {naming(value)}: write a text in quotes, such as "name"')  # noqa: TRY004
        if _NO_UTF8.search(value):
            raise ValueError("is not UTF-8 text")
        if _INVISIBLE.search(value):
            raise ValueError("holds a control character")
        return value

    def resolve(self, value: Any, environ: Mapping[str, str]) -> Any:  # noqa: ARG002
        """What the value stands for on this machine."""
        return value

    def remarks(self, value: Any, environ: Mapping[str, str]) -> Iterator[str]:  # noqa: ARG002
        """What is no fault, but should be known."""
        yield from ()

    def meaning(self, value: Any) -> str:  # noqa: ARG002
        """What a resolved value came to, for people; "" when it is as it was written."""
        return ""


class Boolean(Kind):
    """Yes or no."""

    @property
    def words(self) -> str:
        """What may be written."""
        return "true | false"

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return {"type": "boolean"}

    def from_text(self, text: str) -> object:
        """Also yes and no, on and off, 1 and 0, which people write in variables."""
        return _BOOLEANS.get(text.strip().lower(), text)

    def read(self, value: object) -> bool:
        """Whether."""
        if not isinstance(value, bool):
            raise ValueError(f"is {naming(value)}: write true or false")  # noqa: TRY004
        return value


class Duration(Kind):
    """A time such as "5s", as float seconds; `least` and `most` are written the same way."""

    def __init__(self, least: str = "0", most: str = "52w", *, or_zero: bool = False) -> None:
        self.least, self.most, self.or_zero = least, most, or_zero

    @property
    def words(self) -> str:
        """What may be written."""
        return f"duration, {self.least} to {self.most}{', or 0' if self.or_zero else ''}"

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return {"anyOf": [{"type": "string", "pattern": f"^(0|{DURATION_PATTERN})$"}, _ZERO]}

    def read(self, value: object) -> Any:
        """Seconds."""
        text = _with_unit(value, 'duration in quotes, such as "500ms", "30s", "10m"')
        seconds = parse_duration(text)
        if not (self.or_zero and seconds == 0) and not parse_duration(self.least) <= seconds <= parse_duration(self.most):
            raise ValueError(f'"{text}" is out of range: {self.words}')
        return seconds


class AutoDuration(Duration):
    """A time, or "auto", which is None."""

    @property
    def words(self) -> str:
        """What may be written."""
        return f'"auto", or {super().words}'

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return _or_word("auto", super().schema())

    def read(self, value: object) -> Any:
        """Seconds, or None."""
        return None if value == "auto" else super().read(value)


class Size(Kind):
    """An amount such as "500MiB", as int bytes."""

    def __init__(self, least: str = "0", most: str = "1024GiB", *, or_zero: bool = False) -> None:
        self.least, self.most, self.or_zero = least, most, or_zero

    @property
    def words(self) -> str:
        """What may be written."""
        return f"size, {self.least} to {self.most}{', or 0' if self.or_zero else ''}"

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return {"anyOf": [{"type": "string", "pattern": f"^(0|{SIZE_PATTERN})$"}, _ZERO]}

    def read(self, value: object) -> int:
        """Bytes."""
        text = _with_unit(value, 'size in quotes, such as "256KiB", "500MiB", "2GiB"')
        size_bytes = parse_size(text)
        if not (self.or_zero and size_bytes == 0) and not parse_size(self.least) <= size_bytes <= parse_size(self.most):
            raise ValueError(f'"{text}" is out of range: {self.words}')
        return size_bytes


class Integer(Kind):
    """A whole number in a range."""

    def __init__(self, least: int, most: int) -> None:
        self.least, self.most = least, most

    @property
    def words(self) -> str:
        """What may be written."""
        return f"a whole number, {self.least} to {self.most}"

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def from_text(self, text: str) -> object:
        """The number, or the text as it stands when it is none."""
        return int(text) if _INTEGER.fullmatch(text) else text

    def read(self, value: object) -> Any:
        """The number."""
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"is {naming(value)}: write {self.words}")  # noqa: TRY004
        if not self.least <= value <= self.most:
            raise ValueError(f"is out of range: {self.words}")
        return value


class ChildrenCount(Integer):
    """A number of children, or "auto": one for each CPU that this process may use."""

    @property
    def words(self) -> str:
        """What may be written."""
        return f'"auto", or {super().words}'

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return _or_word("auto", super().schema())

    def read(self, value: object) -> Any:
        """The number, or "auto"."""
        return value if value == "auto" else super().read(value)

    def resolve(self, value: Any, environ: Mapping[str, str]) -> Any:  # noqa: ARG002
        """The number; "auto" is no more than what may be written, however large the machine."""
        if value != "auto":
            return value
        from orbitd.system.cpus import usable_cpus

        return min(usable_cpus(), self.most)

    def meaning(self, value: Any) -> str:
        """The number."""
        return str(value)


class Share(Kind):
    """A number from 0 to 1."""

    @property
    def words(self) -> str:
        """What may be written."""
        return "a number, 0 to 1"

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return {"type": "number", "minimum": 0, "maximum": 1}

    def from_text(self, text: str) -> object:
        """The number, or the text as it stands when it is none."""
        return float(text) if _SHARE.fullmatch(text) else text

    def read(self, value: object) -> float:
        """The number."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"is {naming(value)}: write {self.words}")  # noqa: TRY004
        if not 0 <= value <= 1:
            raise ValueError(f"is out of range: {self.words}")
        return abs(float(value))


class Choice(Kind):
    """One of a few words."""

    def __init__(self, *choices: str) -> None:
        self.choices = choices

    @property
    def words(self) -> str:
        """What may be written."""
        return " | ".join(self.choices)

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return {"enum": list(self.choices)}

    def read(self, value: object) -> str:
        """The word."""
        if value not in self.choices:
            raise ValueError(f"is {naming(value)}: write one of {self.words}")
        return str(value)


class LogLevel(Choice):
    """How urgent a line must be. In a file one of four words; elsewhere also as other programs spell them."""

    _SPELLINGS = (
        ("debug", "trace verbose silly all notset 10 7"),
        ("info", "information notice log http 20 6 5"),
        ("warning", "warn 30 4"),
        ("error", "err critical crit fatal alert emergency emerg panic 40 50 3 2 1 0"),
    )

    def __init__(self) -> None:
        super().__init__(*(level for level, _ in self._SPELLINGS))

    def from_text(self, text: str) -> object:
        """The level; numbers below 8 are syslog's, the others are Python's."""
        word = text.strip().lower()
        return next((level for level, others in self._SPELLINGS if word in {level, *others.split()}), text)


class TextList(Kind):
    """A list of texts, as a tuple; on the command line separated by commas."""

    @property
    def words(self) -> str:
        """What may be written."""
        return "list of texts"

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return {"type": "array", "items": {"type": "string", "minLength": 1}}

    def from_text(self, text: str) -> object:
        """The items of `a,b`, or of a TOML list."""
        return _toml_value(text) if text.startswith("[") else [item.strip() for item in text.split(",") if item.strip()]

    def read(self, value: object) -> Any:
        """The items."""
        if not isinstance(value, list):
            raise ValueError(f'is {naming(value)}: write a list of texts, such as ["a", "b"]')  # noqa: TRY004
        return tuple(self._item(item) for item in value)

    def _item(self, item: object) -> str:
        if not isinstance(item, str) or not item:
            raise ValueError(f"holds {naming(item)} where a text is due")
        text: str = Kind.read(self, item)
        return text


class GlobList(TextList):
    """Shell patterns of names. Without any nothing would match, which is hardly ever meant."""

    def __init__(self, *, or_none: bool = False) -> None:
        self.or_none = or_none

    @property
    def words(self) -> str:
        """What may be written."""
        return f"list of shell patterns{', or []' if self.or_none else ''}"

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return super().schema() | ({} if self.or_none else {"minItems": 1})

    def read(self, value: object) -> Any:
        """The patterns."""
        patterns = super().read(value)
        if not patterns and not self.or_none:
            raise ValueError('is an empty list, which matches nothing: write ["*"] for all')
        return patterns


class ModuleList(TextList):
    """Where pipelines are found: dotted module names, and directories (with a slash) of .py files."""

    @property
    def words(self) -> str:
        """What may be written."""
        return "list of module names or directories"

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return super().schema() | {"minItems": 1}

    def read(self, value: object) -> Any:
        """The entries."""
        entries = super().read(value)
        if not entries:
            raise ValueError('is an empty list: name a module such as "app.pipelines" or a directory such as "./pipelines"')
        return entries

    def _item(self, item: object) -> str:
        import keyword

        text = super()._item(item)
        if "/" not in text and not all(part.isidentifier() and not keyword.iskeyword(part) for part in text.split(".")):
            raise ValueError(f'{naming(text)} is neither a module name such as "app.pipelines" nor a directory such as "./pipelines"')
        return text


class Backoff(TextList):
    """How long a run waits after each error: "exponential", or a list of durations of which the last repeats."""

    @property
    def words(self) -> str:
        """What may be written."""
        return '"exponential", a duration, or a list of durations'

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        duration = Duration().schema()
        return _or_word("exponential", {"anyOf": [*duration["anyOf"], {"type": "array", "items": duration, "minItems": 1}]})

    def from_text(self, text: str) -> object:
        """A word or a single duration as it stands, else a list."""
        return super().from_text(text) if text.startswith("[") or "," in text else text

    def read(self, value: object) -> Any:
        """The word "exponential", or a tuple of float seconds."""
        if value == "exponential":
            return value
        durations = value if isinstance(value, list) else [value]
        if not durations:
            raise ValueError(f"is an empty list: write {self.words}")
        return tuple(Duration().read(duration) for duration in durations)


class AbsolutePath(Kind):
    """A path from the root, or the one word that may stand in its place."""

    def __init__(self, instead: str) -> None:
        self.instead = instead

    @property
    def words(self) -> str:
        """What may be written."""
        return f'absolute path, or "{self.instead}"'

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return _or_word(self.instead, {"type": "string", "pattern": "^/"})

    def read(self, value: object) -> str:
        """The path as written."""
        text = _path(super().read(value))
        if text != self.instead and not text.startswith("/"):
            raise ValueError(f"{naming(text)} is not an {self.words}")
        if ".." in text.split("/"):
            raise ValueError(f'{naming(text)} leads up by "..": write the path without it')
        return text


class SocketPath(AbsolutePath):
    """A path that a socket may have."""

    @property
    def words(self) -> str:
        """What may be written."""
        return f'absolute path of at most {_LONGEST_SOCKET_PATH_BYTES} bytes, or "{self.instead}"'

    def read(self, value: object) -> str:
        """The path as written."""
        text = super().read(value)
        if (length := len(os.fsencode(text))) > _LONGEST_SOCKET_PATH_BYTES:
            raise ValueError(f"has {length} bytes: a socket's path may have {_LONGEST_SOCKET_PATH_BYTES}")
        return text


class AnyPath(Kind):
    """A path, or "" for none; a relative one begins where orbitd was started."""

    @property
    def words(self) -> str:
        """What may be written."""
        return 'path, or ""'

    def read(self, value: object) -> str:
        """The path as written."""
        return _path(super().read(value))


class HostName(Kind):
    """A name of at most 200 characters, or "$HOSTNAME"."""

    @property
    def words(self) -> str:
        """What may be written."""
        return 'text, or "$HOSTNAME"'

    def read(self, value: object) -> str:
        """The name as written."""
        text: str = super().read(value)
        if not 0 < len(text) <= 200:
            raise ValueError("has no or more than 200 characters")
        return text

    def resolve(self, value: Any, environ: Mapping[str, str]) -> Any:  # noqa: ARG002
        """The name."""
        return os.uname().nodename if value == "$HOSTNAME" else value

    def meaning(self, value: Any) -> str:
        """The name."""
        return str(value)


class GroupName(Kind):
    """A group of users, which need not exist, or "" for none."""

    @property
    def words(self) -> str:
        """What may be written."""
        return 'name of a group, or ""'

    def read(self, value: object) -> str:
        """The name as written."""
        text: str = super().read(value)
        if text and not _GROUP.fullmatch(text):
            raise ValueError(f"is {naming(text)}, which cannot be the name of a group")
        return text


def naming(value: object) -> str:
    """A value as an error calls it, short whatever it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "a text with a password" if _has_password(value) else f'"{value[:60]}"'
    for kind, name in ((int | float, "a number"), (list, "a list"), (dict, "a table")):
        if isinstance(value, kind):
            return name
    return "a date or time"


def _has_password(text: str) -> bool:
    from orbitd.config.libpq import has_password

    return has_password(text)


def _or_word(word: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"const": word}, values]}


def _with_unit(value: object, wanted: str) -> str:
    """A text, or the number 0, which needs no unit."""
    if isinstance(value, str) and not _has_password(value):
        return value
    if value != 0 or isinstance(value, bool):
        raise ValueError(f"is {naming(value)}: write a {wanted}")
    return "0"


def _path(text: str) -> str:
    if text.startswith("~"):
        raise ValueError(f"{naming(text)}: ~ is not expanded here, write the whole path")
    if len(os.fsencode(text)) > _LONGEST_PATH_BYTES:
        raise ValueError(f"is a path of more than {_LONGEST_PATH_BYTES} bytes")
    return text


def _toml_value(text: str) -> object:
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (ValueError, RecursionError):
        raise ValueError(f'{naming(text)} is not a list in TOML\'s notation, such as ["a", "b"]') from None
