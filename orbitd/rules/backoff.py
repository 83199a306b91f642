"""When a slot whose child died may be filled again, and when to connect again to a database that does not answer.

The first early death of a streak is forgiven at once; from the second on the wait doubles, with full jitter, up to the
longest. A child that lived `min_uptime` ends the streak. That alone would let a child that dies each 11 seconds be
restarted for ever, so a budget over a window catches what `min_uptime` misses: past it the slot is *held*, with one
try each longest wait.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orbitd.rules.limits import Backoff

FIRST_RECONNECT_SECONDS = 0.1
LONGEST_RECONNECT_SECONDS = 5.0


@dataclass(slots=True)
class History:
    """What a slot remembers of its children's deaths. Times are CLOCK_BOOTTIME seconds."""

    streak: int = 0
    not_before: float = 0.0
    held: bool = False
    deaths: list[float] = field(default_factory=list)

    def is_waiting(self, now: float) -> bool:
        """True while the slot must stay empty."""
        return now < self.not_before


def after_death(history: History, policy: Backoff, *, lifetime_seconds: float, now: float, draw: float) -> None:
    """Note an unplanned death. `draw` is uniform in [0, 1): chance comes in as a parameter."""
    history.deaths = [at for at in history.deaths if now - at < policy.window_seconds] + [now]
    history.held = len(history.deaths) > policy.max_restarts
    history.streak = 0 if lifetime_seconds >= policy.min_uptime_seconds else history.streak + 1
    if history.held:
        history.not_before = now + policy.longest_seconds
    else:
        history.not_before = now + wait_seconds(history.streak, policy, draw)


def reconnect_seconds(attempts: int, draw: float) -> float:
    """The wait after so many attempts in vain to reach the database: none, then up to 0.1 s, 0.2 s, and so on to 5 s, with full jitter.

    So a fleet whose database comes back does not come back at once. `draw` is uniform in [0, 1).
    """
    if attempts == 0:
        return 0.0
    return draw * min(LONGEST_RECONNECT_SECONDS, FIRST_RECONNECT_SECONDS * 2.0 ** min(attempts - 1, 10))


def wait_seconds(streak: int, policy: Backoff, draw: float) -> float:
    """The wait after the streak's last early death: 0, then up to first, 2 × first, and so on."""
    if streak <= 1:
        return 0.0
    doublings = min(streak - 2, 32)
    return draw * min(policy.longest_seconds, policy.first_seconds * 2.0**doublings)
