"""Storms: signals and kills without a plan, with runs in hand. Afterwards everything is as if there had been none.

The seed is printed with a failure; to blow the same storm again, as far as a kernel does anything
twice, put it into STORMS. `make test-faults` blows long ones too.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from types import MappingProxyType

import pytest

from orbitd.store import admin
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually, kill_process_of
from tests.support.leftovers import assert_nothing_is_left_over, living_in, open_descriptors

pytestmark = pytest.mark.daemon

LONG_SECONDS = float(os.environ.get("ORBITD_STORM_SECONDS", "0"))
SHORT_SECONDS = 1.5
SOME_SEED = random.SystemRandom().randrange(10**6)
STORMS = [pytest.param(1, SHORT_SECONDS, id="1"), pytest.param(SOME_SEED, SHORT_SECONDS, id="some")]
if LONG_SECONDS:
    STORMS += [pytest.param(2, LONG_SECONDS, id="2-long"), pytest.param(SOME_SEED, LONG_SECONDS, id="some-long")]
COUNT = 3
MOST_CHILDREN = 6
RUNS_A_STROKE = 4

WORK = """
    import random, time

    @pipeline("writes", max_crashes=1000)
    def writes(ctx: Context) -> None:
        time.sleep(random.random() * 0.03)
        with ctx.transaction() as connection:
            connection.execute("insert into written values (%s, %s)", [ctx.run_id, ctx.attempt])
        time.sleep(random.random() * 0.01)
"""


class Storm:
    """One stroke after the other, by a seed. Children that were stopped go on a little later."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.daemon, self.chance = daemon, random.Random(seed)
        self.runs = 0
        self._stopped: list[tuple[float, int]] = []

    def blow(self, seconds: float) -> None:
        """Strike for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.enqueue()
            STROKES[self.chance.choice(sorted(STROKES))](self)
            self._let_go(time.monotonic())
            time.sleep(self.chance.random() * 0.1)
        self._let_go(float("inf"))

    def signal(self, number: int) -> None:
        """Signal the arbiter."""
        self.daemon.signal(number)

    def more(self) -> None:
        """A child more, within what this machine can bear."""
        if self.daemon.status().get("children", {}).get("target", MOST_CHILDREN) < MOST_CHILDREN:
            self.signal(signal.SIGTTIN)

    def kill_child(self) -> None:
        """SIGKILL of any child."""
        self._strike_child(signal.SIGKILL)

    def stop_child(self) -> None:
        """SIGSTOP of any child, for a while."""
        if pid := self._strike_child(signal.SIGSTOP):
            self._stopped.append((time.monotonic() + self.chance.random() * 0.5, pid))

    def kill_helper(self, role: str) -> None:
        """SIGKILL of a mold or the janitor, if there is one just now."""
        pids = [each["pid"] for each in self.daemon.status().get("processes", []) if each["role"] == role]
        if pids:
            kill_process_of(self.daemon, self.chance.choice(pids))

    def _strike_child(self, number: int) -> int | None:
        pids = [slot["pid"] for slot in self.daemon.status().get("slots", []) if slot["pid"]]
        pid = self.chance.choice(pids) if pids else None
        return pid if pid and kill_process_of(self.daemon, pid, number) else None

    def _let_go(self, now: float) -> None:
        for at, pid in [each for each in self._stopped if each[0] <= now]:
            self._stopped.remove((at, pid))
            kill_process_of(self.daemon, pid, signal.SIGCONT)

    def enqueue(self) -> None:
        """More to do."""
        with self.daemon.database() as connection:
            admin.enqueue_many(connection, [{"pipeline": "writes"}] * RUNS_A_STROKE)
        self.runs += RUNS_A_STROKE


STROKES = MappingProxyType[str, Callable[[Storm], None]](
    {
        "HUP": lambda storm: storm.signal(signal.SIGHUP),
        "TTIN": Storm.more,
        "TTOU": lambda storm: storm.signal(signal.SIGTTOU),
        "USR1": lambda storm: storm.signal(signal.SIGUSR1),
        "USR2": lambda storm: storm.signal(signal.SIGUSR2),
        "kill a child": Storm.kill_child,
        "stop a child": Storm.stop_child,
        "kill a mold": lambda storm: storm.kill_helper("mold"),
        "kill the janitor": lambda storm: storm.kill_helper("janitor"),
    }
)


@pytest.mark.timeout(60 + 2 * LONG_SECONDS)
@pytest.mark.parametrize(("seed", "seconds"), STORMS)
def test_after_a_storm_all_is_as_before_and_no_run_is_lost_or_done_twice(begin: Begin, seed: int, seconds: float) -> None:
    print(f"seed {seed}")  # pytest shows it with a failure
    daemon = begin(WORK, **{"children.count": COUNT, "restart.min_uptime": "50ms", "host.lease": "3s", "host.beat": "500ms"})
    daemon.execute("create table written (run bigint, attempt int, primary key (run, attempt))")
    descriptors = open_descriptors(daemon)
    assert len(living_in(daemon.folder)) == 3 + COUNT
    storm = Storm(daemon, seed)
    storm.blow(seconds)
    eventually(lambda: _answers(daemon, "scale", amount=str(COUNT)))
    eventually(lambda: _answers(daemon, "reload", wait=True))
    _assert_all_is_done(daemon, storm.runs, seconds=20 + seconds)
    daemon.await_status(lambda status: status["state"] == "running" and status["children"]["ready"] == COUNT)
    assert_nothing_is_left_over(daemon, count=COUNT, descriptors=descriptors)
    assert "turn_failed" not in daemon.log()
    storm.enqueue()
    assert daemon.stop() == 0
    assert living_in(daemon.folder) == []
    left = "select count(*) filter (where state = 1) as running, count(*) as all from orbit.live"
    (seen,) = daemon.query(left)
    assert (seen["running"], seen["all"] + _outcomes(daemon)["runs"]) == (0, storm.runs)


def _answers(daemon: Daemon, command: str, **args: object) -> bool:
    """Whether it was carried out: amid the last of the storm a reload may be given up."""
    try:
        daemon.ask(command, **args)
    except Exception as error:  # noqa: BLE001 - shown by `eventually` only if it never ends
        print(f"{command}: {error}")
        return False
    return True


def _assert_all_is_done(daemon: Daemon, runs: int, *, seconds: float) -> None:
    """Every run has succeeded once, and has written; what has not, would be in `live` or among the failed."""
    eventually(lambda: _outcomes(daemon), lambda seen: seen["runs"] >= runs, seconds=seconds)
    assert _outcomes(daemon) == {"outcomes": runs, "runs": runs}
    assert daemon.query("select count(distinct run) as runs from written") == [{"runs": runs}]
    assert daemon.query("select (select count(*) from orbit.live) + (select count(*) from orbit.failed) as left") == [{"left": 0}]


def _outcomes(daemon: Daemon) -> dict[str, int]:
    """How often a run has succeeded, and how many have."""
    (seen,) = daemon.query("select count(*) as outcomes, count(distinct run_id) as runs from orbit.outcomes where outcome = 'succeeded'")
    return seen
