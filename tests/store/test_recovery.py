"""What waits to be recovered, and a person who recovers it."""

from __future__ import annotations

import pytest

from orbitd import store
from orbitd.errors import Conflict
from orbitd.rules.states import RunState
from orbitd.store import TakenBack, admin
from orbitd.store.admin import Recovered
from tests.store.fleet import FAILURE, Child, Fleet

ITEM_FIELDS = ["id", "pipeline", "attempt", "state", "cause", "since", "host", "slot", "last_step", "steps"]
LEASE_SECONDS = 0.05


def fall_silent(fleet: Fleet, host_id: int, seconds: float) -> None:
    """The host's lease lapsed so long ago."""
    query = "UPDATE orbit.hosts SET lease_until = clock_timestamp() - make_interval(secs => %s) WHERE id = %s"
    fleet.conn.execute(query, [seconds, host_id])


def silent_child(fleet: Fleet, seconds: float = 60) -> Child:
    """A child of a host that was not heard of for so long, and that holds what it has claimed."""
    child = fleet.child(fleet.host("p", lease_seconds=LEASE_SECONDS), "p", slot=3)
    fleet.conn.execute("UPDATE orbit.hosts SET lease_until = 'infinity' WHERE id = %s", [child.host_id])
    fleet.enqueue("p")
    child.must_claim()
    fall_silent(fleet, child.host_id, seconds)
    return child


def held_run(fleet: Fleet, age_seconds: float = 0) -> int:
    """A run that was interrupted and held so long ago."""
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    store.record_step(child.conn, fence, "load", "1", 0.1)
    store.record_step(child.conn, fence, "save", "1", 0.1)
    fleet.crash(child, fence, mode="hold")
    query = "UPDATE orbit.interrupted SET at = at - make_interval(secs => %s) WHERE run_id = %s"
    fleet.conn.execute(query, [age_seconds, run_id])
    return run_id


def only_run_of(fleet: Fleet, child: Child) -> int:
    return int(str(fleet.value("SELECT run_id FROM orbit.live WHERE child = %s", child.child_id)))


def recover(fleet: Fleet, *, auto_resume: bool = False, older_than_seconds: float = 0) -> Recovered:
    return admin.recover(fleet.conn, older_than_seconds=older_than_seconds, auto_resume=auto_resume, by="anna")


# --- check-interrupted ---


def test_a_held_run_is_listed_with_its_cause_and_its_last_step(fleet: Fleet) -> None:
    run_id = held_run(fleet)
    (item,) = admin.check_interrupted(fleet.conn)
    assert list(item) == ITEM_FIELDS
    assert (item["id"], item["pipeline"], item["attempt"], item["state"]) == (str(run_id), "p", 1, "interrupted")
    assert (item["cause"], item["slot"], item["last_step"], item["steps"]) == ("crashed:SIGSEGV", 0, "save", 2)
    assert item["host"].startswith("host-")
    assert item["since"].endswith("Z")


def test_a_running_run_of_a_silent_host_is_listed(fleet: Fleet) -> None:
    child = silent_child(fleet)
    (item,) = admin.check_interrupted(fleet.conn)
    assert (item["id"], item["state"], item["cause"]) == (str(only_run_of(fleet, child)), "running", "host_lost")
    assert (item["host"], item["slot"], item["last_step"], item["steps"]) == (f"host-{fleet.boot_id(child.host_id)}", 3, None, 0)


def test_resume_of_a_run_whose_child_or_host_is_gone_is_refused(fleet: Fleet) -> None:
    silent, ended = silent_child(fleet), fleet.worker("p")
    fleet.enqueue("p")
    ended.must_claim()
    assert admin.resume(fleet.conn, only_run_of(fleet, ended), "anna") == "running"
    fleet.conn.execute("SELECT orbit.end_child(%s, 'missing')", [ended.child_id])
    for child in (silent, ended):
        with pytest.raises(Conflict, match="its child or its host is gone") as refusal:
            admin.resume(fleet.conn, only_run_of(fleet, child), "anna")
        assert refusal.value.hint == "take it back: orbitctl recover --auto-resume"


def test_a_run_is_not_lost_because_another_with_its_number_is(fleet: Fleet) -> None:
    child = fleet.worker("q")
    run_id = fleet.twin(only_run_of(fleet, silent_child(fleet)), "q")
    child.must_claim()
    assert admin.resume(fleet.conn, run_id, "anna") == "running"


