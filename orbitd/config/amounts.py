"""The kinds of options that are numbers: times, sizes, counts and shares, some of which may also be "auto"."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

from orbitd.config.kinds import Kind, TextList, has_password, naming, or_word
from orbitd.rules.limits import MOST_SURGE
from orbitd.units import DURATION_PATTERN, SIZE_PATTERN, parse_duration, parse_size

if TYPE_CHECKING:
    from collections.abc import Mapping

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_SHARE = re.compile(r"[0-9]*\.?[0-9]+")
_PERCENT = re.compile(r"[0-9]{1,3}%")


class _Measure(Kind):
    """A number with its unit, in a range whose ends are written the same way; only 0 needs no unit."""

    noun: ClassVar[str]
    examples: ClassVar[str]
    pattern: ClassVar[str]
    most_of_all: ClassVar[str]

    def __init__(self, least: str = "0", most: str = "", *, or_zero: bool = False) -> None:
        self.least, self.most, self.or_zero = least, most or self.most_of_all, or_zero

    @property
    def words(self) -> str:
        """What may be written."""
        return f"{self.noun}, {self.least} to {self.most}{', or 0' if self.or_zero else ''}"

    def parse(self, text: str) -> float:
        """The amount in base units. Raises ValueError."""
        raise NotImplementedError

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return {"anyOf": [{"type": "string", "pattern": f"^(0|{self.pattern})$"}, {"const": 0}]}

    def read(self, value: object) -> Any:
        """The amount in base units."""
        text = self._text(value)
        amount = self.parse(text)
        if not (self.or_zero and amount == 0) and not self.parse(self.least) <= amount <= self.parse(self.most):
            raise ValueError(f'"{text}" is out of range: {self.words}')
        return amount

    def _text(self, value: object) -> str:
        if isinstance(value, str) and not has_password(value):
            return value
        if value != 0 or isinstance(value, bool):
            raise ValueError(f"is {naming(value)}: write a {self.noun} in quotes, such as {self.examples}")
        return "0"


class Duration(_Measure):
    """A time such as "5s", as float seconds."""

    noun, examples, most_of_all = "duration", '"500ms", "30s", "10m"', "52w"
    pattern = DURATION_PATTERN

    def parse(self, text: str) -> float:
        """Seconds."""
        return parse_duration(text)


class Size(_Measure):
    """An amount such as "500MiB", as int bytes."""

    noun, examples, most_of_all = "size", '"256KiB", "500MiB", "2GiB"', "1024GiB"
    pattern = SIZE_PATTERN

    def parse(self, text: str) -> int:
        """Bytes."""
        return parse_size(text)


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
            raise ValueError(f"is {naming(value)}: write {self.words}")
        if not self.least <= value <= self.most:
            raise ValueError(f"is out of range: {self.words}")
        return value


class _OrAuto(Kind):
    """Before a kind of number: that, or the word "auto"."""

    @property
    def words(self) -> str:
        """What may be written."""
        return f'"auto", or {super().words}'

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return or_word("auto", super().schema())

    def read(self, value: object) -> Any:
        """The number, or "auto"."""
        return value if value == "auto" else super().read(value)


class AutoDuration(_OrAuto, Duration):
    """A time, or "auto", which is None."""

    def resolve(self, value: Any, environ: Mapping[str, str]) -> Any:
        """Seconds, or None."""
        return None if value == "auto" else super().resolve(value, environ)


class BatchSize(_OrAuto, Integer):
    """A number of runs, or "auto"."""


class ChildrenCount(_OrAuto, Integer):
    """A number of children, or "auto": one for each CPU that this process may use."""

    def resolve(self, value: Any, environ: Mapping[str, str]) -> Any:
        """The number; "auto" is no more than what may be written, however large the machine."""
        if value != "auto":
            return super().resolve(value, environ)
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
            raise ValueError(f"is {naming(value)}: write {self.words}")
        if not 0 <= value <= 1:
            raise ValueError(f"is out of range: {self.words}")
        return abs(float(value))


class Factor(Kind):
    """A number of at least 1."""

    def __init__(self, most: float) -> None:
        self.most = most

    @property
    def words(self) -> str:
        """What may be written."""
        return f"a number, 1 to {self.most:g}"

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return {"type": "number", "minimum": 1, "maximum": self.most}

    def from_text(self, text: str) -> object:
        """The number, or the text as it stands when it is none."""
        return float(text) if _SHARE.fullmatch(text) else text

    def read(self, value: object) -> float:
        """The number."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise ValueError(f"is {naming(value)}: write {self.words}")
        if not 1 <= value <= self.most:
            raise ValueError(f"is out of range: {self.words}")
        return float(value)


class Surge(Kind):
    """How many children more than wanted: a number, or a percentage of those wanted."""

    words = 'a whole number, 1 to 16, or a percentage such as "25%"'

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        return {"anyOf": [{"type": "integer", "minimum": 1, "maximum": MOST_SURGE}, {"type": "string", "pattern": "^[0-9]{1,3}%$"}]}

    def from_text(self, text: str) -> object:
        """The number, or the text as it stands."""
        return int(text) if _INTEGER.fullmatch(text) else text

    def read(self, value: object) -> str:
        """As it is written, in text."""
        if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MOST_SURGE:
            return str(value)
        if isinstance(value, str) and _PERCENT.fullmatch(value) and 1 <= int(value[:-1]) <= 100:
            return value
        raise ValueError(f"is {naming(value)}: write {self.words}")


class Backoff(TextList):
    """How long a run waits after each error: "exponential", or a list of durations of which the last repeats."""

    @property
    def words(self) -> str:
        """What may be written."""
        return '"exponential", a duration, or a list of durations'

    def schema(self) -> dict[str, Any]:
        """What TOML may hold, as a JSON schema."""
        duration = Duration().schema()
        return or_word("exponential", {"anyOf": [*duration["anyOf"], {"type": "array", "items": duration, "minItems": 1}]})

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
