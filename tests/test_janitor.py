"""The janitor's turns on a real database, made one by one: only the clock is set by hand, and nobody sleeps."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from orbitd import store
from orbitd.config import load
from orbitd.janitor import Janitor
from orbitd.store import Connection
from orbitd.system import clock, log
from orbitd.system.channel import Channel
from orbitd.system.slots import SharedSlots
from orbitd.upkeep import Upkeep
from tests.support.addresses import around

MINUTE = 60.0


class Host:
    """A janitor whose mold is ready, and the arbiter's end of its channel."""

    def __init__(self, dsn: str, slots: SharedSlots, channel: Channel) -> None:
        self.now = 1_000.0
        self.warned: list[str] = []
        self.slots = slots
        settings = load(None, overrides=[], environ={"DATABASE_URL": around(dsn)})
        configuration = {"slots": slots.description, "former_boot_id": None, "boot_id": "ours"}
        self.janitor = Janitor(channel, configuration, settings)
        self.janitor._pipelines = []

    @property
    def connection(self) -> Connection:
        assert self.janitor._connection
        return self.janitor._connection

    def turn(self, after_seconds: float = 0.0) -> None:
        self.now += after_seconds
        self.janitor._listen_to_arbiter()
        self.janitor._do_duties()


@pytest.fixture
def ends() -> Iterator[tuple[Channel, Channel]]:
    """The arbiter's end of the channel, and the janitor's."""
    both = Channel.pair()
    yield both
    for channel in both:
        channel.close()


@pytest.fixture
def arbiter(ends: tuple[Channel, Channel]) -> Channel:
    return ends[0]


@pytest.fixture
def host(dsn: str, ends: tuple[Channel, Channel], monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setattr(log, "follow", lambda _: None)
    monkeypatch.setattr(Upkeep, "attend", lambda *_: None)
    slots = SharedSlots.create()
    host = Host(dsn, slots, ends[1])
    monkeypatch.setattr(clock, "now", lambda: host.now)
    monkeypatch.setattr(log, "warn", lambda name, **_: host.warned.append(name))
    yield host
    host.janitor._close()
    for fd in slots.fds:
        os.close(fd)


@pytest.fixture
def reconciled_at(host: Host, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the janitor has reconciled."""
    times: list[float] = []
    monkeypatch.setattr(store, "reconcile", lambda *_: times.append(host.now))
    return times


def death(child_id: int = 0) -> dict[str, Any]:
    """A child has died that held nothing."""
    will = {"held": [], "asked_token": 0, "asked_lanes": []}
    told = {"slot": 0, "nonce": f"child {child_id}", "cause": "killed", "charge": "none", "stack": None}
    return {"type": "child_ended", "child_id": child_id, "will": will, **told}


def told(arbiter: Channel) -> list[str]:
    """What the janitor has told the arbiter: the types of its messages."""
    types = []
    while message := arbiter.receive():
        types.append(message["type"])
    return types


def test_a_beat_while_much_is_taken_back_has_heard_the_bell_of_the_one_before(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    def take_much_back(_: Connection, _mode: str, between: Callable[[], None]) -> None:
        for _batch in range(3):
            host.now += MINUTE
            between()

    monkeypatch.setattr(store, "reconcile", take_much_back)
    host.turn()
    assert host.warned == []


def test_a_host_where_nobody_ends_reconciles_each_five_minutes(host: Host, reconciled_at: list[float]) -> None:
    for _ in range(11):
        host.turn(after_seconds=MINUTE / 2)
    assert [at - reconciled_at[0] for at in reconciled_at] == [0, 5 * MINUTE]


def a_child_is_buried(_: Host, arbiter: Channel) -> None:
    arbiter.send(death())


def another_hosts_lease_lapses(host: Host, _: Channel) -> None:
    store.register(host.connection, boot_id="other", name="other", pid=1, version="1", lease_seconds=60)
    host.connection.execute("UPDATE orbit.hosts SET lease_until = now() - interval '1 s' WHERE boot_id = 'other'")


def ours_was_ended(host: Host, _: Channel) -> None:
    host.janitor._former_boot_id, host.janitor._host_id = host.janitor._boot_id, 0
    host.janitor._boot_id = "next"


@pytest.mark.parametrize("ending", [a_child_is_buried, another_hosts_lease_lapses, ours_was_ended])
def test_what_was_locked_when_its_owner_was_ended_is_looked_for_again_within_a_minute(
    host: Host, arbiter: Channel, reconciled_at: list[float], ending: Callable[[Host, Channel], None]
) -> None:
    host.turn()
    ending(host, arbiter)
    host.turn(after_seconds=MINUTE)
    ended_at = host.now
    host.turn(after_seconds=MINUTE / 2)
    assert ended_at < reconciled_at[-1] <= ended_at + MINUTE


def test_a_turn_of_many_slow_calls_does_not_look_stalled(host: Host, arbiter: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    slow_seconds, drive = 20.0, Connection._drive
    silences: list[float] = []

    def drive_slowly(connection: Connection, call: Any) -> Any:
        host.now += slow_seconds
        silences.append(host.now - host.slots.header.janitor_tick_at)
        return drive(connection, call)

    monkeypatch.setattr(Connection, "_drive", drive_slowly)
    host.turn()
    arbiter.send(death())
    host.turn(after_seconds=MINUTE)
    host.janitor._tick()
    host.janitor._say_farewell()
    assert set(silences) == {slow_seconds}


def test_children_that_could_not_be_buried_are_tried_again_at_the_farewell_and_do_not_prevent_it(
    host: Host, arbiter: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt, refused = store.interrupt, {0, 1}

    def refuse(connection: Connection, *, child_id: int, **rest: Any) -> Any:
        if child_id in refused:
            raise psycopg.errors.RaiseException("not this one")
        return interrupt(connection, child_id=child_id, **rest)

    monkeypatch.setattr(store, "interrupt", refuse)
    for message in (death(), death(child_id=1)):  # the latest is buried first
        arbiter.send(message)
    host.turn()
    told(arbiter)
    refused.remove(0)
    host.janitor._say_farewell()
    assert told(arbiter) == ["buried", "handed_back"]
    assert host.connection.execute("SELECT ended_cause FROM orbit.hosts").fetchall() == [("stopped",)]
