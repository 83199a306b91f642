from __future__ import annotations

import itertools
from collections.abc import Callable

import psycopg
import pytest

from orbitd import store
from orbitd.rules.states import Charge, RunState
from orbitd.store import Ask, Beat, LeaseLost, PipelineSpec, Report, admin
from tests.store.fleet import FAILURE, OPEN_SIGNATURE, Child, Fleet

# --- hosts and beats ---


def test_the_same_boot_id_is_the_same_host_until_it_is_ended(fleet: Fleet) -> None:
    host_id = fleet.host("p")
    again = {"boot_id": fleet.boot_id(host_id), "name": "renamed", "pid": 2, "version": "2", "lease_seconds": 20.0}
    assert store.register(fleet.conn, **again) == host_id  # type: ignore[arg-type]
    fleet.settle()
    with pytest.raises(LeaseLost):
        store.register(fleet.conn, **again)  # type: ignore[arg-type]
    with pytest.raises(LeaseLost):
        store.register_pipelines(fleet.conn, host_id, [])
    assert not store.beat(fleet.conn, host_id, 20).alive


def test_a_report_that_says_nothing_new_writes_nothing(fleet: Fleet) -> None:
    written = "SELECT array_agg(p.xmin::text), (SELECT last_value FROM orbit.lanes_id_seq) FROM orbit.pipelines p"
    fleet.host("p", "q")
    before = fleet.rows(written)
    fleet.host("q", "p")
    assert fleet.rows(written) == before


def test_a_pipeline_has_a_lane_for_each_queue_and_priority_that_was_reported(fleet: Fleet) -> None:
    host_id, lanes = fleet.host("q"), list[store.Lane]()
    for queue, priority in (("default", 0), ("special", 0), ("default", 1)):
        store.register_pipelines(fleet.conn, host_id, [PipelineSpec("p", queue, priority, OPEN_SIGNATURE, 3, 3)])
    lanes = store.register_pipelines(fleet.conn, host_id, [PipelineSpec("p", "default", 0, OPEN_SIGNATURE, 3, 3)])
    assert [(lane.pipeline, lane.queue, lane.priority) for lane in lanes] == [("p", "default", 1), ("p", "default", 0), ("p", "special", 0)]


def test_a_beat_tells_the_lease_the_lanes_and_the_work_in_order_of_priority(fleet: Fleet) -> None:
    host_id = fleet.host()
    specs = [
        PipelineSpec("low", "q", -1, OPEN_SIGNATURE, 3, 3),
        PipelineSpec("high", "q", 2, OPEN_SIGNATURE, 3, 3),
        PipelineSpec("idle", "q", 0, OPEN_SIGNATURE, 3, 3),
    ]
    lanes = {lane.pipeline: lane.id for lane in store.register_pipelines(fleet.conn, host_id, specs)}
    fleet.host("foreign")
    for pipeline in ("low", "high", "foreign"):
        fleet.enqueue(pipeline)
    beat = store.beat(fleet.conn, host_id, 20)
    assert beat.alive
    assert 19 < beat.lease_seconds_left <= 20
    assert beat.lanes == [lanes["high"], lanes["idle"], lanes["low"]]
    assert beat.lanes_with_work == [lanes["high"], lanes["low"]]
    assert beat.next_due_seconds is None
    assert beat.cancels == []


