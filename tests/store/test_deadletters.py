"""The dead-letter queue, and the groups of its failures."""

from __future__ import annotations

import itertools

import pytest

from orbitd import store
from orbitd.errors import Conflict, NoSuchObject, UsageError
from orbitd.store import Failure, Report, admin
from orbitd.store.admin import parse_filter
from tests.store.fleet import FAILURE, Child, Fleet

ITEM_FIELDS = ["id", "pipeline", "error", "cause", "failed_at", "group", "resolved", "queue", "tenant", "resolved_by", "attempts"]
LETTER_FIELDS = {
    *("schema", "id", "pipeline", "queue", "priority", "tenant", "args", "created_at", "attempt", "errors", "crashes", "cause"),
    *("error", "group", "failed_at", "attempts", "resolved", "resolved_at", "resolved_by", "notes"),
}


@pytest.fixture
def child(fleet: Fleet) -> Child:
    return fleet.worker("p")


def bury(fleet: Fleet, child: Child, failure: Failure = FAILURE, tenant: str | None = None) -> int:
    run_id = admin.enqueue(fleet.conn, "p", {"n": 1}, tenant=tenant).id
    child.finish(Report.failed(child.must_claim().fence, failure))
    return run_id


def ids(page: admin.Page) -> list[int]:
    return [int(item["id"]) for item in page.items]


def test_the_list_has_the_documents_fields_the_newest_run_first(fleet: Fleet, child: Child) -> None:
    first, second = bury(fleet, child), bury(fleet, child, tenant="t")
    page = admin.dlq_list(fleet.conn)
    assert ids(page) == [second, first]
    item = page.items[0]
    assert list(item) == ITEM_FIELDS
    assert (item["pipeline"], item["cause"], item["error"], item["resolved"]) == ("p", "error", FAILURE.error, False)
    assert (item["queue"], item["tenant"], item["attempts"], item["resolved_by"]) == ("default", "t", 1, None)
    assert item["failed_at"].endswith("Z")


def test_a_group_is_meant_by_how_it_begins_if_no_other_does(fleet: Fleet, child: Child) -> None:
    for group in ("g5d70000a", "g5d70000f", "g5e000000", "gffffffff"):
        for _ in range(2):
            fleet.conn.execute("UPDATE orbit.failed SET group_id = %s WHERE run_id = %s", [group, bury(fleet, child)])
    for text, group in (("g5d70000a", "g5d70000a"), ("g5e", "g5e000000"), ("gf", "gffffffff")):
        assert admin.resolve_group(fleet.conn, text) == group
    with pytest.raises(NoSuchObject, match='more than one group begins with "g5d7"') as ambiguous:
        admin.resolve_group(fleet.conn, "g5d7")
    assert ambiguous.value.hint == "there are g5d70000a, g5d70000f"
    for text in ("g5c", "g5d70000b", "5d7", "", "g%", "g5d70000a0"):
        with pytest.raises(NoSuchObject, match="no group of dead letters"):
            admin.resolve_group(fleet.conn, text)


def test_a_resolved_letter_leaves_the_list_and_is_kept(fleet: Fleet, child: Child) -> None:
    run_id = bury(fleet, child)
    assert admin.dlq_resolve(fleet.conn, run_id, "anna", "paid by hand")
    assert ids(admin.dlq_list(fleet.conn)) == []
    (item,) = admin.dlq_list(fleet.conn, include_resolved=True).items
    assert (item["resolved"], item["resolved_by"]) == (True, "anna")
    assert not admin.dlq_resolve(fleet.conn, run_id, "otto")
    assert not admin.dlq_resolve(fleet.conn, run_id, "otto", "twice")
    letter = admin.dlq_show(fleet.conn, run_id)
    assert (letter["resolved"], letter["resolved_by"], letter["notes"]) == (True, "anna", "twice")
    assert letter["resolved_at"].endswith("Z")
    assert admin.dlq_resolve(fleet.conn, bury(fleet, child), "anna"), "the first letter is another"


def test_the_list_is_filtered_and_paged_as_that_of_runs(fleet: Fleet, child: Child) -> None:
    letters = [bury(fleet, child, tenant="even" if i % 2 else "odd") for i in range(6)]
    admin.dlq_resolve(fleet.conn, letters[5], "anna")
    even = parse_filter("tenant:even")
    assert ids(admin.dlq_list(fleet.conn, even)) == [letters[3], letters[1]]
    assert ids(admin.dlq_list(fleet.conn, even, include_resolved=True)) == [letters[5], letters[3], letters[1]]
    assert [pin.run_id for pin in admin.dlq_pinned(fleet.conn, even, most=2)] == [letters[3], letters[1]]
    assert len(admin.dlq_pinned(fleet.conn, None, most=6, include_resolved=True)) == 6
    with pytest.raises(UsageError, match="more than 4"):
        admin.dlq_pinned(fleet.conn, None, most=4)
    first = admin.dlq_list(fleet.conn, limit=2)
    second = admin.dlq_list(fleet.conn, limit=10, before=first.next)
    assert ids(first) + ids(second) == letters[4::-1]
    assert second.next is None
    assert ids(admin.dlq_list(fleet.conn, parse_filter("state:pending"))) == []


