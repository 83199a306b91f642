from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from orbitd import store
from orbitd.errors import OrbitError, UsageError
from orbitd.rules.ids import short_id
from orbitd.rules.states import RunState
from orbitd.store import PipelineSpec, admin
from tests.store.fleet import OPEN_SIGNATURE, Fleet


def test_a_run_is_pending_and_its_id_grows(fleet: Fleet) -> None:
    first, second = fleet.ask("p"), fleet.ask("p")
    assert (first.created, first.state) == (True, RunState.PENDING)
    assert second.id == first.id + 1


def test_an_id_is_the_day_and_a_number(fleet: Fleet) -> None:
    run_id = fleet.enqueue("p")
    today = (datetime.now(UTC) - datetime(2020, 1, 1, tzinfo=UTC)).days
    assert run_id >> 39 == today
    assert short_id(run_id) == str(run_id - (today << 39))
    assert run_id < 2**53


def test_a_run_for_later_is_scheduled_and_one_for_the_past_is_pending(fleet: Fleet) -> None:
    now = datetime.now(UTC)
    later = admin.enqueue(fleet.conn, "p", at=now + timedelta(hours=1))
    sooner = admin.enqueue(fleet.conn, "p", at=now - timedelta(hours=1))
    assert (later.state, sooner.state) == (RunState.SCHEDULED, RunState.PENDING)
    assert fleet.ask("p", in_seconds=60).state is RunState.SCHEDULED


def test_the_same_key_gives_the_same_live_run(fleet: Fleet) -> None:
    child = fleet.worker("p")
    first = fleet.ask("p", key="k")
    again = fleet.ask("p", key="k")
    assert (again.id, again.created, again.state) == (first.id, False, RunState.PENDING)
    claimed = child.must_claim()
    assert fleet.ask("p", key="k").state is RunState.RUNNING
    child.succeed(claimed.fence)
    fresh = fleet.ask("p", key="k")
    assert fresh.created
    assert fresh.id != first.id


def test_a_key_belongs_to_its_pipeline(fleet: Fleet) -> None:
    assert fleet.ask("a", key="k").created
    assert fleet.ask("b", key="k").created


def test_racing_enqueues_with_one_key_give_one_run(fleet: Fleet) -> None:
    other = fleet.connect()
    with fleet.conn.transaction():
        first = fleet.ask("p", key="k")
        racing = fleet.in_background(other, lambda: admin.enqueue(other, "p", key="k"))
        racing.until_blocked()
    second = racing.result()
    assert (second.id, second.created) == (first.id, False)
    assert fleet.value("SELECT count(*) FROM orbit.runs") == 1


def test_a_racing_enqueue_makes_the_run_when_the_first_rolls_back(fleet: Fleet) -> None:
    other = fleet.connect()
    with fleet.conn.transaction(force_rollback=True):
        fleet.ask("p", key="k")
        racing = fleet.in_background(other, lambda: admin.enqueue(other, "p", key="k"))
        racing.until_blocked()
    assert racing.result().created
    fleet.check()


def test_an_enqueue_while_the_key_is_being_freed_makes_a_new_run(fleet: Fleet) -> None:
    child, other = fleet.worker("p"), fleet.connect()
    first = fleet.enqueue("p", key="k")
    claimed = child.must_claim()
    with child.conn.transaction():
        child.succeed(claimed.fence)
        racing = fleet.in_background(other, lambda: admin.enqueue(other, "p", key="k"))
        racing.until_blocked()
    assert racing.result().created
    assert racing.result().id != first
    fleet.check()


def test_many_runs_come_back_in_the_order_asked_for(fleet: Fleet) -> None:
    fleet.host("a", "b")
    ids = admin.enqueue_many(
        fleet.conn,
        [
            {"pipeline": "b", "args": {"i": 0}},
            {"pipeline": "a", "args": {"i": 1}, "key": "z"},
            {"pipeline": "a", "args": {"i": 2}, "key": "y", "tenant": "t", "priority": 2, "queue": "q"},
            {"pipeline": "a", "key": "z"},
            {"pipeline": "a", "run_at": "2100-01-01T00:00:00Z"},
        ],
    )
    assert ids[1] == ids[3]
    assert len(set(ids)) == 4
    stored = {run_id: (args, tenant) for run_id, args, tenant in fleet.rows("SELECT id, args, tenant FROM orbit.runs")}
    assert [stored[run_id] for run_id in ids] == [({"i": 0}, None), ({"i": 1}, None), ({"i": 2}, "t"), ({"i": 1}, None), ({}, None)]
    assert fleet.state(ids[4]) is RunState.SCHEDULED
    fleet.check()


