"""The table of `orbitd`'s own commands and flags; its parser, its help and orbitd(8) are made from it.

A flag that stands for an option of the configuration comes from the table of settings: `-w 4` is `--set children.count=4`.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from orbitd.config import OPTIONS
from orbitd.config.kinds import AbsolutePath, AnyPath
from orbitd.control.commands import Argument, Command, Kind
from orbitd.ctl.parser import Flag, Program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from orbitd.config import Key

_DRY_RUN = Argument("dry-run", Kind.FLAG, "only list what would be applied; exit 1 if there is anything", default=False)

COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        command.name: command
        for command in (
            Command(
                "run",
                "changes",
                "run in the foreground; what `orbitd` does without a command",
                (Argument("quiet", Kind.FLAG, "say nothing on the terminal before the log begins", default=False, short="-q"),),
                "A signal or `orbitctl stop` ends it.",
            ),
            Command(
                "once",
                "changes",
                "do the runs that are due, then end: for cron and CI",
                (Argument("max", Kind.INTEGER, "end after this many runs, even if more are due", metavar="N"),),
                "Ends with 0 when every attempt has succeeded or nothing was due, with 20 when one has failed, with 69 when the database "
                "does not answer. It has no control socket, and may work beside a daemon.",
            ),
            Command(
                "dev",
                "changes",
                "for development: with a Postgres of its own if no database is configured",
                (Argument("pipelines", Kind.TEXTS, "modules, or directories of .py files", positional=True, metavar="PIPELINES"),),
                "It migrates the database and runs the pipelines with two children. All that it keeps is in ./.orbitd.",
            ),
            Command(
                "check",
                "reads",
                "find the faults of the configuration, all at once",
                (
                    Argument("import", Kind.FLAG, "import the pipelines too, as a daemon would, and list them", default=False),
                    Argument("connect", Kind.FLAG, "ask the database too: its version, its schema, our rights", default=False),
                ),
                "Ends with 78 when there is a fault, with 69 when only the database does not answer. Warnings are told, and end with 0.",
            ),
            Command(
                "config show",
                "reads",
                "all options and their values in force, as TOML",
                (Argument("origin", Kind.FLAG, "and where each comes from", default=False),),
                "Secrets are masked: equal secrets have equal fingerprints.",
            ),
            Command(
                "config explain",
                "reads",
                "what an option means, may be, and is",
                (
                    Argument(
                        "key",
                        Kind.TEXT,
                        "an option such as children.count; or a section, to list its options",
                        positional=True,
                        metavar="KEY",
                        completes="option",
                    ),
                ),
            ),
            Command("config diff", "reads", "the options whose values differ from the defaults"),
            Command("config schema", "reads", "the JSON schema of the file, for editors"),
            Command(
                "config init",
                "changes",
                "a configuration to begin with: every option, explained",
                (
                    Argument(
                        "file",
                        Kind.TEXT,
                        "write it there instead of to standard output; a file that exists is left alone",
                        default="",
                        positional=True,
                        metavar="FILE",
                        completes="file",
                    ),
                ),
            ),
            Command(
                "migrate",
                "changes",
                "bring the database's schema up to date",
                (_DRY_RUN,),
                "It is safe to run twice, and twice at once.",
            ),
            Command(
                "migrate status",
                "reads",
                "the schema's version in the database, and what it lacks",
                details="Ends with 1 when anything is missing.",
            ),
            Command(
                "completion",
                "reads",
                "the completion script for a shell",
                (Argument("shell", Kind.TEXT, "for which", positional=True, metavar="SHELL", choices=("bash", "zsh", "fish")),),
            ),
        )
    }
)

GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "work": ("run", "once", "dev"),
        "configuration": ("check", "config show", "config explain", "config diff", "config schema", "config init"),
        "set up": ("migrate", "migrate status", "completion"),
    }
)


class OptionFlag(NamedTuple):
    """A flag that stands for an option."""

    flag: Flag
    written: str
    """Its longest form, as `orbitd.config` knows it."""
    key: Key


def _option_flags() -> Iterator[OptionFlag]:
    """One for each long form, so that a fault can be told of what was typed; a short form belongs to the last."""
    for key, option in OPTIONS.items():
        metavar = "FILE" if isinstance(option.kind, AbsolutePath | AnyPath) else "VALUE"
        long = [name for name in option.flags if name.startswith("--")]
        short = [name for name in option.flags if name not in long]
        for name in long:
            names = (*short, name) if name == long[-1] else (name,)
            yield OptionFlag(Flag(names, f"the same as --set {'.'.join(key)}={metavar}", metavar), name, key)


OPTION_FLAGS: Mapping[str, OptionFlag] = MappingProxyType({found.flag.name: found for found in _option_flags()})
"""By the name that the flag has in an `Invocation`."""

ORBITD = Program(
    name="orbitd",
    summary="runs pipelines from Postgres in supervised child processes",
    commands=COMMANDS,
    groups=GROUPS,
    flags=(
        Flag(("-c", "--config"), "the configuration; else $ORBITD_CONFIG, ./.orbitd/orbitd.toml, /etc/orbitd.toml", "FILE"),
        Flag(("--set",), "an option, such as children.count=4; may be repeated", "KEY=VALUE", is_repeatable=True),
        *(found.flag for found in OPTION_FLAGS.values()),
        Flag(("--allow-root",), "run the pipelines' code as root"),
        Flag(("--check-config",), "as the command `check`"),
        Flag(("--json",), "print the answer, and any error, as a JSON document"),
        Flag(("--color",), "auto: on a terminal, unless $NO_COLOR is set", "WHEN", ("auto", "always", "never")),
        Flag(("--version",), "print the version"),
    ),
    default="run",
    closing="`orbitd config explain KEY` what an option means; orbitd(8) all",
)
