"""Durations, sizes, times and numbers of things as people write them: "5s", "1h30m", "500MiB", "3 runs".

A bare number has no unit and is refused, except 0, which means "none" or "off" everywhere.
Only ASCII digits count: "٣s" is not three seconds.
"""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_BYTES = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "K": 2**10, "M": 2**20, "G": 2**30}
_DURATION_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d|w)")
DURATION_PATTERN = rf"(?:{_DURATION_PART.pattern})+"
SIZE_PATTERN = r"([0-9]+(?:\.[0-9]+)?) ?(B|KB|MB|GB|KiB|MiB|GiB|K|M|G)"
_DURATION = re.compile(DURATION_PATTERN)
_SIZE = re.compile(SIZE_PATTERN)
_LONGEST_SECONDS = 100 * 365 * 86400.0
_LARGEST_BYTES = 2**53


def parse_duration(text: str) -> float:
    """Seconds of "500ms", "5s", "1h30m", "7d".

    Raises ValueError for anything else, and above a hundred years.
    """
    if text == "0":
        return 0.0
    if not _DURATION.fullmatch(text):
        raise ValueError(f'"{text}" is not a duration: write a number and a unit, such as "500ms", "30s", "10m", "1h30m"')
    seconds = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION_PART.findall(text))
    if seconds > _LONGEST_SECONDS:
        raise ValueError(f'"{text}" is longer than a hundred years')
    return seconds


def as_seconds(duration: str | float | timedelta) -> float:
    """Seconds of "5m", of a number of seconds, or of a timedelta: durations as code gives them.

    Raises ValueError for anything else: negative, endless, not a number, above a hundred years.
    """
    if isinstance(duration, str):
        return parse_duration(duration)
    if isinstance(duration, timedelta):
        duration = duration.total_seconds()
    if isinstance(duration, bool) or not isinstance(duration, int | float):
        raise ValueError(f'{duration!r} is not a duration: give seconds, or text such as "30s", "10m", "1h30m"')  # noqa: TRY004 - one error for all wrong durations
    if not 0 <= duration <= _LONGEST_SECONDS:
        raise ValueError(f"{duration!r} seconds is not a duration: give a number from 0 to {_LONGEST_SECONDS:.0f}")
    return float(duration)


def parse_size(text: str) -> int:
    """Bytes of "512KiB", "500MiB", "2GB", and of PM2's "500M" (binary).

    Raises ValueError for anything else, and above 2**53.
    """
    if text == "0":
        return 0
    matched = _SIZE.fullmatch(text)
    if not matched:
        raise ValueError(f'"{text}" is not a size: write a number and a unit, such as "256KiB", "500MiB", "2GiB"')
    size_bytes = float(matched[1]) * _BYTES[matched[2]]
    if size_bytes > _LARGEST_BYTES:
        raise ValueError(f'"{text}" is larger than 8 PiB')
    return int(size_bytes)


def format_duration(seconds: float) -> str:
    """The shortest exact writing for people: "1h30m", "5s", "250ms"."""
    if seconds < 1:
        return f"{round(seconds * 1000)}ms" if seconds else "0s"
    rest = math.floor(seconds)
    parts = []
    for unit in ("d", "h", "m", "s"):
        amount, rest = divmod(rest, int(_SECONDS[unit]))
        if amount:
            parts.append(f"{amount}{unit}")
    return "".join(parts[:2])


def format_size(size_bytes: int) -> str:
    """Bytes for people: "0B", "512KiB", "1.5GiB"."""
    size = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f}{unit}" if size >= 100 or size == int(size) else f"{size:.1f}{unit}"


def rfc3339(moment: datetime) -> str:
    """The moment in UTC, in milliseconds: of one width, so that such texts can be compared."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def counted(number: int, one: str, more: str | None = None) -> str:
    """How many of them: "no runs", "1 run", "3 runs". `more` is what several are called, unless it is `one` with an s."""
    return f"{number or 'no'} {one if number == 1 else more or f'{one}s'}"
