"""The watermark: claims begin where runs may wait, at the same cost whatever has gone before, and no run is ever overlooked."""

from __future__ import annotations

import mmap
import os
import time

import psycopg
import pytest

from orbitd import store
from orbitd.rules.watermark import LEAST_PAUSE_SECONDS
from orbitd.search import Search
from orbitd.store import Claimed, Connection, Offer, admin
from orbitd.store.migrate import migrate
from orbitd.system import clock
from orbitd.system.postgres import Cluster
from orbitd.system.slots import MAX_SLOTS, SlotMemory, _size
from orbitd.watermark import Watermark
from tests.store.fleet import Fleet
from tests.store.traffic import NaiveSearch, NoWatermark, Traffic
from tests.support.standby import either_of, primary_and_standby

SECONDS = float(os.environ.get("ORBITD_WATERMARK_SECONDS", "2"))
SILENCE_SECONDS = 15.0
"""What is not found for so long is lost: a look comes each second, unless it takes long, and a look in full after ten minutes."""

pytestmark = pytest.mark.timeout(60 + 3 * SECONDS)


def begin(traffic: Traffic) -> None:
    held, slow = (traffic.held, traffic.prepared), (traffic.slow, traffic.slow)
    for produce in (*held, traffic.quick, traffic.quick, *slow, traffic.bulk, traffic.fickle):
        traffic.start(produce, produces=True)
    for name in ("a", "b"):
        traffic.host(name, children=2)


def assert_nothing_lost(traffic: Traffic) -> None:
    traffic.stop_producing()
    traffic.wait_until_done(SILENCE_SECONDS)
    assert len(traffic.finished) > 100
    assert traffic.lost() == set()
    assert traffic.doubled() == set()
    assert traffic.late > 0
    assert traffic.overlooked == 0


def test_no_run_is_lost_or_done_twice_however_late_its_producer_commits(dsn: str, cluster: Cluster) -> None:
    with Traffic(dsn) as traffic:
        begin(traffic)
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            time.sleep(SECONDS / 4)
            traffic.cut_a_connection(cluster)
        assert_nothing_lost(traffic)


def test_no_run_is_lost_when_the_server_crashes_in_between(own_cluster: Cluster) -> None:
    own_cluster.create_database("orbit")
    dsn = own_cluster.dsn("orbit")
    migrate(dsn)
    with Traffic(dsn) as traffic:
        begin(traffic)
        time.sleep(SECONDS / 3)
        own_cluster.restart("immediate")
        time.sleep(SECONDS / 3)
        assert_nothing_lost(traffic)


@pytest.mark.skipif("ORBITD_WATERMARK_SECONDS" not in os.environ, reason="it takes long: make test-large")
def test_no_run_is_lost_by_a_failover_to_a_standby_that_lacks_the_latest_commits() -> None:
    with primary_and_standby() as (primary, standby), Traffic(either_of(primary, standby)) as traffic:
        begin(traffic)
        time.sleep(SECONDS / 3)
        primary.stop("immediate")
        assert len(traffic.finished) > 100
        traffic.finished.clear()  # they were lost, and their ids are given out again
        with psycopg.connect(standby.dsn()) as conn:
            conn.execute("SELECT pg_promote()")
        time.sleep(SECONDS / 3)
        assert_nothing_lost(traffic)


def test_the_naive_bound_loses_runs(dsn: str) -> None:
    """The control: this traffic can lose runs."""
    with Traffic(dsn, search=NaiveSearch, watermark=NoWatermark) as traffic:
        begin(traffic)
        time.sleep(1.5)
        traffic.stop_producing()
        traffic.wait_until_done(1.0)
        assert len(traffic.lost()) > 0
        assert traffic.doubled() == set()


# --- one thing at a time ---


