"""The two tables: the targets, met or missed; and all figures, a column for each contender."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bench.report import markdown, short, spread
from bench.store.contest import Contest, Line, Verdict

LEGEND = (
    "In brackets: from the lowest to the highest round; the figure is their median. All contenders on the same Postgres, in the same run, "
    "in turns; those of the lines on idling, and of one kill each, side by side. –: nothing to compare, or the look failed."
)


def verdicts(found: Sequence[Verdict]) -> str:
    """The targets."""
    return markdown(("target", "what", "measured", "should be", ""), (_verdict(each) for each in found))


def _verdict(verdict: Verdict) -> Sequence[str]:
    unit = f" {verdict.unit}" if verdict.unit else ""
    wanted = f"{verdict.goal}{unit}"
    if math.isnan(verdict.value):
        return verdict.target, verdict.what, "not measured", wanted, ""
    met = verdict.goal.is_met(verdict.value, verdict.value)
    return verdict.target, verdict.what, f"{short(verdict.value)}{unit}", wanted, "met" if met else "**missed**"


def figures(lines: Sequence[Line], contest: Contest) -> str:
    """All that was seen."""
    names = list(contest.contenders)
    return markdown(("what", *names), ((line.what, *(_cell(line, name) for name in names)) for line in lines))


def _cell(line: Line, name: str) -> str:
    values = line.values.get(name)
    if not values:
        return "–"
    return "∞" if all(map(math.isinf, values)) else spread(values)


def notes(contest: Contest) -> str:
    """Who took part, with which settings; who did not, and why; what failed."""
    taking_part = [f"* **{f'{each.name} {each.version}'.strip()}**: {each.settings}" for each in contest.contenders.values()]
    missing = [f"* **{name}** was not measured: {why}" for name, why in contest.missing.items()]
    failed = [f"* failed: {each}" for each in contest.failures]
    return "\n".join((*taking_part, *missing, *failed))
