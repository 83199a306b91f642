"""How many runs a child asks for at once.

One, unless somebody has asked for batches: runs that wait in a child's hand wait there for the one in front. "auto" takes more only
of lanes whose runs have been short for a while, and only as long as there are many.
"""

from __future__ import annotations

from typing import Literal

Batch = int | Literal["auto"]
"""So many at most, or "auto"."""

AUTO: Literal["auto"] = "auto"
MOST_IN_HAND = 64
_WORTH_SECONDS = 0.1
_SHORT_SECONDS = 0.05
_SHORT_RUNS = 20
_WEIGHT = 1 / 8


class Pace:
    """What one child has seen of one lane: how long its runs take, and whether there were as many as it asked for."""

    def __init__(self) -> None:
        self._short_runs = 0
        self._mean_seconds = 0.0
        self._was_full = False

    def note_claim(self, wanted: int, brought: int) -> None:
        """A claim has asked for so many, and brought so many."""
        self._was_full = brought >= wanted

    def note_run(self, seconds: float) -> None:
        """A run took so long."""
        if seconds < _SHORT_SECONDS:
            self._mean_seconds += (seconds - self._mean_seconds) * (_WEIGHT if self._short_runs else 1)
            self._short_runs += 1
        else:
            self._short_runs = 0

    def want(self, batch: Batch) -> int:
        """How many to ask for next. With "auto" as many as take a tenth of a second."""
        if batch != AUTO:
            return min(batch, MOST_IN_HAND)
        if not self._was_full or self._short_runs < _SHORT_RUNS:
            return 1
        return max(1, min(MOST_IN_HAND, round(_WORTH_SECONDS / max(self._mean_seconds, 1e-6))))
