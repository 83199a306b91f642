"""The command line of a program, made from its table of commands: first the options and the command, then what that takes.

Options may stand anywhere, `--` ends them, and the last of one that is given twice counts. They are never abbreviated: what a script
writes today shall not become ambiguous with the options of tomorrow. What begins with a dash and a digit is a value: `scale -1`.
"""

from __future__ import annotations

import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from orbitd.control.commands import Argument, Command, Kind, near
from orbitd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_NEGATED_TERM = re.compile(r"-(?:args\.[^\s:]+|[a-z]{2,}):")
_INTEGER = re.compile(r"[+-]?[0-9]{1,18}")
_HELP = {"-h", "--help"}
_PLURAL = {Kind.TEXTS, Kind.INTEGERS}
_LONGEST_QUOTED = 60


class Flag(NamedTuple):
    """An option of every command; without a metavar it is given or not."""

    names: tuple[str, ...]
    help: str
    metavar: str = ""
    choices: tuple[str, ...] = ()
    is_repeatable: bool = False

    @property
    def name(self) -> str:
        """What it is called in an `Invocation`: its last name, without the dashes."""
        return self.names[-1].lstrip("-")


class Program(NamedTuple):
    """What a person can type after a program's name."""

    name: str
    summary: str
    commands: Mapping[str, Command]
    groups: Mapping[str, tuple[str, ...]]
    flags: tuple[Flag, ...]
    aliases: Mapping[str, str] = MappingProxyType({})
    default: str = ""
    """The command when none is named; "" when one must be."""
    closing: str = ""
    """The last line of its help."""


class Invocation(NamedTuple):
    """A command line that was understood. A flag that was not given is not among the flags."""

    command: Command
    args: Mapping[str, Any]
    flags: Mapping[str, Any]


def parse(program: Program, argv: Sequence[str]) -> Invocation:
    """What a command line means. Raises UsageError; --help prints, and ends by SystemExit."""
    return _Reading(program, argv).invocation()


def all_arguments(command: Command) -> tuple[Argument, ...]:
    """Those that travel, and those that do not."""
    return (*command.arguments, *command.local_arguments)


def option_names(argument: Argument | Flag) -> tuple[str, ...]:
    """How an option can be written, the long form last; a positional argument has none."""
    if isinstance(argument, Flag):
        return argument.names
    return () if argument.positional else tuple(name for name in (argument.short, f"--{argument.name}") if name)


def takes_value(option: Argument | Flag) -> bool:
    """Whether a word follows it."""
    return bool(option.metavar)


def spelling(argument: Argument) -> str:
    """An argument as it is typed: `--wait`, `--key KEY`, `RUN...`."""
    if argument.positional:
        repeated = f"{argument.metavar}..." if argument.kind in _PLURAL else argument.metavar
        return repeated if argument.default is None else f"[{repeated}]"
    return f"--{argument.name} {argument.metavar}".rstrip()


