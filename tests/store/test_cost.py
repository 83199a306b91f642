"""What the hot statements touch, however many runs there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import pytest

from orbitd import store
from orbitd.rules.ids import short_id
from orbitd.store import Ask, Claimed, Report, admin, queries
from tests.store.fleet import FAILURE, Child, Fleet
from tests.support.postgres import Databases

MANY = "SELECT orbit.enqueue_many((SELECT jsonb_agg(jsonb_build_object('pipeline', 'p')) FROM generate_series(1, 5000)))"

BATCH = 10

Act = Callable[[Fleet, Child, Claimed], object]


def fail(child: Child, held: Claimed) -> bool:
    return child.finish(Report.failed(held.fence, FAILURE))


def claim_many(child: Child) -> Sequence[Claimed]:
    return store.claim(child.conn, child.child_id, Ask.of(child.lanes, BATCH)).runs


def delete(child: Child, held: Claimed) -> None:
    fail(child, held)
    admin.dlq_delete(child.conn, held.run_id)


def hold(fleet: Fleet, child: Child, held: Claimed) -> bool:
    fleet.conn.execute("DELETE FROM orbit.cancel_requests")
    return bool(fleet.crash(child, held.fence, mode="hold"))


ACTS: dict[str, Act] = {
    "enqueue": lambda fleet, *_: fleet.enqueue("p", key="k"),
    "enqueue again": lambda fleet, *_: [admin.enqueue(fleet.conn, "p", key="k", key_for_seconds=60) for _ in range(2)],
    "enqueue many": lambda fleet, *_: admin.enqueue_many(fleet.conn, [{"pipeline": "p", "key": str(n)} for n in range(3)]),
    "prune keys": lambda fleet, *_: fleet.value("SELECT orbit.prune_keys()"),
    "claim": lambda _, child, __: child.must_claim(),
    "finish": lambda _, child, held: child.succeed(held.fence),
    "claim many": lambda _, child, __: len(claim_many(child)) == BATCH,
    "finish many": lambda _, child, __: store.finish(child.conn, [Report.succeeded(run.fence, "1") for run in claim_many(child)]),
    "release": lambda _, child, __: store.release(child.conn, [run.fence for run in claim_many(child)[:3]]),
    "retry": lambda _, child, held: child.finish(Report.retry(held.fence, 0, FAILURE)),
    "interrupt": lambda fleet, child, held: fleet.crash(child, held.fence, conn=child.conn),
    "start_child": lambda _, child, held: store.start_child(
        child.conn, host_id=child.host_id, slot=0, nonce=child.nonce, pid=2, held=[held.fence]
    ),
    "cancel waiting": lambda _, child, held: admin.cancel(child.conn, held.run_id + 4000, "anna"),
    "cancel running": lambda _, child, held: admin.cancel(child.conn, held.run_id, "anna"),
    "beat": lambda _, child, __: store.beat(child.conn, child.host_id, 20),
    "missing children": lambda _, child, __: store.end_missing_children(child.conn, child.host_id, []),
    "rescue": lambda _, child, __: store.rescue(child.conn, child.host_id, "resume"),
    "place": lambda _, child, held: admin.place(child.conn, held.run_id + 4000),
    "step": lambda _, child, held: store.record_step(child.conn, held.fence, "s", "1", 0.1),
    "progress": lambda _, child, held: store.record_progress(child.conn, held.fence, 0.1, None),
    "log": lambda _, child, held: store.append_logs(child.conn, held.fence, [("2026-01-01T00:00:00Z", "info", "x")]),
    "lookup": lambda _, child, held: admin.resolve(child.conn, short_id(held.run_id)),
    "pins": lambda _, child, held: admin.pins_of(child.conn, [held.run_id, held.run_id + 4000]),
    "retry failed": lambda _, child, held: fail(child, held) and admin.retry(child.conn, held.run_id, "anna"),
    "resume": lambda fleet, child, held: hold(fleet, child, held) and admin.resume(child.conn, held.run_id, "anna"),
    "rerun": lambda _, child, held: fail(child, held) and admin.rerun(child.conn, held.run_id, "anna"),
    "resolve": lambda _, child, held: fail(child, held) and admin.dlq_resolve(child.conn, held.run_id, "anna"),
    "delete": lambda _, child, held: delete(child, held),
    "letter": lambda _, child, held: fail(child, held) and admin.dlq_show(child.conn, held.run_id),
    "read log": lambda _, child, held: admin.read_logs(child.conn, held.run_id),
    "describe": lambda _, child, held: admin.describe(child.conn, held.run_id),
}


@pytest.fixture(scope="module", params=["never analyzed", "analyzed"])
def crowd(databases: Databases, request: pytest.FixtureRequest) -> Iterator[tuple[Fleet, Child, Claimed]]:
    """A child with a run in hand and 5000 waiting behind it."""
    with databases.copy_of(databases.migrated) as dsn, Fleet(dsn) as fleet:
        child = fleet.worker("p")
        fleet.conn.execute(MANY)
        held = child.must_claim()
        admin.cancel(fleet.conn, held.run_id, "anna")
        if request.param == "analyzed":
            fleet.conn.execute("ANALYZE")
        yield fleet, child, held


@pytest.mark.parametrize("name", ACTS)
def test_no_act_reads_more_than_a_few_rows(crowd: tuple[Fleet, Child, Claimed], name: str) -> None:
    fleet, child, held = crowd
    fleet.conn, usual = child.conn, fleet.conn
    query = "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int FROM pg_stat_xact_user_tables"
    try:
        with child.conn.transaction(force_rollback=True):
            before = fleet.value(query)
            ACTS[name](fleet, child, held)
            assert fleet.value(query) - before < 100  # type: ignore[operator]
    finally:
        fleet.conn = usual


@pytest.mark.parametrize(("want", "runs"), [(1, 3000), (50, 10_000)])
def test_claims_are_hot_updates(own_fleet: Fleet, want: int, runs: int) -> None:
    child = own_fleet.worker("p")
    query = "SELECT orbit.enqueue_many((SELECT jsonb_agg(jsonb_build_object('pipeline', 'p')) FROM generate_series(1, %s)))"
    own_fleet.conn.execute(query, [runs])
    own_fleet.conn.execute("SELECT pg_stat_reset()")
    claimed: Sequence[Claimed] = store.claim(child.conn, child.child_id, Ask.of(child.lanes, want)).runs
    finished = 0
    while claimed:
        reports = [Report.succeeded(run.fence, "1") for run in claimed]
        finished += len(reports)
        claimed = store.finish_and_claim(child.conn, child.child_id, reports, Ask.of(child.lanes, want)).offer.runs
    assert finished == runs
    child.conn.close()  # a session's counters are certain to be there when it has ended
    updated, hot = 0, 0
    while updated < runs:
        own_fleet.conn.execute("SELECT pg_stat_clear_snapshot()")
        updated, hot = own_fleet.rows("SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = 'orbit.live'::regclass")[0]  # type: ignore[assignment]
    assert hot / updated > 0.99


def test_live_has_one_index_on_columns_that_never_change(fleet: Fleet) -> None:
    indexes = fleet.rows("SELECT indexdef FROM pg_indexes WHERE schemaname = 'orbit' AND tablename = 'live'")
    assert [index[0].partition("(")[2] for index in indexes] == ["lane, seq)"]  # type: ignore[attr-defined]


def test_a_claim_and_a_finish_cost_the_same_however_many_wait_behind(own_fleet: Fleet) -> None:
    """Complaint 22: timgit/pg-boss#418, where the CPU rose with the backlog."""
    child = own_fleet.worker("p")
    query = "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int FROM pg_stat_xact_user_tables"

    def rows_read() -> int:
        own_fleet.enqueue("p")
        with child.conn.transaction():
            before = child.conn.execute(query).fetchall()[0][0]
            assert child.succeed(child.must_claim().fence)
            return int(child.conn.execute(query).fetchall()[0][0] - before)

    rows_read()
    alone = rows_read()
    own_fleet.enqueue("p")
    own_fleet.conn.execute(
        "INSERT INTO orbit.live (run_id, lane) SELECT orbit.next_run_id(), %s FROM generate_series(1, 100000)", [child.lanes[0]]
    )
    assert rows_read() <= alone + 2  # those that have just gone, until they are cleared away


def test_indexes_stay_small_for_ever_without_a_reindex(own_fleet: Fleet) -> None:
    """Complaint 6: riverqueue/river#1296. Entries go in at the end and out at the beginning, so vacuum gives back whole pages."""
    sizes: list[int] = []
    for _ in range(8):
        own_fleet.conn.execute("INSERT INTO orbit.live (run_id, lane) SELECT i, 1 FROM generate_series(1, 5000) AS i")
        own_fleet.conn.execute(
            "UPDATE orbit.live SET state = 1, token = 1, claimed_at = clock_timestamp(), child = 1 WHERE lane = 1 AND state = 0"
        )
        own_fleet.conn.execute("DELETE FROM orbit.live")
        own_fleet.conn.execute("VACUUM orbit.live")
        sizes.append(int(str(own_fleet.value("SELECT pg_relation_size('orbit.live_pkey')"))))
    assert max(sizes[4:]) <= max(sizes[:4])
    assert not any(b"REINDEX" in path.read_bytes().upper() for path in queries.FOLDER.parent.rglob("*.sql"))
