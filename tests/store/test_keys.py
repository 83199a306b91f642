"""Idempotency keys: one key, one run; while it has not ended, or for a period."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from orbitd import client, store
from orbitd.errors import Conflict, UsageError
from orbitd.rules.states import RunState
from orbitd.store import Connection, Report, Retention, admin
from orbitd.store.admin import Enqueued
from tests.store.aging import age
from tests.store.fleet import FAILURE, Child, Fleet

DAY = 86400.0


def ask(conn: Connection, key: str = "k", key_for_seconds: float | None = DAY) -> Enqueued:
    return admin.enqueue(conn, "p", key=key, key_for_seconds=key_for_seconds)


def let_periods_end(fleet: Fleet) -> None:
    fleet.conn.execute("UPDATE orbit.keys SET kept_until = clock_timestamp() - interval '1 s' WHERE kept_until IS NOT NULL")


def prune(fleet: Fleet, limit: int = 1000) -> object:
    return fleet.value("SELECT orbit.prune_keys(%s)", limit)


def keys(fleet: Fleet) -> list[object]:
    return [key for (key,) in fleet.rows("SELECT key FROM orbit.keys ORDER BY key")]


ENDS: dict[RunState, Callable[[Fleet, Child, store.Fence], object]] = {
    RunState.SUCCEEDED: lambda _, child, fence: child.succeed(fence),
    RunState.FAILED: lambda _, child, fence: child.finish(Report.failed(fence, FAILURE)),
    RunState.CANCELLED: lambda _, child, fence: child.finish(Report.cancelled(fence)),
}


def ended(fleet: Fleet, child: Child, state: RunState = RunState.SUCCEEDED, key: str = "k") -> int:
    """A run that was given a key for a day, and ended."""
    run_id = ask(fleet.conn, key).id
    ENDS[state](fleet, child, child.must_claim().fence)
    return run_id


@pytest.mark.parametrize("state", ENDS)
def test_a_key_for_a_period_answers_with_its_run_after_the_end(fleet: Fleet, state: RunState) -> None:
    run_id = ended(fleet, fleet.worker("p"), state)
    assert ask(fleet.conn) == ask(fleet.conn, key_for_seconds=None) == Enqueued(run_id, False, state)
    fleet.check()
    let_periods_end(fleet)
    fresh = ask(fleet.conn)
    assert fresh.created
    assert fresh.id != run_id
    fleet.check()


def test_an_audit_finds_no_fault_with_kept_keys_and_finds_those_that_say_something_else_than_their_runs(fleet: Fleet) -> None:
    ended(fleet, fleet.worker("p"), key="ended")
    ask(fleet.conn, "live")
    assert admin.audit(fleet.conn).counts == {}
    fleet.conn.execute("UPDATE orbit.keys SET outcome = CASE WHEN outcome IS NULL THEN 'failed' END")
    assert admin.audit(fleet.conn).counts == {"key_left": 2}


def test_a_run_that_was_cancelled_while_it_waited_keeps_its_key_for_the_period(fleet: Fleet) -> None:
    run_id = ask(fleet.conn).id
    admin.cancel(fleet.conn, run_id, "anna")
    assert ask(fleet.conn) == Enqueued(run_id, False, RunState.CANCELLED)


def test_a_run_that_outlives_the_period_has_its_key_until_it_ends(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = ask(fleet.conn).id
    let_periods_end(fleet)
    assert ask(fleet.conn) == Enqueued(run_id, False, RunState.PENDING)
    assert prune(fleet) == 0
    child.succeed(child.must_claim().fence)
    assert keys(fleet) == []
    assert ask(fleet.conn).created


def test_keys_whose_period_is_over_are_pruned_some_at_a_time(fleet: Fleet) -> None:
    child = fleet.worker("p")
    for number in range(5):
        ended(fleet, child, key=f"over {number}")
    let_periods_end(fleet)
    ended(fleet, child, key="kept")
    ask(fleet.conn, "live")
    ask(fleet.conn, "plain", None)
    assert [prune(fleet, 3), prune(fleet, 3), prune(fleet, 3)] == [3, 2, 0]
    assert keys(fleet) == ["kept", "live", "plain"]


def test_pruning_waits_for_no_producer(fleet: Fleet) -> None:
    child, producer = fleet.worker("p"), fleet.connect()
    for key in ("a", "b"):
        ended(fleet, child, key=key)
    let_periods_end(fleet)
    with producer.transaction():
        taken_over = ask(producer, "a")
        assert prune(fleet) == 1
    assert taken_over.created
    assert keys(fleet) == ["a"]
    fleet.check()


@pytest.mark.parametrize("end", ["commits", "rolls back"])
@pytest.mark.parametrize("key_was", ["free", "over"])
def test_two_racing_enqueues_give_one_run_and_both_its_id(fleet: Fleet, key_was: str, end: str) -> None:
    other, many = fleet.connect(), fleet.connect()
    if key_was == "over":
        ended(fleet, fleet.worker("p"))
        let_periods_end(fleet)
    with fleet.conn.transaction(force_rollback=end == "rolls back"):
        first = ask(fleet.conn)
        racing = fleet.in_background(other, lambda: ask(other))
        racing.until_blocked()
        racing_many = fleet.in_background(many, lambda: admin.enqueue_many(many, [{"pipeline": "p", "key": "k", "key_for": "1 day"}] * 2))
        racing_many.until_blocked()
    second, third = racing.result(), racing_many.result()
    assert first.created
    assert {second.id, *third} == {first.id if end == "commits" else second.id}
    assert fleet.value("SELECT count(*) FROM orbit.live") == 1
    fleet.check()


def test_an_enqueue_late_in_a_long_transaction_finds_the_run_that_was_made_meanwhile(fleet: Fleet) -> None:
    other = fleet.connect()
    with other.transaction():
        other.execute("SELECT count(*) FROM orbit.keys")
        first = ask(fleet.conn)
        assert ask(other) == Enqueued(first.id, False, RunState.PENDING)


def test_a_repeatable_read_transaction_gets_the_run_that_it_can_see_or_is_told_to_try_again(fleet: Fleet) -> None:
    other = fleet.connect()
    other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    seen = ask(fleet.conn, "seen")
    other.autocommit = False
    assert ask(other, "seen") == Enqueued(seen.id, False, RunState.PENDING)
    unseen = ask(fleet.conn, "unseen")
    with pytest.raises(Conflict) as refused:
        ask(other, "unseen")
    other.rollback()
    assert isinstance(refused.value.__cause__, psycopg.errors.SerializationFailure)
    assert ask(other, "unseen") == Enqueued(unseen.id, False, RunState.PENDING)
    other.rollback()


def test_producers_wait_for_each_other_only_for_the_same_key(fleet: Fleet) -> None:
    fleet.host("p")
    other = fleet.connect()
    with fleet.conn.transaction():
        ask(fleet.conn, "a")
        admin.enqueue(fleet.conn, "p", in_seconds=60, tenant="t")
        admin.enqueue_many(fleet.conn, [{"pipeline": "p", "key": "b"}, {"pipeline": "p"}])
        with other.transaction():
            ask(other, "c")
            admin.enqueue(other, "p", in_seconds=60, tenant="t")
            admin.enqueue_many(other, [{"pipeline": "p", "key": "d"}, {"pipeline": "p"}])


def test_many_with_keys_that_are_new_doubled_taken_and_over(fleet: Fleet) -> None:
    child = fleet.worker("p")
    over = ended(fleet, child, key="over")
    let_periods_end(fleet)
    kept = ended(fleet, child, key="kept")
    live = ask(fleet.conn, "live").id
    asked = ["live", "new", "over", None, "kept", "new", "over", None]
    ids = admin.enqueue_many(fleet.conn, [{"pipeline": "p", "key": key, "key_for": "1 h"} if key else {"pipeline": "p"} for key in asked])
    assert (ids[0], ids[4]) == (live, kept)
    assert (ids[1], ids[2]) == (ids[5], ids[6])
    assert len({*ids, over}) == 7
    assert fleet.value("SELECT count(*) FROM orbit.live") == 5
    fleet.check()


@pytest.mark.parametrize("key_for_seconds", [None, DAY])
def test_the_key_of_a_run_whose_child_died_is_its_own_until_it_ends(fleet: Fleet, key_for_seconds: float | None) -> None:
    """Complaint 19: oban-bg/oban#424: a job stuck in executing blocked its key for ever."""
    fleet.host("p")
    run_id = ask(fleet.conn, key_for_seconds=key_for_seconds).id
    for state in (RunState.INTERRUPTED, RunState.PENDING, RunState.FAILED):
        child = fleet.worker("p")
        fleet.crash(child, child.must_claim().fence, mode="hold" if state is RunState.INTERRUPTED else "resume")
        assert fleet.state(run_id) is state
        if state is not RunState.FAILED:
            assert ask(fleet.conn) == Enqueued(run_id, False, state)
        if state is RunState.INTERRUPTED:
            admin.resume(fleet.conn, run_id, "anna")
    assert ask(fleet.conn).created == (key_for_seconds is None)
    fleet.check()


