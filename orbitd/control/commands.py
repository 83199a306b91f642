"""The table of commands: what may be asked of the daemon, with which arguments.

One row is everything about a command. The server validates requests by it, `orbitctl` makes its parser and its help
from it, orbitctl(1) is written from it. `orbitctl` keeps the rows of its run verbs, which ask the database, in the same shape.
"""

from __future__ import annotations

import re
from enum import IntEnum, StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from orbitd.errors import UsageError, nearest
from orbitd.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_AMOUNT = re.compile(r"[+-]?[0-9]{1,4}")
_LONGEST_TEXT = 256 * 1024
MOST_EVENTS = 1000
"""So many of its last events the daemon keeps."""


class Role(IntEnum):
    """What somebody may do; each may all that is below it. Who has which: see `peer.py`."""

    NONE = 0
    VIEW = 1
    OPERATE = 2
    ADMIN = 3

    @property
    def word(self) -> str:
        """As it is told."""
        return self.name.lower()


class Kind(StrEnum):
    """What an argument holds, in JSON and, where it differs, on the command line."""

    FLAG = "flag"  # true or false; given or not
    INTEGER = "integer"
    INTEGERS = "integers"  # list of integers; words after the command
    TEXT = "text"
    TEXTS = "texts"  # list of text; words after the command
    AMOUNT = "amount"  # text: 4, +2 or -1
    DURATION = "duration"  # text: "90s"


class Argument(NamedTuple):
    """One argument. A positional one is required unless it has a default; the others are options and have a default."""

    name: str
    kind: Kind
    help: str
    default: Any = None
    positional: bool = False
    metavar: str = ""
    short: str = ""
    """Its one-letter form, such as `-f`."""
    choices: tuple[str, ...] = ()
    completes: Literal["", "run", "pipeline", "slot", "queue", "file", "option"] = ""
    """Of what the shell may offer one."""

    def checked(self, value: object, called: str = "") -> Any:
        """The value, when it is of this kind. Raises UsageError, in which the argument is `called` so, else by its name."""
        if value is None and (not self.positional or self.default is not None):
            return self.default
        if not _FITS[self.kind](value):
            raise UsageError(f"{called or self.name}: {_shown(value)} is not {_WORDS[self.kind]}")
        if self.choices and value not in self.choices:
            hint = near(str(value), self.choices)
            raise UsageError(f"{called or self.name}: {_shown(value)} is not one of {', '.join(self.choices)}", hint)
        return value


class Command(NamedTuple):
    """One row of the table."""

    name: str
    effect: Literal["reads", "changes"]
    help: str
    arguments: tuple[Argument, ...] = ()
    details: str = ""
    """More sentences, for whoever asks for help about this one."""
    local_arguments: tuple[Argument, ...] = ()
    """Arguments that concern only `orbitctl`, and never travel."""
    example: str = ""
    """How it may be typed, after the program's name."""
    role: Role = Role.ADMIN
    """What somebody must be to ask the daemon for it: a row that does not say so is safe."""

    def checked(self, given: Mapping[str, object]) -> dict[str, Any]:
        """Every argument of the command, with its value or default. Raises UsageError."""
        unknown = sorted(set(given) - {argument.name for argument in self.arguments})
        if unknown:
            raise UsageError(f"{self.name}: unknown argument {_shown(unknown[0])}")
        return {argument.name: argument.checked(given.get(argument.name)) for argument in self.arguments}


WAIT = Argument("wait", Kind.FLAG, "return when it is done, not when it is ordered", default=False)
TIMEOUT = Argument("timeout", Kind.DURATION, "with --wait: give up waiting after this time (exit 124); the work goes on", metavar="TIME")
FOLLOW = Argument("follow", Kind.FLAG, "go on with what is new, until Ctrl-C", default=False, short="-f")
_SLOT = Argument("slot", Kind.INTEGER, "its number, as `orbitctl list` shows it", positional=True, metavar="SLOT", completes="slot")
LOG_LEVELS = ("debug", "info", "warning", "error")

COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        command.name: command
        for command in (
            Command(
                "status",
                "reads",
                "the state of the daemon, its problems first",
                local_arguments=(
                    Argument("offline", Kind.FLAG, "what its shared memory says, for a daemon that does not answer", default=False),
                ),
                example="status --watch",
                role=Role.VIEW,
            ),
            Command(
                "list",
                "reads",
                "the slots and the child in each, problems first",
                (Argument("exits", Kind.FLAG, "and how the last children of each slot ended", default=False),),
                example="list -o wide",
                role=Role.VIEW,
            ),
            Command(
                "health",
                "reads",
                "whether all is well; if not, why, and what to type",
                details="Ends with 0 when healthy, else with 1.",
                local_arguments=(
                    Argument("live", Kind.FLAG, "only whether the daemon answers", default=False),
                    Argument("ready", Kind.FLAG, "only whether it can start runs", default=False),
                    Argument("nagios", Kind.FLAG, "one line and an exit code (0 1 2 3) as monitoring plugins give them", default=False),
                ),
                example="health --nagios",
                role=Role.VIEW,
            ),
            Command(
                "metrics",
                "reads",
                "what this daemon has done since it was started, as in its report",
                example="metrics --json",
                role=Role.VIEW,
            ),
            Command(
                "stack",
                "reads",
                "where every thread of a child stands, in Python",
                (
                    Argument(
                        "object",
                        Kind.TEXT,
                        "a slot's number, or the id of a run that a child of this daemon has in hand",
                        positional=True,
                        metavar="SLOT|RUN",
                        completes="slot",
                    ),
                ),
                "Also of one that is stuck in C and answers nothing else. Its work goes on; only C code that sleeps, polls or selects"
                " is woken early, as by any signal. A number below 64 is a slot's.",
                example="stack 3",
                role=Role.OPERATE,
            ),
            Command(
                "events",
                "reads",
                "what has happened in the daemon, the latest last",
                (
                    Argument("limit", Kind.INTEGER, f"how many, at most {MOST_EVENTS}", default=50, metavar="N"),
                    Argument("after", Kind.INTEGER, "only those after this number", default=0, metavar="NUMBER"),
                    FOLLOW,
                ),
                example="events -f",
                role=Role.VIEW,
            ),
            Command("ping", "reads", "say whether the daemon answers", role=Role.VIEW),
            Command("version", "reads", "the versions of orbitctl and of the running daemon", role=Role.VIEW),
            Command(
                "scale",
                "changes",
                "change the number of children",
                (Argument("amount", Kind.AMOUNT, "the number, or a change of it", positional=True, metavar="N|+N|-N"), WAIT),
                "It holds until the daemon ends, or children.count is changed. A child that is too many finishes its run first.",
                (TIMEOUT,),
                example="scale +2 --wait --timeout 1m",
                role=Role.OPERATE,
            ),
            Command(
                "reload",
                "changes",
                "take up new configuration and new code",
                (WAIT, Argument("dry-run", Kind.FLAG, "only show which options would change, and when each would count", default=False)),
                "A new generation of children takes the place of the old one, each of which finishes its run first. "
                "With a fault in configuration or code the old generation stays; --wait then tells the fault, "
                "and ends with 78 for the configuration and 1 for the code.",
                (TIMEOUT,),
                example="reload --wait",
                role=Role.OPERATE,
            ),
            Command(
                "upgrade",
                "changes",
                "go on with the version of orbitd that is installed now",
                (WAIT,),
                "The daemon's process and its children stay, and so do the runs in hand; then a new generation is staged, as by `reload`. "
                "The new version is tried beside the old one first: if that fails, nothing changes, --wait tells why, and ends with 1.",
                (TIMEOUT,),
                example="upgrade --wait",
                role=Role.ADMIN,
            ),
            Command("pause", "changes", "start no more runs; those in hand go on", role=Role.OPERATE),
            Command("unpause", "changes", "start runs again, after `pause` or `drain`", role=Role.OPERATE),
            Command(
                "drain",
                "changes",
                "start no more runs, and wait for those in hand",
                (WAIT,),
                "As `pause`; with --wait it returns when no run is in hand, so that the host can be served. The daemon stays.",
                (TIMEOUT,),
                example="drain --wait",
                role=Role.OPERATE,
            ),
            Command(
                "stop",
                "changes",
                "finish the runs in hand, then end the daemon",
                (Argument("now", Kind.FLAG, "interrupt the runs in hand; they resume later", default=False),),
                "Runs that are not finished after shutdown.drain_timeout are interrupted, and resume later or elsewhere.",
                (WAIT, TIMEOUT),
                example="stop --wait",
                role=Role.ADMIN,
            ),
            Command(
                "restart",
                "changes",
                "replace children by new ones of the same code",
                (
                    Argument("slots", Kind.INTEGERS, "whose; else all", default=(), positional=True, metavar="SLOT", completes="slot"),
                    WAIT,
                ),
                "Each finishes its run first, and its replacement is there before it leaves. A slot that is held is tried again at once.",
                (TIMEOUT,),
                example="restart 3 --wait",
                role=Role.OPERATE,
            ),
            Command(
                "kill",
                "changes",
                "kill the child of a slot; its run is taken back, and resumes",
                (_SLOT, WAIT),
                "For a child that does not answer; `restart` lets it finish. The attempt that it had begun counts as a crash of the run. "
                "With --wait it returns when the wanted number of children is there again.",
                (TIMEOUT,),
                example="kill 3",
                role=Role.OPERATE,
            ),
            Command(
                "loglevel",
                "changes",
                "write more or fewer log lines, until the next reload",
                (Argument("level", Kind.TEXT, "the least urgent that is written", positional=True, metavar="LEVEL", choices=LOG_LEVELS),),
                example="loglevel debug",
                role=Role.OPERATE,
            ),
            Command("reopen", "changes", "open the log files anew, after they were moved away", role=Role.OPERATE),
        )
    }
)


