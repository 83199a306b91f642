"""The written manual, made from the tables: `conf/orbitd.toml`, and the marked parts of the man pages.

`python -m orbitd.ctl.manual` writes them anew, from the root of the repository. A test fails when that has been forgotten.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from orbitd.config import OPTIONS, SECTIONS
from orbitd.config.options import Option
from orbitd.control.commands import Command
from orbitd.ctl.parser import FLAGS, all_arguments, spelling
from orbitd.ctl.verbs import ALL_COMMANDS, GROUPS
from orbitd.errors import ExitCode

_PREFACE = """\
# The configuration of orbitd(8), and its manual: every option, with its default.
#
# Durations ("500ms", "30s", "1h30m", "7d") and sizes ("256KiB", "500MiB", "2GiB") need a unit; only 0 has none.
# Any option can be given elsewhere too; what comes first here counts:
#     orbitd --set children.count=4
#     ORBITD_CHILDREN__COUNT=4
#     this file
#
# The last word above an option says when a change of it counts after `orbitctl reload`:
#     live        at once
#     new runs    for runs that begin from now on
#     rolling     for each child of the new generation
#     restart     only after a restart of orbitd
"""
_WIDTH = 120
EXIT_CODES: Mapping[ExitCode, str] = {
    ExitCode.OK: "all is done, as asked",
    ExitCode.FAILED: "it failed, or only a part of it could be done",
    ExitCode.USAGE: "the command line is wrong, or asks for what cannot be",
    ExitCode.NOT_RUNNING: "no daemon answers",
    ExitCode.NO_SUCH_OBJECT: "there is no such run, or more than one",
    ExitCode.REFUSED: "the caller may not do this",
    ExitCode.CONFLICT: "it has changed meanwhile, or is there already",
    ExitCode.RUN_FAILED: "the run that was waited for has failed",
    ExitCode.RUN_CANCELLED: "the run that was waited for was cancelled",
    ExitCode.DATABASE_UNAVAILABLE: "the database does not answer",
    ExitCode.CONFIG: "the configuration, or the pipelines that it names, cannot be used",
    ExitCode.WAIT_TIMEOUT: "the time of --timeout is over; the work goes on",
    ExitCode.INTERRUPTED: "Ctrl-C; what was waited for goes on",
}


def config_file() -> str:
    """The whole of `conf/orbitd.toml`."""
    return _PREFACE + "".join(_config_section(name, section) for name, section in SECTIONS.items())


def options_part() -> str:
    """OPTIONS of orbitd.toml(5)."""
    return "".join(_options_of_section(name, section) for name, section in SECTIONS.items())


def verbs_part() -> str:
    """VERBS of orbitctl(1)."""
    return "".join(f".SS {group.capitalize()}\n{''.join(_verb(ALL_COMMANDS[name]) for name in names)}" for group, names in GROUPS.items())


def flags_part() -> str:
    """OPTIONS of orbitctl(1)."""
    return "".join(_flag(flag.names, flag.metavar, flag.help) for flag in FLAGS)


def exit_codes_part() -> str:
    """EXIT STATUS of orbitctl(1) and orbitd(8)."""
    return "".join(f".TP\n.B {code:d}\n{_roff(words)}\n" for code, words in EXIT_CODES.items())


PARTS: Mapping[str, Callable[[], str]] = {
    "options": options_part,
    "verbs": verbs_part,
    "flags": flags_part,
    "exit codes": exit_codes_part,
}
_PART = re.compile(r'(?<=\.\\" begin: )(?P<name>[a-z ]+)\n.*?(?=\.\\" end\n)', re.DOTALL)


def with_parts(page: str) -> str:
    r"""A man page with each part between its marks, `.\\" begin: NAME` and `.\\" end`, made anew."""
    return _PART.sub(lambda found: f"{found['name']}\n{PARTS[found['name']]()}", page)


def write(root: Path) -> None:
    """Write all that is made from the tables."""
    (root / "conf/orbitd.toml").write_text(config_file())
    for page in sorted((root / "man").iterdir()):
        page.write_text(with_parts(page.read_text()))


def _config_section(name: str, section: type[Any]) -> str:
    return f"\n\n# {section.__doc__}\n[{name}]\n" + "".join(_config_option(name, one.name) for one in fields(section))


def _config_option(section: str, key: str) -> str:
    option = OPTIONS[section, key]
    comment = "".join(f"# {line}\n" for line in _wrapped(option.doc))
    return f"\n{comment}# {option.kind.words}; {option.reload}\n{key} = {toml(option)}\n"


def toml(option: Option) -> str:
    """The default, as it stands in a TOML file."""
    return json.dumps(option.default, ensure_ascii=False)


def _wrapped(text: str) -> Iterator[str]:
    line = ""
    for word in text.split():
        if line and len(line) + len(word) >= _WIDTH - 2:
            yield line
            line = word
        else:
            line = f"{line} {word}".lstrip()
    yield line


def _options_of_section(name: str, section: type[Any]) -> str:
    return f".SS [{name}]\n{_roff(str(section.__doc__))}\n" + "".join(_option(name, one.name) for one in fields(section))


def _option(section: str, key: str) -> str:
    option = OPTIONS[section, key]
    return f'.TP\n.BR {key} " = {_quoted(toml(option))}"\n{_roff(option.doc)}\n({_roff(option.kind.words)}; {option.reload})\n'


def _verb(command: Command) -> str:
    arguments = all_arguments(command)
    positional = [spelling(argument) for argument in arguments if argument.positional]
    details = f"{_roff(command.details)}\n" if command.details else ""
    options = "".join(_flag((f"--{argument.name}",), argument.metavar, argument.help) for argument in arguments if not argument.positional)
    nested = f".RS\n{options}.RE\n" if options else ""
    return f".TP\n.B orbitctl {_roff(' '.join((command.name, *positional)))}\n{_roff(_sentence(command.help))}\n{details}{nested}"


def _flag(names: tuple[str, ...], metavar: str, words: str) -> str:
    spelled = ", ".join(f"\\fB{_roff(name)}\\fR" for name in names)
    value = f" \\fI{_roff(metavar)}\\fR" if metavar else ""
    return f".TP\n{spelled}{value}\n{_roff(words)}\n"


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _roff(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _quoted(text: str) -> str:
    return _roff(text).replace('"', "\\(dq")


if __name__ == "__main__":
    write(Path.cwd())
    sys.exit(0)
