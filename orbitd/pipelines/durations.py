"""Durations as authors give them: "5m", or a number of seconds."""

from __future__ import annotations

from orbitd.units import parse_duration

LONGEST_SECONDS = 100 * 365 * 86400.0


def as_seconds(duration: str | float) -> float:
    """Seconds of "5m" or of a number of seconds.

    Raises ValueError for anything else: negative, endless, not a number, above a hundred years.
    """
    if isinstance(duration, str):
        return parse_duration(duration)
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        raise ValueError(f'{duration!r} is not a duration: give seconds, or text such as "30s", "10m", "1h30m"')  # noqa: TRY004 - one error for all wrong durations
    if not 0 <= duration <= LONGEST_SECONDS:
        raise ValueError(f"{duration!r} seconds is not a duration: give a number from 0 to {LONGEST_SECONDS:.0f}")
    return float(duration)