def test_a_beat_looks_for_work_from_the_floors_on_and_not_at_all_when_it_is_given_none(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    (lane,) = child.lanes
    seq = int(str(fleet.value("SELECT seq FROM orbit.live")))
    for floors, found in (({lane: seq}, [lane]), ({lane: seq + 1}, []), ({}, [])):
        assert store.beat(fleet.conn, child.host_id, 20, floors).lanes_with_work == found


def test_what_was_taken_back_is_looked_for_only_until_it_is_gone_whoever_has_its_number_elsewhere(fleet: Fleet) -> None:
    child, heir = fleet.worker("p"), fleet.worker("p")
    fleet.host("q")
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    fleet.twin(run_id, "q")
    fleet.enqueue("p")
    fleet.crash(child, fence)
    assert store.beat(fleet.conn, heir.host_id, 20, {}).lanes_with_work == heir.lanes
    heir.must_claim()
    assert store.beat(fleet.conn, heir.host_id, 20, {}).lanes_with_work == []
    assert fleet.rows("SELECT FROM orbit.returned") == []


def test_two_beats_that_forget_the_same_do_not_wait_for_each_other(fleet: Fleet) -> None:
    child, heir, other = fleet.worker("p"), fleet.worker("p"), fleet.connect()
    fleet.enqueue("p")
    fleet.crash(child, child.must_claim().fence)
    heir.must_claim()
    with other.transaction():
        store.beat(other, child.host_id, 20)
        beat = fleet.in_background(fleet.conn, lambda: store.beat(fleet.conn, heir.host_id, 20))
        assert not beat.until_blocked_or_done()
    assert beat.result().lanes_with_work == []


def test_a_beat_tells_of_cancels_to_its_own_living_children_only(fleet: Fleet) -> None:
    alive, foreign = fleet.worker("p"), fleet.worker("p")
    ended = fleet.child(alive.host_id, "p")
    runs = [fleet.enqueue("p") for _ in (alive, foreign, ended)]
    for child in (alive, foreign, ended):
        child.must_claim()
    fleet.crash(ended)
    for run_id in runs:
        admin.cancel(fleet.conn, run_id, "anna")
    assert store.beat(fleet.conn, alive.host_id, 20).cancels == [(runs[0], alive.child_id)]


def test_a_beat_tells_of_its_own_lease_and_whether_anothers_has_lapsed(fleet: Fleet) -> None:
    other, host_id = fleet.host("p", lease_seconds=500), fleet.host("p")

    def beat() -> Beat:
        return store.beat(fleet.conn, host_id, 20)

    assert beat().lease_seconds_left <= 20
    assert not beat().others_lapsed
    fleet.conn.execute("UPDATE orbit.hosts SET lease_until = clock_timestamp() WHERE id = %s", [other])
    assert beat().others_lapsed
    store.end_host(fleet.conn, fleet.boot_id(other), "host_lost", "resume")
    assert not beat().others_lapsed


def test_a_lane_where_all_runs_are_running_has_no_work(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    child.must_claim()
    assert store.beat(fleet.conn, child.host_id, 20).lanes_with_work == []


def test_steadiness_is_kept_by_timely_beats_and_lost_with_the_lease(fleet: Fleet) -> None:
    host_id = fleet.host()

    def steady_since() -> object:
        return fleet.value("SELECT steady_since FROM orbit.hosts WHERE id = %s", host_id)

    first = steady_since()
    store.beat(fleet.conn, host_id, 20)
    assert steady_since() == first
    fleet.conn.execute("UPDATE orbit.hosts SET lease_until = clock_timestamp()")
    store.beat(fleet.conn, host_id, 20)
    assert steady_since() != first


def test_delayed_runs_are_promoted_when_due_the_earliest_first_with_a_new_place(fleet: Fleet) -> None:
    child = fleet.worker("p")
    later, sooner, far = (fleet.enqueue("p", in_seconds=seconds, key=str(seconds)) for seconds in (3000, 2000, 9000))
    beat = store.beat(fleet.conn, child.host_id, 20)
    assert beat.next_due_seconds is not None
    assert 1990 < beat.next_due_seconds <= 2000
    pending = fleet.enqueue("p")
    fleet.conn.execute("UPDATE orbit.delayed SET due_at = due_at - interval '1 hour'")
    beat = store.beat(fleet.conn, child.host_id, 20)
    assert beat.next_due_seconds is not None
    assert 5390 < beat.next_due_seconds <= 5400
    assert [child.must_claim().run_id for _ in range(3)] == [pending, sooner, later]
    assert fleet.state(far) is RunState.SCHEDULED
    assert fleet.state(sooner) is RunState.RUNNING
    fleet.check()


def test_a_beat_that_could_not_move_all_that_is_due_asks_for_another(fleet: Fleet) -> None:
    host_id = fleet.host("p")
    soon = "SELECT orbit.enqueue('p', run_at => clock_timestamp() + interval '1 hour') FROM generate_series(1, 1500)"
    fleet.conn.execute(soon)
    fleet.conn.execute("UPDATE orbit.delayed SET due_at = clock_timestamp()")
    assert store.beat(fleet.conn, host_id, 20).next_due_seconds == 0
    assert store.beat(fleet.conn, host_id, 20).next_due_seconds is None
    assert fleet.value("SELECT count(*) FROM orbit.live") == 1500
    fleet.check()


def test_the_longest_due_are_promoted_first(fleet: Fleet) -> None:
    fleet.host("p")
    later, sooner = fleet.enqueue("p", in_seconds=3000), fleet.enqueue("p", in_seconds=2000)
    fleet.conn.execute("UPDATE orbit.delayed SET due_at = due_at - interval '1 hour'")
    assert fleet.value("SELECT orbit.promote(1)") == 1
    assert (fleet.state(sooner), fleet.state(later)) == (RunState.PENDING, RunState.SCHEDULED)


def test_what_fell_due_long_before_it_was_committed_is_left_to_a_duty_by_a_host_that_has_beaten_all_the_time(fleet: Fleet) -> None:
    host_id = fleet.host("p")
    fleet.conn.execute("UPDATE orbit.hosts SET steady_since = clock_timestamp() - interval '1 hour'")
    late, just = (fleet.enqueue("p", in_seconds=3600) for _ in range(2))
    fleet.conn.execute(
        "UPDATE orbit.delayed SET due_at = clock_timestamp() - make_interval(secs => CASE run_id WHEN %s THEN 330 ELSE 310 END)", [late]
    )
    assert store.beat(fleet.conn, host_id, 20).next_due_seconds is None
    assert (fleet.state(late), fleet.state(just)) == (RunState.SCHEDULED, RunState.PENDING)
    assert (store.promote_overdue(fleet.conn), store.promote_overdue(fleet.conn)) == (1, 0)
    assert fleet.state(late) is RunState.PENDING
    fleet.check()


def test_a_duty_moves_all_that_is_long_due_in_however_many_batches(fleet: Fleet) -> None:
    fleet.host("p")
    fleet.conn.execute("SELECT orbit.enqueue('p', run_at => clock_timestamp() + interval '1 hour') FROM generate_series(1, 205)")
    fleet.conn.execute("UPDATE orbit.delayed SET due_at = clock_timestamp() - interval '1 day'")
    assert store.promote_overdue(fleet.conn, limit=2) == 205


def test_a_host_that_comes_or_comes_again_moves_all_that_is_due(fleet: Fleet) -> None:
    host_id = fleet.host("p")
    for times in ("steady_since = registered_at", "steady_since = '-infinity', lease_until = clock_timestamp()"):
        run_id = fleet.enqueue("p", in_seconds=3600)
        fleet.conn.execute("UPDATE orbit.delayed SET due_at = due_at - interval '1 day'")
        fleet.conn.execute(f"UPDATE orbit.hosts SET {times}".encode())
        store.beat(fleet.conn, host_id, 20)
        assert fleet.state(run_id) is RunState.PENDING


def test_two_beats_promote_each_run_once(fleet: Fleet) -> None:
    hosts, other = [fleet.host("p"), fleet.host("p")], fleet.connect()
    for _ in range(5):
        fleet.enqueue("p", in_seconds=3600)
    fleet.conn.execute("UPDATE orbit.delayed SET due_at = clock_timestamp()")
    with fleet.conn.transaction():
        store.beat(fleet.conn, hosts[0], 20)
        assert store.beat(other, hosts[1], 20).lanes_with_work == []
    assert fleet.value("SELECT count(*) FROM orbit.live") == 5
    fleet.check()


def test_a_beat_waits_for_nobody_who_holds_a_run(fleet: Fleet) -> None:
    host_id, other = fleet.host("p"), fleet.connect()
    held = fleet.enqueue("p", in_seconds=3600), fleet.enqueue("unknown")
    fleet.conn.execute("UPDATE orbit.delayed SET due_at = clock_timestamp()")
    store.register_pipelines(fleet.conn, host_id, [PipelineSpec(name, "q", 0, OPEN_SIGNATURE, 3, 3) for name in ("p", "unknown")])
    with other.transaction():
        for run_id in held:
            assert admin.cancel(other, run_id, "me") == "cancelled"
        beat = store.beat(fleet.conn, host_id, 20)
        assert (beat.alive, beat.next_due_seconds) == (True, None)
    fleet.check()


# --- children ---


def test_a_reconnected_child_goes_on_with_what_it_holds(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    fresh = store.start_child(fleet.conn, host_id=child.host_id, slot=0, nonce=child.nonce, pid=2, held=[fence])
    assert fresh != child.child_id
    fleet.enqueue("p")
    with pytest.raises(LeaseLost):
        child.claim()
    child.child_id = fresh
    assert store.reconcile(fleet.conn, "resume") == 0
    assert child.claim()
    assert child.succeed(fence)
    assert fleet.state(run_id) is RunState.SUCCEEDED


def test_a_claim_whose_reply_was_lost_is_settled_when_the_child_comes_again(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    lost = child.must_claim()  # and nobody hears of it
    fleet.come_again(child, asked=(lost.token, child.lanes))
    assert fleet.state(run_id) is RunState.PENDING
    again = child.must_claim()
    assert (again.run_id, again.seq, again.attempt) == (run_id, lost.seq, 1)
    assert fleet.value("SELECT count(*) FROM orbit.outcomes") == 0


def test_a_claim_that_was_heard_is_not_given_back_when_it_is_named_as_asked_too(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    fence = child.must_claim().fence
    store.start_child(fleet.conn, host_id=child.host_id, slot=0, nonce=child.nonce, pid=2, held=[fence], asked=(fence.token, child.lanes))
    assert child.succeed(fence)


def test_a_claim_in_flight_on_the_lost_connection_is_waited_for(fleet: Fleet) -> None:
    child, other = fleet.worker("p"), fleet.connect()
    run_id, ask = fleet.enqueue("p"), Ask.of(child.lanes)
    with child.conn.transaction():
        store.claim(child.conn, child.child_id, ask)
        coming = fleet.in_background(
            other,
            lambda: store.start_child(other, host_id=child.host_id, slot=0, nonce=child.nonce, pid=2, asked=(ask.token, child.lanes)),
        )
        coming.until_blocked()
    coming.result()
    assert fleet.state(run_id) is RunState.PENDING


def test_a_child_that_comes_again_is_not_taken_for_another(fleet: Fleet) -> None:
    child, foreign = fleet.worker("p"), fleet.worker("p")
    sibling = fleet.child(foreign.host_id, "p")
    store.start_child(fleet.conn, host_id=foreign.host_id, slot=0, nonce=child.nonce, pid=2)
    assert not has_ended(fleet, child)
    assert not has_ended(fleet, sibling)


def test_a_child_that_comes_again_does_not_wait_for_whoever_ends_what_it_was_before(fleet: Fleet) -> None:
    child, janitor = fleet.worker("p"), fleet.connect()
    fleet.crash(child)
    with janitor.transaction():
        fleet.crash(child, conn=janitor)
        coming = fleet.in_background(fleet.conn, lambda: fleet.come_again(child, conn=fleet.conn))
        assert not coming.until_blocked_or_done()
    coming.result()


def test_coming_again_twice_leaves_one_living_child(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    fence = child.must_claim().fence
    for _ in range(2):  # the first reply was lost
        store.start_child(fleet.conn, host_id=child.host_id, slot=0, nonce=child.nonce, pid=2, held=[fence])
    assert fleet.value("SELECT count(*) FROM orbit.children WHERE ended_at IS NULL") == 1
    assert child.succeed(fence)


def test_a_child_that_starts_while_its_host_is_being_ended_is_refused(fleet: Fleet) -> None:
    host_id, starter = fleet.host("p"), fleet.connect()
    with fleet.conn.transaction():
        store.end_host(fleet.conn, fleet.boot_id(host_id), "stopped", "resume")
        start = fleet.in_background(starter, lambda: store.start_child(starter, host_id=host_id, slot=0, nonce="n", pid=2))
        start.until_blocked()
    with pytest.raises(LeaseLost):
        start.result()


def test_nobody_joins_a_host_that_was_ended(fleet: Fleet) -> None:
    host_id = fleet.host("p")
    fleet.settle()
    fleet.host("p")
    with pytest.raises(LeaseLost):
        store.start_child(fleet.conn, host_id=host_id, slot=0, nonce="n", pid=2)


# --- the death of a child ---


def test_a_crash_puts_the_run_back_where_it_stood_and_tells_why(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    behind = fleet.enqueue("p")
    fence = child.must_claim().fence
    assert fleet.crash(child, fence) == [(run_id, RunState.PENDING)]
    assert fleet.crash(child, fence) == []
    heir = fleet.worker("p")
    again = heir.must_claim()
    assert (again.run_id, again.seq, again.attempt, again.errors, again.crashes) == (run_id, fence.seq, 2, 0, 1)
    assert heir.must_claim().run_id == behind
    (attempt,) = admin.describe(fleet.conn, run_id)["attempts"]
    expected = {"outcome": "interrupted", "cause": "crashed:SIGSEGV", "error": "signal 11", "stack": "Current thread ...", "slot": 0}
    assert expected.items() <= attempt.items()
    fleet.check_settled()


@pytest.mark.parametrize(
    ("charge", "counters", "last"),
    [(Charge.CRASH, (0, 3), RunState.FAILED), (Charge.ERROR, (2, 0), RunState.FAILED), (Charge.NONE, (0, 0), RunState.PENDING)],
)
def test_each_charge_has_its_own_counter_and_limit(fleet: Fleet, charge: Charge, counters: tuple[int, int], last: RunState) -> None:
    run_id = fleet.enqueue("p", key="k")
    fleet.limits, states = (2, 3), []
    for _ in range(max(counters) or 5):
        child = fleet.worker("p")
        store.beat(fleet.conn, child.host_id, 20)
        states += [state for _, state in fleet.crash(child, child.must_claim().fence, charge=charge)]
    assert states == [RunState.PENDING] * (len(states) - 1) + [last]
    assert fleet.state(run_id) is last
    table = "failed" if last is RunState.FAILED else "live"
    assert fleet.rows(f"SELECT errors, crashes FROM orbit.{table}") == [counters]
    if last is RunState.FAILED:
        assert fleet.value("SELECT cause FROM orbit.failed") == "crashed:SIGSEGV"
    fleet.check_settled()


def test_the_newest_report_of_a_pipelines_limits_stands(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    fleet.limits = (3, 1)
    fleet.host("p")
    assert fleet.crash(child, fence) == [(run_id, RunState.FAILED)]


def test_each_run_has_the_limits_of_its_own_pipeline(fleet: Fleet) -> None:
    fleet.limits = (3, 1)
    strict = fleet.worker("a")
    fleet.limits = (3, 3)
    lenient = fleet.worker("p")
    runs = [fleet.enqueue("a"), fleet.enqueue("p")]
    assert fleet.crash(lenient, lenient.must_claim().fence) == [(runs[1], RunState.PENDING)]
    assert fleet.crash(strict, strict.must_claim().fence) == [(runs[0], RunState.FAILED)]


@pytest.mark.parametrize("charge", [Charge.CRASH, Charge.ERROR])
def test_a_pipeline_that_nobody_has_reported_has_limits_too(fleet: Fleet, charge: Charge) -> None:
    host_id, states = fleet.host("p"), []
    fleet.enqueue("p")
    fleet.conn.execute("DELETE FROM orbit.pipelines")
    for _ in range(3):
        child = fleet.child(host_id, "p")
        states += [state for _, state in fleet.crash(child, child.must_claim().fence, charge=charge)]
    assert states == [RunState.PENDING, RunState.PENDING, RunState.FAILED]


def test_a_run_that_was_not_begun_pays_nothing(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    assert fleet.crash(child, child.must_claim().fence, begun=False) == [(run_id, RunState.PENDING)]
    again = fleet.worker("p").must_claim()
    assert (again.attempt, again.crashes) == (1, 0)
    assert fleet.value("SELECT count(*) FROM orbit.outcomes") == 0


def test_a_claim_that_its_dead_child_never_heard_of_is_found_by_its_token(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id, ask = fleet.enqueue("p"), Ask.of(child.lanes)
    store.claim(child.conn, child.child_id, ask)
    assert fleet.crash(child, asked=(ask.token, child.lanes)) == [(run_id, RunState.PENDING)]
    assert fleet.worker("p").must_claim().attempt == 1


def test_a_child_that_never_connected_held_nothing(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    fence = child.must_claim().fence
    child.child_id = 0
    assert fleet.crash(child, fence) == []


def test_several_runs_of_one_child_are_taken_back_in_the_order_of_their_places(fleet: Fleet) -> None:
    child = fleet.worker("a", "b")
    fences = []
    for pipeline in ("a", "b", "a", "b"):
        fleet.enqueue(pipeline)
        fences.append(child.must_claim().fence)
    taken = fleet.crash(child, *fences)
    in_order = [fence.run_id for fence in sorted(fences, key=lambda fence: (fence.lane, fence.seq))]
    assert [run_id for run_id, _ in taken] == in_order


def test_runs_are_held_for_a_person_in_hold_mode_and_resumed_on_demand(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p", key="k")
    fence = child.must_claim().fence
    store.record_step(child.conn, fence, "load", "[1]", 0.5)
    assert fleet.crash(child, fence, mode="hold") == [(run_id, RunState.INTERRUPTED)]
    assert fleet.worker("p").claim() is None
    assert fleet.state(run_id) is RunState.INTERRUPTED
    fleet.check_settled()
    assert admin.resume(fleet.conn, run_id, "anna") == "pending"
    assert admin.resume(fleet.conn, run_id, "otto") == "pending"
    again = fleet.worker("p").must_claim()
    assert (again.run_id, again.attempt, again.crashes) == (run_id, 2, 1)
    assert store.load_steps(fleet.conn, run_id) == {"load": "[1]"}
    fleet.check()


def test_hold_mode_does_not_hold_what_was_not_begun(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    assert fleet.crash(child, child.must_claim().fence, begun=False, mode="hold")[0][1] is RunState.PENDING


# --- the claim in flight ---


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_an_interrupt_waits_for_the_claim_in_flight_and_finds_what_it_took(fleet: Fleet, ending: str) -> None:
    child, janitor = fleet.worker("p"), fleet.connect()
    run_id, ask = fleet.enqueue("p"), Ask.of(child.lanes)
    with child.conn.transaction(force_rollback=ending == "rollback"):
        store.claim(child.conn, child.child_id, ask)
        burial = fleet.in_background(janitor, lambda: fleet.crash(child, asked=(ask.token, child.lanes), conn=janitor))
        burial.until_blocked()
    assert burial.result() == ([(run_id, RunState.PENDING)] if ending == "commit" else [])
    assert fleet.state(run_id) is RunState.PENDING
    fleet.check_settled()


def test_a_claim_during_an_interrupt_is_refused_without_waiting(fleet: Fleet) -> None:
    child, janitor = fleet.worker("p"), fleet.connect()
    fleet.enqueue("p")
    in_hand = child.must_claim()
    waiting = fleet.enqueue("p")
    with janitor.transaction():
        fleet.crash(child, conn=janitor)
        with pytest.raises(LeaseLost):
            child.claim()
        answer = child.go_on(Report.succeeded(in_hand.fence, "1"))
        assert (answer.finished.fenced, answer.lease_ok, answer.offer.claimed) == ([], False, None)
    assert fleet.state(waiting) is RunState.PENDING
    fleet.check_settled()


def test_an_interrupt_gives_up_soon_when_the_dead_childs_session_goes_on(fleet: Fleet) -> None:
    child, janitor = fleet.worker("p"), fleet.connect()
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    with child.conn.transaction():
        store.hold_run(child.conn, fence)
        with pytest.raises(psycopg.errors.LockNotAvailable) as given_up:
            fleet.crash(child, fence, conn=janitor)
        assert store.is_outage(given_up.value)
    assert fleet.crash(child, fence, conn=janitor) == [(run_id, RunState.PENDING)]


# --- the death of a host ---


def test_ending_a_host_takes_back_its_runs_uncharged(fleet: Fleet) -> None:
    child = fleet.worker("p")
    ids = [fleet.enqueue("p") for _ in range(3)]
    child.must_claim()
    child.must_claim()
    boot_id = fleet.boot_id(child.host_id)
    assert store.end_host(fleet.conn, boot_id, "arbiter_died", "resume") == 2
    assert store.end_host(fleet.conn, boot_id, "arbiter_died", "resume") == 0
    assert store.end_host(fleet.conn, "no such host", "arbiter_died", "resume") == 0
    heir = fleet.worker("p")
    claimed = [heir.must_claim() for _ in range(3)]
    assert [run.run_id for run in claimed] == ids
    assert {run.crashes for run in claimed} == {0}
    cause = admin.describe(fleet.conn, ids[0])["attempts"][0]
    assert (cause["outcome"], cause["cause"]) == ("interrupted", "interrupted")
    assert "arbiter_died" in cause["error"]
    fleet.check_settled()


@pytest.mark.parametrize("ending", ["commit", "rollback"])
def test_ending_a_host_waits_for_the_claim_in_flight(fleet: Fleet, ending: str) -> None:
    child, janitor = fleet.worker("p"), fleet.connect()
    run_id = fleet.enqueue("p")
    with child.conn.transaction(force_rollback=ending == "rollback"):
        child.must_claim()
        end = fleet.in_background(janitor, lambda: store.end_host(janitor, fleet.boot_id(child.host_id), "stopped", "resume"))
        end.until_blocked()
    assert end.result() == (1 if ending == "commit" else 0)
    assert fleet.state(run_id) is RunState.PENDING
    fleet.check_settled()


def test_ending_a_host_waits_for_no_child_but_its_own_living_ones(fleet: Fleet) -> None:
    ended, foreign, janitor = fleet.worker("p"), fleet.worker("p"), fleet.connect()
    fleet.crash(ended)
    fleet.enqueue("p")
    with foreign.conn.transaction(), fleet.conn.transaction():
        foreign.must_claim()
        fleet.crash(ended)
        end = fleet.in_background(janitor, lambda: store.end_host(janitor, fleet.boot_id(ended.host_id), "stopped", "resume"))
        assert not end.until_blocked_or_done()
    end.result()


def test_ending_a_host_waits_for_a_child_that_is_just_starting(fleet: Fleet) -> None:
    host_id, starter, janitor = fleet.host("p"), fleet.connect(), fleet.connect()
    with starter.transaction():
        store.start_child(starter, host_id=host_id, slot=0, nonce="n", pid=2)
        end = fleet.in_background(janitor, lambda: store.end_host(janitor, fleet.boot_id(host_id), "stopped", "resume"))
        end.until_blocked()
    end.result()
    assert fleet.value("SELECT count(*) FROM orbit.children WHERE ended_at IS NULL") == 0


class Fates:
    """A judge and a silent host, whose times are set by hand: everything is in order for a rescue."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.judge, self.victim = fleet.host("p"), fleet.worker("p")
        self.run_id = fleet.enqueue("p")
        self.fence = self.victim.must_claim().fence
        self.set(self.judge, "lease = '10 ms', steady_since = clock_timestamp() - interval '30 years'")
        self.set(self.victim.host_id, "lease = '10 ms', lease_until = clock_timestamp()")

    def set(self, host_id: int, what: str) -> None:
        self.fleet.conn.execute(f"UPDATE orbit.hosts SET {what} WHERE id = {host_id}".encode())

    def rescue(self) -> int:
        return store.rescue(self.fleet.conn, self.judge, "resume")


def test_a_steady_host_rescues_the_runs_of_a_silent_one_and_they_pay_a_crash(fleet: Fleet) -> None:
    fates = Fates(fleet)
    assert fates.rescue() == 1
    assert not store.beat(fleet.conn, fates.victim.host_id, 20).alive
    again = fleet.worker("p").must_claim()
    assert (again.run_id, again.crashes) == (fates.run_id, 1)
    assert admin.describe(fleet.conn, fates.run_id)["attempts"][0]["cause"] == "host_lost"
    assert not fates.victim.succeed(fates.fence)
    fleet.check_settled()


@pytest.mark.parametrize(
    ("who", "what"),
    [
        ("judge", "steady_since = clock_timestamp()"),
        ("judge", "lease_until = clock_timestamp()"),
        ("judge", "lease = '2 hours'"),
        ("victim", "lease = '10 years'"),  # the server has not been up that long
        ("victim", "lease_until = clock_timestamp() + interval '1 s'"),
    ],
)
def test_no_host_is_ended_unless_its_silence_is_proved(fleet: Fleet, who: str, what: str) -> None:
    fates = Fates(fleet)
    fates.set(fates.judge if who == "judge" else fates.victim.host_id, what)
    assert fates.rescue() == 0
    assert fates.victim.succeed(fates.fence)


def test_a_host_that_was_ended_ends_nobody(fleet: Fleet) -> None:
    fates = Fates(fleet)
    store.end_host(fleet.conn, fleet.boot_id(fates.judge), "stopped", "resume")
    assert fates.rescue() == 0


def test_hosts_that_were_ended_long_ago_are_in_nobodys_way(fleet: Fleet) -> None:
    fates = Fates(fleet)
    fleet.conn.execute(
        """
        INSERT INTO orbit.hosts (boot_id, name, pid, version, lease, lease_until, steady_since, ended_at, ended_cause)
        SELECT 'old ' || i, 'old', 1, '1', '10 ms', '2001-01-01', '2001-01-01', '2001-01-01', 'stopped' FROM generate_series(1, 500) AS i
        """
    )
    assert fates.rescue() == 1


def test_a_beat_in_flight_saves_its_host(fleet: Fleet) -> None:
    fates = Fates(fleet)
    with fates.victim.conn.transaction():
        store.beat(fates.victim.conn, fates.victim.host_id, 20)
        rescue = fleet.in_background(fleet.conn, fates.rescue)
        assert not rescue.until_blocked_or_done()
    assert rescue.result() == 0
    assert fates.rescue() == 0
    assert fates.victim.succeed(fates.fence)


# --- deaths that nobody saw ---


def has_ended(fleet: Fleet, child: Child) -> object:
    return fleet.value("SELECT ended_at IS NOT NULL FROM orbit.children WHERE id = %s", child.child_id)


def test_old_children_that_their_host_does_not_know_are_ended_and_their_runs_come_back(fleet: Fleet) -> None:
    host_id = fleet.host("p")
    living, missing, foreign = fleet.child(host_id, "p"), fleet.child(host_id, "p"), fleet.worker("p")
    fleet.conn.execute("UPDATE orbit.children SET started_at = started_at - interval '61 s'")
    young = fleet.child(host_id, "p")
    children = [living, missing, foreign, young]
    ids = [fleet.enqueue("p") for _ in children]
    fences = [child.must_claim().fence for child in children]
    assert store.end_missing_children(fleet.conn, host_id, [living.child_id]) == 1
    assert store.end_missing_children(fleet.conn, host_id, [living.child_id]) == 0
    assert [has_ended(fleet, child) for child in children] == [False, True, False, False]
    assert store.reconcile(fleet.conn, "resume") == 1
    assert [fleet.state(run_id) for run_id in ids] == [RunState.RUNNING, RunState.PENDING, RunState.RUNNING, RunState.RUNNING]
    assert [child.succeed(fence) for child, fence in zip(children, fences, strict=True)] == [True, False, True, True]
    assert "missing" in admin.describe(fleet.conn, ids[1])["attempts"][0]["error"]
    fleet.check_settled()


def test_a_missing_child_with_a_claim_in_flight_is_ended_later(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.conn.execute("UPDATE orbit.children SET started_at = '-infinity'")
    fleet.enqueue("p")
    with child.conn.transaction():
        child.must_claim()
        assert store.end_missing_children(fleet.conn, child.host_id, []) == 0
    assert store.end_missing_children(fleet.conn, child.host_id, []) == 1
    assert store.reconcile(fleet.conn, "resume") == 1


# --- reconcile ---


def test_reconcile_takes_back_what_an_interrupt_was_not_told_of(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    child.must_claim()
    assert fleet.crash(child) == []
    assert store.reconcile(fleet.conn, "resume") == 1
    assert store.reconcile(fleet.conn, "resume") == 0
    assert fleet.state(run_id) is RunState.PENDING
    fleet.check_settled()


def test_reconcile_leaves_the_living_alone(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    fence = child.must_claim().fence
    fleet.conn.execute("UPDATE orbit.hosts SET lease_until = clock_timestamp()")  # a lapsed lease stops no run
    assert store.reconcile(fleet.conn, "resume") == 0
    assert child.succeed(fence)


def test_reconcile_goes_on_past_a_row_that_is_locked(fleet: Fleet) -> None:
    child = fleet.worker("p")
    for _ in range(3):
        fleet.enqueue("p")
    fences = [child.must_claim().fence for _ in range(3)]
    with child.conn.transaction():
        store.hold_run(child.conn, fences[1])
        fleet.crash(child)
        assert store.reconcile(fleet.conn, "resume") == 2
    assert store.reconcile(fleet.conn, "resume") == 1
    fleet.check_settled()


def test_reconcile_goes_on_past_a_row_that_cannot_be_moved(fleet: Fleet) -> None:
    child = fleet.worker("p")
    for _ in range(3):
        fleet.enqueue("p")
    fences = [child.must_claim().fence for _ in range(3)]
    clash = "INSERT INTO orbit.outcomes (run_id, token, attempt, reported, outcome) VALUES (%s, %s, 1, false, 'interrupted')"
    fleet.conn.execute(clash, [fences[1].run_id, fences[1].token])
    fleet.crash(child)
    assert store.reconcile(fleet.conn, "resume") == 2
    assert fleet.state(fences[1].run_id) is RunState.RUNNING


def test_reconcile_works_through_more_than_a_batch_and_lets_others_do_something_in_between(fleet: Fleet) -> None:
    child = fleet.worker("p")
    admin.enqueue_many(fleet.conn, [{"pipeline": "p"}] * 110)
    claims = itertools.takewhile(lambda claimed: claimed is not None, iter(child.claim, object()))
    assert sum(1 for _ in claims) == 110
    pauses: list[None] = []
    fleet.conn.execute("SELECT orbit.end_host(%s, 'stopped')", [child.host_id])
    assert store.reconcile(fleet.conn, "resume", lambda: pauses.append(None)) == 110
    assert len(pauses) == 2
    fleet.check_settled()


class Hands:
    """A host with two batches in hand: of each only the run in front may have begun."""

    def __init__(self, fleet: Fleet, each: int) -> None:
        self.fleet, self.host_id = fleet, fleet.host("p")
        self.ids: list[int] = admin.enqueue_many(fleet.conn, [{"pipeline": "p"}] * 2 * each)
        children = [fleet.child(self.host_id, "p") for _ in range(2)]
        self.front = [store.claim(child.conn, child.child_id, Ask.of(child.lanes, each)).runs[0] for child in children]

    def end(self, cause: str, mode: store.Mode = "resume", between: Callable[[], object] = lambda: None) -> int:
        self.fleet.conn.execute("SELECT orbit.end_host(%s, %s)", [self.host_id, cause])
        return store.reconcile(self.fleet.conn, mode, lambda: void(between()))

    def check(self, table: str = "live", attempt: int = 0, crashes: int = 1) -> None:
        """The runs in front are noted as begun, and charged; no others are."""
        front = {run.run_id for run in self.front}
        expected = [(run_id, 1, crashes) if run_id in front else (run_id, attempt, 0) for run_id in self.ids]
        assert self.fleet.rows(f"SELECT run_id, attempt, crashes FROM orbit.{table} ORDER BY run_id") == expected


def void(_: object) -> None: ...


def test_of_a_lost_hosts_batches_only_the_runs_in_front_pay_however_many_hosts_take_them_back(fleet: Fleet) -> None:
    hands, other = Hands(fleet, 40), fleet.connect()
    hands.end("host_lost", between=lambda: store.reconcile(other, "resume"))
    hands.check()
    assert fleet.value("SELECT array_agg(run_id ORDER BY run_id) FROM orbit.outcomes") == [run.run_id for run in hands.front]


def test_the_run_in_front_pays_even_if_its_ghost_has_locked_it_when_those_behind_it_are_taken_back(fleet: Fleet) -> None:
    hands, ghost = Hands(fleet, 3), fleet.connect()
    with ghost.transaction():
        store.hold_run(ghost, hands.front[1].fence)
        assert hands.end("host_lost") == 5
    assert store.reconcile(fleet.conn, "resume") == 1
    hands.check()


def test_where_runs_are_held_a_lost_hosts_batches_are_held_as_a_whole_and_yet_only_the_runs_in_front_pay(fleet: Fleet) -> None:
    hands = Hands(fleet, 3)
    assert hands.end("host_lost", "hold") == 6
    hands.check("interrupted", attempt=1)


def test_a_host_that_stops_charges_nobody(fleet: Fleet) -> None:
    hands = Hands(fleet, 3)
    assert hands.end("stopped") == 6
    hands.check(crashes=0)


def test_reconcile_leaves_a_run_that_its_child_has_taken_along_to_a_new_connection_meanwhile(fleet: Fleet) -> None:
    child = fleet.worker("p")
    admin.enqueue_many(fleet.conn, [{"pipeline": "p"}] * 52)
    *_, kept, left = [child.must_claim().fence for _ in range(52)]
    fleet.conn.execute("SELECT orbit.end_child(%s, 'missing')", [child.child_id])
    assert store.reconcile(fleet.conn, "resume", lambda: fleet.come_again(child, kept)) == 51
    assert (fleet.state(kept.run_id), fleet.state(left.run_id)) == (RunState.RUNNING, RunState.PENDING)
    assert child.succeed(kept)


def test_reconcile_goes_on_past_more_bad_rows_than_a_batch_holds(fleet: Fleet) -> None:
    """Complaint 29: one row that cannot be recovered dropped the rest of its batch."""
    child = fleet.worker("p")
    admin.enqueue_many(fleet.conn, [{"pipeline": "p"}] * 61)
    fences = [child.must_claim().fence for _ in range(61)]
    clash = "INSERT INTO orbit.outcomes (run_id, token, attempt, reported, outcome) VALUES (%s, %s, 1, false, 'interrupted')"
    for fence in fences[:60]:
        fleet.conn.execute(clash, [fence.run_id, fence.token])
    fleet.crash(child)
    assert store.reconcile(fleet.conn, "resume") == 1
    assert fleet.state(fences[60].run_id) is RunState.PENDING


def test_a_host_that_cannot_be_ended_now_does_not_stop_the_rescue_of_another(fleet: Fleet) -> None:
    """Complaint 29: one that cannot be recovered dropped the rest."""
    stuck, lost = Fates(fleet), Fates(fleet)
    with stuck.victim.conn.transaction():
        stuck.victim.conn.execute("SELECT FROM orbit.children WHERE id = %s FOR KEY SHARE", [stuck.victim.child_id])
        assert lost.rescue() == 1
        assert fleet.state(stuck.run_id) is RunState.RUNNING
    assert lost.rescue() == 1
    fleet.check_settled()


def test_a_run_that_ended_while_its_host_was_judged_stays_as_it_ended(fleet: Fleet) -> None:
    """Complaint 1: riverqueue/river#1302, a rescuer read "running", then updated by id: a completed run was tried again."""
    fates, other = Fates(fleet), fleet.connect()
    with fates.victim.conn.transaction():
        assert fates.victim.succeed(fates.fence)
        rescue = fleet.in_background(other, lambda: store.rescue(other, fates.judge, "resume"))
        assert not rescue.until_blocked_or_done()
    assert rescue.result() == 0
    assert store.reconcile(fleet.conn, "resume") == 0
    assert fleet.state(fates.run_id) is RunState.SUCCEEDED
    assert fleet.crash(fates.victim, fates.fence) == []
    assert fleet.state(fates.run_id) is RunState.SUCCEEDED
    fleet.check_settled()


def test_a_host_of_the_same_name_and_pid_is_another_host(fleet: Fleet) -> None:
    """Complaint 15: oban-bg/oban#862, a node's name was used again, and its orphans were taken for alive."""
    fates = Fates(fleet)
    name = fleet.value("SELECT name FROM orbit.hosts WHERE id = %s", fates.victim.host_id)
    again = store.register(fleet.conn, boot_id="another", name=str(name), pid=1, version="1", lease_seconds=20)
    assert again != fates.victim.host_id
    assert fates.rescue() == 1
    assert fleet.state(fates.run_id) is RunState.PENDING
    assert store.beat(fleet.conn, again, 20).alive


def test_a_run_out_of_attempts_fails_by_its_childs_report_only(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    child.finish(Report.failed(child.must_claim().fence, FAILURE))
    store.end_host(fleet.conn, fleet.boot_id(child.host_id), "stopped", "resume")
    assert fleet.state(run_id) is RunState.FAILED
    fleet.check_settled()


def test_what_has_been_ended_once_keeps_its_time_and_cause(fleet: Fleet) -> None:
    """Complaint 1 (riverqueue/river#1302) for children and hosts: a second death changes nothing that the first has written."""
    ended, living = fleet.host("p"), fleet.host("p")
    crashed, stopped = fleet.child(ended, "p"), fleet.child(ended, "p")
    fleet.crash(crashed)

    def written() -> list[tuple[object, ...]]:
        query = "SELECT id, ended_at, ended_cause FROM orbit.{} ORDER BY id"
        return fleet.rows(query.format("children")) + fleet.rows(query.format("hosts"))

    first = written()
    fleet.crash(crashed)
    assert written() == first
    assert fleet.value("SELECT orbit.end_host(%s, 'stopped')", ended) is True
    second = written()
    assert [row[2] for row in second] == ["crashed:SIGSEGV", "stopped", "stopped", None]
    assert fleet.value("SELECT orbit.end_host(%s, 'host_lost')", ended) is False
    fleet.crash(crashed)
    fleet.crash(stopped)
    assert written() == second
    assert fleet.value("SELECT ended_at IS NULL FROM orbit.hosts WHERE id = %s", living)
