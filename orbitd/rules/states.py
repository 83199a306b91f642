"""The states that orbitd speaks of: one word each, the same in code, SQL, log and command line."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class RunState(StrEnum):
    """Where a run stands.

    scheduled --due--> pending --claim--> running --+--> succeeded | failed | cancelled
        ^                 ^                         +--> scheduled    (retry, snooze)
        +-----------------+--------- resume --------+--> interrupted  (its child or host died)
    """

    SCHEDULED = "scheduled"
    PENDING = "pending"
    RUNNING = "running"
    INTERRUPTED = "interrupted"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Finding(StrEnum):
    """What an audit may find wrong with a run: where the tables do not agree with each other."""

    LOST = "lost"  # in no place, and not ended
    DOUBLED = "doubled"  # in more than one
    MISPLACED = "misplaced"  # and here it is: waiting or running where nobody looks for it
    ABANDONED = "abandoned"  # running, and its child ended more than a minute ago
    FINISHED_TWICE = "finished_twice"
    REPORTED_TWICE = "reported_twice"  # one attempt, by the child that ran it
    ATTEMPT_BEHIND = "attempt_behind"  # its counter is below an attempt that has ended
    NO_INPUT = "no_input"  # waiting or running, and nobody asked for it
    KEY_LOST = "key_lost"  # not ended, and its idempotency key is free
    KEY_LEFT = "key_left"  # ended, and its key is not
    PLACE_LEFT = "place_left"  # ended, and still said to wait
    CANCEL_LEFT = "cancel_left"  # to be cancelled, and not running


class Phase(StrEnum):
    """Where a child stands in its life, as the arbiter knows it.

    STARTING --booted--> UP --drain--> DRAINING --interrupt--> INTERRUPTED --kill--> DYING --exit--> (no child)

    Any phase may end by an exit; STARTING and UP may be killed at once. What a child that is UP does just now
    (idle, busy, waiting for the database) is its `Activity`, which the child itself writes to shared memory.
    """

    STARTING = "starting"
    UP = "up"
    DRAINING = "draining"
    INTERRUPTED = "interrupted"
    DYING = "dying"


class Activity(IntEnum):
    """What a child does now; a word in its shared slot, written by the child alone."""

    NONE = 0
    IDLE = 1
    BUSY = 2
    WAITING = 3


class SlotState(StrEnum):
    """What `orbitctl list` shows of a slot: phase, activity and backoff in one word."""

    EMPTY = "empty"
    STARTING = "starting"
    IDLE = "idle"
    BUSY = "busy"
    WAITING = "waiting"
    DRAINING = "draining"
    DYING = "dying"
    BACKOFF = "backoff"
    HELD = "held"


class DaemonState(StrEnum):
    """What `orbitctl status` shows of the daemon; UNKNOWN is what stands there when the arbiter was not asked."""

    UNKNOWN = "unknown"

    STARTING = "starting"
    RUNNING = "running"
    PAUSED = "paused"
    DEGRADED = "degraded"
    RELOADING = "reloading"
    WAITING_DATABASE = "waiting_database"
    DRAINING = "draining"
    STOPPING = "stopping"


class StopLevel(IntEnum):
    """How hard the daemon stops. TERM and INT raise it by one; QUIT makes it INTERRUPT at once."""

    NONE = 0
    DRAIN = 1
    INTERRUPT = 2
    KILL = 3


class Reason(StrEnum):
    """Why the arbiter ends a child."""

    STOPPING = "stopping"
    SURPLUS = "surplus"
    OUTDATED = "outdated"
    ROLLED_BACK = "rolled_back"
    MAX_RUNS = "max_runs"
    MAX_LIFETIME = "max_lifetime"
    OVER_MEMORY = "over_memory"
    MEMORY_PRESSURE = "memory_pressure"
    STALLED = "stalled"
    BOOT_TIMEOUT = "boot_timeout"
    RUN_TIMEOUT = "run_timeout"
    DRAIN_TIMEOUT = "drain_timeout"
    RESTART_ASKED = "restart_asked"
    KILL_ASKED = "kill_asked"


class Charge(StrEnum):
    """What a run that is taken back pays with: see "what counts as what" in ARCHITECTURE.md."""

    NONE = "none"
    ERROR = "error"
    CRASH = "crash"
