"""The one clock for local deadlines: CLOCK_BOOTTIME, which goes on while the machine sleeps.

A lease or a deadline on CLOCK_MONOTONIC would still look valid after an hour of suspend.
"""

from __future__ import annotations

import time


def now() -> float:
    """Seconds of CLOCK_BOOTTIME."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
