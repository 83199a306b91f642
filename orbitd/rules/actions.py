"""What the arbiter may do to the fleet: effects as values, which can be printed, compared and tested."""

from __future__ import annotations

from dataclasses import dataclass

from orbitd.errors import ExitCode
from orbitd.rules.states import Reason


@dataclass(frozen=True, slots=True)
class SpawnMold:
    """Exec a mold for a generation."""

    generation: int


@dataclass(frozen=True, slots=True)
class KillMold:
    """Let a mold go: it holds nothing."""

    generation: int


@dataclass(frozen=True, slots=True)
class Stage:
    """Begin a reload: from now on its mold is wanted."""

    generation: int


@dataclass(frozen=True, slots=True)
class Promote:
    """Let a new generation serve: its configuration counts, and children of others are outdated."""

    generation: int


@dataclass(frozen=True, slots=True)
class Hold:
    """The new generation holds the target: its probation begins."""

    generation: int


@dataclass(frozen=True, slots=True)
class Settle:
    """The new generation has passed its probation: nothing is kept to go back to."""

    generation: int


@dataclass(frozen=True, slots=True)
class GiveUp:
    """A new generation is no good: the one before goes on, or takes over again."""

    generation: int
    why: str
    exit_code: ExitCode = ExitCode.FAILED


@dataclass(frozen=True, slots=True)
class EndDegraded:
    """A child has proved itself: the slots are filled again."""


@dataclass(frozen=True, slots=True)
class SpawnJanitor:
    """Exec the host's helper for the database."""


@dataclass(frozen=True, slots=True)
class DismissJanitor:
    """Ask the janitor to end the host's lease and exit."""


@dataclass(frozen=True, slots=True)
class KillJanitor:
    """SIGKILL a janitor that no longer turns."""


@dataclass(frozen=True, slots=True)
class AbandonMold:
    """Wait no longer for a mold that was killed and does not end."""

    generation: int


@dataclass(frozen=True, slots=True)
class AbandonJanitor:
    """The same for a janitor."""


@dataclass(frozen=True, slots=True)
class Spawn:
    """Ask the mold of a generation for a child."""

    slot: int
    generation: int


@dataclass(frozen=True, slots=True)
class Drain:
    """Ask a child to finish what it holds, claim no more and exit."""

    slot: int
    reason: Reason
    until: float | None = None


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Ask a child to interrupt its run, so that it can be resumed, and exit."""

    slot: int
    reason: Reason
    until: float


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL a child's session."""

    slot: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class TellStall:
    """Warn of a child that shows no sign of life, with what the kernel says of it and its stacks."""

    slot: int


@dataclass(frozen=True, slots=True)
class DumpStack:
    """Ask a child for its stacks, to be kept with the run that it will lose in a moment."""

    slot: int


@dataclass(frozen=True, slots=True)
class Abandon:
    """Take back the runs of a killed child that does not end, and let another slot have its place."""

    slot: int


OfHelper = SpawnMold | KillMold | AbandonMold | SpawnJanitor | DismissJanitor | KillJanitor | AbandonJanitor
OfChild = Spawn | Drain | Interrupt | Kill
Step = Stage | Promote | Hold | Settle | GiveUp | EndDegraded
Tend = TellStall | DumpStack | Abandon
Action = OfHelper | OfChild | Step | Tend