class _Reading:
    """One pass over the words of a command line."""

    def __init__(self, program: Program, argv: Sequence[str]) -> None:
        self._program = program
        self._words = list(reversed(argv))
        self._command: Command | None = None
        self._options: dict[str, Argument | Flag] = {}
        self._learn(program.flags)
        self._flags: dict[str, Any] = {}
        self._args: dict[str, Any] = {}
        self._positionals: list[str] = []

    def invocation(self) -> Invocation:
        while self._words:
            word = self._words.pop()
            if word == "--" and self._command is not None:
                self._positionals += reversed(self._words)
                break
            self._take(word)
        return Invocation(self._begun(), self._checked(), self._flags)

    def _begun(self) -> Command:
        """The command that was named, else the program's default."""
        if self._command is None:
            return self._begin(self._program.commands[self._known(self._program.default, self._program.commands)])
        return self._command

    def _begin(self, command: Command) -> Command:
        self._command = command
        self._learn(all_arguments(command))
        return command

    def _learn(self, options: Sequence[Argument | Flag]) -> None:
        self._options |= {name: option for option in options for name in option_names(option)}

    def _take(self, word: str) -> None:
        if self._command is None and word == "help":
            self._help_about(self._words[::-1])
        elif self._command is None and (word in self._program.aliases or not _is_option(word)):
            self._begin(self._named(word))
        elif not _is_option(word):
            self._positionals.append(word)
        else:
            self._option(word)

    def _named(self, first: str) -> Command:
        """The command that begins with this word: in one word, or in two."""
        commands = self._program.commands
        if self._words and f"{first} {self._words[-1]}" in commands:
            return commands[f"{first} {self._words.pop()}"]
        name = self._program.aliases.get(first, first)
        family = [known for known in commands if known.startswith(f"{first} ")]
        second = [word for word in self._words[-1:] if not _is_option(word)]
        if family and (name not in commands or (name in family and second)):
            return commands[self._known(" ".join((first, *second)), family)]
        return commands[self._known(name, commands)]

    def _known(self, name: str, commands: Iterable[str]) -> str:
        if name not in commands:
            raise UsageError(f"unknown command {_quoted(name)}", near(name, commands) or self._see())
        return name

    def _option(self, word: str) -> None:
        """`--name`, `--name=VALUE`, `-n`, `-nVALUE`, `-n=VALUE`, or several letters in one."""
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            rest = value if equals else None
        else:
            name, rest = word[:2], word[2:].removeprefix("=") if len(word) > 2 else None
        if name in _HELP:
            self._help()
        if name not in self._options and self._command is None and self._program.default:
            self._begun()
        option = self._options.get(name)
        if option is None:
            raise self._unknown(name)
        if takes_value(option):
            self._set(option, name, self._next(option, name) if rest is None else rest)
        elif rest is None:
            self._set(option, name, value=True)
        elif word.startswith("--"):
            raise self._wrong(f"{name} takes no value")
        else:
            self._set(option, name, value=True)
            self._option(f"-{rest}")

    def _next(self, option: Argument | Flag, name: str) -> str:
        if not self._words or self._words[-1] in self._options:
            raise self._wrong(f"{name} needs a value: {name} {option.metavar}")
        return self._words.pop()

    def _set(self, option: Argument | Flag, name: str, value: Any) -> None:
        if isinstance(option, Argument):
            self._args[option.name] = _integer(value, name) if option.kind is Kind.INTEGER else value
            return
        if option.choices and value not in option.choices:
            hint = near(value, option.choices)
            raise UsageError(f"{name}: {_quoted(value)} is not one of {', '.join(option.choices)}", hint)
        self._flags[option.name] = [*self._flags.get(option.name, ()), value] if option.is_repeatable else value

    def _checked(self) -> dict[str, Any]:
        self._assign_positionals()
        return {
            argument.name: argument.checked(self._args.get(argument.name), "" if argument.positional else f"--{argument.name}")
            for argument in all_arguments(self._begun())
        }

    def _assign_positionals(self) -> None:
        words = self._positionals
        for argument in all_arguments(self._begun()):
            if not argument.positional:
                continue
            read: Callable[[str], Any] = _reader(argument)
            if argument.kind in _PLURAL:
                taken, words = words, []
                value: Any = [read(word) for word in taken] or None
            else:
                value = read(words[0]) if words else None
                words = words[1:]
            if value is None and argument.default is None:
                raise self._wrong(f"{self._begun().name} needs {spelling(argument)}: {argument.help}")
            self._args[argument.name] = value
        if words:
            raise self._wrong(f"{self._begun().name} takes no {_quoted(words[0])}")

    def _help_about(self, words: Sequence[str]) -> None:
        """`help`, and `help COMMAND`."""
        if words:
            self._words.pop()
            self._begin(self._named(words[0]))
        self._help()

    def _help(self) -> None:
        from orbitd.ctl.help import command_help, overview

        lines = overview(self._program) if self._command is None else command_help(self._program, self._command)
        print("\n".join(lines))
        raise SystemExit(0)

    def _unknown(self, name: str) -> UsageError:
        hint = near(name, [*self._options, *_HELP])
        return UsageError(f"unknown option {_quoted(name)}", hint or self._see())

    def _wrong(self, message: str) -> UsageError:
        return UsageError(message, self._see())

    def _see(self) -> str:
        return f"see `{' '.join(self._typed())} --help`"

    def _typed(self) -> Iterator[str]:
        yield self._program.name
        if self._command is not None:
            yield self._command.name


def _is_option(word: str) -> bool:
    """Neither a lone dash, nor a negative number, nor a negated term of a filter, such as `-tenant:42`."""
    return len(word) > 1 and word[0] == "-" and not word[1].isdigit() and not _NEGATED_TERM.match(word)


def _reader(argument: Argument) -> Callable[[str], Any]:
    if argument.kind in {Kind.INTEGER, Kind.INTEGERS}:
        return lambda word: _integer(word, argument.name)
    return lambda word: word


def _integer(text: str, name: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise UsageError(f"{name}: {_quoted(text)} is not a whole number")
    return int(text)


def _quoted(text: str) -> str:
    return f'"{text[:_LONGEST_QUOTED]}"'
