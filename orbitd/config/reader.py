"""Collects what is given for options, and what is wrong with it; what counts more wins, in whatever order things are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from orbitd.config.dsn import is_readable_by_others, shows_password
from orbitd.config.faults import Fault, Faults, did_you_mean, nearest
from orbitd.config.options import Key, Option

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

_MOST_SUGGESTIONS = 20
"""Looking for near names is slow, and nobody reads more."""


class Place(NamedTuple):
    """Where something was written: what counts more has a higher rank. `file` is the file that holds it."""

    rank: int
    line: int = 0
    column: int = 0
    name: str = ""
    file: Path | None = None


DEFAULT = Place(0)


class Given(NamedTuple):
    """A value as TOML would give it, and where it comes from."""

    place: Place
    value: object


class Reader:
    """What is given for the options of a table.

    Of a table that is only a part of the whole, `is_whole` False, other options are nobody's business.
    """

    def __init__(self, options: Mapping[Key, Option], *, is_whole: bool = True) -> None:
        self.options = options
        self.is_whole = is_whole
        self.given: dict[Key, Given] = {}
        self.environ: Mapping[str, str] = {}
        self.files: list[Path] = []
        self.faults: dict[tuple[Place, Fault], None] = {}
        self.unreadable: list[Fault] = []
        """Those of files that cannot be read: what they would have given is not known."""
        self.remarks: list[str] = []

    def give(self, key: Key, place: Place, value: object) -> None:
        """Take a value as TOML has it, unless what is there counts more."""
        if key not in self.options:
            self.unknown(place, ".".join(key), "option", lambda: self._near_option(key))
        elif place.rank >= self.place_of(key).rank:
            self.given[key] = Given(place, value)

    def give_text(self, key: Key, place: Place, text: str) -> None:
        """Take a value as people write it on a command line."""
        if key not in self.options:
            self.give(key, place, text)
            return
        try:
            self.give(key, place, self.options[key].kind.from_text(text))
        except ValueError as error:
            self.fault(place, ".".join(key), error)

    def fault(self, place: Place, key: str, message: object) -> None:
        """Note what is wrong."""
        self.faults[place, Fault.of(place.name, key, message)] = None

    def unknown(self, place: Place, word: str, what: str, near: Callable[[], str]) -> None:
        """Note a word that means nothing, with the one that was probably meant."""
        if self.is_whole:
            self.fault(place, word, f"unknown {what}{did_you_mean(near() if len(self.faults) < _MOST_SUGGESTIONS else '')}")

    def _near_option(self, key: Key) -> str:
        """The option of that name in another section, else of a near name in this one, else whatever looks like it; or ""."""
        section, name = key
        if elsewhere := [".".join(one) for one in self.options if one[1] == name]:
            return elsewhere[0]
        if names := [one[1] for one in self.options if one[0] == section]:
            near = nearest(name, names)
            return f"{section}.{near}" if near else ""
        return nearest(".".join(key), map(".".join, self.options))

    def cannot_read(self, place: Place, fault: Fault) -> None:
        """Note a file that cannot be read."""
        self.faults[place, fault] = None
        self.unreadable.append(fault)

    def remark(self, place: Place, key: Key, message: str) -> None:
        """Note what is no fault."""
        self.remarks.append(str(Fault.of(place.name, ".".join(key), message)))

    def place_of(self, *keys: Key) -> Place:
        """Where the value of an option was written; of several, of the one that counts most."""
        return max((self.given[key].place for key in keys if key in self.given), default=DEFAULT, key=lambda place: place.rank)

    def written(self, key: Key) -> Any:
        """The value of an option as TOML has it, the default if none is given."""
        return self.given[key].value if key in self.given else self.options[key].default

    def values(self) -> dict[Key, Any]:
        """The values in force; one that is wrong is a fault, and not among them."""
        return {key: value for key in self.options for value in self.value(key)}

    def value(self, key: Key) -> Iterator[Any]:
        """The value in force, or none if it is wrong."""
        kind, place = self.options[key].kind, self.place_of(key)
        try:
            value = kind.read(self.written(key))
            resolved = kind.resolve(value, self.environ)
        except ValueError as error:
            self.fault(place, ".".join(key), error)
            return
        for remark in kind.remarks(value, self.environ):
            self.remark(place, key, remark)
        if kind.secret and place.file is not None and shows_password(value) and is_readable_by_others(place.file):
            self.remark(place, key, f"everyone on this machine may read this password: chmod o-r {place.file}")
        yield resolved

    def refuse_faults(self, hint: str) -> None:
        """Raise Faults if there are any, those of files first, each in the order of its lines."""
        if self.faults:
            raise Faults([fault for _, fault in sorted(self.faults, key=lambda one: one[0][:3])], hint)
