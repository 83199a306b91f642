"""What a claim costs must not depend on what lies in `live`: neither the plan, nor the pages that it reads."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from orbitd import store
from orbitd.store import Ask, Connection
from tests.store.fleet import Child, Fleet

FILL = "INSERT INTO orbit.live (run_id, lane) SELECT n, %s FROM generate_series(%s::int, %s::int) AS n"
MANY = int(os.environ.get("ORBITD_PLAN_ROWS", "100000"))
PICK = ["Limit", "LockRows", "Index Scan using live_pkey: ((lane = ?) AND (seq >= ?)), then (state = ?)"]
LOOKUP = "Index Scan using live_pkey: ((lane = ANY (ARRAY[t.lane])) AND (seq = ?)), then ((state = ?) AND (t.run_id = ?) AND (t.token = ?))"
STATES = {
    "empty": ["enqueue"],
    "full": ["enqueue", "fill"],
    "full and analyzed": ["enqueue", "fill", "analyze"],
    "bloated": ["enqueue", "fill", "analyze", "empty"],
    "vacuumed when empty": ["vacuum", "enqueue"],
    "vacuumed when empty, and full": ["vacuum", "enqueue", "fill"],
    "vacuumed when nothing was left of many, which somebody still sees": ["fill", "hold", "empty", "vacuum", "enqueue"],
}


def fill(fleet: Fleet, lane: int, count: int) -> None:
    for first in range(0, count, 100_000):
        fleet.conn.execute(FILL.encode(), [lane, first + 1, min(first + 100_000, count)])


# --- the plan ---


def nodes(plan: dict[str, Any]) -> Iterator[str]:
    """The nodes of a plan, from the top; scans with their conditions, in which all values are alike."""
    if "Index Cond" in plan:
        conditions = re.sub(r"= (\([^()]*\)[^()]*|[^()]+)\)", "= ?)", f"{plan['Index Cond']}, then {plan.get('Filter')}")
        yield f"{plan['Node Type']} using {plan['Index Name']}: {conditions}"
    elif plan["Node Type"] != "Result":
        yield plan["Node Type"]
    for child in plan.get("Plans", []):
        yield from nodes(child)


def plans_of(conn: Connection, call: Callable[[], object]) -> list[tuple[str, list[str]]]:
    """The plans of all statements inside a call, each with its text, as the server executed them."""
    found: list[dict[str, Any]] = []

    def note(diagnostic: psycopg.errors.Diagnostic) -> None:
        _head, _, text = (diagnostic.message_primary or "").partition("plan:\n")
        if text:
            found.append(json.loads(text))

    conn.add_notice_handler(note)
    try:
        conn.execute("LOAD 'auto_explain'")
    except psycopg.errors.UndefinedFile:
        pytest.skip("this PostgreSQL has no auto_explain")
    for name, value in {"log_format": "json", "log_nested_statements": "on", "log_level": "notice", "log_min_duration": "0"}.items():
        conn.execute("SELECT set_config(%s, %s, false)", [f"auto_explain.{name}", value])
    call()
    conn.execute("SET auto_explain.log_min_duration = -1")
    return [(each["Query Text"], list(nodes(each["Plan"]))) for each in found]


@pytest.mark.timeout(30 + MANY / 10_000)
@pytest.mark.parametrize("state", STATES)
def test_a_claim_and_a_finish_have_one_plan_whatever_is_in_the_table(own_fleet: Fleet, state: str) -> None:
    child, reader = own_fleet.worker("p"), own_fleet.session()
    acts: dict[str, Callable[[], object]] = {
        "enqueue": lambda: own_fleet.enqueue("p"),
        "fill": lambda: fill(own_fleet, child.lanes[0], MANY),
        "empty": lambda: own_fleet.conn.execute("DELETE FROM orbit.live WHERE run_id <= %s", [MANY]),
        "analyze": lambda: own_fleet.conn.execute("ANALYZE orbit.live"),
        "vacuum": lambda: own_fleet.conn.execute("VACUUM orbit.live"),
        "hold": lambda: reader.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM orbit.live"),
    }
    own_fleet.conn.execute("ALTER TABLE orbit.live SET (autovacuum_enabled = off)")
    for act in STATES[state]:
        acts[act]()
    plans = plans_of(child.conn, lambda: child.succeed(child.must_claim().fence))
    picks = [nodes for text, nodes in plans if "SKIP LOCKED" in text and "orbit.live" in text]
    assert picks == [PICK]
    (deletion,) = [nodes for text, nodes in plans if "DELETE FROM orbit.live" in text]
    assert [node for node in deletion if "live" in node] == [LOOKUP]


# --- the pages ---


def pages(conn: Connection, call: Callable[[], object], *relations: str) -> int:
    """How many pages of `live` and its index, or of others, a call reads."""
    query = "SELECT sum(pg_stat_get_xact_blocks_fetched(('orbit.' || name)::regclass))::int FROM unnest(%s::text[]) AS name"
    names = [list(relations or ("live", "live_pkey"))]
    with conn.transaction(force_rollback=True):
        before = conn.execute(query, names).fetchall()[0][0]
        call()
        return int(conn.execute(query, names).fetchall()[0][0] - before)


@pytest.fixture
def held_fleet(own_fleet: Fleet) -> Iterator[tuple[Fleet, Child]]:
    """Somebody reads for long: nothing that has ended since can be removed from `live`."""
    reader = own_fleet.connect()
    with reader.transaction():
        reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        reader.execute("SELECT FROM orbit.live")
        yield own_fleet, own_fleet.worker("p")


def test_claims_reports_and_the_janitors_looks_read_the_same_pages_over_any_number_of_dead_rows(held_fleet: tuple[Fleet, Child]) -> None:
    fleet, child = held_fleet
    (lane,) = child.lanes
    claims, full_claims, looks, beats, reports = [], [], [], [], []
    for dead in (100, 20_000):
        fill(fleet, lane, dead)
        fleet.conn.execute("DELETE FROM orbit.live")
        fleet.conn.execute("VACUUM orbit.live")  # it removes nothing, and finds that nothing is there
        fleet.enqueue("p")
        floor = {lane: int(str(fleet.value("SELECT seq FROM orbit.live")))}
        claims.append(pages(child.conn, lambda floor=floor: store.claim(child.conn, child.child_id, Ask(1, floor))))  # type: ignore[misc]
        full_claims.append(pages(child.conn, lambda: store.claim(child.conn, child.child_id, Ask.of([lane]))))
        looks.append(pages(child.conn, lambda floor=floor: store.sweep(child.conn, floor)))  # type: ignore[misc]
        beats.append(pages(child.conn, lambda floor=floor: store.beat(child.conn, child.host_id, 20, floor)))  # type: ignore[misc]
        fence = store.claim(child.conn, child.child_id, Ask(1, floor)).runs[0].fence
        reports.append(pages(child.conn, lambda fence=fence: child.succeed(fence)))  # type: ignore[misc]
    assert claims[1] <= claims[0] + 6  # the index has a level more
    assert looks[1] <= looks[0] + 6
    assert beats[1] <= beats[0] + 6
    assert reports[1] <= reports[0] + 6
    assert full_claims[1] > full_claims[0] + 50  # the control


def test_the_end_of_a_run_with_a_key_reads_the_same_pages_over_any_number_of_dead_keys(held_fleet: tuple[Fleet, Child]) -> None:
    fleet, child = held_fleet
    ends = []
    for dead in (100, 20_000):
        fleet.conn.execute("INSERT INTO orbit.keys SELECT 'p', 'gone ' || n, n FROM generate_series(1, %s) AS n", [dead])
        fleet.conn.execute("DELETE FROM orbit.keys")
        fleet.conn.execute("VACUUM orbit.keys")
        fleet.enqueue("p", key="k")
        fence = child.must_claim().fence
        ends.append(pages(child.conn, lambda fence=fence: child.succeed(fence), "keys", "keys_pkey"))  # type: ignore[misc]
    assert ends[1] <= ends[0] + 6


def test_a_beat_reads_the_same_pages_over_any_number_of_runs_that_were_due_before(held_fleet: tuple[Fleet, Child]) -> None:
    fleet, child = held_fleet
    fleet.conn.execute("UPDATE orbit.hosts SET steady_since = clock_timestamp() - interval '1 day'")
    beats, full_looks = [], []
    for dead in (100, 20_000):
        due = "INSERT INTO orbit.delayed SELECT n, clock_timestamp() - interval '10 min', 1, 0, 0, 0, 0 FROM generate_series(1, %s) AS n"
        fleet.conn.execute(due, [dead])
        fleet.conn.execute("DELETE FROM orbit.delayed")
        fleet.enqueue("p", in_seconds=3600)
        where = ("delayed", "delayed_due_at")
        beats.append(pages(child.conn, lambda: store.beat(child.conn, child.host_id, 20, {}), *where))
        full_looks.append(pages(child.conn, lambda: store.promote_overdue(child.conn), *where))
    assert beats[1] <= beats[0] + 6
    assert full_looks[1] > full_looks[0] + 50  # the control
