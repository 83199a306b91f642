"""What the store's statements return: one frozen dataclass a shape, its fields named like the columns."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orbitd.rules.states import RunState

CATCH_ALL_LANE = 1
"""Where runs wait whose lane does not exist yet; nobody claims from it, beats sort it."""


@dataclass(frozen=True, slots=True)
class Fence:
    """One attempt of one run, by its place and the claim's token: every write about it names all four."""

    lane: int
    seq: int
    run_id: int
    token: int


@dataclass(frozen=True, slots=True)
class Claimed:
    """A run that is ours now. `args` is the JSON text as it is stored, None if the database has lost it; `attempt` counts this one."""

    lane: int
    seq: int
    run_id: int
    token: int
    pipeline: str
    tenant: str | None
    args: str | None
    attempt: int
    errors: int
    crashes: int

    @property
    def fence(self) -> Fence:
        """What to name in every write about this attempt."""
        return Fence(self.lane, self.seq, self.run_id, self.token)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a claim asks for. `token` is its random token (1 … 2^63−1): it names the claim, and is never derived from a run.

    `floors`: the lanes in the order of priority, each with the number from which to search it. All that is claimed is of one lane;
    `wants` says how many runs it may be at most, 1 for the lanes that are not named there.
    """

    token: int
    floors: Mapping[int, int]
    wants: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, lanes: Iterable[int], want: int = 1) -> Ask:
        """A new claim, which searches these lanes in full."""
        floors = dict.fromkeys(lanes, 0)
        return cls(new_token(), floors, dict.fromkeys(floors, want))


def new_token() -> int:
    """A random token for a claim."""
    return int.from_bytes(os.urandom(8)) >> 1 or 1


@dataclass(frozen=True, slots=True)
class Offer:
    """What a claim has brought: runs of one lane, in their order. `last_seq`: the highest number given out before it searched."""

    last_seq: int
    runs: Sequence[Claimed]

    @property
    def claimed(self) -> Claimed | None:
        """The first of the runs."""
        return self.runs[0] if self.runs else None


@dataclass(frozen=True, slots=True)
class Finished:
    """What became of reports. `fenced`: these runs were somebody else's already, so their reports do not count.

    `refused`: what the database said of results that it cannot store, by run; these runs have failed.
    """

    fenced: Collection[int]
    refused: Mapping[int, str]


@dataclass(frozen=True, slots=True)
class FinishedAndClaimed:
    """Both answers. `lease_ok`: whether more may be claimed."""

    finished: Finished
    offer: Offer
    lease_ok: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where a run is. Lane and seq are those of `live`, None elsewhere."""

    state: RunState
    lane: int | None
    seq: int | None
    attempt: int


@dataclass(frozen=True, slots=True)
class Pinned:
    """A run as it was when a person chose it: an act on it is refused once its state or attempt is another."""

    run_id: int
    pipeline: str
    state: RunState
    attempt: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Lane:
    """A small integer for (queue, pipeline, priority); a higher priority is asked first."""

    id: int
    queue: str
    pipeline: str
    priority: int


@dataclass(frozen=True, slots=True)
class PipelineSpec:
    """A pipeline as its mold reports it. `signature` is JSON text: {"required": [], "optional": [], "open": false}.

    A run fails for good at its `max_attempts`th error, and at its `max_crashes`th crash.
    """

    name: str
    queue: str
    priority: int
    signature: str
    max_attempts: int
    max_crashes: int


@dataclass(frozen=True, slots=True)
class Beat:
    """What a beat found. `lanes` are all that the host serves, in the order in which to ask them.

    `first_seqs` are the numbers of the first runs of `lanes_with_work`. `server_since`, `last_seq`: as in Sweep.
    `cancels` are (run id, child id). `next_due_seconds` is None when nothing is delayed, 0 when to beat again at once.
    """

    alive: bool
    server_since: datetime
    last_seq: int
    lease_seconds_left: float
    lanes: list[int]
    lanes_with_work: list[int]
    first_seqs: list[int]
    next_due_seconds: float | None
    others_lapsed: bool
    cancels: list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a look for late runs found: the first of each lane that has one.

    `server_since`: when this server was started. `last_seq`: the highest number given out. `safe_seq`: all producers of numbers
    up to this one had ended before the look.
    """

    server_since: datetime
    last_seq: int
    safe_seq: int
    found: dict[int, int]


@dataclass(frozen=True, slots=True)
class Sight:
    """What a look has found: lanes with pending runs, the number of the first in each, and how many there are, up to a limit.

    `last_seq` is the highest number given out. `next_due_seconds` is None when nothing is delayed, 0 or less when something is due.
    """

    last_seq: int
    lanes: list[int]
    seqs: list[int]
    counts: list[int]
    next_due_seconds: float | None


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A run that was in nobody's hands, and where it is now: interrupted or pending; failed, if it had crashed too often."""

    run_id: int
    state: RunState