def test_a_running_run_of_a_child_that_has_ended_is_listed(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    child.must_claim()
    assert admin.check_interrupted(fleet.conn) == []
    fleet.conn.execute("SELECT orbit.end_child(%s, 'missing')", [child.child_id])
    (item,) = admin.check_interrupted(fleet.conn)
    assert (item["id"], item["state"], item["cause"]) == (str(run_id), "running", "interrupted")


def test_what_is_in_good_hands_or_has_ended_is_not_listed(fleet: Fleet) -> None:
    child = fleet.worker("p")
    for _ in range(4):
        fleet.enqueue("p")
    child.succeed(child.must_claim().fence)
    child.finish(store.Report.failed(child.must_claim().fence, FAILURE))
    child.must_claim()
    assert admin.check_interrupted(fleet.conn) == []


def test_the_list_begins_with_what_waits_the_longest_and_can_leave_out_the_rest(fleet: Fleet) -> None:
    middle, youngest = held_run(fleet, 100), held_run(fleet, 10)
    oldest = only_run_of(fleet, silent_child(fleet, 1000))
    assert [int(item["id"]) for item in admin.check_interrupted(fleet.conn)] == [oldest, middle, youngest]
    assert [int(item["id"]) for item in admin.check_interrupted(fleet.conn, 50)] == [oldest, middle]


# --- recover ---


def test_the_runs_of_a_silent_host_are_taken_back_and_held(fleet: Fleet) -> None:
    child = silent_child(fleet)
    run_id = only_run_of(fleet, child)
    assert recover(fleet) == Recovered([TakenBack(run_id, RunState.INTERRUPTED)], [])
    assert admin.describe(fleet.conn, run_id)["attempts"][0]["cause"] == "host_lost"
    assert fleet.value("SELECT ended_cause FROM orbit.hosts WHERE id = %s", child.host_id) == "host_lost"
    assert recover(fleet) == Recovered([], [])
    fleet.check_settled()


def test_with_auto_resume_they_go_on_and_so_do_the_held_ones(fleet: Fleet) -> None:
    held = held_run(fleet)
    lost = only_run_of(fleet, silent_child(fleet))
    assert recover(fleet, auto_resume=True) == Recovered([TakenBack(lost, RunState.PENDING)], [held])
    assert [line["message"] for line in admin.read_logs(fleet.conn, held)] == ["resumed by anna"]
    worker = fleet.worker("p")
    assert {worker.must_claim().run_id, worker.must_claim().run_id} == {held, lost}
    assert recover(fleet, auto_resume=True) == Recovered([], [])
    fleet.check()


def test_only_what_has_waited_for_so_long_is_recovered(fleet: Fleet) -> None:
    old_held, young_held = held_run(fleet, 100), held_run(fleet, 10)
    old, young = only_run_of(fleet, silent_child(fleet, 100)), only_run_of(fleet, silent_child(fleet, 10))
    recovered = recover(fleet, auto_resume=True, older_than_seconds=50)
    assert recovered == Recovered([TakenBack(old, RunState.PENDING)], [old_held])
    assert fleet.state(young) is RunState.RUNNING
    assert fleet.state(young_held) is RunState.INTERRUPTED


def test_a_run_whose_child_has_just_ended_is_left_to_its_host_for_a_while(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    child.must_claim()
    fleet.conn.execute("SELECT orbit.end_child(%s, 'missing')", [child.child_id])
    assert recover(fleet, older_than_seconds=50).taken_back == []
    assert recover(fleet).taken_back == [TakenBack(run_id, RunState.INTERRUPTED)]


def test_a_living_host_is_never_touched(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p")
    fence = child.must_claim().fence
    assert recover(fleet, auto_resume=True) == Recovered([], [])
    assert fleet.state(run_id) is RunState.RUNNING
    assert child.succeed(fence)


def test_no_host_is_silent_on_a_server_that_has_just_come_up(fleet: Fleet) -> None:
    child = silent_child(fleet)
    fleet.conn.execute("UPDATE orbit.hosts SET lease = '10 years'")
    assert recover(fleet).taken_back == []
    assert store.beat(fleet.conn, child.host_id, 20).alive


def test_a_beat_in_flight_saves_its_host_from_recovery(fleet: Fleet) -> None:
    child, operator = silent_child(fleet), fleet.connect()
    with fleet.conn.transaction():
        store.beat(fleet.conn, child.host_id, 20)
        assert admin.recover(operator, auto_resume=True, by="anna") == Recovered([], [])
    assert store.beat(fleet.conn, child.host_id, 20).alive


def test_a_host_that_was_recovered_cannot_claim_or_finish_any_more(fleet: Fleet) -> None:
    child = silent_child(fleet)
    lane, seq, run_id, token = fleet.rows("SELECT lane, seq, run_id, token FROM orbit.live WHERE child = %s", child.child_id)[0]
    recover(fleet)
    fleet.enqueue("p")
    with pytest.raises(store.LeaseLost):
        child.claim()
    assert not child.succeed(store.Fence(lane, seq, run_id, token))  # type: ignore[arg-type]
    fleet.check_settled()


def test_a_run_that_its_hosts_loss_brings_to_its_limit_fails(fleet: Fleet) -> None:
    fleet.limits = (3, 1)
    run_id = only_run_of(fleet, silent_child(fleet))
    assert recover(fleet).taken_back == [TakenBack(run_id, RunState.FAILED)]


def test_a_recovery_leaves_what_somebody_else_is_resuming(fleet: Fleet) -> None:
    mine, theirs, operator = held_run(fleet), held_run(fleet), fleet.connect()
    with fleet.conn.transaction():
        admin.resume(fleet.conn, theirs, "otto")
        assert admin.recover(operator, auto_resume=True, by="anna").resumed == [mine]
    fleet.check()


def test_more_held_runs_than_a_batch_are_resumed_the_longest_held_first(fleet: Fleet) -> None:
    fleet.host("p")
    many = "SELECT orbit.enqueue_many((SELECT jsonb_agg(jsonb_build_object('pipeline', 'p')) FROM generate_series(1, 1100)))"
    ids: list[int] = fleet.value(many)  # type: ignore[assignment]
    fleet.conn.execute(
        "WITH gone AS (DELETE FROM orbit.live RETURNING *)"
        " INSERT INTO orbit.interrupted SELECT run_id, lane, 1, 0, 0, flags, 'host_lost' FROM gone ORDER BY run_id"
    )
    assert recover(fleet, auto_resume=True).resumed == ids
    worker = fleet.worker("p")
    assert [worker.must_claim().run_id for _ in range(2)] == ids[:2]
    fleet.check()