def test_a_letter_holds_all_that_is_known_of_its_run(fleet: Fleet, child: Child) -> None:
    bury(fleet, child)  # another, of which nothing is known here
    run_id = admin.enqueue(fleet.conn, "p", {"a": 1}, tenant="t").id
    fleet.crash(child, child.must_claim().fence)
    child = fleet.worker("p")
    child.finish(Report.failed(child.must_claim().fence, Failure("error", "ValueError: no", "Traceback", "Thread")))
    letter = admin.dlq_show(fleet.conn, run_id)
    assert letter.keys() == LETTER_FIELDS
    assert (letter["schema"], letter["id"], letter["args"], letter["tenant"]) == ("orbit.dead_letter/1", str(run_id), {"a": 1}, "t")
    assert (letter["attempt"], letter["errors"], letter["crashes"]) == (2, 1, 1)
    crash, error = letter["attempts"]
    assert (crash["outcome"], crash["cause"], crash["stack"]) == ("interrupted", "crashed:SIGSEGV", "Current thread ...")
    assert (error["outcome"], error["traceback"], error["stack"]) == ("failed", "Traceback", "Thread")
    assert (error["host"], error["slot"]) == (f"host-{fleet.boot_id(child.host_id)}", 0)
    described = admin.describe(fleet.conn, run_id)["attempts"]
    assert letter["attempts"] == [{name: attempt[name] for name in crash} for attempt in described]


def test_what_is_no_dead_letter_is_not_shown_as_one(fleet: Fleet) -> None:
    run_id = fleet.enqueue("p")
    with pytest.raises(Conflict, match="in the state pending"):
        admin.dlq_show(fleet.conn, run_id)
    with pytest.raises(NoSuchObject):
        admin.dlq_show(fleet.conn, 42)


def test_a_deleted_run_leaves_nothing_behind(fleet: Fleet, child: Child) -> None:
    kept = bury(fleet, child)
    run_id = admin.enqueue(fleet.conn, "p", {"n": 1}, key="k").id
    fence = child.must_claim().fence
    store.record_step(child.conn, fence, "s", "1", 0.1)
    store.record_progress(child.conn, fence, 0.5, "half")
    store.append_logs(child.conn, fence, [("2026-01-01T00:00:00Z", "info", "secret")])
    child.finish(Report.failed(fence, FAILURE))
    admin.dlq_delete(fleet.conn, run_id)
    with pytest.raises(NoSuchObject):
        admin.describe(fleet.conn, run_id)
    with pytest.raises(NoSuchObject):
        admin.dlq_delete(fleet.conn, run_id)
    assert ids(admin.dlq_list(fleet.conn)) == [kept]
    assert admin.read_logs(fleet.conn, run_id) == []
    assert not child.succeed(fence)
    fleet.check_settled()


def test_a_letter_is_deleted_whole_or_not_at_all(fleet: Fleet, child: Child) -> None:
    run_id = bury(fleet, child)
    with fleet.conn.transaction(force_rollback=True):
        admin.dlq_delete(fleet.conn, run_id)
    assert ids(admin.dlq_list(fleet.conn)) == [run_id]
    fleet.check_settled()


def test_a_delete_waits_for_a_retry_in_flight_and_then_lets_the_run_be(fleet: Fleet, child: Child) -> None:
    run_id, operator = bury(fleet, child), fleet.connect()
    with fleet.conn.transaction():
        admin.retry(fleet.conn, run_id, "anna")
        delete = fleet.in_background(operator, lambda: admin.dlq_delete(operator, run_id))
        delete.until_blocked()
    with pytest.raises(Conflict, match="it is pending"):
        delete.result()
    fleet.check_settled()


def test_a_delete_of_one_failure_spares_the_next_one_of_the_same_run(fleet: Fleet, child: Child) -> None:
    run_id = bury(fleet, child)
    (chosen,) = admin.pins_of(fleet.conn, [run_id])
    admin.retry(fleet.conn, run_id, "anna")
    child.finish(Report.failed(child.must_claim().fence, FAILURE))
    with pytest.raises(Conflict, match="has changed"):
        admin.dlq_delete(fleet.conn, run_id, expect=chosen)
    assert ids(admin.dlq_list(fleet.conn)) == [run_id]


def test_other_programs_read_dead_letters_in_the_usual_words(fleet: Fleet, child: Child) -> None:
    run_id = bury(fleet, child, Failure("error", "ValueError: no", "Traceback", None))
    admin.dlq_resolve(fleet.conn, run_id, "anna", "done")
    columns = "queue_name, job_id, job_data, error_message, error_stack, attempts_made, resolved, resolved_by, notes"
    (row,) = fleet.rows(f"SELECT {columns} FROM orbit.dead_letters WHERE failed_at <= resolved_at")
    assert row == ("default", str(run_id), {"n": 1}, "ValueError: no", "Traceback", 1, True, "anna", "done")


