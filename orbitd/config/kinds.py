"""What may be written for an option, and what it comes to: words, lists and paths; numbers are in `amounts`.

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

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_INVISIBLE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
_NO_UTF8 = re.compile("[\ud800-\udfff]")
_GROUP = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,31}")
_BOOLEANS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_LONGEST_PATH_BYTES = 4095
_LONGEST_SOCKET_PATH_BYTES = 107


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
            raise ValueError(f'is {naming(value)}: write a text in quotes, such as "name"')
        if _NO_UTF8.search(value):
            raise ValueError("is not UTF-8 text")
        if _INVISIBLE.search(value):
            raise ValueError("holds a control character")
        return value

    def resolve(self, value: Any, environ: Mapping[str, str]) -> Any:
        """What the value stands for on this machine."""
        return value

    def remarks(self, value: Any, environ: Mapping[str, str]) -> Iterator[str]:
        """What is no fault, but should be known."""
        yield from ()

    def meaning(self, value: Any) -> str:
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
            raise ValueError(f"is {naming(value)}: write true or false")
        return value


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
            raise ValueError(f'is {naming(value)}: write a list of texts, such as ["a", "b"]')
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
        return or_word(self.instead, {"type": "string", "pattern": "^/"})

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

    def resolve(self, value: Any, environ: Mapping[str, str]) -> Any:
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


class UserName(Kind):
    """A user, who need not exist yet, or "" for none."""

    @property
    def words(self) -> str:
        """What may be written."""
        return 'name of a user, or ""'

    def read(self, value: object) -> str:
        """The name as written."""
        text: str = super().read(value)
        if text and not _GROUP.fullmatch(text):
            raise ValueError(f"is {naming(text)}, which cannot be the name of a user")
        return text


class ResourceLimits(TextList):
    """Limits as `ulimit` and `prlimit` know them: "name=number" or "name=unlimited"."""

    @property
    def words(self) -> str:
        """What may be written."""
        return 'list of limits such as "nofile=4096"'

    def _item(self, item: object) -> str:
        text = super()._item(item)
        name, _, amount = text.partition("=")
        import resource

        if f"RLIMIT_{name.upper()}" not in vars(resource):
            known = ", ".join(sorted(each[7:].lower() for each in vars(resource) if each.startswith("RLIMIT_")))
            raise ValueError(f"{naming(text)} is no limit: one of {known}")
        if amount != "unlimited" and not (amount.isdecimal() and len(amount) <= 18):
            raise ValueError(f'{naming(text)} has no number: write "{name}=4096" or "{name}=unlimited"')
        return text


def naming(value: object) -> str:
    """A value as an error calls it, short whatever it is."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return "a text with a password" if has_password(value) else f'"{value[:60]}"'
    for kind, name in ((int | float, "a number"), (list, "a list"), (dict, "a table")):
        if isinstance(value, kind):
            return name
    return "a date or time"


def has_password(text: str) -> bool:
    """Whether somebody has typed a database's address here, with its password."""
    from orbitd.config import libpq

    return libpq.has_password(text)


def or_word(word: str, values: dict[str, Any]) -> dict[str, Any]:
    """The schema of a value, or of one word in its place."""
    return {"anyOf": [{"const": word}, values]}


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
