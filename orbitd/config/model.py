"""The table of settings: one dataclass for a section, one field for an option.

A field carries all that anybody wants to know about its option (see `options.py`): the loader, `conf/orbitd.toml`
and orbitd.toml(5) are made from it, and a test holds them together. Attributes have the names of the TOML keys.
Values are in base units: float seconds and int bytes; 0 means "none" where the words say so.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_type_hints

from orbitd.config.options import (
    AbsolutePath,
    Backoff,
    ChildrenCount,
    Choice,
    Dsn,
    Duration,
    HostName,
    Integer,
    Kind,
    ModuleList,
    Option,
    Reload,
    Size,
    TextList,
    option,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
from orbitd.rules.limits import MOST_CHILDREN

_LIVE, _NEW_RUNS, _ROLLING, _RESTART = Reload.LIVE, Reload.NEW_RUNS, Reload.ROLLING, Reload.RESTART


@dataclass(frozen=True)
class Instance:
    """Who this daemon is."""

    name: str = option(HostName(), "$HOSTNAME", "The host's name in the database, in logs and in `orbitctl runs`.", _RESTART)
    state_dir: str = option(
        AbsolutePath("auto"),
        "auto",
        "Where the daemon keeps what must outlive it. auto: $STATE_DIRECTORY (systemd), else beside the control socket.",
        _RESTART,
    )


@dataclass(frozen=True)
class Database:
    """The Postgres that holds the runs."""

    url: str = option(
        Dsn(),
        "env:DATABASE_URL",
        "The address: env:NAME takes it from the environment, file:PATH from a file. It is a secret, and never shown.",
        _RESTART,
    )
    connect_timeout: float = option(Duration("100ms", "10m"), "5s", "How long one attempt to connect may take.", _ROLLING)
    call_timeout: float = option(
        Duration("100ms", "10m"),
        "10s",
        "How long one statement of orbitd itself may take; then its connection is made anew.",
        _ROLLING,
    )


@dataclass(frozen=True)
class App:
    """The code that is run."""

    pipelines: tuple[str, ...] = option(
        ModuleList(),
        ["app.pipelines"],
        "Modules that define pipelines, by dotted name, or directories (with a slash) of .py files.",
        _ROLLING,
    )
    path: tuple[str, ...] = option(
        TextList(), [], "Directories put before Python's own search path, relative to the working directory.", _ROLLING
    )
    filter: tuple[str, ...] = option(
        TextList(), ["*"], "Which pipelines this daemon runs: shell patterns of names, any of which may match.", _ROLLING
    )
    working_directory: str = option(AbsolutePath(""), "", "Where the application's code is run. Empty: where orbitd was started.", _ROLLING)


@dataclass(frozen=True)
class Children:
    """The processes that run pipelines."""

    count: int = option(
        ChildrenCount(0, MOST_CHILDREN), "auto", "How many. auto: one for each CPU that the control group and the affinity allow.", _LIVE
    )
    max_rss: int = option(
        Size("16MiB", "1024GiB", or_zero=True),
        "0",
        "A child whose resident memory is over this is replaced after the run in hand, the replacement first. 0: no limit.",
        _LIVE,
    )
    boot_timeout: float = option(
        Duration("100ms", "1h"), "60s", "How long the import of the pipelines, and the start of one child, may take.", _LIVE
    )


@dataclass(frozen=True)
class Restart:
    """What happens when a child dies."""

    backoff_first: float = option(
        Duration("0", "1h"), "500ms", "The wait after a second early death in a row; doubled for each further one.", _LIVE
    )
    backoff_longest: float = option(Duration("1ms", "1d"), "60s", "The wait never grows beyond this.", _LIVE)
    min_uptime: float = option(
        Duration("0", "1d"), "10s", "A child that lived this long has not died early: it is replaced at once.", _LIVE
    )
    max_restarts: int = option(
        Integer(1, 1_000_000),
        10,
        "More early deaths of a slot than this within restart_window, and the slot is held: tried once in each backoff_longest.",
        _LIVE,
    )
    restart_window: float = option(Duration("1s", "1d"), "5m", "The time in which max_restarts are counted.", _LIVE)


@dataclass(frozen=True)
class Shutdown:
    """How the daemon stops."""

    drain_timeout: float = option(
        Duration("0", "52w"),
        "30s",
        "How long runs may go on after a stop. Then they are interrupted, to resume elsewhere or later.",
        _LIVE,
    )


@dataclass(frozen=True)
class Poll:
    """How an idle child looks for work."""

    interval: float = option(
        Duration("10ms", "1h"), "5s", "The longest time between two looks. Work that is announced by the database starts at once.", _ROLLING
    )


@dataclass(frozen=True)
class Runs:
    """What holds for every run, unless its pipeline says otherwise."""

    timeout: float = option(Duration("100ms", "52w"), "10m", "How long one attempt may take.", _NEW_RUNS)
    kill_after: float = option(
        Duration("0", "1h"), "10s", "How long a timed out or cancelled attempt may clean up before it is killed.", _NEW_RUNS
    )
    max_attempts: int = option(Integer(1, 1000), 3, "How often a run that ends in an error is tried in all.", _NEW_RUNS)
    max_crashes: int = option(
        Integer(1, 1000), 3, "How often a run may lose its process (signal, memory, host) before it fails.", _NEW_RUNS
    )
    backoff: str | tuple[float, ...] = option(
        Backoff(),
        "exponential",
        'The wait before the next attempt: "exponential", or one duration for each error, the last of which repeats.',
        _NEW_RUNS,
    )
    max_result: int = option(
        Size("1KiB", "64MiB"), "1MiB", "The largest result of a run or of a step, as JSON; a larger one is an error.", _NEW_RUNS
    )
    max_log: int = option(Size("0", "64MiB"), "1MiB", "How much of a run's log is kept with it.", _NEW_RUNS)


@dataclass(frozen=True)
class Host:
    """How the hosts of a fleet watch each other, through the database."""

    lease: float = option(
        Duration("2s", "1h"),
        "20s",
        "A host silent for this long is taken for dead: others rescue its runs.",
        _ROLLING,
    )
    beat: float = option(Duration("100ms", "20m"), "5s", "How often a host renews its lease; at most a third of it.", _ROLLING)


@dataclass(frozen=True)
class Recovery:
    """What happens to a run whose process died."""

    mode: str = option(
        Choice(("resume", "hold")),
        "resume",
        "resume: it goes on from its last step. hold: it stays interrupted until `select orbit.resume(RUN)`.",
        _ROLLING,
    )


@dataclass(frozen=True)
class Control:
    """The socket that `orbitctl` talks to."""

    socket: str = option(
        AbsolutePath("auto"),
        "auto",
        "Its path. auto: orbitd.sock in $RUNTIME_DIRECTORY (systemd), in /run/orbitd, or in a private directory of an ordinary user.",
        _RESTART,
    )


@dataclass(frozen=True)
class Logging:
    """What the daemon writes to standard error."""

    level: str = option(Choice(("debug", "info", "warning", "error")), "info", "The least urgent lines that are written.", _LIVE)
    format: str = option(Choice(("auto", "text", "json")), "auto", "auto: text on a terminal, JSON elsewhere.", _RESTART)


@dataclass(frozen=True)
class Settings:
    """All options of a daemon; made by `orbitd.config.load`."""

    instance: Instance
    database: Database
    app: App
    children: Children
    restart: Restart
    shutdown: Shutdown
    poll: Poll
    runs: Runs
    host: Host
    recovery: Recovery
    control: Control
    logging: Logging

    def to_json(self) -> bytes:
        """All values, secrets included: for a socket between our own processes only."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_json(cls, data: bytes) -> Settings:
        """The settings that `to_json` wrote."""
        return cls.of(json.loads(data))

    @classmethod
    def of(cls, values: Mapping[str, Mapping[str, Any]]) -> Settings:
        """Settings of checked values, by section and key."""
        return cls(**{name: section(**_frozen(values[name])) for name, section in SECTIONS.items()})


def _frozen(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


SECTIONS: Mapping[str, type[Any]] = MappingProxyType(get_type_hints(Settings))
OPTIONS: Mapping[tuple[str, str], Option] = MappingProxyType(
    {(name, one.name): one.metadata["option"] for name, section in SECTIONS.items() for one in fields(section)}
)

__all__ = ["OPTIONS", "SECTIONS", "Kind", "Option", "Settings"]
