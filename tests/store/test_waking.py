"""Bells are rung for those who sleep, and nobody falls asleep over a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest

from orbitd import store
from orbitd.store import Connection, Report, admin
from orbitd.system.postgres import Cluster
from tests.store.fleet import FAILURE, Child, Fleet


@pytest.fixture
def janitor(fleet: Fleet) -> Iterator[Connection]:
    """One that listens; everybody is awake."""
    connection = fleet.listener()
    wake_all(connection)
    yield connection
    wake_all(connection)


def wake_all(connection: Connection) -> None:
    ticket = connection.execute("SELECT last_value FROM orbit.bells_wanted").fetchall()[0][0]
    store.stay_awake(connection, ticket)


def bells(connection: Connection) -> list[list[int]]:
    connection.execute("SELECT 1")
    return [[int(word) for word in bell.payload.split()] for bell in connection.heard() if bell.channel == store.WORK_CHANNEL]


def test_a_producer_rings_only_while_somebody_sleeps(fleet: Fleet, janitor: Connection) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    assert bells(janitor) == []
    store.doze(janitor, {}, 1)
    fleet.enqueue("p")
    ((lane, _, count, ticket),) = bells(janitor)
    assert (lane, count) == (child.lanes[0], 1)
    store.stay_awake(janitor, ticket)
    fleet.enqueue("p")
    assert bells(janitor) == []


def test_who_wakes_by_an_old_bell_takes_no_bell_from_one_who_fell_asleep_later(fleet: Fleet, janitor: Connection) -> None:
    fleet.worker("p")
    store.doze(janitor, {}, 1)
    fleet.enqueue("p")
    ((_, _, _, ticket),) = bells(janitor)
    store.doze(fleet.conn, {}, 1)
    store.stay_awake(janitor, ticket)
    fleet.enqueue("p")
    assert len(bells(janitor)) == 1


def test_a_producer_that_looked_before_somebody_fell_asleep_is_waited_for(fleet: Fleet, janitor: Connection) -> None:
    child, other = fleet.worker("p"), fleet.connect()
    floors = dict.fromkeys(child.lanes, 0)
    with other.transaction():
        admin.enqueue(other, "p")
        sight, producers = store.doze(janitor, floors, 1)
        assert (sight.lanes, len(producers)) == ([], 1)
        _, still_open = store.doze(janitor, floors, 1)
        assert still_open == producers
    assert bells(janitor) == []  # the wake-up would be lost
    sight, left = store.doze(janitor, floors, 1)
    assert (sight.lanes, left) == (child.lanes, frozenset())


def test_who_holds_locks_of_other_kinds_or_in_other_databases_is_no_producer(fleet: Fleet, cluster: Cluster, janitor: Connection) -> None:
    other = fleet.connect()
    with psycopg.connect(cluster.dsn()) as elsewhere, other.transaction():
        elsewhere.execute("SELECT pg_advisory_xact_lock_shared(7002, 0)")
        other.execute("SELECT pg_advisory_xact_lock_shared(7003, 0), pg_advisory_xact_lock_shared(7002::bigint << 32)")
        assert store.doze(janitor, {}, 1)[1] == frozenset()


def test_a_late_ticket_that_was_heard_before_makes_nobody_ring_again(fleet: Fleet, janitor: Connection) -> None:
    fleet.worker("p")
    store.doze(janitor, {}, 1)
    wake_all(janitor)
    store.stay_awake(janitor, 1)
    fleet.enqueue("p")
    assert bells(janitor) == []


def test_many_ring_only_for_those_that_are_new(fleet: Fleet, janitor: Connection) -> None:
    fleet.host("p")
    child = fleet.worker("q")
    fleet.enqueue("p", key="k")
    store.doze(janitor, {}, 1)
    admin.enqueue_many(fleet.conn, [{"pipeline": "p", "key": "k"}, {"pipeline": "q"}])
    seq = fleet.value("SELECT max(seq) FROM orbit.live")
    assert [bell[:3] for bell in bells(janitor)] == [[child.lanes[0], seq, 1]]


@pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
def test_a_producer_that_looks_after_somebody_fell_asleep_rings_whatever_its_snapshot(
    fleet: Fleet, janitor: Connection, isolation: str
) -> None:
    fleet.worker("p")
    other = fleet.connect()
    with other.transaction():
        other.execute(f"SET TRANSACTION ISOLATION LEVEL {isolation}".encode())
        other.execute("SELECT count(*) FROM orbit.hosts")
        _, producers = store.doze(janitor, {}, 1)
        assert producers == frozenset()
        admin.enqueue(other, "p")
    assert len(bells(janitor)) == 1


def _retry(child: Child) -> None:
    child.finish(Report.retry(child.must_claim().fence, 60, FAILURE))


def _snooze(child: Child) -> None:
    child.finish(Report.snoozed(child.must_claim().fence, 60))


def _promote(child: Child) -> None:
    child.conn.execute("UPDATE orbit.delayed SET due_at = now()")
    store.beat(child.conn, child.host_id, 20)


RINGS: dict[str, Callable[[Child], object]] = {
    "enqueue": lambda child: admin.enqueue(child.conn, "p"),
    "enqueue for later": lambda child: admin.enqueue(child.conn, "p", in_seconds=60),
    "enqueue_many": lambda child: admin.enqueue_many(child.conn, [{"pipeline": "p"}]),
    "retry": _retry,
    "snooze": _snooze,
    "promote": _promote,
}


@pytest.mark.parametrize("what", RINGS)
def test_whoever_rings_can_be_waited_for(fleet: Fleet, janitor: Connection, what: str) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    fleet.enqueue("p", in_seconds=60)
    with child.conn.transaction():
        RINGS[what](child)
        assert len(store.doze(janitor, {}, 1)[1]) == 1
    assert bells(janitor) == []
    with child.conn.transaction():
        fleet.enqueue("p")
        fleet.enqueue("p", in_seconds=60)
        bells(janitor)
        RINGS[what](child)
    assert len(bells(janitor)) == 1


def test_a_run_that_is_taken_back_to_its_old_place_is_told_to_everybody(fleet: Fleet, janitor: Connection) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    fence = child.must_claim().fence
    fleet.crash(child, fence)
    assert bells(janitor) == [[fence.lane, fence.seq, 1, 0]]


def test_a_look_counts_no_further_than_it_is_asked_to_and_begins_at_the_floor(fleet: Fleet) -> None:
    child = fleet.worker("p", "q")
    for _ in range(4):
        fleet.enqueue("p")
    first = child.must_claim()
    lane, other = child.lanes
    sight = store.look(fleet.conn, dict.fromkeys(child.lanes, 0), 2)
    assert (sight.lanes, sight.seqs, sight.counts, sight.next_due_seconds) == ([lane], [first.seq + 1], [2], None)
    assert store.look(fleet.conn, {lane: first.seq + 3, other: 0}, 2).counts == [1]
    fleet.enqueue("q", in_seconds=60)
    due_seconds = store.look(fleet.conn, {}, 1).next_due_seconds
    assert due_seconds is not None
    assert 50 < due_seconds <= 60
    fleet.conn.execute("UPDATE orbit.delayed SET due_at = clock_timestamp() - interval '2 min'")
    assert store.look(fleet.conn, {}, 1).next_due_seconds is None


def test_a_listener_hears_its_own_probe(fleet: Fleet) -> None:
    host_id, listener = fleet.host("p"), fleet.listener()
    store.beat(listener, host_id, 20)
    assert listener.heard() == []
    store.beat(listener, host_id, 20, probes=True)
    (bell,) = listener.heard()
    assert bell.channel == f"orbit_probe_{listener.info.backend_pid}"
