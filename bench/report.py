"""The table that the bench prints."""

from __future__ import annotations

import math
import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be; `of` says whether the figure itself is meant, or its ratio to the reference."""

    sign: Literal["≤", "≥"]
    bound: float
    of: Literal["value", "ratio"] = "value"

    def is_met(self, value: float, ratio: float) -> bool:
        """Whether the figure is as it should be."""
        judged = value if self.of == "value" else ratio
        return judged <= self.bound if self.sign == "≤" else judged >= self.bound

    def __str__(self) -> str:
        return f"{self.sign} {self.bound:g}{' ×' if self.of == 'ratio' else ''}"


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a figure of each round, and those of the reference beside it, if there is one."""

    target: str
    what: str
    values: Sequence[float]
    beside: Sequence[float] = ()
    beside_name: str = ""
    goal: Goal | None = None

    def cells(self) -> tuple[str, ...]:
        """The line as texts."""
        value = statistics.median(self.values)
        ratio = value / reference if self.beside and (reference := statistics.median(self.beside)) else math.nan
        verdict = "" if self.goal is None else f"{self.goal} {'met' if self.goal.is_met(value, ratio) else '**missed**'}"
        beside = f"{self.beside_name}: {spread(self.beside)}" if self.beside else self.beside_name
        return self.target, self.what, spread(self.values), beside, "" if math.isnan(ratio) else f"{short(ratio)} ×", verdict


def percentile(values: Iterable[float], percent: float) -> float:
    """The value that so many percent of all do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def load() -> str:
    """How busy the machine has been for the last minutes, everybody's work counted."""
    return ", ".join(f"{each:.1f}" for each in os.getloadavg())


def heading(server_version: str, load_at_start: str) -> str:
    """When, on what, and how disturbed."""
    return (
        f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}; "
        f"Postgres {server_version}, fsync and synchronous_commit on; Python {platform.python_version()}; "
        f"load average at start {load_at_start}, at the end {load()} (the bench itself makes about 1.5)"
    )


LEGEND = (
    "In brackets: from the lowest to the highest round; the figure is their median. A ratio is orbitd's figure by the one beside it. "
    "Beside it, unless said otherwise: workers of `bench/handwritten.py` on the same Postgres, in the same run, in turns."
)


def table(rows: Iterable[Row]) -> str:
    """A Markdown table."""
    return markdown(("target", "what", "orbitd", "beside it", "ratio", "should be"), (row.cells() for row in rows))


def markdown(head: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """A Markdown table of these texts."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, ("---",) * len(head), *lines))


def spread(values: Sequence[float]) -> str:
    """The median, and from where to where the rounds went."""
    middle = short(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({short(min(values))}–{short(max(values))})"


def short(value: float) -> str:
    """Three digits, and never an exponent."""
    if value == 0:
        return "0"
    decimals = max(0, _DIGITS - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}".replace(",", " ")
