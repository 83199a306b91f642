"""What a person should know about an option: one row of the table of settings."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from orbitd.config.kinds import Kind
    from orbitd.config.variables import Variable

Key = tuple[str, str]
"""Section and name of an option."""

Default = str | float | list[str]


class Reload(StrEnum):
    """When a changed value counts after `orbitctl reload`."""

    LIVE = "live"
    NEW_RUNS = "new runs"
    ROLLING = "rolling"
    RESTART = "restart"

    @property
    def words(self) -> str:
        """The same in a sentence that begins "a changed value counts"."""
        return {
            Reload.LIVE: "at once",
            Reload.NEW_RUNS: "for runs that begin from then on",
            Reload.ROLLING: "for each child of the new generation",
            Reload.RESTART: "only after a restart of orbitd",
        }[self]


class Option(NamedTuple):
    """One row of the table; `default` is the value as TOML would give it."""

    kind: Kind
    default: Default
    doc: str
    reload: Reload
    flags: tuple[str, ...] = ()
    """What `orbitd` takes on its command line instead of `--set`."""
    variables: tuple[Variable, ...] = ()
    """Names that other programs gave it in the environment, besides `ORBITD_SECTION__KEY`."""

    @property
    def secret(self) -> bool:
        """Whether the value must never be shown."""
        return self.kind.secret


def environment_name(key: Key) -> str:
    """The environment variable of an option."""
    return f"ORBITD_{'__'.join(key)}".upper()
