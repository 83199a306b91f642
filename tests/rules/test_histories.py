"""Supervision under any history of events: it converges, orders nothing twice, never turns for nothing, and always ends.

Short histories are drawn and shrunk by hypothesis; long ones are grown from a seed that hypothesis draws, a hundred thousand
steps in all. Pids are few and come back, exits overtake what was said before them, and come twice.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings, strategies as st

from orbitd.rules import actions, events
from orbitd.rules.exits import ExitStatus
from orbitd.rules.limits import Backoff, Limits
from orbitd.rules.liveness import UNKILLABLE_SECONDS
from orbitd.rules.roster import Child
from orbitd.rules.states import Activity, Phase, Reason, StopLevel
from orbitd.rules.supervise import is_finished, next_deadline
from tests.support.simulated import KILLED, Fleet

LIMITS = Limits(
    backoff=Backoff(),
    janitor_backoff=Backoff(),
    boots_at_once=3,
    max_rss_bytes=1000,
    max_own_bytes=500,
    max_lifetime_seconds=100_000.0,
    jitter=0.2,
    max_surge_share=0.25,
    canary_seconds=2.0,
    probation_seconds=30.0,
    stall_kill_seconds=30.0,
)
OF_ONE_CHILD = actions.Drain | actions.Interrupt | actions.Kill
REPLACING = frozenset(Reason) - {Reason.SURPLUS, Reason.STOPPING, Reason.DRAIN_TIMEOUT}

HAPPENINGS: dict[str, int] = {
    "time": 6,
    "boot": 10,
    "busy": 6,
    "idle": 4,
    "waiting": 1,
    "die": 4,
    "leave": 8,
    "echo": 1,
    "mold_ready": 6,
    "mold_dies": 1,
    "mold_fails": 1,
    "refused": 1,
    "janitor_dies": 1,
    "scale": 2,
    "reload": 2,
    "restart": 1,
    "heavy": 2,
    "bursting": 1,
    "worn": 2,
    "pressure": 1,
    "outcomes": 2,
    "spawn_fails": 1,
    "killed": 2,
    "lost": 1,
    "code_changed": 1,
    "stands_still": 1,
    "frozen": 1,
}


class History:
    """A fleet to which things happen; after each one, what must hold is asserted."""

    def __init__(self) -> None:
        self.fleet = Fleet(count=3, limits=LIMITS)
        self.orders: Counter[tuple[int, type]] = Counter()
        self.told: list[Child] = []

    def step(self, what: str, slot: int, draw: float) -> None:
        """Something happens, and the rules are asked once."""
        fleet = self.fleet
        self._happen(what, slot, draw)
        able, needed = len(fleet.roster.able()), fleet.desired.count
        before = {child.slot: child for child in fleet.roster.children()}
        done = fleet.turn()
        orders = [action for action in done if isinstance(action, OF_ONE_CHILD | actions.Spawn)]
        assert len(orders) == len({order.slot for order in orders}), done
        replaced = [order for order in orders if isinstance(order, actions.Drain) and order.reason in REPLACING]
        assert able - sum(before[order.slot].is_able for order in replaced) >= needed or not replaced, done
        for order in orders:
            if isinstance(order, OF_ONE_CHILD):
                self._note_order(order, before[order.slot])
        if next_deadline(fleet.roster, fleet.desired, fleet.limits, fleet.now) <= fleet.now:
            log = len(fleet.log)
            fleet.turn()
            assert len(fleet.log) > log, "a busy loop: it is due now, and nothing is to be done"

    def _note_order(self, order: OF_ONE_CHILD, child: Child) -> None:
        """No child is told the same twice: each escalation is one change of phase."""
        self.told.append(child)  # so that its id is not given to another
        key = (id(child), type(order))
        self.orders[key] += 1
        assert self.orders[key] == 1, (order, child)

    def _happen(self, what: str, slot: int, draw: float) -> None:  # noqa: C901, PLR0912, PLR0915 - one arm a happening
        fleet, roster = self.fleet, self.fleet.roster
        fleet.pid %= 7  # they come back
        child = roster.slots[slot].child
        match what:
            case "time":
                fleet.pass_time(20 * draw**3)
            case "boot" if child:
                fleet.boot(slot)
            case "busy" if child:
                fleet.seen(slot, Activity.BUSY, deadline=fleet.now + 30 * draw if draw < 0.5 else 0.0)
            case "idle" if child:
                fleet.seen(slot, Activity.IDLE)
            case "waiting" if child:
                fleet.seen(slot, Activity.WAITING)
            case "die" if child:
                fleet.die(slot, ExitStatus(signal=11) if draw < 0.5 else ExitStatus(code=1), draw)
            case "leave" if child and not child.is_serving:
                fleet.die(slot, ExitStatus(code=0), draw)
            case "echo":
                for event in (events.ChildExited(slot, KILLED, fleet.now, draw), events.ChildBooted(slot, fleet.now)):
                    roster.note(event)
            case "mold_ready":
                for mold in list(roster.molds.values()):
                    if not mold.is_leaving:
                        roster.note(events.MoldReady(mold.generation, forks=draw < 0.7))
                    elif draw < 0.5:
                        roster.note(events.MoldExited(mold.generation, KILLED, fleet.now, draw))
            case "mold_dies":
                for generation in list(roster.molds)[: 1 + int(draw * 2)]:
                    roster.note(events.MoldExited(generation, KILLED, fleet.now, draw))
            case "mold_fails" if roster.rollout and roster.rollout.fallback:
                roster.note(events.MoldKilled(roster.rollout.generation, fleet.now))
                roster.note(events.GenerationRefused(roster.rollout.generation, "SyntaxError"))
            case "refused" if roster.rollout and roster.rollout.fallback:
                roster.note(events.GenerationRefused(roster.rollout.generation, "children.max_rss: too little"))
            case "janitor_dies" if roster.janitor.pid is not None:
                roster.note(events.JanitorExited(fleet.now, draw))
            case "scale":
                fleet.desired.count = int(draw * 7)
                roster.note(events.Scaled(fleet.desired.count, fleet.now))
            case "reload":
                fleet.reload()
            case "restart":
                roster.note(events.RestartAsked(frozenset({slot, 0})))
            case "heavy" if child:
                roster.note(events.MemorySeen(slot, 1500, 400 if draw < 0.5 else None, fleet.now))
            case "bursting" if child:
                roster.note(events.MemorySeen(slot, 3000, None, fleet.now))
            case "worn" if child:
                roster.note(events.ChildWorn(slot))
            case "pressure":
                roster.note(events.MemoryPressure(int(draw * 100), 100, fleet.now))
            case "outcomes" if child:
                roster.note(events.RunsEnded(child.generation, int(draw * 10), int((1 - draw) * 3)))
            case "stands_still" if child:
                roster.note(events.ChildSeen(slot, Activity.BUSY, 0.0, fleet.now - 40 * draw))
            case "frozen":
                fleet.pass_time(100 * draw)
                roster.note(events.Thawed(100 * draw, fleet.now))
            case "killed" if child and child.phase is not Phase.DYING:
                roster.note(events.KillSent(slot, Reason.KILL_ASKED, fleet.now))
            case "lost" if child and child.booted_at is None:
                child.pid = None
                fleet.die(slot, ExitStatus(), draw)
            case "code_changed":
                for mold in roster.molds.values():
                    if not mold.is_ready and not mold.is_leaving and mold.generation == fleet.desired.generation == roster.generation:
                        roster.note(events.CodeChanged(mold.generation))
                        fleet.desired.generation = max(roster.newest_generation, fleet.desired.generation) + 1
            case "spawn_fails" if child is None:
                roster.note(events.SpawnFailed("child", slot, fleet.now, draw))
            case _:
                pass

    def calm_down(self) -> None:
        """No more faults: time passes, what is drained leaves, what starts boots."""
        fleet = self.fleet
        fleet.roster.note(events.MemoryPressure(0, 100, fleet.now))
        for _ in range(60):
            for child in list(fleet.roster.children()):
                if not child.is_serving:
                    fleet.die(child.slot, ExitStatus(code=0))
                else:
                    fleet.seen(child.slot, rss_bytes=1)
                    fleet.roster.note(events.MemorySeen(child.slot, 1, 1, fleet.now))
            if fleet.roster.janitor.pid is not None and fleet.roster.janitor.dismissed_at is not None:
                fleet.roster.note(events.JanitorExited(fleet.now, draw=0.5))
            fleet.pass_time(5)
            fleet.settle()

    def assert_all_is_as_desired(self) -> None:
        """The target is there, in one generation, and nothing is on its way."""
        fleet, roster = self.fleet, self.fleet.roster
        assert len(roster.able()) == fleet.desired.count
        assert set(fleet.generations()) <= {roster.generation}
        assert fleet.desired.generation == roster.generation
        assert roster.rollout is None
        assert roster.degraded_since is None
        assert set(roster.molds) == {roster.generation}
        assert not any(child.is_unwanted or child.is_worn for child in roster.children())

    def stop(self, level: StopLevel, *, can_be_killed: bool) -> None:
        """Told to stop, it ends within the deadlines although nobody leaves by himself, and even if nobody can be killed."""
        fleet = self.fleet
        fleet.desired.stop_level = level
        end = fleet.now + LIMITS.boot_seconds + LIMITS.drain_seconds + 2 * LIMITS.kill_after_seconds + LIMITS.farewell_seconds + 10
        end += 0 if can_be_killed else 3 * UNKILLABLE_SECONDS
        while not is_finished(fleet.roster, fleet.desired):
            fleet.turn()
            if can_be_killed:
                self._let_the_killed_go()
            fleet.now = max(fleet.now + 0.1, min(next_deadline(fleet.roster, fleet.desired, fleet.limits, fleet.now), fleet.now + 1))
            assert fleet.now < end, list(fleet.log[-5:])

    def _let_the_killed_go(self) -> None:
        roster, now = self.fleet.roster, self.fleet.now
        for child in list(roster.children()):
            if child.phase is Phase.DYING:
                self.fleet.die(child.slot)
        for generation, mold in list(roster.molds.items()):
            if mold.is_leaving:
                roster.note(events.MoldExited(generation, KILLED, now, 0.5))
        if roster.janitor.pid is not None and roster.janitor.killed_at is not None:
            roster.note(events.JanitorExited(now, 0.5))


@pytest.mark.timeout(300)
@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(list(HAPPENINGS)), st.integers(0, 7), st.floats(0, 0.999)), max_size=60))
def test_whatever_happens_the_fleet_converges(story: list[tuple[str, int, float]]) -> None:
    history = History()
    for what, slot, draw in story:
        history.step(what, slot, draw)
    history.calm_down()
    history.assert_all_is_as_desired()


@pytest.mark.timeout(300)
@settings(max_examples=50)
@given(st.integers(0, 2**32), st.sampled_from([StopLevel.DRAIN, StopLevel.INTERRUPT, StopLevel.KILL]), st.booleans())
def test_a_long_history_breaks_no_rule_and_a_stop_ends_it_in_time(seed: int, level: StopLevel, can_be_killed: bool) -> None:  # noqa: FBT001 - drawn
    chance, history = random.Random(seed), History()
    for what in chance.choices(list(HAPPENINGS), list(HAPPENINGS.values()), k=2000):
        history.step(what, chance.randrange(8), chance.random())
    history.fleet.log.clear()
    history.stop(level, can_be_killed=can_be_killed)
