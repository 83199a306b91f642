"""What the service manager is told, by histories: facts in, messages out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orbitd.rules import events, service
from orbitd.rules.service import Facts, Said
from orbitd.rules.states import Activity, DaemonState, StopLevel
from tests.support.simulated import Fleet

IMPORTING = Facts(is_up=False, is_importing=True, reload=1, is_reloading=False, is_stopping=False, status="")
READY = replace(IMPORTING, is_up=True, is_importing=False)
RELOADING = replace(READY, reload=2, is_reloading=True)
RELOADED = replace(RELOADING, is_reloading=False)
STOPPING = replace(READY, is_stopping=True)


class Manager:
    """Hears what is said. The clock stands still until it is moved."""

    def __init__(self, *history: Facts, watchdog_seconds: float = 0.0) -> None:
        self.said, self.now, self.watchdog_seconds = Said(), 1000.0, watchdog_seconds
        self.facts = IMPORTING
        for facts in history:
            self.hears(facts)

    def hears(self, facts: Facts) -> list[str]:
        self.facts = facts
        messages, self.said = service.say(self.said, facts, self.watchdog_seconds, self.now, 7_000_000)
        return messages

    def next_deadline(self) -> float:
        return service.next_deadline(self.said, self.facts, self.watchdog_seconds)


def test_ready_is_said_once_the_first_child_has_booted_and_once_only() -> None:
    manager = Manager()
    assert "READY=1" not in "".join(manager.hears(IMPORTING))
    assert manager.hears(replace(IMPORTING, is_importing=False)) == []
    assert manager.hears(READY) == ["READY=1"]
    assert manager.hears(READY) == []
    assert manager.hears(replace(READY, is_up=False)) == []  # all children died: that is a status, and no end of the service


def test_a_reload_begins_and_ends_with_the_time_at_which_it_began() -> None:
    manager = Manager(READY)
    assert manager.hears(RELOADING) == ["RELOADING=1\nMONOTONIC_USEC=7000000"]
    assert manager.hears(RELOADING) == []
    assert manager.hears(RELOADED) == ["READY=1"]
    assert manager.hears(RELOADED) == []


def test_a_reload_that_was_refused_before_anything_was_said_begins_and_ends_all_the_same() -> None:
    assert Manager(READY).hears(RELOADED) == ["RELOADING=1\nMONOTONIC_USEC=7000000", "READY=1"]


def test_a_second_reload_meanwhile_begins_anew() -> None:
    manager = Manager(READY, RELOADING)
    assert manager.hears(replace(RELOADING, reload=3)) == ["RELOADING=1\nMONOTONIC_USEC=7000000"]
    assert manager.hears(replace(RELOADED, reload=3)) == ["READY=1"]


@pytest.mark.parametrize("before", [IMPORTING, READY, RELOADING])
def test_a_stop_is_said_once_whatever_was_before_and_nothing_after_it(before: Facts) -> None:
    manager = Manager(before)
    assert manager.hears(STOPPING)[0].startswith("STOPPING=1")
    assert manager.hears(STOPPING) == []
    assert manager.hears(replace(RELOADED, is_stopping=True)) == []


def test_the_status_is_said_when_it_has_changed_and_not_more_than_twice_a_second() -> None:
    manager = Manager(READY)
    assert manager.hears(replace(READY, status="one")) == ["STATUS=one"]
    assert manager.hears(replace(READY, status="one")) == []
    assert manager.next_deadline() == float("inf")
    assert manager.hears(replace(READY, status="two")) == []
    assert manager.next_deadline() == manager.now + 0.5
    manager.now += 0.5
    assert manager.hears(replace(READY, status="three")) == ["STATUS=three"]


def test_with_an_announcement_goes_the_status_as_it_is_now() -> None:
    manager = Manager(replace(READY, status="two of two"))
    assert manager.hears(replace(RELOADING, status="reloading")) == ["RELOADING=1\nMONOTONIC_USEC=7000000\nSTATUS=reloading"]
    assert manager.hears(replace(RELOADED, status="two of two")) == ["READY=1\nSTATUS=two of two"]


def test_signs_of_life_come_at_half_the_interval_in_every_state() -> None:
    manager = Manager(watchdog_seconds=10)
    for facts in (IMPORTING, READY, RELOADING, STOPPING):
        assert "WATCHDOG=1" in "\n".join(manager.hears(facts)).splitlines()
        assert manager.next_deadline() <= manager.now + 5
        manager.now += 4.9
        assert "WATCHDOG=1" not in "\n".join(manager.hears(facts))
        manager.now += 0.1
    assert manager.next_deadline() == manager.now


def test_without_a_watchdog_nothing_wakes_us() -> None:
    manager = Manager(READY)
    manager.now += 3600
    assert manager.hears(READY) == []
    assert manager.next_deadline() == float("inf")


@pytest.mark.parametrize("facts", [IMPORTING, STOPPING])
def test_time_is_asked_for_again_and_again_while_an_import_or_a_drain_takes_long(facts: Facts) -> None:
    """The requests overlap; one who hangs meanwhile is noticed, since they end with it."""
    manager = Manager()
    for _ in range(3):
        assert "EXTEND_TIMEOUT_USEC=30000000" in "\n".join(manager.hears(facts)).splitlines()
        assert manager.hears(facts) == []
        assert manager.now < manager.next_deadline() < manager.now + 30
        manager.now = manager.next_deadline()
    assert "EXTEND" not in "".join(Manager(READY).hears(RELOADING))


@pytest.mark.parametrize(
    ("state", "line"),
    [
        (DaemonState.RUNNING, "3 of 4 children ready, 1 busy; boo"),
        (DaemonState.DEGRADED, "degraded: 3 of 4 children ready, 1 busy; boo"),
        (DaemonState.PAUSED, "paused: 3 of 4 children ready, 1 busy; boo"),
        (DaemonState.RELOADING, "reloading: 3 of 4 children ready, 1 busy; boo"),
        (DaemonState.WAITING_DATABASE, "waiting for the database: boo"),
        (DaemonState.DRAINING, "draining: 5 children are left"),
        (DaemonState.STOPPING, "stopping: 5 children are left"),
    ],
)
def test_the_line_for_people_says_state_numbers_and_trouble(state: DaemonState, line: str) -> None:
    assert service.status_line(state, ready=3, busy=1, target=4, left=5, trouble="boo") == line


def test_more_time_is_asked_for_at_once_when_a_stop_follows_the_start() -> None:
    assert Manager(IMPORTING).hears(STOPPING) == ["STOPPING=1\nEXTEND_TIMEOUT_USEC=30000000"]


def test_before_there_are_children_the_line_says_what_takes_so_long() -> None:
    line = service.status_line(DaemonState.STARTING, ready=0, busy=0, target=4, left=0, trouble="")
    assert line == "starting: the pipelines are being imported"


def test_the_line_for_people_stays_one_line() -> None:
    """A second line would be a message of its own: READY, or whatever a server's error text happens to hold."""
    line = service.status_line(DaemonState.RUNNING, ready=1, busy=0, target=1, left=1, trouble="no\nREADY=1 \x1b[1m" + "x" * 9000)
    assert line.startswith("1 of 1 children ready, 0 busy; no READY=1 \\x1b[1m")
    assert len(line) == 300


