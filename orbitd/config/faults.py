"""What is wrong with a configuration: all of it at once, each fault with its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orbitd.errors import ConfigError
from orbitd.printable import printable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

_MOST_SHOWN = 20
_LONGEST_KEY = 60
_LONGEST_LINE = 600


class Fault(NamedTuple):
    """`place` is `file:line:column`, a variable or a flag; `key` is `section.key`. Either may be ""."""

    place: str
    key: str
    message: str

    @classmethod
    def of(cls, place: str, key: str, message: object) -> Fault:
        """A fault that can be printed, whatever was written there."""
        place, key = printable(place), printable(key, _LONGEST_KEY)
        return cls(place, key, printable(str(message), max(80, _LONGEST_LINE - len(place) - len(key) - 4)))

    def __str__(self) -> str:
        return ": ".join(filter(None, self))


class Faults(ConfigError):
    """The configuration cannot be used: `faults` has every reason, the message the first of them, one a line."""

    def __init__(self, faults: Sequence[Fault], hint: str) -> None:
        self.faults = tuple(faults)
        rest = len(faults) - _MOST_SHOWN
        shown = [str(fault) for fault in faults[:_MOST_SHOWN]]
        super().__init__("\n".join([*shown, f"and {rest} more"] if rest > 0 else shown), printable(hint))


def did_you_mean(near: str | None) -> str:
    """The end of a message about an unknown word."""
    return f", did you mean {near}?" if near else ""


def next_step(culprits: Collection[str], missing: Path | None) -> str:
    """What to do about faults of these files, variables and flags, or about a configuration that is not there."""
    if missing is not None:
        return f"`orbitd config init {missing}` writes one"
    what = next(iter(culprits)) if len(culprits) == 1 else "them"
    return f"orbitd.toml(5) lists every option; correct {what} and try again"
