"""kill -9 of the child that has a run in hand, until the run's code begins again."""

from __future__ import annotations

from bench.report import Goal, Row, percentile
from bench.rig import Rig
from bench.stamps import Stamps, listening, now
from tests.support.daemon import Daemon, kill_process_of

# No wait after an early death, and a run that may lose any number of children: we kill the same one again and again.
_OPTIONS = {"restart.min_uptime": "0", "runs.max_crashes": 1000}
_NEVER = "never: the row stays running"


def measure(rig: Rig) -> list[Row]:
    """Two cases in turn: another child is idle, or the run waits for the next child of the slot."""
    milliseconds: dict[int, list[float]] = {2: [], 1: []}
    for _ in range(rig.effort.rounds):
        for count, into in milliseconds.items():
            into.extend(_rounds_of_kills(rig, count))
    with_idle, alone = milliseconds[2], milliseconds[1]
    return [
        Row("B8", "kill -9 → runs again in an idle child, ms: p50", [percentile(with_idle, 50)], beside_name=_NEVER),
        Row("B8", "kill -9 → runs again in an idle child, ms: p99", [percentile(with_idle, 99)], beside_name=_NEVER, goal=Goal("≤", 100)),
        Row("B8", "kill -9 → slot READY and runs again, ms: p50", [percentile(alone, 50)], beside_name=_NEVER),
        Row("B8", "kill -9 → slot READY and runs again, ms: p99", [percentile(alone, 99)], beside_name=_NEVER, goal=Goal("≤", 150)),
    ]


def _rounds_of_kills(rig: Rig, children: int) -> list[float]:
    with rig.daemon(**{"children.count": children, **_OPTIONS}) as daemon, listening() as stamps:
        daemon.enqueue("hold", pipe=stamps.path)
        holder = stamps.next().pid
        found = []
        for _ in range(rig.effort.kills):
            milliseconds, holder = _kill(daemon, holder, stamps)
            found.append(milliseconds)
        return found


def _kill(daemon: Daemon, holder: int, stamps: Stamps) -> tuple[float, int]:
    """How long it took, and who has the run now."""
    daemon.await_status(lambda status: status["children"]["ready"] == status["children"]["target"])
    at = now()
    if not kill_process_of(daemon, holder):
        raise RuntimeError(f"process {holder} is no child of the daemon")
    again = stamps.next()
    return (again.at - at) * 1000, again.pid
