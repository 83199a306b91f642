"""What a program and its commands say of themselves, in lines of at most 80 places. Pure functions on the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orbitd.ctl.parser import Flag, Program, all_arguments, option_names, spelling

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from orbitd.control.commands import Argument, Command

_WIDTH = 80
_WIDEST_TERM = 24


def overview(program: Program) -> Iterator[str]:
    """The help of the program: its commands in groups, then its flags."""
    verb = "[COMMAND]" if program.default else "COMMAND"
    yield f"usage: {program.name} [OPTION]... {verb} [ARGUMENT]..."
    yield program.summary
    width = max(map(len, program.commands))
    for group, names in program.groups.items():
        yield ""
        yield group
        for name in names:
            yield from _entry(name, program.commands[name].help, width)
    yield ""
    yield "options, before or after the command"
    yield from _flags(program.flags)
    yield ""
    yield from _wrapped(f"`{program.name} COMMAND --help` tells what a command takes; {program.closing}", 0)


def command_help(program: Program, command: Command) -> Iterator[str]:
    """The help of one command."""
    arguments = all_arguments(command)
    positional = [argument for argument in arguments if argument.positional]
    options = [argument for argument in arguments if not argument.positional]
    yield f"usage: {usage(program, command)}"
    yield from _wrapped(f"{command.help[0].upper()}{command.help[1:]}. {command.details}".rstrip(), 0)
    if positional:
        yield ""
        for argument in positional:
            yield from _entry(argument.metavar, _explained(argument), _width_of(one.metavar for one in positional))
    if options:
        yield ""
        spelled = {_spelled(option_names(option), option.metavar): option for option in options}
        for term, option in spelled.items():
            yield from _entry(term, _explained(option), _width_of(spelled))
    yield ""
    yield from _wrapped(f"`{program.name} --help` has the options of every command.{_relatives(program, command)}", 0)
    if command.example:
        yield ""
        yield f"example: {program.name} {command.example}"


def usage(program: Program, command: Command) -> str:
    """How a command is typed."""
    arguments = all_arguments(command)
    options = ["[OPTION]..."] if any(not argument.positional for argument in arguments) else []
    return " ".join((program.name, command.name, *options, *(spelling(argument) for argument in arguments if argument.positional)))


def _relatives(program: Program, command: Command) -> str:
    family = command.name.partition(" ")[0]
    names = [name for name in program.commands if name.startswith(f"{family} ") and name != command.name]
    return f" There are also {', '.join(names)}." if names else ""


def _flags(flags: Iterable[Flag]) -> Iterator[str]:
    spelled = {_spelled(flag.names, flag.metavar): flag for flag in flags}
    for term, flag in spelled.items():
        yield from _entry(term, _with_choices(flag.help, flag.choices), _width_of(spelled))


def _explained(argument: Argument) -> str:
    return _with_choices(argument.help, argument.choices)


def _with_choices(words: str, choices: tuple[str, ...]) -> str:
    return f"{words} ({', '.join(choices)})" if choices else words


def _spelled(names: tuple[str, ...], metavar: str) -> str:
    return f"{', '.join(names)} {metavar}".rstrip()


def _width_of(terms: Iterable[str]) -> int:
    """Of the column of the terms; a longer one stands on a line of its own."""
    return max((len(term) for term in terms if len(term) <= _WIDEST_TERM), default=0)


def _entry(term: str, words: str, width: int) -> Iterator[str]:
    indent = width + 4
    lines = list(_wrapped(words, indent))
    if len(term) > width:
        yield f"  {term}"
    else:
        lines[0] = f"  {term:<{width}}  {lines[0].lstrip()}"
    yield from lines


def _wrapped(text: str, indent: int) -> Iterator[str]:
    import textwrap

    space = " " * indent
    yield from textwrap.wrap(text, _WIDTH, initial_indent=space, subsequent_indent=space, break_on_hyphens=False, break_long_words=False)
