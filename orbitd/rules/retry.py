"""What follows an attempt that ended in an error: another one after a delay, or the dead-letter queue."""

from __future__ import annotations

from collections.abc import Sequence

FIRST_SECONDS = 15.0
LONGEST_SECONDS = 86400.0


def delay_seconds(backoff: str | Sequence[float], errors: int, draw: float) -> float:
    """The wait before the next attempt after `errors` failed ones (≥ 1).

    A list gives the waits themselves, the last one repeated. "exponential" is 15 s, 30 s, 1 min … up to a day, half of it
    jitter, so that what failed together does not come back together. `draw` is uniform in [0, 1).
    """
    if not isinstance(backoff, str):
        return backoff[min(errors, len(backoff)) - 1] if backoff else 0.0
    base = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(errors - 1, 32))
    return base / 2 + draw * base / 2


def attempts_left(errors: int, max_attempts: int) -> bool:
    """Whether a run that has failed `errors` times may be tried again."""
    return errors < max_attempts