def test_a_fleet_is_up_for_the_manager_once_a_child_has_booted_or_none_is_wanted() -> None:
    fleet = Fleet()

    def facts() -> Facts:
        return service.facts_of(fleet.roster, fleet.desired, DaemonState.STARTING, reload=1, is_under_way=True, trouble="")

    fleet.turn()
    assert (facts().is_importing, facts().is_up) == (True, False)
    fleet.roster.note(events.MoldReady(1))
    fleet.turn()
    assert (facts().is_importing, facts().is_up) == (False, False)
    fleet.boot(0, Activity.WAITING)
    assert facts().is_up
    assert facts().status == "starting: 0 of 2 children ready, 0 busy"
    nobody = Fleet(count=0).up()
    assert service.facts_of(nobody.roster, nobody.desired, DaemonState.RUNNING, reload=1, is_under_way=False, trouble="").is_up


@pytest.mark.parametrize(
    ("level", "is_database_up", "is_under_way", "is_paused", "state"),
    [
        (StopLevel.INTERRUPT, False, True, True, DaemonState.STOPPING),
        (StopLevel.DRAIN, False, True, True, DaemonState.DRAINING),
        (StopLevel.NONE, False, True, True, DaemonState.WAITING_DATABASE),
        (StopLevel.NONE, True, True, True, DaemonState.RELOADING),
        (StopLevel.NONE, True, False, True, DaemonState.PAUSED),
        (StopLevel.NONE, True, False, False, DaemonState.RUNNING),
    ],
)
def test_of_all_that_the_daemon_is_the_gravest_is_its_state(
    *, level: StopLevel, is_database_up: bool, is_under_way: bool, is_paused: bool, state: DaemonState
) -> None:
    fleet = Fleet().up()
    fleet.desired.stop_level, fleet.desired.is_paused = level, is_paused
    seen = service.state_of(fleet.roster, fleet.desired, fleet.now, reload=2, is_under_way=is_under_way, is_database_up=is_database_up)
    assert seen is state
