"""The table: a line for each figure, a column for each contender, and gunicorn's figure by ours."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.report import Goal, markdown, short, spread

NAMES = ("orbitd", "gunicorn", "PM2")

LEGEND = (
    "In brackets: from the lowest to the highest round; the figure is their median. The ratio is gunicorn's figure by orbitd's. "
    "All contenders in the same run, in turns; those of the lines on idling and on dying workers side by side."
)


@dataclass(frozen=True, slots=True)
class Line:
    """A figure of each contender, by its name. What `compares` not is left out of the ratio. `target`: as performance.md counts them."""

    target: str
    what: str
    values: Mapping[str, Sequence[float]]
    goal: Goal | None = None

    def cells(self, missing: Mapping[str, str]) -> Sequence[str]:
        """The line as texts; `missing` says why a contender could not be measured at all."""
        figures = [spread(each) if (each := self.values.get(name)) else missing.get(name, "–") for name in NAMES]
        ratio = self._ratio()
        verdict = ""
        if self.goal and (self.goal.of == "value" or not math.isnan(ratio)):
            verdict = f"{self.goal} {'met' if self.goal.is_met(statistics.median(self.values['orbitd']), ratio) else '**missed**'}"
        return self.target, self.what, *figures, "" if math.isnan(ratio) else f"{short(ratio)} ×", verdict

    def _ratio(self) -> float:
        theirs, ours = self.values.get("gunicorn"), statistics.median(self.values["orbitd"])
        return statistics.median(theirs) / ours if theirs and ours else math.nan


def table(lines: Iterable[Line], missing: Mapping[str, str]) -> str:
    """A Markdown table."""
    head = ("target", "what", *NAMES, "gunicorn by orbitd", "should be")
    return markdown(head, (line.cells(missing) for line in lines))
