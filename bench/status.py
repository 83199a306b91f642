"""How long a person waits for `orbitctl status`: a whole process, from fork to exit, that reads a configuration to find the daemon."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.report import Goal, Row, percentile
from bench.rig import Rig, end
from bench.stamps import now

_ORBITCTL = Path(sys.executable).with_name("orbitctl")
_NOTHING = [sys.executable, "-c", "pass"]
_BURN_IN_SECONDS = 3.0  # before that the scheduler still favours us, who have slept so long
_BURNERS = 2 * (os.cpu_count() or 1)
_BURN = [sys.executable, "-c", "while True: pass"]


def measure(rig: Rig) -> list[Row]:
    """With cores to spare, and with two busy processes for each core; a Python that does nothing takes turns with it."""
    calm: tuple[list[float], list[float]] = ([], [])
    busy: tuple[list[float], list[float]] = ([], [])
    with rig.daemon(**{"children.count": 4}) as daemon:
        status = [str(_ORBITCTL), "-c", str(daemon.config), "status"]
        _milliseconds(status)  # fills the caches
        for _ in range(rig.effort.rounds):
            _call(status, calm, rig.effort.calls)
            burners = [subprocess.Popen(_BURN) for _ in range(_BURNERS)]
            time.sleep(_BURN_IN_SECONDS)
            _call(status, busy, rig.effort.calls)
            end(burners)
    name = "python -c pass"
    return [
        Row("B11", "orbitctl status, ms: p50", [percentile(calm[0], 50)], [percentile(calm[1], 50)], name, Goal("≤", 70)),
        Row(
            "B11",
            "orbitctl status, every core twice busy, ms: p50",
            [percentile(busy[0], 50)],
            [percentile(busy[1], 50)],
            name,
            Goal("≤", 200),
        ),
    ]


def _call(status: Sequence[str], into: tuple[list[float], list[float]], times: int) -> None:
    for _ in range(times):
        into[0].append(_milliseconds(status))
        into[1].append(_milliseconds(_NOTHING))


def _milliseconds(command: Sequence[str]) -> float:
    at = now()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return (now() - at) * 1000