def find(name: str, commands: Iterable[str] = COMMANDS) -> str:
    """`name`, if there is such a command. Raises UsageError that suggests a near one."""
    known = list(commands)
    if name in known:
        return name
    raise UsageError(f"unknown command {_shown(name)}", near(name, known) or f"there are {', '.join(known)}")


def near(word: str, known: Iterable[str]) -> str | None:
    """A hint at the known word that was probably meant."""
    close = nearest(word, known)
    return f"did you mean {close}?" if close else None


def scaled(amount: str, current: int) -> int:
    """The number of children that an `amount` asks for. Raises UsageError when there cannot be so many."""
    from orbitd.rules.limits import MOST_CHILDREN

    count = int(amount) + (current if amount[0] in "+-" else 0)
    if not 0 <= count <= MOST_CHILDREN:
        raise UsageError(f"cannot scale from {current} to {count} children", f"anything from 0 to {MOST_CHILDREN} will do")
    return count


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


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
    Kind.INTEGER: _is_integer,
    Kind.INTEGERS: lambda value: isinstance(value, list) and all(map(_is_integer, value)),
    Kind.TEXT: _is_text,
    Kind.TEXTS: lambda value: isinstance(value, list) and all(map(_is_text, value)),
    Kind.AMOUNT: lambda value: isinstance(value, str) and bool(_AMOUNT.fullmatch(value)),
    Kind.DURATION: _is_duration,
}
_WORDS = {
    Kind.FLAG: "true or false",
    Kind.INTEGER: "a whole number",
    Kind.INTEGERS: "a list of whole numbers",
    Kind.TEXT: f"a text in UTF-8 of at most {_LONGEST_TEXT} characters",
    Kind.TEXTS: f"a list of texts in UTF-8 of at most {_LONGEST_TEXT} characters",
    Kind.AMOUNT: "a number of children such as 4, +2 or -1",
    Kind.DURATION: 'a duration such as "90s" or "10m"',
}


def _shown(value: object) -> str:
    if isinstance(value, str):
        return f'"{value[:60]}"'
    return str(value)[:60] if isinstance(value, int | float) and abs(value) < 2**63 else f"a {type(value).__name__}"