def test_the_key_of_a_run_whose_host_was_lost_is_free_when_it_has_been_recovered_and_ended(fleet: Fleet) -> None:
    """Complaint 19: oban-bg/oban#424: a job stuck in executing blocked its key for ever."""
    lost = fleet.worker("p")
    run_id = ask(fleet.conn, key_for_seconds=None).id
    fence = lost.must_claim().fence
    store.end_host(fleet.conn, fleet.boot_id(lost.host_id), "host_lost", "resume")
    assert ask(fleet.conn) == Enqueued(run_id, False, RunState.PENDING)
    assert not lost.succeed(fence)
    child = fleet.worker("p")
    child.succeed(child.must_claim().fence)
    assert ask(fleet.conn).created
    fleet.check()


def test_a_failed_run_that_is_retried_has_its_kept_key_again(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = ended(fleet, child, RunState.FAILED)
    let_periods_end(fleet)
    admin.retry(fleet.conn, run_id, "anna")
    assert ask(fleet.conn) == Enqueued(run_id, False, RunState.PENDING)
    assert prune(fleet) == 0
    fleet.check()
    child.succeed(child.must_claim().fence)
    assert ask(fleet.conn).created
    fleet.check()


def test_an_enqueue_while_a_failed_run_is_taken_out_of_the_dead_letters_finds_that_run(fleet: Fleet) -> None:
    run_id, other = ended(fleet, fleet.worker("p"), RunState.FAILED), fleet.connect()
    let_periods_end(fleet)
    with fleet.conn.transaction():
        admin.retry(fleet.conn, run_id, "anna")
        racing = fleet.in_background(other, lambda: ask(other))
        racing.until_blocked()
    assert racing.result() == Enqueued(run_id, False, RunState.PENDING)
    fleet.check()


def test_an_enqueue_that_is_about_to_take_a_key_over_sees_that_its_run_is_retried(fleet: Fleet) -> None:
    run_id, other = ended(fleet, fleet.worker("p"), RunState.FAILED), fleet.connect()
    let_periods_end(fleet)
    with fleet.conn.transaction():
        fleet.conn.execute("SELECT FROM orbit.keys FOR UPDATE")
        racing = fleet.in_background(other, lambda: ask(other))
        racing.until_blocked()
        admin.retry(fleet.conn, run_id, "anna")
    assert racing.result() == Enqueued(run_id, False, RunState.PENDING)
    fleet.check()


def test_a_retry_sees_that_its_key_is_taken_over_at_the_last_moment(own_fleet: Fleet) -> None:
    failed, other = ended(own_fleet, own_fleet.worker("p"), RunState.FAILED), own_fleet.connect()
    let_periods_end(own_fleet)
    with own_fleet.pause_before("take_key", "UPDATE orbit.keys k SET"):
        retry = own_fleet.in_background(other, lambda: admin.retry(other, failed, "anna"))
        retry.until_blocked()
        fresh = ask(own_fleet.conn)
    with pytest.raises(Conflict, match="its key"):
        retry.result()
    assert ask(own_fleet.conn) == Enqueued(fresh.id, False, RunState.PENDING)
    own_fleet.check()


def test_an_enqueue_that_is_about_to_take_a_key_over_sees_that_another_was_quicker(own_fleet: Fleet) -> None:
    child, other = own_fleet.worker("p"), own_fleet.connect()
    ended(own_fleet, child)
    let_periods_end(own_fleet)
    with own_fleet.pause_before("take_key", "DELETE FROM orbit.keys k"):
        racing = own_fleet.in_background(other, lambda: ask(other))
        racing.until_blocked()
        own_fleet.conn.execute("DELETE FROM orbit.keys")  # as the quicker one does
        quicker = ended(own_fleet, child)
    assert racing.result() == Enqueued(quicker, False, RunState.SUCCEEDED)
    own_fleet.check()


def test_a_failed_run_is_not_retried_while_another_has_its_key(fleet: Fleet) -> None:
    child = fleet.worker("p")
    failed = ended(fleet, child, RunState.FAILED)
    let_periods_end(fleet)
    other = ended(fleet, child)
    with pytest.raises(Conflict, match=r'its key "k" belongs to run \d+ now, which has succeeded'):
        admin.retry(fleet.conn, failed, "anna")
    let_periods_end(fleet)
    admin.retry(fleet.conn, failed, "anna")
    assert ask(fleet.conn) == Enqueued(failed, False, RunState.PENDING)
    assert fleet.state(other) is RunState.SUCCEEDED
    fleet.check()


def test_a_dead_letter_that_is_deleted_takes_its_key_along(fleet: Fleet) -> None:
    run_id = ended(fleet, fleet.worker("p"), RunState.FAILED)
    admin.dlq_delete(fleet.conn, run_id)
    assert keys(fleet) == []
    fleet.check()


@pytest.mark.parametrize("state", ENDS)
def test_a_key_answers_with_its_run_and_how_that_ended_after_retention_has_deleted_it(fleet: Fleet, state: RunState) -> None:
    run_id = ended(fleet, fleet.worker("p"), state)
    if state is RunState.FAILED:
        admin.dlq_resolve(fleet.conn, run_id, "anna")
    run_id = age(fleet, run_id, 40)
    month = 30 * DAY
    store.prune_rows(fleet.conn, Retention(month, month, month))
    assert fleet.rows("SELECT id FROM orbit.runs") == []
    assert ask(fleet.conn) == client.enqueue(fleet.conn, client.Request("p", key="k")) == Enqueued(run_id, False, state)
    assert fleet.value("SELECT orbit.enqueue('p', key => 'k')") == run_id
    assert admin.enqueue_many(fleet.conn, [{"pipeline": "p", "key": "k"}]) == [run_id]
    assert admin.audit(fleet.conn).counts == {}
    let_periods_end(fleet)
    assert ask(fleet.conn).created
    fleet.check()


def test_a_dead_letter_that_is_deleted_leaves_its_key_to_the_run_that_has_it_now(fleet: Fleet) -> None:
    child = fleet.worker("p")
    failed = ended(fleet, child, RunState.FAILED)
    let_periods_end(fleet)
    fresh = ask(fleet.conn)
    admin.dlq_delete(fleet.conn, failed)
    assert ask(fleet.conn) == Enqueued(fresh.id, False, RunState.PENDING)
    fleet.check()


@pytest.mark.parametrize(
    ("key", "key_for", "complaint"),
    [
        (None, "1 day", "key_for without a key"),
        ("k", "0 s", "key_for 00:00:00 is not between"),
        ("k", "367 days", "key_for 367 days is not between"),
        ("k", "a while", "cannot be stored"),
    ],
)
def test_a_period_that_cannot_be_is_refused(fleet: Fleet, key: str | None, key_for: str, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        admin.enqueue_many(fleet.conn, [{"pipeline": "p", "key": key, "key_for": key_for}])
    assert keys(fleet) == []


def test_a_period_may_be_given_in_sql(fleet: Fleet) -> None:
    run_id = fleet.value("SELECT orbit.enqueue('p', key => 'k', key_for => interval '1 day')")
    assert fleet.value("SELECT run_id FROM orbit.keys WHERE kept_until > clock_timestamp() + interval '23 h'") == run_id