# --- groups ---


def group(fleet: Fleet, error: str | None, pipeline: str = "p", cause: str = "error") -> str:
    return str(fleet.value("SELECT orbit.fingerprint(%s::text, %s::text, %s::text)", pipeline, cause, error))


SAME = [
    ("KeyError: 'user_17'", "KeyError: 'account'"),
    ("ConnectionError: 10.0.0.7:5432 refused after 3 tries", "ConnectionError: 192.168.10.21:6432 refused after 12 tries"),
    (
        "FileNotFoundError: [Errno 2] No such file or directory: '/tmp/a b/x.csv'",
        "FileNotFoundError: [Errno 2] No such file or directory: '/srv/data/2026/y.csv'",
    ),
    (
        "HTTPStatusError: Client error '404 Not Found' for url 'https://a.example/x?y=1'",
        "HTTPStatusError: Client error '404 Not Found' for url 'https://b.example/'",
    ),
    ("run 550e8400-e29b-41d4-a716-446655440000 is gone", "run deadbeef-cafe-fade-feed-abcdefabcdef is gone"),
    ("commit abcdefabcdef not found", "commit 0123456789abcdef0123456789abcdef01234567 not found"),
    ("<Session object at 0x7f3a2c1b5d90> is closed", "<Session object at 0x7f0000000010> is closed"),
    ("TimeoutError: no answer within 5s", "TimeoutError: no answer within 0.25s"),
    ("ValueError: time data '2026-01-31T08:00:00' does not match", "ValueError: time data 'yesterday' does not match"),
    ("at 2026-01-31T08:00:00+00:00 the lock was held", "at 1999-12-31 23:59:59.123 the lock was held"),
    ("IndexError: -1 of [1, 2, 3]", "IndexError: 7 of [4]"),
    ('JSONDecodeError: "{\\"a\\": 1" line 1 column 5', 'JSONDecodeError: "x" line 20 column 1'),
    ("cannot read /var/lib/a/b.txt: denied", "cannot read C:\\Users\\x.txt: denied"),
    ("missing fields: 'a', 'b', 'c'", "missing fields: 'x'"),
    ("no table `users_2026`", "no table `orders`"),
    ('value "a\nb" is  too\nlong', 'value "c" is too long'),
    ("unexpected reply: 'half of a text that was cu", "unexpected reply: 'another"),
    ("row (42, 'anna', None) rejected", "row (43, 'otto', None) rejected"),
]

DIFFERENT = [
    "KeyError: 'user_17'",
    "IndexError: list index out of range",
    "ValueError: no",
    "ValueError: not a number",
    "TimeoutError: no answer within 5s",
    "TimeoutError: no connection within 5s",
    "can't open user's file",
    "can't close user's file",
    "",
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_the_same_error_with_other_values_is_in_the_same_group(unwritten: Fleet, one: str, other: str) -> None:
    assert group(unwritten, one) == group(unwritten, other)


def test_different_errors_are_in_different_groups(unwritten: Fleet) -> None:
    for one, other in itertools.combinations(DIFFERENT, 2):
        assert group(unwritten, one) != group(unwritten, other), (one, other)


def test_a_group_is_of_one_pipeline_and_one_cause(unwritten: Fleet) -> None:
    groups = [group(unwritten, "no"), group(unwritten, "no", pipeline="q"), group(unwritten, "no", cause="timeout")]
    assert len(set(groups)) == 3
    assert group(unwritten, None) == group(unwritten, "")
    assert all(len(name) == 9 and name.startswith("g") for name in groups)


@pytest.mark.parametrize("text", ["a" * 8192, "'" * 8192, '"a' * 4096, "/" * 8192, "1," * 4096, "0x" * 4096, " " * 8192, "f" * 8191 + "-"])
def test_the_group_of_the_longest_error_is_found_at_once(unwritten: Fleet, text: str) -> None:
    unwritten.conn.execute("SELECT set_config('statement_timeout', '2s', false)")
    try:
        assert group(unwritten, text)
    finally:
        unwritten.conn.execute("SELECT set_config('statement_timeout', '0', false)")


def test_a_dead_letter_is_stored_with_its_group(fleet: Fleet, child: Child) -> None:
    first = bury(fleet, child, Failure("error", "ValueError: 17 is too many"))
    bury(fleet, child, Failure("error", "KeyError: 'x'"))
    third = bury(fleet, child, Failure("error", "ValueError: 4 is too many"))
    name = admin.dlq_show(fleet.conn, first)["group"]
    assert name == group(fleet, "ValueError: 1 is too many")
    assert ids(admin.dlq_list(fleet.conn, parse_filter(f"group:{name}"))) == [third, first]
    assert admin.describe(fleet.conn, first)["group"] == name
