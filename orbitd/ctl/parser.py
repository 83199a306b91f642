"""The command line, made from the tables of commands: first the options and the verb, then what the verb takes."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from orbitd.control.commands import Argument, Command, Kind, find
from orbitd.ctl.verbs import ALIASES, ALL_COMMANDS, GROUPS
from orbitd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")


@dataclass(frozen=True)
class Flag:
    """An option of every verb."""

    names: tuple[str, ...]
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()


FLAGS = (
    Flag(("-c", "--config"), "the configuration; else $ORBITD_CONFIG, ./.orbitd/orbitd.toml, /etc/orbitd.toml", "FILE"),
    Flag(("--socket",), "the daemon's control socket; else $ORBITD_SOCKET, or the one that is configured", "PATH"),
    Flag(("--json",), "print the answer, and any error, as a JSON document"),
    Flag(("--color",), "auto: on a terminal, unless $NO_COLOR is set", "WHEN", ("auto", "always", "never")),
)


@dataclass(frozen=True)
class Invocation:
    """A command line that was understood."""

    command: Command
    args: Mapping[str, Any]
    config: str | None = None
    socket: str | None = None
    json: bool = False
    color: str = "auto"


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message, f"see `{self.prog} --help`")


class _TopParser(_Parser):
    def format_help(self) -> str:
        return "\n".join(overview()) + "\n"


def parse(argv: Sequence[str]) -> Invocation:
    """What a command line means. Raises UsageError; --help prints, and ends by SystemExit."""
    top = _TopParser(prog="orbitctl", allow_abbrev=False)
    _add_flags(top)
    top.add_argument("verb", metavar="VERB")
    top.add_argument("words", nargs=argparse.REMAINDER)
    given = vars(top.parse_args(argv))
    verb, words = given.pop("verb"), given.pop("words")
    command = ALL_COMMANDS[find(ALIASES.get(verb, verb), ALL_COMMANDS)]
    given |= vars(_verb_parser(command).parse_intermixed_args(words))
    args = {argument.name: argument.checked(given.pop(argument.name, None)) for argument in all_arguments(command)}
    return Invocation(command, args, **given)


def all_arguments(command: Command) -> tuple[Argument, ...]:
    """Those that travel, and those that do not."""
    return (*command.arguments, *command.local_arguments)


def overview() -> Iterator[str]:
    """`orbitctl --help`."""
    yield "usage: orbitctl [OPTION]... VERB [ARGUMENT]...\n"
    yield "watch and steer orbitd, and the runs in its database"
    for group, names in GROUPS.items():
        yield f"\n{group}"
        yield from (f"  {name:<10} {ALL_COMMANDS[name].help}" for name in names)
    yield "\noptions, before or after the verb"
    yield from (f"  {', '.join(flag.names):<12} {flag.metavar:<5} {flag.help}" for flag in FLAGS)
    yield "\n`orbitctl VERB --help` tells what a verb takes; orbitctl(1) tells all"


def spelling(argument: Argument) -> str:
    """An argument as it is typed: `--wait`, `--key KEY`, `RUN...`."""
    if argument.positional:
        repeated = f"{argument.metavar}..." if argument.kind is Kind.TEXTS else argument.metavar
        return repeated if argument.default is None else f"[{repeated}]"
    return f"--{argument.name} {argument.metavar}".rstrip()


def _verb_parser(command: Command) -> _Parser:
    parser = _Parser(
        prog=f"orbitctl {command.name}",
        description=f"{command.help}. {command.details}" if command.details else command.help,
        allow_abbrev=False,
    )
    for argument in all_arguments(command):
        parser.add_argument(argument.name if argument.positional else f"--{argument.name}", help=argument.help, **_how(argument))
    _add_flags(parser)
    return parser


def _how(argument: Argument) -> dict[str, Any]:
    if argument.kind is Kind.FLAG:
        return {"action": "store_true"}
    how: dict[str, Any] = {"metavar": argument.metavar}
    if argument.kind is Kind.INTEGER:
        how["type"] = _integer
    if argument.kind is Kind.TEXTS:
        how["nargs"] = "+" if argument.default is None else "*"
    return how


def _add_flags(parser: _Parser) -> None:
    for flag in FLAGS:
        how: dict[str, Any] = {"metavar": flag.metavar, "choices": flag.choices or None} if flag.metavar else {"action": "store_true"}
        parser.add_argument(*flag.names, help=flag.help, default=argparse.SUPPRESS, **how)


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise argparse.ArgumentTypeError(f'"{text[:60]}" is not a whole number')
    return int(text)
