"""Collects what is given for options, and what is wrong with it; what counts more wins, in whatever order things are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from orbitd.config.dsn import is_readable_by_others, shows_password
from orbitd.config.faults import Fault, Faults, did_you_mean, next_step
from orbitd.config.kinds import WrongElsewhere
from orbitd.config.options import Key, Option
from orbitd.errors import nearest

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

    @property
    def culprit(self) -> str:
        """What must be corrected if that is wrong: the variable, the file or the flag."""
        variable = self.name.removeprefix(ENVIRONMENT)
        return variable if variable != self.name else str(self.file or self.name)


DEFAULT = Place(0)
ENVIRONMENT = "environment: "
"""How the place of a variable of the process begins."""


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
        self.given: dict[Key, list[Given]] = {}
        """What counts most is last."""
        self.environ: Mapping[str, str] = {}
        self.files: list[Path] = []
        self.faults: dict[tuple[Place, Fault], str] = {}
        """Each with what must be corrected."""
        self.unreadable: list[Fault] = []
        """Those of files that cannot be read: what they would have given is not known."""
        self.missing: Path | None = None
        """The configuration, if there is none of that name."""
        self.remarks: list[str] = []

    def give(self, key: Key, place: Place, value: object) -> None:
        """Take a value as TOML has it; of two that count the same, the later one hides the other."""
        if key not in self.options:
            self.unknown(place, ".".join(key), "option", lambda: self._near_option(key))
            return
        given = self.given.setdefault(key, [])
        given.append(Given(place, value))
        given.sort(key=lambda one: one.place.rank)

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
        culprit = message.culprit if isinstance(message, WrongElsewhere) else place.culprit
        self.faults[place, Fault.of(place.name, key, message)] = culprit

    def unknown(self, place: Place, word: str, what: str, near: Callable[[], str | None]) -> None:
        """Note a word that means nothing, with the one that was probably meant."""
        if self.is_whole:
            self.fault(place, word, f"unknown {what}{did_you_mean(near() if len(self.faults) < _MOST_SUGGESTIONS else None)}")

    def _near_option(self, key: Key) -> str | None:
        """The option of that name in another section, else of a near name in this one, else whatever looks like it; or None."""
        section, name = key
        if elsewhere := [".".join(one) for one in self.options if one[1] == name]:
            return elsewhere[0]
        if names := [one[1] for one in self.options if one[0] == section]:
            near = nearest(name, names)
            return f"{section}.{near}" if near else None
        return nearest(".".join(key), map(".".join, self.options))

    def cannot_read(self, place: Place, fault: Fault) -> None:
        """Note a file that cannot be read."""
        self.faults[place, fault] = place.culprit
        self.unreadable.append(fault)

    def remark(self, place: Place, key: Key, message: str) -> None:
        """Note what is no fault."""
        self.remarks.append(str(Fault.of(place.name, ".".join(key), message)))

    def place_of(self, *keys: Key) -> Place:
        """Where the value of an option was written; of several, of the one that counts most."""
        return max((self._counting(key).place for key in keys), key=lambda place: place.rank)

    def written(self, key: Key) -> Any:
        """The value of an option as TOML has it, the default if none is given."""
        return self._counting(key).value

    def _counting(self, key: Key) -> Given:
        return self.given[key][-1] if key in self.given else Given(DEFAULT, self.options[key].default)

    def values(self) -> dict[Key, Any]:
        """The values in force; one that is wrong is a fault, and not among them, as is one that others hide."""
        if self.is_whole:
            self._read_what_is_hidden()
        return {key: value for key in self.options for value in self.value(key)}

    def _read_what_is_hidden(self) -> None:
        """A flag hides a wrong value only until the next start without it. What it stands for on this machine is left open."""
        for key, given in self.given.items():
            for hidden in given[:-1]:
                try:
                    self.options[key].kind.read(hidden.value)
                except ValueError as error:
                    self.fault(hidden.place, ".".join(key), error)

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

    def refuse_faults(self) -> None:
        """Raise Faults if there are any, those of files first, each in the order of its lines."""
        if self.faults:
            faults = [fault for _, fault in sorted(self.faults, key=lambda one: one[0][:3])]
            raise Faults(faults, next_step(set(self.faults.values()), self.missing))
