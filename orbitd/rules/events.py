"""What happens to the fleet: facts, noted in the roster one by one. `at` is CLOCK_BOOTTIME in seconds."""

from __future__ import annotations

from dataclasses import dataclass

from orbitd.errors import ExitCode
from orbitd.rules.exits import Exit, ExitStatus
from orbitd.rules.states import Activity, Reason


@dataclass(frozen=True, slots=True)
class MoldSpawned:
    """A mold was exec'd; it imports the pipelines now."""

    generation: int
    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class MoldReady:
    """The mold has imported the pipelines. It forks on request, or ends: then each child is exec'd, and imports for itself."""

    generation: int
    forks: bool = True


@dataclass(frozen=True, slots=True)
class CodeChanged:
    """The files of a generation are not any more what they were: no mold can make its children again."""

    generation: int


@dataclass(frozen=True, slots=True)
class MoldKilled:
    """The arbiter let a mold go."""

    generation: int
    at: float


@dataclass(frozen=True, slots=True)
class MoldAbandoned:
    """A mold was killed and does not end: nobody waits for it any more."""

    generation: int


@dataclass(frozen=True, slots=True)
class MoldExited:
    """A mold has ended. `draw` is uniform in [0, 1)."""

    generation: int
    status: ExitStatus
    at: float
    draw: float


@dataclass(frozen=True, slots=True)
class GenerationStaged:
    """A reload has begun. How long its first child must live is said by its own configuration, which does not count yet."""

    generation: int
    at: float
    canary_seconds: float


@dataclass(frozen=True, slots=True)
class GenerationRefused:
    """The new generation cannot be used, for a reason that its mold or its first child has shown."""

    generation: int
    why: str
    exit_code: ExitCode = ExitCode.FAILED


@dataclass(frozen=True, slots=True)
class GenerationPromoted:
    """The new generation serves."""

    generation: int
    at: float


@dataclass(frozen=True, slots=True)
class GenerationHolds:
    """The new generation holds the target."""

    generation: int
    at: float


@dataclass(frozen=True, slots=True)
class GenerationSettled:
    """The new generation has passed its probation."""

    generation: int


@dataclass(frozen=True, slots=True)
class GenerationGivenUp:
    """The new generation is no good, and the one before serves."""

    generation: int
    at: float


@dataclass(frozen=True, slots=True)
class RunsEnded:
    """So many attempts have ended in children of a generation."""

    generation: int
    succeeded: int
    failed: int


@dataclass(frozen=True, slots=True)
class MemoryPressure:
    """What the control group has of memory, and may have: one sample."""

    used_bytes: int
    limit_bytes: int
    at: float


@dataclass(frozen=True, slots=True)
class DegradedEnded:
    """A child has lived long enough to show that children can."""


@dataclass(frozen=True, slots=True)
class JanitorSpawned:
    """The janitor was exec'd."""

    pid: int
    at: float


@dataclass(frozen=True, slots=True)
class JanitorTicked:
    """When the janitor's loop last turned, read from shared memory."""

    tick_at: float


@dataclass(frozen=True, slots=True)
class JanitorDismissed:
    """The janitor was asked to say farewell to the database and exit."""

    at: float


@dataclass(frozen=True, slots=True)
class JanitorKilled:
    """SIGKILL went to the janitor."""

    at: float


@dataclass(frozen=True, slots=True)
class JanitorAbandoned:
    """The janitor was killed and does not end: another one takes its place."""


@dataclass(frozen=True, slots=True)
class JanitorExited:
    """The janitor has ended. `draw` is uniform in [0, 1)."""

    at: float
    draw: float


@dataclass(frozen=True, slots=True)
class ChildAsked:
    """The mold was asked for a child. `draw`, uniform in [0, 1), spreads the limits of children that were born together."""

    slot: int
    generation: int
    at: float
    draw: float = 0.5


@dataclass(frozen=True, slots=True)
class ChildSaidHello:
    """The child has come to us and told its pid."""

    slot: int
    pid: int


