"""Lists, what filters find in them, and the pins of acts on many runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from orbitd import store
from orbitd.errors import UsageError
from orbitd.rules.states import RunState
from orbitd.store import Failure, Report, admin
from orbitd.store.admin import Page, parse_filter
from tests.store.fleet import FAILURE, Fleet
from tests.support.postgres import Databases

ITEM_FIELDS = ["id", "pipeline", "queue", "state", "tenant", "attempt", "created_at", "started_at", "finished_at", "host", "slot", "error"]
MANY = "SELECT orbit.enqueue_many((SELECT jsonb_agg(jsonb_build_object('pipeline', 'p')) FROM generate_series(1, %s)))"


def ids(page: Page) -> list[int]:
    return [int(item["id"]) for item in page.items]


def found(fleet: Fleet, text: str) -> list[int]:
    return ids(admin.list_runs(fleet.conn, parse_filter(text)))


def test_a_list_has_the_documents_fields_the_newest_first(fleet: Fleet, one_of_each: dict[RunState, int]) -> None:
    page = admin.list_runs(fleet.conn)
    assert (page.next, page.stopped_at) == (None, None)
    assert ids(page) == sorted(one_of_each.values(), reverse=True)
    assert all(list(item) == ITEM_FIELDS for item in page.items)
    by_state = {item["state"]: item for item in page.items}
    running, failed = by_state["running"], by_state["failed"]
    assert running["host"].startswith("host-")
    assert (running["slot"], running["attempt"], running["finished_at"]) == (0, 1, None)
    assert running["started_at"].endswith("Z")
    assert failed["error"] == FAILURE.error
    assert failed["finished_at"].endswith("Z")


@pytest.mark.parametrize("state", list(RunState))
def test_a_list_of_one_state_has_only_that(fleet: Fleet, one_of_each: dict[RunState, int], state: RunState) -> None:
    assert found(fleet, f"state:{state} since:1h") == [one_of_each[state]]


def test_a_list_of_several_states_has_them_all(fleet: Fleet, one_of_each: dict[RunState, int]) -> None:
    assert set(found(fleet, "state:failed,running")) == {one_of_each[RunState.FAILED], one_of_each[RunState.RUNNING]}
    assert set(found(fleet, "state:failed,succeeded since:1d")) == {one_of_each[RunState.FAILED], one_of_each[RunState.SUCCEEDED]}
    assert one_of_each[RunState.RUNNING] not in found(fleet, "-state:running,succeeded,cancelled")
    assert found(fleet, "state:failed state:running") == []


@pytest.mark.parametrize(
    ("glob", "count"), [("in*", 2), ("invoice.*", 1), ("in_oice.*", 0), ("*e.syn?", 1), ("%", 0), ("mail,int*", 2), ("*", 3)]
)
@pytest.mark.parametrize("also", ["", " state:pending"])
def test_a_list_is_filtered_by_globs_of_the_pipelines_name(fleet: Fleet, glob: str, count: int, also: str) -> None:
    for name in ("invoice.sync", "intake", "mail"):
        fleet.enqueue(name)
    assert len(found(fleet, f"pipeline:{glob}{also}")) == count
    assert len(found(fleet, f"-pipeline:{glob} since:1h{also}")) == 3 - count


@pytest.mark.parametrize("text", ["", "state:failed,scheduled", "state:running", "state:pending", "pipeline:p", "since:1h"])
def test_pages_join_without_gap_or_overlap(fleet: Fleet, text: str) -> None:
    child = fleet.worker("p")
    for i in range(40):
        fleet.enqueue("p", in_seconds=3600 if i % 4 == 0 else None)
    for i in range(20):
        fence = child.must_claim().fence
        if i % 2:
            child.finish(Report.failed(fence, FAILURE))
    wanted = parse_filter(text)
    everything = admin.list_runs(fleet.conn, wanted, limit=100)
    assert everything.next is None
    paged: list[object] = []
    page = admin.list_runs(fleet.conn, wanted, limit=3)
    paged += page.items
    while page.next:
        page = admin.list_runs(fleet.conn, wanted, limit=3, before=page.next)
        paged += page.items
    assert paged == everything.items
    assert len(paged) == {"state:failed,scheduled": 20, "state:running": 10, "state:pending": 10}.get(text, 40)


def test_a_list_whose_time_is_up_says_where_it_stopped_and_goes_on_from_there(own_fleet: Fleet) -> None:
    first = own_fleet.enqueue("rare")
    own_fleet.conn.execute(MANY, [2500])
    wanted = parse_filter("pipeline:rare")
    assert ids(admin.list_runs(own_fleet.conn, wanted)) == [first]
    page, pages = admin.list_runs(own_fleet.conn, wanted, patience_seconds=0), 1
    while page.stopped_at:
        assert (page.items, page.next) == ([], page.stopped_at)
        page, pages = admin.list_runs(own_fleet.conn, wanted, patience_seconds=0, before=page.stopped_at), pages + 1
    assert ids(page) == [first]
    assert pages == 6


def test_running_runs_are_found_in_front_of_a_deep_backlog(own_fleet: Fleet) -> None:
    child = own_fleet.worker("p")
    own_fleet.conn.execute(MANY, [3000])
    running = child.must_claim()
    assert found(own_fleet, "state:running") == [running.run_id]


def test_pending_runs_are_found_in_a_backlog_too_deep_to_sort(own_fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    child = own_fleet.worker("p")
    own_fleet.conn.execute(MANY, [1500])
    own_fleet.enqueue("later", in_seconds=3600)
    child.must_claim()
    pending = parse_filter("state:pending pipeline:p")
    few = admin.list_runs(own_fleet.conn, pending, limit=2000)
    assert len(few.items) == 1499
    monkeypatch.setattr("orbitd.store.lists._FEW_WAITING", 1000)
    assert admin.list_runs(own_fleet.conn, pending, limit=2000) == few
    first = admin.list_runs(own_fleet.conn, pending, limit=700)
    second = admin.list_runs(own_fleet.conn, pending, limit=2000, before=first.next)
    assert first.items + second.items == few.items


def test_of_a_deep_backlog_those_come_first_that_wait_last(own_fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitd.store.lists._FEW_WAITING", 1)
    child = own_fleet.worker("p")
    promoted, second, third = own_fleet.enqueue("p", in_seconds=3600), own_fleet.enqueue("p"), own_fleet.enqueue("p")
    own_fleet.conn.execute("UPDATE orbit.delayed SET due_at = clock_timestamp()")
    store.beat(own_fleet.conn, child.host_id, 20)
    assert found(own_fleet, "state:pending") == [promoted, third, second]
    page = admin.list_runs(own_fleet.conn, parse_filter("state:pending"), limit=1)
    assert ids(admin.list_runs(own_fleet.conn, parse_filter("state:pending"), before=page.next)) == [third, second]
    assert found(own_fleet, "state:pending,running") == [third, second, promoted]


def test_all_of_a_deep_backlog_can_be_pinned(own_fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitd.store.lists._FEW_WAITING", 1000)
    child = own_fleet.worker("p")
    own_fleet.conn.execute(MANY, [1500])
    child.must_claim()
    later = own_fleet.enqueue("p", in_seconds=3600)
    pins = admin.pinned(own_fleet.conn, None, most=2000, act="cancel")
    assert len(pins) == 1501
    assert pins[0].run_id == later
    assert [pin.run_id for pin in pins] == sorted((pin.run_id for pin in pins), reverse=True)


@pytest.fixture
def three(fleet: Fleet) -> tuple[int, int, int]:
    """A failed run of tenant 42 that did the step load, a running one with a key, a pending one of another queue."""
    child = fleet.worker("p")
    failed = admin.enqueue(fleet.conn, "p", {"tenant_id": 42, "note": "O'Neil, 5%"}, tenant="42").id
    fence = child.must_claim().fence
    store.record_step(child.conn, fence, "load[3]", "1", 0.1)
    child.finish(Report.failed(fence, Failure("timeout", "Timeout: no answer\nwithin 5s")))
    running = admin.enqueue(fleet.conn, "p", {"paid": True}, key="inv-42").id
    child.must_claim()
    pending = admin.enqueue(fleet.conn, "later", {"tenant_id": "x"}, queue="mail-slow", tenant="a b").id
    return failed, running, pending


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("tenant:42", {0}),
        ('tenant:"a b"', {2}),
        ("tenant:42,'a b'", {0, 2}),
        ("-tenant:42", {1, 2}),
        ("queue:mail-slow", {2}),
        ("queue:mail-*,nowhere", {2}),
        ("-queue:mail*", {0, 1}),
        ("step:load*", {0}),
        ("-step:load*", {1, 2}),
        ("step:load", set()),
        ("error:Timeout*", {0}),
        ('error:"*no answer*"', {0}),
        ("-error:Timeout*", {1, 2}),
        ("args.tenant_id:42", {0}),
        ("args.tenant_id:42,x", {0, 2}),
        ("args.paid:true", {1}),
        ('args.note:"O\'Neil, 5%"', {0}),
        ("args.tenant_id:4%", set()),
        ("host:host-*", {0, 1}),
        ("-host:host-*", {2}),
        ("slot:0", {0, 1}),
        ("slot:1", set()),
        ("key:inv-42", {1}),
        ("key:inv-42,other", {1}),
        ("-key:inv-42", {0, 2}),
        ("attempt:1", {0, 1}),
        ("attempt:0,>=3", {2}),
        ("attempt:<1", {2}),
        ("-attempt:>=1", {2}),
        ("took:<1h", {0, 1}),
        ("took:>1h", set()),
        ("took:>1h,<=10m", {0, 1}),
        ("state:running took:>=0", {1}),
        ("pipeline:p tenant:42 state:failed slot:0", {0}),
        ("tenant:42 -tenant:42", set()),
        ("args.a:1 args.b:2", set()),
        ("since:2020-01-01", {0, 1, 2}),
        ("-since:1h", set()),
    ],
)
def test_each_term_finds_what_it_says(fleet: Fleet, three: tuple[int, int, int], text: str, expected: set[int]) -> None:
    assert set(found(fleet, f"{text} since:1h")) == {three[index] for index in expected}


def test_a_group_is_found_by_the_id_that_dead_letters_show(fleet: Fleet, three: tuple[int, int, int]) -> None:
    group = admin.describe(fleet.conn, three[0])["group"]
    assert found(fleet, f"group:{group}") == [three[0]]
    assert found(fleet, f"group:{group} state:pending") == []
    assert found(fleet, "group:g00000000") == []
    assert found(fleet, f"-group:{group} since:1h") == [three[2], three[1]]


def test_a_key_finds_runs_that_have_ended_too(fleet: Fleet) -> None:
    child = fleet.worker("p")
    ended = fleet.enqueue("p", key="k")
    child.succeed(child.must_claim().fence)
    assert found(fleet, "key:k") == [ended]
    assert found(fleet, "key:k") == found(fleet, "key:k state:succeeded") != found(fleet, "key:k state:pending")


@pytest.mark.parametrize(
    "hostile", ["'; drop table orbit.runs; --", "%(values_0)s", "%s", "{0}", "\\", "*/ or true --", "$1", "NULL", "}{"]
)
@pytest.mark.parametrize("term", ["tenant", "pipeline", "queue", "step", "error", "host", "key", "group", "args.a", "args.%(x)s"])
def test_no_value_of_a_filter_is_taken_for_sql(fleet: Fleet, term: str, hostile: str) -> None:
    run_id = fleet.enqueue("p")
    assert found(fleet, f'{term}:"{hostile}" since:1h') == []
    assert found(fleet, f'-{term}:"{hostile}" since:1h') == [run_id]


def test_since_leaves_out_what_was_made_before(own_fleet: Fleet) -> None:
    old, new = own_fleet.enqueue("p"), own_fleet.enqueue("p")
    own_fleet.conn.execute("UPDATE orbit.runs SET created_at = clock_timestamp() - interval '3 hours' WHERE id = %s", [old])
    assert found(own_fleet, "since:1h") == [new]
    assert found(own_fleet, "since:4h") == [new, old]
    assert found(own_fleet, "-since:1h pipeline:p") == [old]
    assert found(own_fleet, "since:4h -since:1h") == [old]


def test_a_search_ends_at_the_first_page_that_is_older_than_since(own_fleet: Fleet) -> None:
    own_fleet.conn.execute(MANY, [1200])
    own_fleet.conn.execute("UPDATE orbit.runs SET created_at = clock_timestamp() - interval '1 day'")
    new = own_fleet.enqueue("p")
    page = admin.list_runs(own_fleet.conn, parse_filter("since:1h"), patience_seconds=0)
    assert (ids(page), page.stopped_at) == ([new], None)


def test_since_includes_a_run_whose_id_was_drawn_before_midnight(fleet: Fleet) -> None:
    yesterday = (datetime.now(UTC) - datetime(2020, 1, 1, tzinfo=UTC)).days - 1
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    query = "INSERT INTO orbit.runs (id, pipeline, lane, args, created_at) VALUES (%s, 'p', 1, '{}', %s)"
    run_id = (yesterday << 39) | 7
    fleet.conn.execute(query, [run_id, midnight + timedelta(seconds=5)])
    assert ids(admin.list_runs(fleet.conn, parse_filter(f"since:{midnight.isoformat()}"))) == [run_id]


@pytest.mark.parametrize(
    "text", ["tenant:42", "state:succeeded", "state:failed,cancelled", "-pipeline:p", "-key:k", "took:>10s", "-since:1h", "-state:failed"]
)
def test_a_filter_that_would_search_all_history_is_refused_with_what_to_add(unwritten: Fleet, text: str) -> None:
    with pytest.raises(UsageError) as refusal:
        admin.list_runs(unwritten.conn, parse_filter(text))
    assert text in refusal.value.message
    assert str(refusal.value.hint).startswith("add since: or pipeline:")
    for more in ("since:1h", "pipeline:p*", "state:pending"):
        admin.list_runs(unwritten.conn, parse_filter(f"{text} {more}"))


@pytest.mark.parametrize("before", ["x", "1.0", "9" * 5000, "-"])
def test_a_page_that_begins_at_no_id_is_refused(unwritten: Fleet, before: str) -> None:
    with pytest.raises(UsageError, match="no id to list runs before"):
        admin.list_runs(unwritten.conn, before=before)


def test_a_page_may_begin_above_all_ids(fleet: Fleet) -> None:
    run_id = fleet.enqueue("p")
    assert ids(admin.list_runs(fleet.conn, before="9" * 30)) == [run_id]


# --- pins ---


def test_pins_say_how_a_run_is_now(fleet: Fleet, one_of_each: dict[RunState, int]) -> None:
    chosen = [one_of_each[RunState.FAILED], 42, one_of_each[RunState.PENDING]]
    failed, pending = admin.pins_of(fleet.conn, [*chosen, *chosen])
    assert (failed.run_id, failed.pipeline, failed.state, failed.attempt) == (chosen[0], "p", RunState.FAILED, 1)
    assert (pending.run_id, pending.state, pending.attempt) == (chosen[2], RunState.PENDING, 0)
    assert failed.created_at.tzinfo is not None


@pytest.mark.parametrize(
    ("act", "states"),
    [
        ("cancel", {RunState.SCHEDULED, RunState.PENDING, RunState.RUNNING, RunState.INTERRUPTED}),
        ("retry", {RunState.FAILED, RunState.INTERRUPTED}),
        ("rerun", {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}),
        ("resume", {RunState.INTERRUPTED}),
    ],
)
def test_an_act_on_a_filter_is_pinned_to_the_runs_that_it_can_be_done_to(
    fleet: Fleet, one_of_each: dict[RunState, int], act: admin.Act, states: set[RunState]
) -> None:
    pins = admin.pinned(fleet.conn, parse_filter("pipeline:*"), most=10, act=act)
    assert {pin.run_id for pin in pins} == {one_of_each[state] for state in states}
    assert {pin.state for pin in pins} == states
    assert [pin.run_id for pin in pins] == sorted((pin.run_id for pin in pins), reverse=True)


def test_a_retry_of_many_has_those_that_wait_out_a_backoff(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p", in_seconds=3600)
    run_id = fleet.enqueue("p")
    child.finish(Report.retry(child.must_claim().fence, 3600, FAILURE))
    assert [pin.run_id for pin in admin.pinned(fleet.conn, None, most=10, act="retry")] == [run_id]


def test_an_act_makes_a_filter_possible_that_would_search_all_history_otherwise(unwritten: Fleet) -> None:
    assert admin.pinned(unwritten.conn, parse_filter("tenant:42"), most=10, act="cancel") == []
    assert admin.pinned(unwritten.conn, None, most=10, act="resume") == []
    for wanted in (parse_filter("tenant:42"), None):
        with pytest.raises(UsageError, match="would search"):
            admin.pinned(unwritten.conn, wanted, most=10, act="rerun")
        with pytest.raises(UsageError, match="would search"):
            admin.pinned(unwritten.conn, wanted, most=10)


def test_more_runs_than_allowed_are_not_pinned_at_all(fleet: Fleet) -> None:
    for _ in range(4):
        fleet.enqueue("p")
    assert len(admin.pinned(fleet.conn, parse_filter("state:pending"), most=4)) == 4
    with pytest.raises(UsageError, match="more than 3 runs"):
        admin.pinned(fleet.conn, parse_filter("state:pending"), most=3)


def test_an_act_on_many_is_refused_when_they_cannot_all_be_found_in_time(own_fleet: Fleet) -> None:
    own_fleet.conn.execute(MANY, [600])
    with pytest.raises(UsageError, match="not all runs"):
        admin.pinned(own_fleet.conn, parse_filter("pipeline:rare"), most=10, patience_seconds=0)


# --- pipelines ---


def test_the_pipelines_tell_who_serves_them_and_how_much_there_is(fleet: Fleet) -> None:
    fleet.limits = (5, 7)
    child = fleet.worker("p", "idle")
    silent = fleet.host("p", "gone", lease_seconds=0.000001)
    for act in ("fail", "resolve", "run", "wait", "later"):
        run_id = fleet.enqueue("p", in_seconds=3600 if act == "later" else None)
        if act in {"fail", "resolve", "run"}:
            fence = child.must_claim().fence
            if act != "run":
                child.finish(Report.failed(fence, FAILURE))
            if act == "resolve":
                admin.dlq_resolve(fleet.conn, run_id, "anna")
    gone, idle, p = admin.list_pipelines(fleet.conn)
    assert [gone["name"], idle["name"], p["name"]] == ["gone", "idle", "p"]
    assert (gone["hosts"], idle["hosts"]) == ([], [f"host-{fleet.boot_id(child.host_id)}"])
    assert fleet.boot_id(silent) not in str(p["hosts"])
    assert (p["pending"], p["running"], p["scheduled"], p["failed"]) == (1, 1, 1, 1)
    assert (p["queue"], p["priority"], p["max_attempts"], p["max_crashes"]) == ("default", 0, 5, 7)
    assert p["arguments"] == {"required": [], "optional": [], "open": True}
    assert p["registered_at"].endswith("Z")
    assert (idle["pending"], idle["running"], idle["scheduled"], idle["failed"]) == (0, 0, 0, 0)


def test_the_counts_of_pipelines_stop_at_a_thousand(own_fleet: Fleet) -> None:
    own_fleet.host("p")
    own_fleet.conn.execute(MANY, [1001])
    (p,) = admin.list_pipelines(own_fleet.conn)
    assert p["pending"] == admin.MOST_COUNTED


def test_what_runs_wait_for_and_no_daemon_has_told_of_stands_behind(own_fleet: Fleet) -> None:
    own_fleet.enqueue("unknown")
    own_fleet.enqueue("early")
    own_fleet.enqueue("unknown", in_seconds=3600)
    own_fleet.host("p", "early")
    *known, unknown = admin.list_pipelines(own_fleet.conn)
    assert [pipeline["name"] for pipeline in known] == admin.pipeline_names(own_fleet.conn) == ["early", "p"]
    assert (unknown["name"], unknown["pending"], unknown["scheduled"], unknown["hosts"]) == ("unknown", 1, 1, [])
    assert (unknown["queue"], unknown["registered_at"]) == (None, None)
    assert unknown.keys() == known[0].keys()


READS: dict[str, Callable[[Fleet], object]] = {
    "pipelines": lambda fleet: admin.list_pipelines(fleet.conn),
    "latest": lambda fleet: admin.list_runs(fleet.conn, limit=20),
    "failed": lambda fleet: admin.list_runs(fleet.conn, parse_filter("state:failed pipeline:p took:<1h"), limit=20),
    "ended": lambda fleet: admin.list_runs(fleet.conn, parse_filter("state:failed,succeeded since:1h"), limit=20),
    "scheduled": lambda fleet: admin.list_runs(fleet.conn, parse_filter("state:scheduled attempt:0"), limit=20),
    "pending": lambda fleet: admin.list_runs(fleet.conn, parse_filter("state:pending"), limit=20),
    "name of a group": lambda fleet: admin.resolve_group(fleet.conn, "g"),
    "group": lambda fleet: admin.list_runs(fleet.conn, parse_filter("group:g00000000")),
    "key": lambda fleet: admin.list_runs(fleet.conn, parse_filter("key:k step:s args.a:1 group:g00000000")),
    "letters": lambda fleet: admin.dlq_list(fleet.conn, limit=20),
    "pins": lambda fleet: admin.pins_of(fleet.conn, [int(admin.list_runs(fleet.conn, limit=1).items[0]["id"])]),
}


@pytest.mark.parametrize("name", READS)
def test_no_list_reads_more_than_a_few_rows_for_each_that_it_shows(crowded: Fleet, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitd.store.lists._LOOK_AT_ONCE", 50)
    monkeypatch.setattr("orbitd.store.lists._FEW_WAITING", 50)
    monkeypatch.setattr("orbitd.store.lists.MOST_COUNTED", 50)
    query = (
        "SELECT sum(coalesce(seq_tup_read, 0) + coalesce(idx_tup_fetch, 0))::int FROM pg_stat_xact_user_tables"
        " WHERE relname NOT IN ('hosts', 'children', 'pipelines', 'lanes')"
    )
    with crowded.conn.transaction(force_rollback=True):
        before = crowded.value(query)
        READS[name](crowded)
        assert crowded.value(query) - before < 500  # type: ignore[operator]


@pytest.fixture(scope="module", params=["never analyzed", "analyzed"])
def crowded(databases: Databases, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """Thousands of runs, waiting, scheduled and failed, and thousands of a pipeline that nobody knows."""
    with databases.copy_of(databases.migrated) as dsn, Fleet(dsn) as fleet:
        child = fleet.worker("p")
        fleet.conn.execute(MANY, [3000])
        later = "jsonb_build_object('pipeline', 'p', 'run_at', '2100-01-01', 'key', n::text)"
        fleet.conn.execute(f"SELECT orbit.enqueue_many((SELECT jsonb_agg({later}) FROM generate_series(1, 3000) AS n))".encode())
        fleet.conn.execute(MANY.replace("'p'", "'unknown'"), [3000])
        for _ in range(300):
            child.finish(Report.failed(child.must_claim().fence, FAILURE))
        if request.param == "analyzed":
            fleet.conn.execute("ANALYZE")
        yield fleet
