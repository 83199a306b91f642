"""The table of settings: one dataclass for a section, one field for an option.

A field carries all that anybody wants to know about its option (see `options.py` and `kinds.py`): the loader,
`conf/orbitd.toml` and orbitd.toml(5) are made from it, and a test holds them together. Attributes have the names of the
TOML keys. Values are in base units: float seconds and int bytes; 0 means "none" where the words say so.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, get_type_hints

from orbitd.config import early
from orbitd.config.amounts import AutoDuration, Backoff, BatchSize, ChildrenCount, Duration, Factor, Integer, Share, Size, Surge
from orbitd.config.dsn import Dsn
from orbitd.config.kinds import (
    AbsolutePath,
    Boolean,
    Choice,
    GlobList,
    GroupName,
    HostName,
    Kind,
    LogLevel,
    ModuleList,
    ResourceLimits,
    TextList,
    UserName,
)
from orbitd.config.options import Default, Key, Option, Reload
from orbitd.config.variables import Variable
from orbitd.errors import ConfigError
from orbitd.rules.batching import MOST_IN_HAND
from orbitd.rules.limits import MOST_CHILDREN

if TYPE_CHECKING:
    from collections.abc import Mapping

_LIVE, _NEW_RUNS, _ROLLING, _RESTART = Reload.LIVE, Reload.NEW_RUNS, Reload.ROLLING, Reload.RESTART


def _field(row: Option) -> Any:
    """The field of a section that carries this row."""
    return field(repr=not row.secret, metadata={"option": row})


def _option(kind: Kind, default: Default, doc: str, reload: Reload, *flags: str, variables: tuple[Variable, ...] = ()) -> Any:
    """Declare an option: a field of a section."""
    return _field(Option(kind, default, doc, reload, flags, variables))


@dataclass(frozen=True)
class Instance:
    """Who this daemon is."""

    name: str = _option(
        HostName(),
        "$HOSTNAME",
        "The host's name in the database, in logs and in `orbitctl runs`.",
        _RESTART,
        variables=(Variable("WORKER_INSTANCE"),),
    )
    state_dir: str = _field(early.STATE_DIR)
    pid_file: str = _option(AbsolutePath(""), "", "Where the arbiter's pid is written. Empty: nowhere.", _RESTART, "--pid")


@dataclass(frozen=True)
class Database:
    """The Postgres that holds the runs."""

    url: str = _option(
        Dsn(unset="DATABASE_URL"),
        "env:DATABASE_URL",
        "The address: a reference to where it is, or the address itself. It is a secret, and never shown.",
        _RESTART,
        variables=(Variable("DATABASE_URL"),),
    )
    direct_url: str = _option(
        Dsn(),
        "",
        "The address without a pooler, for what a pooler breaks: waking and migrations. Empty: url.",
        _RESTART,
        variables=(Variable("DIRECT_URL"),),
    )
    admin_url: str = _option(
        Dsn(),
        "",
        "The address with more rights, for `orbitctl` and `orbitd migrate`; the daemon never opens it. Empty: direct_url, else url.",
        _RESTART,
    )
    pooled: str = _option(
        Choice("auto", "yes", "no"),
        "auto",
        "Whether the address of url is that of a transaction pooler. Behind one nothing is announced: without a direct_url work is "
        "found by the poll alone. auto: found out at each connection.",
        _ROLLING,
    )
    connect_timeout: float = _option(Duration("100ms", "10m"), "5s", "How long one attempt to connect may take.", _ROLLING)
    call_timeout: float = _option(
        Duration("100ms", "10m"),
        "10s",
        "How long one statement of orbitd itself may take; then its connection is made anew.",
        _ROLLING,
    )

    @property
    def addresses(self) -> dict[str, str]:
        """Those that are configured, by option; the last is the one for what an operator does."""
        return {key: address for key in ("url", "direct_url", "admin_url") if (address := getattr(self, key))}

    @property
    def admin_option(self) -> str:
        """Which option has the address for what an operator does."""
        return next(reversed(self.addresses), "url")

    @property
    def admin_address(self) -> str:
        """The address for what an operator does. Raises ConfigError when none is configured."""
        if not self.addresses:
            raise _no_database()
        return self.addresses[self.admin_option]

    @property
    def listen_address(self) -> str:
        """The address for what a transaction pooler breaks."""
        return self.direct_url or self.url

    @property
    def listen_pooled(self) -> str:
        """`pooled`, as far as it is known of that address."""
        return "auto" if self.direct_url else self.pooled


@dataclass(frozen=True)
class App:
    """The code that is run."""

    pipelines: tuple[str, ...] = _option(
        ModuleList(),
        ["app.pipelines"],
        "Modules that define pipelines, by dotted name, or directories (with a slash) of .py files.",
        _ROLLING,
    )
    path: tuple[str, ...] = _option(
        TextList(),
        [],
        "Directories put before Python's own search path, relative to the working directory.",
        _ROLLING,
        variables=(Variable.of_directory("PROJECT_ROOT", is_added=True),),
    )
    filter: tuple[str, ...] = _option(
        GlobList(),
        ["*"],
        "Which pipelines this daemon runs: shell patterns of names, any of which may match.",
        _ROLLING,
        variables=(Variable("PIPELINE_FILTER"),),
    )
    queues: tuple[str, ...] = _option(
        GlobList(), ["*"], "Of which queues this daemon takes runs: shell patterns of names, any of which may match.", _ROLLING, "--queue"
    )
    env_file: str = _field(early.ENV_FILE)
    working_directory: str = _option(
        AbsolutePath(""),
        "",
        "Where the application's code is run. Empty: where orbitd was started.",
        _ROLLING,
        variables=(Variable.of_directory("PROJECT_ROOT"),),
    )


@dataclass(frozen=True)
class Children:
    """The processes that run pipelines."""

    count: int = _option(
        ChildrenCount(0, MOST_CHILDREN),
        "auto",
        "How many. auto: one for each CPU that the control group and the affinity allow.",
        _LIVE,
        "-w",
        "--children",
    )
    preload: str = _option(
        Choice("auto", "require", "off"),
        "auto",
        "Whether the pipelines are imported once and the children forked from there. auto: unless the import leaves a thread or a "
        "socket behind; require: else the reload fails; off: each child imports them for itself.",
        _ROLLING,
    )
    max_runs: int = _option(
        Integer(0, 1_000_000_000),
        0,
        "A child that has begun this many runs is replaced, the replacement first. 0: no limit.",
        _ROLLING,
        "--max-runs",
    )
    max_runs_jitter: float = _option(
        Share(), 0.1, "By how much max_runs and max_lifetime differ from child to child, at most, as a share of them.", _ROLLING
    )
    max_lifetime: float = _option(
        Duration("1s", "52w", or_zero=True), "0", "A child that is older is replaced, the replacement first. 0: no limit.", _LIVE
    )
    max_rss: int = _option(
        Size("16MiB", "1024GiB", or_zero=True),
        "0",
        "A child whose resident memory, pages shared with its mold included, is over this is replaced after the run in hand, the "
        "replacement first. 0: no limit.",
        _LIVE,
    )
    max_own_memory: int = _option(
        Size("1MiB", "1024GiB", or_zero=True),
        "0",
        "The same for the memory that is a child's own, which would be free without it. 0: no limit.",
        _LIVE,
    )
    memory_hard_factor: float = _option(
        Factor(100),
        2.0,
        "A child over this many times max_rss or max_own_memory is interrupted in its run, and killed if it goes on.",
        _LIVE,
    )
    stall_timeout: float = _option(
        Duration("1s", "1d", or_zero=True),
        "0",
        "A child that has shown no sign of life for this long (stopped, or its interpreter held by an extension) is killed; an idle one is "
        "missed only after three polls and the timeouts of the database. 0: never.",
        _LIVE,
    )
    user: str = _option(
        UserName(), "", "As whom the pipelines are run, where orbitd is started as root. Empty: as whoever started it.", _ROLLING
    )
    oom_score_adj: int = _option(
        Integer(-1000, 1000), 0, "Added to the children's badness where the kernel has to kill for memory.", _ROLLING
    )
    rlimits: tuple[str, ...] = _option(
        ResourceLimits(), [], 'Limits of the children as ulimit knows them, such as ["nofile=4096", "core=0", "as=unlimited"].', _ROLLING
    )
    boot_timeout: float = _option(
        Duration("100ms", "1h"), "60s", "How long the import of the pipelines, and the start of one child, may take.", _LIVE
    )


@dataclass(frozen=True)
class Restart:
    """What happens when a child dies."""

    backoff_first: float = _option(
        Duration("0", "1h"), "500ms", "The wait after a second early death in a row; doubled for each further one.", _LIVE
    )
    backoff_longest: float = _option(Duration("1ms", "1d"), "60s", "The wait never grows beyond this.", _LIVE)
    min_uptime: float = _option(
        Duration("0", "1d"),
        "10s",
        "A child that lived this long has not died early: it is replaced at once, unless its slot is held.",
        _LIVE,
    )
    max_restarts: int = _option(
        Integer(1, 1_000_000),
        10,
        "More unplanned deaths of a slot than this within restart_window, early or not: it is held, tried once in each backoff_longest.",
        _LIVE,
    )
    restart_window: float = _option(Duration("1s", "1d"), "5m", "The time in which max_restarts are counted.", _LIVE)


@dataclass(frozen=True)
class Reloading:
    """How a new generation takes over."""

    max_surge: str = _option(
        Surge(),
        "25%",
        "How many children more than wanted may live while old ones are replaced: a number, or a share of those wanted.",
        _LIVE,
    )
    canary_time: float = _option(
        Duration("0", "1h"), "2s", "How long the first child of a new generation must live before the others are replaced.", _LIVE
    )
    probation: float = _option(
        Duration("0", "1d"),
        "30s",
        "How long after that the old generation is kept to go back to, should the new children die or their runs fail.",
        _LIVE,
    )


@dataclass(frozen=True)
class Shutdown:
    """How the daemon stops."""

    drain_timeout: float = _option(
        Duration("0", "52w"),
        "30s",
        "How long runs may go on after a stop. Then they are interrupted, to resume elsewhere or later.",
        _LIVE,
        "--graceful-timeout",
    )


@dataclass(frozen=True)
class Poll:
    """How an idle child looks for work."""

    interval: float = _option(
        Duration("10ms", "1h"),
        "5s",
        "The longest time between two looks. Work that is announced by the database starts at once.",
        _ROLLING,
        variables=(Variable.in_milliseconds("POLL_INTERVAL"), Variable.in_milliseconds("WORKER_POLL_INTERVAL_MS")),
    )
    batch: int | Literal["auto"] = _option(
        BatchSize(1, MOST_IN_HAND),
        1,
        "How many runs a child may claim at once, for very many very short ones. auto: one, and more while the runs of a pipeline take "
        "less than 50ms and there are as many as were asked for; what waits behind a long one is handed back. All "
        "count as running from the claim on.",
        _ROLLING,
    )


@dataclass(frozen=True)
class Runs:
    """What holds for every run, unless its pipeline says otherwise."""

    timeout: float = _option(
        Duration("100ms", "52w"),
        "10m",
        "How long one attempt may take.",
        _NEW_RUNS,
        "--timeout",
        "--run-timeout",
        variables=(Variable.in_milliseconds("MAX_EXECUTION_TIMEOUT"),),
    )
    kill_after: float = _option(
        Duration("0", "1h"), "10s", "How long a timed out or cancelled attempt may clean up before it is killed.", _NEW_RUNS
    )
    max_attempts: int = _option(Integer(1, 1000), 3, "How often a run that ends in an error is tried in all.", _NEW_RUNS)
    max_crashes: int = _option(
        Integer(1, 1000), 3, "How often a run may lose its process (signal, memory, host) before it fails.", _NEW_RUNS
    )
    backoff: str | tuple[float, ...] = _option(
        Backoff(),
        "exponential",
        'The wait before the next attempt: "exponential", or one duration for each error, the last of which repeats.',
        _NEW_RUNS,
    )
    max_result: int = _option(
        Size("1KiB", "64MiB"), "1MiB", "The largest result of a run or of a step, as JSON; a larger one is an error.", _NEW_RUNS
    )
    max_log: int = _option(Size("0", "64MiB"), "1MiB", "How much of a run's log is kept with it.", _NEW_RUNS)


@dataclass(frozen=True)
class Host:
    """How the hosts of a fleet watch each other, through the database."""

    lease: float = _option(
        Duration("2s", "1h"),
        "20s",
        "A host silent for this long is taken for dead: others rescue its runs.",
        _ROLLING,
    )
    beat: float = _option(Duration("100ms", "20m"), "5s", "How often a host renews its lease; at most a third of it.", _ROLLING)


@dataclass(frozen=True)
class Recovery:
    """What happens to a run whose process died."""

    mode: str = _option(
        Choice("resume", "hold"),
        "resume",
        "resume: it goes on from its last step. hold: it stays interrupted until `orbitctl resume RUN`.",
        _ROLLING,
    )


@dataclass(frozen=True)
class Retention:
    """How long the database keeps what has ended; the same on all hosts of a fleet."""

    succeeded: float = _option(
        Duration("1d", "5200w", or_zero=True),
        "30d",
        "Runs that succeeded or were cancelled, with their steps, from their end on: whole days are dropped at once. 0: for ever.",
        _ROLLING,
    )
    failed: float = _option(
        Duration("1d", "5200w", or_zero=True),
        "90d",
        "Dead letters, from when they were resolved; those that nobody has resolved are never deleted. 0: for ever.",
        _ROLLING,
    )
    logs: float = _option(
        Duration("1d", "5200w", or_zero=True), "14d", "The log lines of runs, from when the run was made. 0: for ever.", _ROLLING
    )


@dataclass(frozen=True)
class Control:
    """The socket that `orbitctl` talks to."""

    socket: str = _field(early.SOCKET)
    group: str = _option(
        GroupName(),
        "orbitd",
        "Members of this group operate the daemon. Only root and its own user may also stop it. The default need not exist.",
        _RESTART,
    )
    viewers: str = _option(
        GroupName(), "", 'Members of this group may look, and change nothing; "everyone" needs no group. Empty: nobody else.', _RESTART
    )


@dataclass(frozen=True)
class Metrics:
    """What the daemon tells of its work."""

    report_interval: float = _option(
        Duration("1s", "1d", or_zero=True),
        "60s",
        "How often the report is written to the log. 0: never.",
        _LIVE,
        variables=(Variable.in_milliseconds("METRICS_INTERVAL"),),
    )


@dataclass(frozen=True)
class Health:
    """When `orbitctl health` says that something is not well."""

    failure_rate: float = _option(Share(), 0.05, "A larger share of the recent attempts that failed is a warning.", _LIVE)
    errors_unhealthy: int = _option(Integer(0, 1_000_000), 5, "More failures in a row than this, and then silence, are an error.", _LIVE)
    errors_healthy: int = _option(Integer(0, 1_000_000), 3, "Fewer failures in a row than this, and that error is over.", _LIVE)
    silence: float = _option(
        Duration("1s", "1d"),
        "5m",
        "How long nothing has ended when it is called silence; also the least time that is called recent.",
        _LIVE,
    )
    queue_paused: bool = _option(Boolean(), True, "Whether a paused daemon is a warning.", _LIVE)
    min_runs: int = _option(Integer(1, 1_000_000), 20, "How many recent attempts there must be for a failure rate.", _LIVE)
    stuck_after: float | None = _option(
        AutoDuration("1s", "52w"), "auto", "A run in hand for longer is called stuck. auto: when it has outlived its own timeout.", _LIVE
    )
    horizon_age: float = _option(
        Duration("1s", "52w", or_zero=True),
        "5m",
        "A transaction that has been open for longer, and keeps the dead rows of horizon_transactions, is a warning. 0: never.",
        _LIVE,
    )
    horizon_transactions: int = _option(
        Integer(1, 1_000_000_000), 100_000, "How many transactions' dead rows may be kept; also the limit of a replication slot.", _LIVE
    )


@dataclass(frozen=True)
class Logging:
    """What the daemon writes to standard error, and to files."""

    level: str = _option(
        LogLevel(), "info", "The least urgent lines that are written.", _LIVE, "--log-level", variables=(Variable("LOG_LEVEL"),)
    )
    format: str = _option(
        Choice("auto", "text", "json"),
        "auto",
        "auto: text on a terminal, JSON elsewhere.",
        _RESTART,
        variables=(Variable.of_development("NODE_ENV"),),
    )
    dir: str = _option(
        AbsolutePath(""),
        "",
        "Where orbitd.log and orbitd-error.log are written too. Empty: nowhere.",
        _LIVE,
        variables=(Variable.of_directory("LOGS_DIR"),),
    )
    max_size: int = _option(Size("64KiB", "16GiB"), "10MiB", "A log file that has grown to this is moved away, and another begun.", _LIVE)
    max_files: int = _option(Integer(1, 1000), 10, "How many files of each log are kept.", _LIVE)
    per_run: bool = _option(Boolean(), True, "Whether the lines of a run are kept with it, for `orbitctl logs RUN`.", _NEW_RUNS)
    redact: tuple[str, ...] = _option(
        GlobList(or_none=True),
        ["*password*", "*secret*", "*token*", "authorization", "*api_key*"],
        "Shell patterns of field names whose values are not written.",
        _LIVE,
    )


@dataclass(frozen=True)
class Settings:
    """All options of a daemon; made by `orbitd.config.loading`."""

    instance: Instance
    database: Database
    app: App
    children: Children
    restart: Restart
    reload: Reloading
    shutdown: Shutdown
    poll: Poll
    runs: Runs
    host: Host
    recovery: Recovery
    retention: Retention
    control: Control
    logging: Logging
    metrics: Metrics
    health: Health

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


def require_database(settings: Settings) -> None:
    """Raise ConfigError unless there is an address for the daemon's own work."""
    if not settings.database.url:
        raise _no_database()


def _no_database() -> ConfigError:
    message = "no database is configured: neither database.url nor DATABASE_URL is set"
    return ConfigError(message, "set DATABASE_URL=postgresql://user@host/database, or name the configuration: -c FILE")


def _frozen(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


SECTIONS: Mapping[str, type[Any]] = MappingProxyType(get_type_hints(Settings))
OPTIONS: Mapping[Key, Option] = MappingProxyType(
    {(name, one.name): one.metadata["option"] for name, section in SECTIONS.items() for one in fields(section)}
)
