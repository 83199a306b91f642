"""The written manual, made from the tables: `conf/orbitd.toml`, `docs/configuration.md`, and the marked parts of the man pages.

`make manual` writes them anew. A test fails when that has been forgotten.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from orbitd.cli.commands import ORBITD
from orbitd.config.manual import config_file, configuration_page, options_part, roff, variables_part
from orbitd.control.commands import COMMANDS, Argument, Command, Role
from orbitd.ctl.parser import Program, all_arguments, option_names, spelling
from orbitd.ctl.verbs import ORBITCTL
from orbitd.errors import ExitCode

EXIT_CODES: Mapping[ExitCode, str] = {
    ExitCode.OK: "all is done, as asked",
    ExitCode.FAILED: "it failed, or only a part of it could be done",
    ExitCode.USAGE: "the command line is wrong, or asks for what cannot be",
    ExitCode.NOT_RUNNING: "no daemon answers",
    ExitCode.NO_SUCH_OBJECT: "there is no such run, or more than one",
    ExitCode.REFUSED: "the caller may not do this, or it needs --yes",
    ExitCode.CONFLICT: "it has changed meanwhile, or is there already",
    ExitCode.RUN_FAILED: "the run that was waited for has failed",
    ExitCode.RUN_CANCELLED: "the run that was waited for was cancelled",
    ExitCode.DATABASE_UNAVAILABLE: "the database does not answer",
    ExitCode.CONFIG: "the configuration, or the pipelines that it names, cannot be used",
    ExitCode.WAIT_TIMEOUT: "the time of --timeout is over; the work goes on",
    ExitCode.INTERRUPTED: "Ctrl-C; what was waited for goes on",
}


def commands_part(program: Program) -> str:
    """The commands of a program, in its groups."""
    return "".join(
        f".SS {group.capitalize()}\n{''.join(_command(program, program.commands[name]) for name in names)}"
        for group, names in program.groups.items()
    )


def flags_part(program: Program) -> str:
    """The options that every command of a program takes."""
    return "".join(_option(flag.names, flag.metavar, _with_choices(flag.help, flag.choices)) for flag in program.flags)


def exit_codes_part() -> str:
    """EXIT STATUS of orbitctl(1) and orbitd(8)."""
    return "".join(f".TP\n.B {code:d}\n{roff(words)}\n" for code, words in EXIT_CODES.items())


ROLES: Mapping[Role, str] = {
    Role.VIEW: "the members of control.viewers, or everyone if it says so; see orbitd.toml(5)",
    Role.OPERATE: "the members of control.group",
    Role.ADMIN: "root, and the user that the daemon runs as",
}


def roles_part() -> str:
    """Who may give which commands."""
    return "".join(
        f".TP\n.B {role.word}\n{roff(words)}: {', '.join(name for name, row in COMMANDS.items() if row.role is role)}\n"
        for role, words in ROLES.items()
    )


PARTS: Mapping[str, Callable[[], str]] = {
    "options": options_part,
    "variables": variables_part,
    "verbs": lambda: commands_part(ORBITCTL),
    "flags": lambda: flags_part(ORBITCTL),
    "orbitd commands": lambda: commands_part(ORBITD),
    "orbitd flags": lambda: flags_part(ORBITD),
    "exit codes": exit_codes_part,
    "roles": roles_part,
}
_PART = re.compile(r'(?<=\.\\" begin: )(?P<name>[a-z ]+)\n.*?(?=\.\\" end\n)', re.DOTALL)


def with_parts(page: str) -> str:
    r"""A man page with each part between its marks, `.\\" begin: NAME` and `.\\" end`, made anew."""
    return _PART.sub(lambda found: f"{found['name']}\n{PARTS[found['name']]()}", page)


def write(root: Path) -> None:
    """Write all that is made from the tables."""
    (root / "conf/orbitd.toml").write_text(config_file())
    (root / "docs/configuration.md").write_text(configuration_page())
    for page in sorted((root / "man").iterdir()):
        page.write_text(with_parts(page.read_text()))


def _command(program: Program, command: Command) -> str:
    arguments = all_arguments(command)
    positional = [argument for argument in arguments if argument.positional]
    usage = roff(" ".join((program.name, command.name, *map(spelling, positional))))
    short = [alias for alias, name in program.aliases.items() if name == command.name and not alias.startswith("-")]
    said = [_sentence(command.help), command.details, f"In short: {program.name} {', '.join(short)}." if short else ""]
    told = "".join(f"{roff(text)}\n" for text in said if text)
    nested = "".join(_argument(argument) for argument in (*positional, *(one for one in arguments if not one.positional)))
    block = f".RS\n{nested}.RE\n" if nested else ""
    return f".TP\n.B {usage}\n{told}{block}"


def _argument(argument: Argument) -> str:
    words = _with_choices(argument.help, argument.choices)
    if argument.positional:
        return f".TP\n\\fI{roff(argument.metavar)}\\fR\n{roff(words)}\n"
    return _option(option_names(argument), argument.metavar, words)


def _option(names: tuple[str, ...], metavar: str, words: str) -> str:
    spelled = ", ".join(f"\\fB{roff(name)}\\fR" for name in names)
    value = f" \\fI{roff(metavar)}\\fR" if metavar else ""
    return f".TP\n{spelled}{value}\n{roff(words)}\n"


def _with_choices(words: str, choices: tuple[str, ...]) -> str:
    return f"{words}: {', '.join(choices)}" if choices else words


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


if __name__ == "__main__":
    write(Path.cwd())
    sys.exit(0)