def test_many_is_all_or_none(fleet: Fleet) -> None:
    with pytest.raises(UsageError, match="priority 9"):
        admin.enqueue_many(fleet.conn, [{"pipeline": "a"}, {"pipeline": "a", "priority": 9}])
    assert fleet.value("SELECT count(*) FROM orbit.runs") == 0
    assert admin.enqueue_many(fleet.conn, []) == []


def test_many_keys_are_taken_in_one_order_whatever_order_they_were_asked_for(fleet: Fleet) -> None:
    other = fleet.connect()
    with fleet.conn.transaction():
        first = fleet.enqueue("p", key="a")
        racing = fleet.in_background(other, lambda: admin.enqueue_many(other, [{"pipeline": "p", "key": key} for key in "ba"]))
        racing.until_blocked()
        second = fleet.enqueue("p", key="b")  # a deadlock, if the other had taken it already
    assert racing.result() == [second, first]


@pytest.mark.parametrize(
    ("asked", "complaint"),
    [
        ({"pipeline": ""}, "pipeline name"),
        ({"pipeline": "a\nb"}, "pipeline name"),
        ({"pipeline": "x" * 201}, "pipeline name"),
        ({"pipeline": "a\0b"}, "cannot be stored"),
        ({"pipeline": "a\ud800"}, "cannot be stored"),
        ({"pipeline": "p", "queue": ""}, "queue name"),
        ({"pipeline": "p", "tenant": "t" * 201}, "tenant"),
        ({"pipeline": "p", "key": "k" * 501}, "key"),
        ({"pipeline": "p", "key": "k\0"}, "cannot be stored"),
        ({"pipeline": "p", "priority": 3}, "priority 3"),
        ({"pipeline": "p", "args": "[1]"}, "a JSON array"),
        ({"pipeline": "p", "args": "null"}, "a JSON null"),
        ({"pipeline": "p", "args": "{"}, "cannot be stored"),
        ({"pipeline": "p", "args": {"a": "\0"}}, "cannot be stored"),
        ({"pipeline": "p", "args": {"a": "\ud800"}}, "cannot be stored"),
        ({"pipeline": "p", "args": {"a": float("nan")}}, "not JSON"),
        ({"pipeline": "p", "args": {"a": object()}}, "not JSON"),
        ({"pipeline": "p", "args": {"a": "x" * 262144}}, "256KiB"),
        ({"pipeline": "p", "args": '{"a":' + "[" * 100_000 + "]" * 100_000 + "}"}, "cannot be stored"),
        ({"pipeline": "p", "in_seconds": 1e300}, "not a duration"),
        ({"pipeline": "p", "in_seconds": float("inf")}, "not a duration"),
        ({"pipeline": "p", "in_seconds": float("nan")}, "not a duration"),
        ({"pipeline": "p", "in_seconds": -1}, "not a duration"),
        ({"pipeline": "p", "at": datetime.max.replace(tzinfo=UTC)}, "between the years"),
        ({"pipeline": "p", "at": datetime(2030, 1, 1)}, "has no zone"),  # noqa: DTZ001
    ],
)
def test_what_cannot_be_a_run_is_refused_with_the_reason(unwritten: Fleet, asked: dict[str, object], complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        admin.enqueue(unwritten.conn, **asked)  # type: ignore[arg-type]
    assert unwritten.value("SELECT count(*) FROM orbit.runs") == 0


@pytest.mark.parametrize(
    ("requests", "complaint"),
    [
        ({"pipeline": "p"}, "takes a JSON array"),
        ([1], "item 1 .* not a JSON object"),
        ([{"pipeline": "p"}, {"pipeline": "p", "pirority": 1}], 'item 2 .* unknown "pirority"'),
        ([{"pipeline": "p", "run_at": "never"}], "cannot be stored"),
        ([{"args": {}}], "pipeline name NULL"),
    ],
)
def test_what_cannot_be_many_runs_is_refused_with_the_reason(unwritten: Fleet, requests: object, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        admin.enqueue_many(unwritten.conn, requests)  # type: ignore[arg-type]
    assert unwritten.value("SELECT count(*) FROM orbit.runs") == 0


def test_a_name_too_long_for_an_index_is_refused_as_any_other(unwritten: Fleet) -> None:
    text = secrets.token_hex(10_000)
    for request, complaint in (({"pipeline": text, "key": "k"}, "pipeline name"), ({"pipeline": "p", "key": text}, "key")):
        with pytest.raises(UsageError, match=f"item 1 of enqueue_many: .*{complaint}"):
            admin.enqueue_many(unwritten.conn, [request])


def test_the_arguments_of_a_known_pipeline_are_checked_by_name(fleet: Fleet) -> None:
    host_id = fleet.host()
    signatures = {
        "closed": '{"required": ["a"], "optional": ["b"], "open": false}',
        "open": '{"required": ["a"], "optional": [], "open": true}',
        "none": '{"required": [], "optional": [], "open": false}',
    }
    store.register_pipelines(fleet.conn, host_id, [PipelineSpec(name, "q", 0, text, 3, 3) for name, text in signatures.items()])
    admin.enqueue(fleet.conn, "closed", {"a": 1, "b": 2})
    admin.enqueue(fleet.conn, "open", {"a": 1, "z": 2})
    with pytest.raises(UsageError, match='"closed" needs the argument "a"'):
        admin.enqueue(fleet.conn, "closed", {"b": 1})
    with pytest.raises(UsageError, match='"closed" takes no argument "c"') as refused:
        admin.enqueue(fleet.conn, "closed", {"a": 1, "c": 1})
    assert refused.value.hint == "it takes a, b"
    with pytest.raises(UsageError, match='"none" takes no argument "a"') as refused:
        admin.enqueue(fleet.conn, "none", {"a": 1})
    assert refused.value.hint == "it takes none"


def test_any_program_can_enqueue_and_cancel_in_sql(fleet: Fleet) -> None:
    with psycopg.connect(fleet.dsn) as plain:  # not autocommit, prepares statements: an ordinary client
        query = (
            """SELECT orbit.enqueue('p', '{"a": 1}', key => 'k', run_at => now() + '10 min', tenant => 't', priority => 1, queue => 'q')"""
        )
        (run_id,) = plain.execute(query).fetchall()[0]
        (same,) = plain.execute("SELECT orbit.enqueue('p', key => 'k')").fetchall()[0]
        (many,) = plain.execute("""SELECT orbit.enqueue_many('[{"pipeline": "p"}, {"pipeline": "p"}]')""").fetchall()[0]
        (state,) = plain.execute("SELECT orbit.cancel(%s)", [many[0]]).fetchall()[0]
    assert same == run_id
    assert state == "cancelled"
    run = admin.describe(fleet.conn, run_id)
    assert [run[field] for field in ("state", "tenant", "priority", "queue", "key", "args")] == ["scheduled", "t", 1, "q", "k", {"a": 1}]
    fleet.check()


def test_a_producer_that_rolls_back_leaves_nothing(fleet: Fleet) -> None:
    with fleet.conn.transaction(force_rollback=True):
        run_id = fleet.enqueue("p", key="k")
        assert fleet.state(run_id) is RunState.PENDING
    with pytest.raises(OrbitError):
        fleet.state(run_id)
    assert fleet.ask("p", key="k").created


def test_the_queue_and_priority_are_the_pipelines_unless_given(fleet: Fleet) -> None:
    host_id = fleet.host()
    store.register_pipelines(fleet.conn, host_id, [PipelineSpec("p", "mail", 1, OPEN_SIGNATURE, 3, 3)])
    plain, given = fleet.enqueue("p"), admin.enqueue(fleet.conn, "p", queue="slow", priority=-2).id
    store.beat(fleet.conn, host_id, 20)
    place = {run_id: admin.place(fleet.conn, run_id).lane for run_id in (plain, given)}
    lanes = {lane.id: (lane.queue, lane.priority) for lane in store.lanes_of(fleet.conn, ["p"])}
    assert lanes[place[plain] or 0] == ("mail", 1)
    assert lanes[place[given] or 0] == ("slow", -2)
    assert [lane.priority for lane in store.lanes_of(fleet.conn, ["p"])] == [1, -2]


def test_a_run_of_an_unknown_pipeline_waits_in_the_catch_all_lane_until_somebody_registers_it(fleet: Fleet) -> None:
    early = [fleet.enqueue("late"), fleet.enqueue("never"), fleet.enqueue("late", key="k"), fleet.enqueue("late", in_seconds=3600)]
    assert {admin.place(fleet.conn, run_id).lane for run_id in early[:3]} == {store.CATCH_ALL_LANE}
    child = fleet.worker("late")
    assert child.claim() is None
    beat = store.beat(fleet.conn, child.host_id, 20)
    assert beat.lanes_with_work == child.lanes == beat.lanes
    assert [child.must_claim().run_id for _ in range(2)] == [early[0], early[2]]
    assert child.claim() is None
    assert admin.place(fleet.conn, early[1]).lane == store.CATCH_ALL_LANE
    fleet.check()


def test_a_run_that_commits_after_its_pipeline_was_registered_is_still_sorted(fleet: Fleet) -> None:
    producer = fleet.connect()
    with producer.transaction():
        run_id = admin.enqueue(producer, "late").id
        child = fleet.worker("late")
        assert store.beat(fleet.conn, child.host_id, 20).lanes_with_work == []
    assert store.beat(fleet.conn, child.host_id, 20).lanes_with_work == child.lanes
    assert child.must_claim().run_id == run_id


def test_sorting_leaves_what_somebody_has_in_hand(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("late")
    child.lanes = [store.CATCH_ALL_LANE]
    fence = child.must_claim().fence
    fleet.enqueue("p")
    assert fleet.value("SELECT orbit.sort_catch_all(%s, 10)", fleet.host("late")) == 0
    assert child.succeed(fence)


def test_each_host_sorts_from_where_it_looked_last_itself(fleet: Fleet) -> None:
    other, host_id = fleet.host("late"), fleet.host("late")
    fleet.enqueue("unknown")
    fleet.conn.execute("UPDATE orbit.hosts SET sorted_seq = CASE id WHEN %s THEN 10^9 ELSE 1 END", [other])
    assert fleet.value("SELECT orbit.sort_catch_all(%s, 10)", host_id) == 1
    assert fleet.rows("SELECT sorted_seq FROM orbit.hosts ORDER BY id") == [(10**9,), (0,)]


def test_sorting_leaves_a_run_of_another_lane_under_the_same_number(fleet: Fleet) -> None:
    fleet.host("p")
    sorted_run, held, other = fleet.enqueue("late"), fleet.enqueue("late"), fleet.connect()
    twins = [fleet.twin(run_id, "p") for run_id in (sorted_run, held)]
    places = [admin.place(fleet.conn, run_id) for run_id in twins]
    host_id = fleet.host("late")
    with other.transaction():
        admin.cancel(other, held, "anna")
        beat = fleet.in_background(fleet.conn, lambda: store.beat(fleet.conn, host_id, 20))
        assert not beat.until_blocked_or_done()
    assert beat.result().lanes_with_work == [admin.place(fleet.conn, sorted_run).lane]
    assert [admin.place(fleet.conn, run_id) for run_id in twins] == places
    fleet.check()


def test_sorting_goes_round_a_large_catch_all_lane_a_part_at_a_time(fleet: Fleet) -> None:
    fleet.conn.execute(
        "SELECT orbit.enqueue_many((SELECT jsonb_agg(jsonb_build_object('pipeline', 'unknown')) FROM generate_series(1, 2500)))"
    )
    run_id = fleet.enqueue("late")
    host_id = fleet.host("late")
    found: list[int] = []
    beats = 0
    while not found:
        beat = store.beat(fleet.conn, host_id, 20)
        found, beats = beat.lanes_with_work, beats + 1
        assert beat.next_due_seconds == (0 if not found else None)
    assert beats == 3
    assert admin.place(fleet.conn, run_id).lane == found[0]


def test_history_goes_to_the_partition_of_its_day(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    claimed = child.must_claim()
    store.record_step(child.conn, claimed.fence, "s", "1", 0.1)
    store.append_logs(child.conn, claimed.fence, [("2026-01-01T00:00:00Z", "info", "hello")])
    child.succeed(claimed.fence)
    for table in ("runs", "outcomes", "steps", "run_logs"):
        (part,) = fleet.rows(f"SELECT tableoid::regclass::text FROM orbit.{table}")[0]
        assert part == f"orbit.{table}_{datetime.now(UTC):%Y%m%d}"


def test_sorting_comes_back_for_a_run_that_committed_behind_it(fleet: Fleet) -> None:
    host_id, producer = fleet.host("late"), fleet.connect()
    unknown = [{"pipeline": "unknown"}] * 1500
    with producer.transaction():
        admin.enqueue(producer, "late", queue="elsewhere")
        admin.enqueue_many(fleet.conn, unknown)
        store.beat(fleet.conn, host_id, 20)
    beats = [store.beat(fleet.conn, host_id, 20).lanes_with_work for _ in range(2)]
    assert beats[0] == []
    assert len(beats[1]) == 1


def test_a_database_without_partitions_for_today_still_takes_runs(own_fleet: Fleet) -> None:
    for (name,) in own_fleet.rows("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhrelid::regclass::text !~ 'default|pkey|idx'"):
        own_fleet.conn.execute(f"DROP TABLE {name}".encode())
    child = own_fleet.worker("p")
    run_id = own_fleet.enqueue("p", key="k")
    child.succeed(child.must_claim().fence)
    assert own_fleet.state(run_id) is RunState.SUCCEEDED
    made = store.make_partitions(own_fleet.conn, 2)
    assert made == 10  # today's runs and outcomes stay in the default ones
    assert store.make_partitions(own_fleet.conn, 2) == 0
    assert own_fleet.state(run_id) is RunState.SUCCEEDED


def test_a_bell_rings_for_what_is_ready_and_for_what_falls_due(fleet: Fleet) -> None:
    listener = fleet.listener()
    store.doze(listener, {}, 1)
    child = fleet.worker("p")
    fleet.enqueue("p")
    fleet.enqueue("p", in_seconds=60)
    admin.enqueue_many(fleet.conn, [{"pipeline": "p"}] * 3)
    assert bells(listener) == [(child.lanes[0], 1), (child.lanes[0], 0), (child.lanes[0], 3)]
    claimed = child.must_claim()
    admin.cancel(fleet.conn, claimed.run_id, "me")
    listener.execute("SELECT 1")
    assert [(bell.channel, bell.payload) for bell in listener.heard()] == [(store.CANCEL_CHANNEL, str(claimed.run_id))]
    assert listener.heard() == []


def bells(listener: store.Connection) -> list[tuple[int, int]]:
    listener.execute("SELECT 1")
    payloads = [bell.payload.split() for bell in listener.heard()]
    return [(int(lane), int(count)) for lane, _, count, _ in payloads]


def test_arguments_come_back_as_the_text_that_postgres_keeps(fleet: Fleet) -> None:
    child = fleet.worker("p")
    text = '{"big": 123456789012345678901234567890, "ü": "\\ud83d\\ude00", "deep": ' + "[" * 3000 + "]" * 3000 + "}"
    admin.enqueue(fleet.conn, "p", text)
    claimed = child.must_claim()
    assert claimed.args
    assert "123456789012345678901234567890" in claimed.args
    assert "😀" in claimed.args
    args = admin.describe(fleet.conn, claimed.run_id)["args"]
    assert args == claimed.args  # too deep for Python's own reader: the text itself
