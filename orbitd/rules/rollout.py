"""A new generation on its way, and what is known of it: data, with pure judgements on it.

    STAGING --mold ready--> CANARY --its first child lived canary_time--> ROLLING --it holds the target--> PROBATION --time--> over
       |                      |                                              |                                |
       +----- given up: as if nothing had been -----+                        +----- given up: the one before rolls in again

Until it is promoted, at the end of CANARY, the one before serves; until the end of PROBATION its mold is kept to go back to.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from orbitd.errors import ExitCode
from orbitd.units import counted

_FEWEST_FAILURES = 5
_FEWEST_ENDED = 5
_SHARE_WHERE_UNKNOWN = 0.5
_WORSE_BY = 0.3


class Stage(StrEnum):
    """How far a new generation has come."""

    STAGING = "staging"
    CANARY = "canary"
    ROLLING = "rolling"
    PROBATION = "probation"


@dataclass(slots=True)
class Outcomes:
    """How the attempts of one generation's children have ended."""

    succeeded: int = 0
    failed: int = 0

    @property
    def ended(self) -> int:
        """All of them."""
        return self.succeeded + self.failed

    @property
    def failure_share(self) -> float:
        """The share that failed; where too few have ended to tell, one that only a broken generation exceeds by much."""
        return self.failed / self.ended if self.ended >= _FEWEST_ENDED else _SHARE_WHERE_UNKNOWN

    def are_worse_than(self, before: Outcomes) -> bool:
        """Whether attempts fail markedly more often than they did."""
        return self.failed >= _FEWEST_FAILURES and self.failure_share > before.failure_share + _WORSE_BY


@dataclass(slots=True)
class Rollout:
    """One reload under way. `fallback` is the generation to go back to, the last one that has passed its probation; 0 for none.

    `trouble` is why it must be given up, and `exit_code` what `orbitctl reload --wait` then ends with. `overtaken` is a rollout
    in whose midst this one was begun; it goes on if this one is given up before it is promoted.
    """

    generation: int
    fallback: int
    since: float
    canary_seconds: float
    stage: Stage = Stage.STAGING
    early_deaths: int = 0
    last_death: str = ""
    trouble: str | None = None
    exit_code: ExitCode = ExitCode.FAILED
    overtaken: Rollout | None = None

    @property
    def is_promoted(self) -> bool:
        """Whether its generation serves already."""
        return self.stage in (Stage.ROLLING, Stage.PROBATION)

    def move_to(self, stage: Stage, now: float) -> None:
        """Go on to the next stage."""
        self.stage, self.since = stage, now

    def begin_trial(self) -> None:
        """Its mold is ready; a mold that comes back later changes nothing."""
        if self.stage is Stage.STAGING:
            self.stage = Stage.CANARY

    def generations(self) -> set[int]:
        """Those whose molds are needed."""
        return {self.generation, self.fallback} | (self.overtaken.generations() if self.overtaken else set())

    def why_give_up(self, target: int, outcomes: Outcomes, before: Outcomes) -> str | None:
        """What speaks against the new generation, enough to give it up."""
        if self.trouble is not None:
            return self.trouble
        if self.early_deaths >= deaths_forgiven(target) + 1 and self.is_promoted:
            return f"{counted(self.early_deaths, 'child', 'children')} died soon after the start, last of {self.last_death}"
        if self.is_promoted and outcomes.are_worse_than(before):
            was = f", {before.failed} of {before.ended} before" if before.ended else ""
            return f"{outcomes.failed} of {outcomes.ended} attempts failed{was}"
        return None


def deaths_forgiven(target: int) -> int:
    """How many early deaths speak of chance (somebody's kill, a poisonous run) and not of a broken generation."""
    return max(1, math.ceil(target / 4) - 1)
