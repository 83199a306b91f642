"""The run: who takes part, how much is measured, and what has been seen."""

from __future__ import annotations

import math
import statistics
import sys
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Self

from bench.report import Goal
from bench.rig import Rig
from bench.store.contenders import Contender, Queue, everybody

ORBITD, AUTO, GRAPHILE, HANDWRITTEN = "orbitd", "orbitd, auto", "graphile-worker", "hand-written"
OURS = (ORBITD, AUTO)
PYTHON_PEERS = ("PgQueuer", "Procrastinate", "oban")

RATE = "no-op runs/s"
WITHIN = 0.95

Figures = Mapping[str, float]


@dataclass(frozen=True)
class Effort:
    """How much is measured. Rows and jobs may be scaled, seconds not."""

    rounds: int = 3
    seconds: float = 2.0  # of a look at a rate
    starts: int = 35
    singly: int = 400
    at_once: int = 20_000
    idle_seconds: float = 20.0
    pairs: int = 2
    small: int = 20_000
    backlog: int = 1_000_000
    outcomes: int = 10_000_000
    free_seconds: float = 4.0
    held_seconds: float = 14.0
    aside_seconds: float = 6.0
    kills: int = 15
    patience_seconds: float = 60.0
    wal_jobs: int = 10_000
    children: tuple[int, ...] = (1, 2, 4, 8, 16)

    def with_rounds(self, rounds: int) -> Self:
        """The same with so many rounds."""
        return replace(self, rounds=rounds)

    def scaled(self, by: float) -> Self:
        """The same with so many times the rows."""
        backlog, outcomes, wal_jobs = (max(1000, int(rows * by)) for rows in (self.backlog, self.outcomes, self.wal_jobs))
        return replace(self, backlog=backlog, outcomes=outcomes, wal_jobs=wal_jobs)


QUICK = replace(
    Effort(rounds=1, seconds=1.0, starts=8, singly=50, at_once=2_000, idle_seconds=3.0, small=4_000),
    pairs=1,
    backlog=20_000,
    outcomes=50_000,
    free_seconds=2.0,
    held_seconds=4.0,
    aside_seconds=2.0,
    kills=2,
    patience_seconds=8.0,
    wal_jobs=1_000,
    children=(1, 4),
)


@dataclass
class Seen:
    """Figures of all rounds, by their names and the contenders'."""

    figures: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    def add(self, contender: str, figures: Figures) -> None:
        """Those of one look."""
        for name, value in figures.items():
            self.figures[name][contender].append(value)

    def of(self, name: str) -> Mapping[str, Sequence[float]]:
        """One figure of everybody."""
        return self.figures[name]

    def median(self, name: str, contender: str) -> float:
        """One figure of one; not a number if it was not seen."""
        values = self.figures[name].get(contender)
        return statistics.median(values) if values else math.nan


@dataclass(frozen=True, slots=True)
class Line:
    """A figure of each contender, by its name."""

    what: str
    values: Mapping[str, Sequence[float]]


@dataclass(frozen=True, slots=True)
class Verdict:
    """A target: a figure of ours, or its ratio to a reference, and what it should be."""

    target: str
    what: str
    value: float
    goal: Goal
    unit: str = ""


Results = Iterable[Line | Verdict]


class Contest:
    """Those who can be measured here, and why the others cannot."""

    def __init__(self, rig: Rig, effort: Effort, only: Sequence[str] = ()) -> None:
        self.rig, self.effort = rig, effort
        wanted = [each for each in everybody(rig) if not only or each.name in only]
        self.missing = {each.name: each.missing for each in wanted if each.missing}
        self.contenders = {each.name: each for each in wanted if not each.missing}
        self.rates = {each.name: each.guess for each in wanted}
        self.failures: list[str] = []
        self.series: dict[str, list[tuple[float, float]]] = {}

    @property
    def ours(self) -> list[Contender]:
        """orbitd, in each of its ways."""
        return [self.contenders[name] for name in OURS if name in self.contenders]

    @property
    def best(self) -> str:
        """Which of ours is judged by rates of short runs: that with batches, if there is one."""
        return AUTO if AUTO in self.contenders else ORBITD

    def with_processes(self) -> list[Contender]:
        """Those that run one job in a process at a time."""
        return [self.contenders[name] for name in (*OURS, HANDWRITTEN) if name in self.contenders]

    @contextmanager
    def queues(self) -> Iterator[Mapping[str, Queue]]:
        """A queue for each, to be used for all rounds."""
        with ExitStack() as stack:
            yield {name: stack.enter_context(each.queue()) for name, each in self.contenders.items()}

    def in_turns(self, look: Callable[[Contender], Figures], contenders: Iterable[Contender] = (), rounds: int = 1) -> Seen:
        """A look at each, one after the other, in each round. Who fails is told of at the end, and does not stop the others."""
        seen = Seen()
        for _ in range(rounds):
            for contender in contenders or self.contenders.values():
                with self.forgiving(contender.name):
                    seen.add(contender.name, look(contender))
        return seen

    def forgiving(self, name: str) -> _Forgiving:
        """A context in which a failure is noted."""
        return _Forgiving(self, name)


@dataclass
class _Forgiving:
    contest: Contest
    name: str

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> bool:
        if not isinstance(error, Exception | AssertionError):
            return False
        traceback.print_exception(error, file=sys.stderr)
        self.contest.failures.append(f"{self.name}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
        return True
