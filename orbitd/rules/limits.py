"""The numbers that supervision goes by. `config` makes them; the rules know nothing of TOML. Seconds and bytes."""

from __future__ import annotations

import math
from dataclasses import dataclass

MOST_CHILDREN = 48
"""The most children that one daemon runs; the shared memory has slots for as many and a surge."""
MOST_SURGE = 16


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long a slot stays empty after an early death."""

    first_seconds: float = 0.5
    longest_seconds: float = 60.0
    min_uptime_seconds: float = 10.0
    max_restarts: int = 10
    window_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Limits:
    """Everything that `decide` compares with."""

    backoff: Backoff
    janitor_backoff: Backoff
    boot_seconds: float = 60.0
    drain_seconds: float = 30.0
    kill_after_seconds: float = 10.0
    max_rss_bytes: int = 0
    max_own_bytes: int = 0
    memory_hard_factor: float = 2.0
    max_runs: int = 0
    max_lifetime_seconds: float = 0.0
    jitter: float = 0.0
    max_surge: int = 1
    max_surge_share: float = 0.0
    canary_seconds: float = 0.0
    probation_seconds: float = 30.0
    boots_at_once: int = 2
    look_seconds: float = 2.0
    janitor_stall_seconds: float = 30.0
    stall_seconds: float = 5.0
    idle_stall_seconds: float = 60.0
    stall_kill_seconds: float = 0.0
    farewell_seconds: float = 5.0

    def surge_of(self, target: int) -> int:
        """How many children more than the target may live while others are replaced."""
        return max(self.max_surge, min(MOST_SURGE, math.ceil(self.max_surge_share * target)))