class Host:
    """A host with its board, whose janitor and child do what they are told."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.child = fleet.worker("p")
        (self.lane,) = self.child.lanes
        self.slots = SlotMemory(mmap.mmap(-1, _size(MAX_SLOTS)))
        self.slots.board.enter(self.child.lanes)
        self.watermark = Watermark(self.slots)
        self.search = Search(self.slots.board)

    def claim(self, *, is_board_fresh: bool = True) -> Claimed | None:
        """A claim as children do it, when all numbers so far have been given out long ago."""
        for _ in range(2):
            self.search._numbers.note(int(str(self.fleet.value("SELECT last_value FROM orbit.ready_numbers"))), clock.now())
            self.search._numbers._newer_at -= 1
        ask = self.search.begin(self.child.lanes, {}, is_board_fresh=is_board_fresh)
        if not ask.floors:
            return None
        offer = store.claim(self.child.conn, self.child.child_id, ask)
        self.search.end(offer)
        return offer.claimed

    def work(self) -> int:
        """Claim and finish until nothing is found; how many."""
        done = 0
        while claimed := self.claim():
            self.child.succeed(claimed.fence)
            done += 1
        return done

    def beat(self) -> None:
        self.watermark.beat(self.fleet.conn, self.child.host_id, 20)

    def look(self, connection: Connection | None = None) -> int:
        """A sweep, if there is something to look for; in how many lanes it found late runs."""
        self.watermark.next_look = 0.0
        return self.watermark.look(connection or self.fleet.conn, self.child.lanes)

    def look_in_full(self) -> int:
        self.watermark._next_full = 0.0
        return self.look()

    @property
    def floor(self) -> int:
        return self.slots.board.floor(self.lane)


@pytest.fixture
def host(fleet: Fleet) -> Host:
    return Host(fleet)


@pytest.fixture
def producer(fleet: Fleet) -> Connection:
    return fleet.connect()


def test_a_late_run_is_found_by_the_next_look_and_by_nothing_before(host: Host, producer: Connection) -> None:
    with producer.transaction():
        late = admin.enqueue(producer, "p").id
        host.fleet.enqueue("p")
        assert host.work() == 1
        assert host.look() == 0
    host.beat()
    assert host.claim() is None
    assert host.look() == 1
    assert must(host.claim()).run_id == late


def test_the_run_of_a_prepared_transaction_is_found_when_that_commits(host: Host, producer: Connection) -> None:
    producer.execute("BEGIN")
    late = admin.enqueue(producer, "p").id
    producer.execute("PREPARE TRANSACTION 'late'")
    for _ in range(2):
        host.fleet.enqueue("p")
        host.beat()
        assert host.work() == 1
        assert host.look() == 0
    producer.execute("COMMIT PREPARED 'late'")
    host.beat()
    assert host.claim() is None
    assert host.look() == 1
    assert must(host.claim()).run_id == late


def test_there_is_nothing_to_look_for_once_all_producers_have_ended_and_nobody_claims(host: Host) -> None:
    host.fleet.enqueue("p")
    host.work()
    host.look()
    host.fleet.enqueue("p")
    assert host.look(closed(host.fleet)) == 0
    host.beat()
    assert host.work() == 1
    with pytest.raises(psycopg.OperationalError):
        host.look(closed(host.fleet))


def test_the_janitor_rests_while_nobody_can_claim_and_looks_within_a_second_of_whoever_may(host: Host) -> None:
    host.fleet.enqueue("p")
    host.work()
    host.look()

    def looks_within_seconds() -> float:
        host.watermark.look(host.fleet.conn, host.child.lanes)
        return host.watermark.next_look - clock.now()

    host.watermark.next_look = 0.0
    assert looks_within_seconds() > 60
    host.slots.board.ring(host.lane)
    assert looks_within_seconds() <= LEAST_PAUSE_SECONDS
    assert host.claim() is None
    host.look()
    assert looks_within_seconds() > 60
    host.fleet.enqueue("p")
    while host.claim(is_board_fresh=False):  # the janitor was silent for a while
        pass
    assert looks_within_seconds() <= LEAST_PAUSE_SECONDS


def closed(fleet: Fleet) -> Connection:
    """Whoever has a statement for it fails."""
    connection = fleet.connect()
    connection.close()
    return connection


def test_a_claim_that_is_rolled_back_while_others_search_further_on_is_found_again(host: Host) -> None:
    first = host.fleet.enqueue("p")
    host.fleet.enqueue("p")
    other = host.fleet.child(host.child.host_id, "p", slot=1)
    with other.conn.transaction(force_rollback=True):
        assert other.must_claim().run_id == first
        assert host.work() == 1
        host.look()  # as far as this can see the run still waits
        host.fleet.enqueue("p")
        assert host.work() == 1
    assert host.claim() is None
    assert host.look() == 1
    assert must(host.claim()).run_id == first


def test_a_run_that_was_taken_back_comes_to_all_hosts_with_their_beats(host: Host) -> None:
    other = Host(host.fleet)
    run_id = host.fleet.enqueue("p")
    fence = must(host.claim()).fence
    for each in (host, other):
        host.fleet.enqueue("p")
        each.beat()
        assert each.work() == 1
        each.look()
        assert each.floor > fence.seq
    host.fleet.crash(host.child, fence)
    for each in (host, other):
        assert each.look() == 0
        each.beat()
        assert each.floor == fence.seq
    assert must(other.claim()).run_id == run_id
    assert host.fleet.value("SELECT count(*) FROM orbit.returned") == 1
    host.beat()
    assert host.fleet.value("SELECT count(*) FROM orbit.returned") == 0


def test_a_run_that_was_taken_back_is_not_counted_as_overlooked(host: Host) -> None:
    host.fleet.enqueue("p")
    fence = must(host.claim()).fence
    host.fleet.enqueue("p")
    host.work()
    host.look()
    host.fleet.crash(host.child, fence)
    assert host.look_in_full() == 0
    assert host.slots.header.found_by_sweep == 0


def test_a_look_in_full_finds_and_counts_what_a_wrong_bound_has_passed(host: Host) -> None:
    run_id = host.fleet.enqueue("p")
    host.watermark._bounds.learn([host.lane], 10**6, {})
    host.slots.board.raise_floor(host.slots.board.all_of([host.lane])[0], 10**6)
    assert host.look() == 0
    assert host.look_in_full() == 1
    assert host.slots.header.found_by_sweep == 1
    assert must(host.claim()).run_id == run_id


@pytest.mark.parametrize("finds_out", ["beat", "look"])
def test_numbers_that_go_back_are_another_servers_and_all_is_searched_anew(host: Host, finds_out: str) -> None:
    """A failover that loses commits hands out their numbers again."""
    for _ in range(3):
        host.fleet.enqueue("p")
    assert host.work() == 3
    host.beat()
    before = host.floor
    host.fleet.value("SELECT setval('orbit.ready_numbers', %s)", before - 3)
    run_id = host.fleet.enqueue("p")
    host.beat() if finds_out == "beat" else host.look_in_full()
    assert must(host.claim()).run_id == run_id


def test_a_child_that_finds_the_numbers_gone_back_raises_no_floor(host: Host) -> None:
    host.fleet.enqueue("p")
    host.work()
    floor = host.floor
    ask = host.search.begin(host.child.lanes, {}, is_board_fresh=False)
    host.search.end(Offer(1, []))
    assert ask.floors
    assert host.floor == floor
    assert host.search._numbers.settled(clock.now() + 1) == 1


def test_where_the_janitor_is_silent_children_search_in_full_now_and_then(host: Host, producer: Connection) -> None:
    with producer.transaction():
        late = [admin.enqueue(producer, "p").id for _ in range(3)]
        host.fleet.enqueue("p")
        assert host.work() == 1
    assert host.claim() is None
    assert [must(host.claim(is_board_fresh=False)).run_id for _ in late] == late  # while there are any, again at once
    assert host.claim(is_board_fresh=False) is None
    assert host.search.begin(host.child.lanes, {}, is_board_fresh=False).floors == {host.lane: host.floor}
    assert host.floor > 0


def test_a_look_finds_the_first_waiting_run_of_each_lane_but_what_was_taken_back(fleet: Fleet) -> None:
    child = fleet.worker("q")
    (p,) = fleet.worker("p").lanes
    (q,) = child.lanes
    taken_back = fleet.enqueue("q")
    fence = child.must_claim().fence
    fleet.twin(taken_back, "p")
    fleet.crash(child, fence)
    for pipeline in ("q", "p"):
        fleet.enqueue(pipeline)
    last = int(str(fleet.value("SELECT max(seq) FROM orbit.live")))
    assert store.sweep(fleet.conn, {p: 0, q: 0}).found == {p: fence.seq, q: last - 1}
    assert store.sweep(fleet.conn, {p: fence.seq + 1}).found == {p: last}


# --- up to which number all producers have ended ---


def safe_seq(fleet: Fleet) -> int:
    return store.sweep(fleet.conn, {}).safe_seq


def first_seq(host: Host, run_id: int) -> int:
    return int(str(host.fleet.value("SELECT seq FROM orbit.runs WHERE id = %s", run_id)))


def set_last_seq(fleet: Fleet, seq: int) -> None:
    fleet.value("SELECT setval('orbit.ready_numbers', %s)", seq)


@pytest.mark.parametrize(
    "first", [1, 4096 * 5 + 4090, 4096 * 2**31 - 3, 4096 * 2**31 * 3 - 3], ids=["small", "blocks", "turn", "third turn"]
)
def test_no_number_of_an_open_producer_is_safe_and_all_are_when_it_has_ended(fleet: Fleet, producer: Connection, first: int) -> None:
    before = fleet.value("SELECT last_value FROM orbit.ready_numbers")
    set_last_seq(fleet, first)
    with producer.transaction():
        for _ in range(10):  # over the edge of a block
            admin.enqueue(producer, "p")
        drawn = int(str(producer.execute("SELECT min(seq) FROM orbit.live").fetchall()[0][0]))
        set_last_seq(fleet, drawn + 100_000)
        assert drawn - 4200 < safe_seq(fleet) < drawn
    assert safe_seq(fleet) == drawn + 100_000
    set_last_seq(fleet, int(str(before)))


def test_a_producer_that_has_announced_itself_may_draw_its_number_later(fleet: Fleet, producer: Connection) -> None:
    with producer.transaction():
        producer.execute("SELECT orbit.announce_seq()")
        announced_at = int(str(fleet.value("SELECT last_value FROM orbit.ready_numbers")))
        set_last_seq(fleet, announced_at + 100_000)
        assert safe_seq(fleet) <= announced_at


def test_producers_of_newer_numbers_hold_nothing_back(fleet: Fleet, producer: Connection) -> None:
    """As when one announces itself between the two looks of a sweep."""
    with producer.transaction():
        producer.execute("SELECT pg_advisory_xact_lock_shared(7002, (last_value / 4096 + 7)::int) FROM orbit.ready_numbers")
        assert safe_seq(fleet) == fleet.value("SELECT last_value FROM orbit.ready_numbers")


def test_writers_of_other_kinds_and_in_other_databases_hold_nothing_back(fleet: Fleet, cluster: Cluster, producer: Connection) -> None:
    set_last_seq(fleet, 100_000)
    with psycopg.connect(cluster.dsn()) as elsewhere, producer.transaction():
        elsewhere.execute("SELECT pg_advisory_xact_lock_shared(7002, 0), pg_current_xact_id()")
        producer.execute(
            "SELECT pg_advisory_xact_lock_shared(7003, 0), pg_advisory_xact_lock_shared(7002::bigint << 32), pg_current_xact_id()"
        )
        assert safe_seq(fleet) == 100_000


def must(claimed: Claimed | None) -> Claimed:
    assert claimed is not None
    return claimed
