"""The table of commands: what may be asked of the daemon, with which arguments, by whom.

One row is everything about a command. The server validates requests by it, `orbitctl` makes its parser and its help
from it, orbitctl(1) is written from it. `orbitctl` keeps the rows of its run verbs, which ask the database, in the same shape.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from orbitd.errors import UsageError
from orbitd.rules.limits import MOST_CHILDREN
from orbitd.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_AMOUNT = re.compile(r"[+-]?[0-9]{1,4}")
_LONGEST_TEXT = 256 * 1024


class Kind(StrEnum):
    """What an argument holds, in JSON and, where it differs, on the command line."""

    FLAG = "flag"  # true or false; given or not
    INTEGER = "integer"
    TEXT = "text"
    TEXTS = "texts"  # list of text; words after the command
    AMOUNT = "amount"  # text: 4, +2 or -1
    DURATION = "duration"  # text: "90s"


@dataclass(frozen=True)
class Argument:
    """One argument. A positional one is required unless it holds a list; the others are options and have a default."""

    name: str
    kind: Kind
    help: str
    default: Any = None
    positional: bool = False
    metavar: str = ""

    def checked(self, value: object) -> Any:
        """The value, when it is of this kind. Raises UsageError."""
        if value is None and not self.positional:
            return self.default
        if not _FITS[self.kind](value):
            raise UsageError(f"{self.name}: {_shown(value)} is not {_WORDS[self.kind]}")
        return value


@dataclass(frozen=True)
class Command:
    """One row of the table."""

    name: str
    effect: Literal["reads", "changes"]
    permission: Literal["view", "operate"]
    help: str
    arguments: tuple[Argument, ...] = ()
    details: str = ""
    """More sentences, for whoever asks for help about this one."""
    local_arguments: tuple[Argument, ...] = ()
    """Arguments that concern only `orbitctl`, and never travel."""

    def checked(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Every argument of the command, with its value or default. Raises UsageError."""
        unknown = sorted(set(given) - {argument.name for argument in self.arguments})
        if unknown:
            raise UsageError(f"{self.name}: unknown argument {_shown(unknown[0])}")
        return {argument.name: argument.checked(given.get(argument.name)) for argument in self.arguments}


_WAIT = Argument("wait", Kind.FLAG, "return when it is done, not when it is ordered", default=False)
TIMEOUT = Argument("timeout", Kind.DURATION, "with --wait: give up waiting after this time (exit 124); the work goes on", metavar="TIME")

COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        command.name: command
        for command in (
            Command("status", "reads", "view", "the state of the daemon, its problems first"),
            Command("list", "reads", "view", "the slots and the child in each, problems first"),
            Command("ping", "reads", "view", "say whether the daemon answers"),
            Command("version", "reads", "view", "the versions of orbitctl and of the running daemon"),
            Command(
                "scale",
                "changes",
                "operate",
                "change the number of children",
                (Argument("amount", Kind.AMOUNT, "the number, or a change of it", positional=True, metavar="N|+N|-N"), _WAIT),
                "It holds until the daemon ends, or children.count is changed. A child that is too many finishes its run first.",
                (TIMEOUT,),
            ),
            Command(
                "reload",
                "changes",
                "operate",
                "take up new configuration and new code",
                (_WAIT,),
                "A new generation of children takes the place of the old one, each of which finishes its run first. "
                "With a fault in configuration or code the old generation stays; --wait then tells the fault, "
                "and ends with 78 for the configuration and 1 for the code.",
                (TIMEOUT,),
            ),
            Command(
                "stop",
                "changes",
                "operate",
                "finish the runs in hand, then end the daemon",
                (Argument("now", Kind.FLAG, "interrupt the runs in hand; they resume later", default=False),),
                "Runs that are not finished after shutdown.drain_timeout are interrupted, and resume later or elsewhere.",
                (_WAIT, TIMEOUT),
            ),
            Command("pause", "changes", "operate", "start no more runs; those in hand go on"),
            Command("unpause", "changes", "operate", "start runs again"),
        )
    }
)


def find(name: str, commands: Iterable[str] = COMMANDS) -> str:
    """`name`, if there is such a command. Raises UsageError that suggests a near one."""
    known = list(commands)
    if name in known:
        return name
    near = difflib.get_close_matches(name[:40], known, n=1)
    raise UsageError(f"unknown command {_shown(name)}", f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}")


def scaled(amount: str, current: int) -> int:
    """The number of children that an `amount` asks for. Raises UsageError when there cannot be so many."""
    count = int(amount) + (current if amount[0] in "+-" else 0)
    if not 0 <= count <= MOST_CHILDREN:
        raise UsageError(f"cannot scale from {current} to {count} children", f"anything from 0 to {MOST_CHILDREN} will do")
    return count


def _is_text(value: object) -> bool:
    """Lone surrogates stand for bytes that are no UTF-8: nobody could store them."""
    return isinstance(value, str) and len(value) <= _LONGEST_TEXT and not any("\ud800" <= character <= "\udfff" for character in value)


def _is_duration(value: object) -> bool:
    try:
        return isinstance(value, str) and parse_duration(value) >= 0
    except ValueError:
        return False


_FITS = {
    Kind.FLAG: lambda value: isinstance(value, bool),
    Kind.INTEGER: lambda value: isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63,
    Kind.TEXT: _is_text,
    Kind.TEXTS: lambda value: isinstance(value, list) and all(map(_is_text, value)),
    Kind.AMOUNT: lambda value: isinstance(value, str) and bool(_AMOUNT.fullmatch(value)),
    Kind.DURATION: _is_duration,
}
_WORDS = {
    Kind.FLAG: "true or false",
    Kind.INTEGER: "a whole number",
    Kind.TEXT: f"a text in UTF-8 of at most {_LONGEST_TEXT} characters",
    Kind.TEXTS: f"a list of texts in UTF-8 of at most {_LONGEST_TEXT} characters",
    Kind.AMOUNT: "a number of children such as 4, +2 or -1",
    Kind.DURATION: 'a duration such as "90s" or "10m"',
}


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f'"{value[:60]}"'
    return str(value)[:60] if isinstance(value, int | float) and abs(value) < 2**63 else f"a {type(value).__name__}"
