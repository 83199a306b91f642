"""The exceptions of orbitd and the exit codes that they end in.

    OrbitError                an error that a person can act on: message, hint, exit code
     ├─ UsageError            2   the command line is wrong
     ├─ DaemonNotRunning      3   nobody listens on the control socket
     ├─ NoSuchObject          4   no run, slot or pipeline of that name, or more than one
     ├─ Refused               5   no permission, or it needs --yes
     ├─ Conflict              6   it changed meanwhile
     ├─ DatabaseUnavailable  69   the database does not answer
     ├─ ConfigError          78   configuration or pipelines cannot be used
     └─ WaitTimeout         124   the awaited state did not come in time

A message names the thing, the value and, in `hint`, the next step: lower case, no full stop.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_WORD = 80


class ExitCode(IntEnum):
    """What the programs `orbitd` and `orbitctl` end with."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_RUNNING = 3
    NO_SUCH_OBJECT = 4
    REFUSED = 5
    CONFLICT = 6
    RUN_FAILED = 20
    RUN_CANCELLED = 21
    DATABASE_UNAVAILABLE = 69
    CONFIG = 78
    WAIT_TIMEOUT = 124
    INTERRUPTED = 130


class OrbitError(Exception):
    """An error for a person: what is wrong, and what to do next."""

    exit_code = ExitCode.FAILED
    code = "failed"

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\nhint: {self.hint}" if self.hint else self.message


class UsageError(OrbitError):
    """The command line is wrong."""

    exit_code = ExitCode.USAGE
    code = "usage"


class DaemonNotRunning(OrbitError):
    """Nobody listens on the control socket."""

    exit_code = ExitCode.NOT_RUNNING
    code = "not_running"


class NoSuchObject(OrbitError):
    """No run, slot or pipeline of that name, or more than one."""

    exit_code = ExitCode.NO_SUCH_OBJECT
    code = "no_such_object"


class Refused(OrbitError):
    """The caller may not do this, or must say --yes."""

    exit_code = ExitCode.REFUSED
    code = "refused"


class Conflict(OrbitError):
    """The object changed meanwhile."""

    exit_code = ExitCode.CONFLICT
    code = "conflict"


class DatabaseUnavailable(OrbitError):
    """The database does not answer, or refuses us."""

    exit_code = ExitCode.DATABASE_UNAVAILABLE
    code = "database_unavailable"


class ConfigError(OrbitError):
    """The configuration, or the pipelines that it names, cannot be used."""

    exit_code = ExitCode.CONFIG
    code = "config"


class WaitTimeout(OrbitError):
    """The awaited state did not come in time."""

    exit_code = ExitCode.WAIT_TIMEOUT
    code = "wait_timeout"


def why(error: OSError) -> str:
    """The system's reason as the end of a message: "no such file or directory"."""
    return (error.strerror or str(error)).lower()


def telling_line(error: str) -> str:
    """The one line of an error that tells most: of a traceback its last, with the place; of several faults the first. No hint."""
    lines = [line.strip(" |") for line in error.splitlines() if line.strip() and not line.startswith("hint: ")]
    places = [line.partition(", in ")[0] for line in lines if line.startswith('File "') and ", line " in line]
    if places:
        return f"{lines[-1]} ({places[-1]})"
    first, *rest = lines or [""]
    if first.endswith(":") and rest:
        first = f"{first} {rest.pop(0)}"
    return f"{first}, and {_number_of(rest)} more" if rest else first


def _number_of(faults: list[str]) -> int:
    """The last line may itself say how many there are besides."""
    words = faults[-1].split()
    is_summed_up = len(words) == 3 and words[::2] == ["and", "more"] and words[1].isdecimal()
    return len(faults) - 1 + int(words[1]) if is_summed_up else len(faults)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant by an unknown one, which may be anybody's and of any length."""
    import difflib  # here: it is slow to import, and few are mistaken

    return next(iter(difflib.get_close_matches(word[:_LONGEST_WORD], list(known), n=1)), None)
