"""Supervision under any history of events: it converges, orders nothing twice, and never turns for nothing."""

from __future__ import annotations

from hypothesis import given, settings, strategies as st

from orbitd.rules import actions, events
from orbitd.rules.exits import ExitStatus
from orbitd.rules.limits import Backoff, Limits
from orbitd.rules.states import Activity
from orbitd.rules.supervise import next_deadline
from tests.support.simulated import KILLED, Fleet

HAPPENINGS = st.sampled_from(
    ["restart", "die", "boot", "mold_dies", "janitor_dies", "more", "fewer", "reload", "time", "heavy", "busy", "leave"]
)


@settings(max_examples=300)
@given(st.lists(st.tuples(HAPPENINGS, st.integers(0, 7), st.floats(0, 0.999)), max_size=60))
def test_whatever_happens_the_fleet_converges_and_no_slot_gets_two_orders_in_a_turn(story: list[tuple[str, int, float]]) -> None:
    limits = Limits(backoff=Backoff(), janitor_backoff=Backoff(), boots_at_once=3, max_rss_bytes=1000)
    fleet = Fleet(count=3, limits=limits)
    for what, slot, draw in story:
        _happen(fleet, what, slot, draw)
        done = fleet.turn()
        slots = [action.slot for action in done if isinstance(action, actions.Spawn | actions.Drain | actions.Kill | actions.Interrupt)]
        assert len(slots) == len(set(slots)), done
        assert len(list(fleet.roster.children())) <= 16
        if next_deadline(fleet.roster, fleet.desired, fleet.limits, fleet.now) <= fleet.now:
            assert fleet.turn() != [], "a busy loop: it is due now, and nothing is to be done"
    for _ in range(200):  # no more faults: time passes, what is drained leaves, what starts boots
        for child in list(fleet.roster.children()):
            if not child.is_serving:
                fleet.die(child.slot, ExitStatus(code=0))
            else:
                fleet.seen(child.slot, rss_bytes=1)
        if fleet.roster.janitor.pid is not None and fleet.roster.janitor.dismissed_at is not None:
            fleet.roster.note(events.JanitorExited(fleet.now, draw=0.5))
        fleet.now += 30
        fleet.roster.note(events.JanitorTicked(fleet.now))
        fleet.settle()
    assert len(fleet.roster.able()) == fleet.desired.count
    assert {child.generation for child in fleet.roster.children()} <= {fleet.desired.generation}
    assert not any(child.is_unwanted for child in fleet.roster.children())


def _happen(fleet: Fleet, what: str, slot: int, draw: float) -> None:  # noqa: C901, PLR0912 - one arm a happening
    child = fleet.roster.slots[slot].child
    match what:
        case "die" if child:
            fleet.die(slot, draw=draw)
        case "leave" if child and not child.is_serving:
            fleet.die(slot, ExitStatus(code=0), draw)
        case "boot" if child:
            fleet.boot(slot)
        case "heavy" if child:
            fleet.seen(slot, rss_bytes=2000)
        case "busy" if child:
            fleet.seen(slot, Activity.BUSY, deadline=fleet.now + 5)
        case "mold_dies":
            for generation in list(fleet.roster.molds):
                fleet.roster.note(events.MoldExited(generation, KILLED, fleet.now, draw))
        case "janitor_dies" if fleet.roster.janitor.pid is not None:
            fleet.roster.note(events.JanitorExited(fleet.now, draw))
        case "more" | "fewer":
            fleet.desired.count = min(max(fleet.desired.count + (1 if what == "more" else -1), 0), 6)
            fleet.roster.note(events.Scaled(fleet.desired.count, fleet.now))
        case "reload":
            fleet.desired.generation += 1
        case "restart":
            fleet.roster.note(events.RestartAsked(frozenset({slot, 0})))
        case "time":
            fleet.now += draw * 20
            for mold in fleet.roster.molds.values():
                if not mold.is_leaving:
                    fleet.roster.note(events.MoldReady(mold.generation))
        case _:
            pass
