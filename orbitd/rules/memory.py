"""Memory as the arbiter watches it: whom to weigh fully, and which deaths the kernel's OOM killer accounts for."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orbitd.rules.roster import HEAVY_SAMPLES, Child

FULL_SAMPLE_SECONDS = 30.0
"""A full sample older than this is worth another, whether the child has grown or not: what it shares may have become its own."""
GROWTH_BYTES = 16 * 1024 * 1024
GROWTH_SHARE = 0.1
"""A resident set that has grown by so much, or by such a share, since the last full sample is worth another at once."""
NEWBORN_SECONDS = 60.0
"""For so long after its boot a child without a full sample is hurried for its first, the baseline."""
_LONGEST_DYING_SECONDS = 30.0


def whom_to_weigh_fully(children: Iterable[Child], rss_bytes: dict[int, int], now: float) -> Child | None:
    """One at most, since a full sample costs milliseconds: who has none yet; who was over its limit; who has grown most; the stalest.

    `rss_bytes` is the newest resident set of each slot.
    """
    booted = [child for child in children if child.booted_at is not None]
    newborn = [child for child in booted if is_newborn(child, now)]
    if newborn:
        return newborn[0]
    if suspects := [child for child in booted if 0 < child.heavy_own_samples < HEAVY_SAMPLES]:
        return suspects[0]
    growth = {child.slot: rss_bytes[child.slot] - child.own_seen_rss_bytes for child in booted if child.own_bytes is not None}
    grown = [child for child in booted if growth.get(child.slot, 0) > min(GROWTH_BYTES, child.own_seen_rss_bytes * GROWTH_SHARE)]
    if grown:
        return max(grown, key=lambda child: growth[child.slot])
    stale = [child for child in booted if now >= child.own_seen_at + FULL_SAMPLE_SECONDS]
    return min(stale, key=lambda child: child.own_seen_at, default=None)


def is_newborn(child: Child, now: float) -> bool:
    """Whether it still waits for its first full sample."""
    return child.own_bytes is None and child.booted_at is not None and now < child.booted_at + NEWBORN_SECONDS


@dataclass(slots=True)
class OomKills:
    """The kernel's count of OOM kills in our control group, held against deaths: each kill accounts for one.

    The count goes up before the victim is gone, and a large one takes its time to go: so a kill is kept for a while. It may
    have hit a program that a child had started: then no child's death claims it, and it lapses.
    """

    counted: int | None = None
    unclaimed: list[float] = field(default_factory=list)

    def note(self, count: int | None, now: float) -> None:
        """The count as it stands; None where there is none."""
        if count is not None and self.counted is not None:
            self.unclaimed += [now] * (count - self.counted)
        self.counted = count
        self.unclaimed = [at for at in self.unclaimed if now < at + _LONGEST_DYING_SECONDS]

    def claim(self) -> bool:
        """Whether there is a kill that a death by a SIGKILL not ours may be put down to."""
        if not self.unclaimed:
            return False
        self.unclaimed.pop(0)
        return True