@dataclass(frozen=True, slots=True)
class ChildBooted:
    """The child is up; whether it has its database is another question."""

    slot: int
    at: float


@dataclass(frozen=True, slots=True)
class ChildSeen:
    """What a child's shared slot says of it. `deadline` is 0 while no run has one, `tick_at` until its first sign of life."""

    slot: int
    activity: Activity
    deadline: float
    tick_at: float = 0.0


@dataclass(frozen=True, slots=True)
class ProcessSeen:
    """In what state the kernel has a child that is stalled or does not die: the letter of /proc, and in words."""

    slot: int
    state: str
    words: str


@dataclass(frozen=True, slots=True)
class StallTold:
    """The operator was told that a child shows no sign of life."""

    slot: int
    at: float


@dataclass(frozen=True, slots=True)
class DumpSent:
    """The child was asked for its stacks."""

    slot: int
    at: float


@dataclass(frozen=True, slots=True)
class ChildAbandoned:
    """A killed child does not end: its runs were taken back, and its place goes to another slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class Thawed:
    """All of us were frozen for so long: a suspended machine, a stopped container. No deadline passes in such a time."""

    gap_seconds: float
    at: float


@dataclass(frozen=True, slots=True)
class ChildWorn:
    """The child has begun as many runs as it may."""

    slot: int


@dataclass(frozen=True, slots=True)
class MemorySeen:
    """What the kernel says of a child's memory: one sample. `own_bytes` and `pss_bytes` cost more: None where they were not asked for."""

    slot: int
    rss_bytes: int
    own_bytes: int | None
    at: float
    pss_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class DrainSent:
    """The child was asked to finish what it holds and exit; past `until` (if any) it is interrupted."""

    slot: int
    reason: Reason
    until: float | None


@dataclass(frozen=True, slots=True)
class InterruptSent:
    """The child was asked to interrupt its run and exit; past `until` it is killed."""

    slot: int
    reason: Reason
    until: float


@dataclass(frozen=True, slots=True)
class KillSent:
    """SIGKILL went to the child's session."""

    slot: int
    reason: Reason
    at: float


@dataclass(frozen=True, slots=True)
class DeathJudged:
    """What the end of a slot's child was. Its `ChildExited` follows."""

    slot: int
    exit: Exit


@dataclass(frozen=True, slots=True)
class ChildExited:
    """A child has ended, or was lost before it said hello. `draw` is uniform in [0, 1)."""

    slot: int
    status: ExitStatus
    at: float
    draw: float


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    """The system has no process, memory or descriptor for a child (`slot`), a mold or the janitor. `draw` is uniform in [0, 1)."""

    role: str
    slot: int | None
    at: float
    draw: float


@dataclass(frozen=True, slots=True)
class Scaled:
    """The operator wants this many children from now on."""

    count: int
    at: float


@dataclass(frozen=True, slots=True)
class Forgiven:
    """The operator reloads: every backoff and held slot starts afresh."""


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """The operator wants other children in these slots, and does not mind how often the last ones died."""

    slots: frozenset[int]


OfMold = MoldSpawned | MoldReady | CodeChanged | MoldKilled | MoldAbandoned | MoldExited
OfJanitor = JanitorSpawned | JanitorTicked | JanitorDismissed | JanitorKilled | JanitorAbandoned | JanitorExited
OfRollout = GenerationStaged | GenerationRefused | GenerationPromoted | GenerationHolds | GenerationSettled | GenerationGivenUp
OfFleet = SpawnFailed | Scaled | Forgiven | RestartAsked | RunsEnded | MemoryPressure | DeathJudged | DegradedEnded | Thawed
OfVigil = ProcessSeen | StallTold | DumpSent | ChildAbandoned
OfChild = ChildSaidHello | ChildBooted | ChildSeen | ChildWorn | MemorySeen | DrainSent | InterruptSent | KillSent | OfVigil
Event = OfMold | OfJanitor | OfRollout | OfFleet | OfChild | ChildAsked | ChildExited
