"""The SQL and the Python agree with each other."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from orbitd import client, store
from orbitd.errors import Conflict
from orbitd.rules.states import RunState
from orbitd.store import Beat, Claimed, Connection, Lane, Outcome, Report, Sight, admin, queries
from orbitd.store.admin import Enqueued, Place
from orbitd.store.rights import WhoWeAre
from tests.store.fleet import FAILURE, Child, Fleet
from tests.support.addresses import around

FILES = ["acts", "claims", "deadletters", "hosts", "lists", "recovery", "rights", "runs", "steps", "upkeep", "waking"]
STATEMENTS = [(file, name) for file in FILES for name in queries.load(file)]

INLINED = {"next_run_id", "fault_in_request", "fault_in_options"}
"""Functions in the language SQL, which become part of the statement that calls them."""

DATACLASSES = {
    "register_pipelines": Lane,
    "lanes_of": Lane,
    "place": Place,
    "beat": Beat,
    "look": Sight,
    "who_we_are": WhoWeAre,
}


def columns(fleet: Fleet, statement: bytes) -> list[str]:
    """The columns of a statement, as the server tells them when it has prepared it."""
    pgconn = fleet.conn.pgconn
    prepared = pgconn.prepare(b"", re.sub(rb"%\(\w+\)s", b"NULL", statement))
    assert not prepared.error_message, prepared.error_message.decode()
    described = pgconn.describe_prepared(b"")
    return [(described.fname(i) or b"").decode() for i in range(described.nfields)]


def field_names(row: type) -> list[str]:
    return [field.name for field in dataclasses.fields(row)]


@pytest.mark.parametrize("name", queries.load("filters"))
def test_each_predicate_of_a_filter_can_be_prepared_on_the_view(unwritten: Fleet, name: str) -> None:
    predicate = queries.load("filters")[name].split(b"\n", 1)[1]
    assert columns(unwritten, b"SELECT v.id FROM orbit.runs_view v WHERE " + predicate) == ["id"]


def test_each_term_of_a_filter_has_its_predicate() -> None:
    assert {name.partition(".")[0] for name in admin.FILTER_TERMS} == set(queries.load("filters"))


@pytest.mark.parametrize(("file", "name"), STATEMENTS)
def test_each_statement_can_be_prepared_and_gives_the_columns_of_its_dataclass(unwritten: Fleet, file: str, name: str) -> None:
    found = columns(unwritten, queries.load(file)[name])
    assert found
    match DATACLASSES.get(name):
        case None if name == "claim":
            assert found == ["last_seq", "lease_ok", *field_names(Claimed)]
        case None if name == "finish_and_claim":
            assert found == ["last_seq", "lease_ok", "fenced", *field_names(Claimed)]
        case None:
            pass
        case row if row is Beat:
            assert found == [*field_names(Beat)[:-1], "cancel_runs", "cancel_children"]
        case row:
            assert found == field_names(row)


@pytest.mark.parametrize(("name", "fields"), [("enqueue", field_names(Enqueued)), ("enqueue_many", ["ids"])])
def test_each_statement_of_the_client_can_be_prepared(unwritten: Fleet, name: str, fields: list[str]) -> None:
    statement = (Path(client.__file__).parent / f"{name}.sql").read_bytes()
    assert columns(unwritten, statement) == fields
    assert not re.search(rb"%\(\w+\)s(?!::)", statement)


def test_each_statement_has_a_sentence_and_each_parameter_a_type() -> None:
    for file, name in [*STATEMENTS, *(("filters", name) for name in queries.load("filters"))]:
        text = queries.load(file)[name].decode()
        assert text.startswith("-- "), name
        assert not re.search(r"%\(\w+\)s(?!::)", text), name


def test_all_sql_is_ascii_so_that_it_loads_into_a_database_of_any_encoding() -> None:
    for path in queries.FOLDER.parent.rglob("*.sql"):
        assert path.read_bytes().isascii(), path


def test_each_function_is_in_a_file_of_its_name_and_says_what_for() -> None:
    for path in (queries.FOLDER / "functions").glob("*.sql"):
        text = path.read_text("utf-8")
        assert text.startswith("-- "), path
        assert re.findall(r"^CREATE OR REPLACE FUNCTION orbit\.(\w+)\(", text, re.MULTILINE) == [path.stem]
        if path.stem not in INLINED:
            assert "LANGUAGE plpgsql" in text, path


def test_the_database_has_the_functions_of_the_files_and_no_others(unwritten: Fleet) -> None:
    stored = {name for (name,) in unwritten.rows("SELECT proname FROM pg_proc WHERE pronamespace = 'orbit'::regnamespace")}
    assert stored == {path.stem for path in (queries.FOLDER / "functions").glob("*.sql")}


def be_refused(child: Child) -> None:
    with pytest.raises(store.LeaseLost):
        child.claim()
    with pytest.raises(Exception, match="printable"):
        admin.enqueue(child.conn, "")
    with pytest.raises(Exception, match="no argument"):
        admin.enqueue(child.conn, "unknown", {"a": 1})


def keep_up(conn: Connection, host_id: int) -> None:
    store.make_partitions(conn, 5)
    conn.execute("SELECT orbit.make_partition('runs', 1)")
    conn.execute("INSERT INTO orbit.runs (id, pipeline, lane, args) VALUES (1::bigint << 39, 'p', 1, '{}')")
    store.prune_partitions(conn, store.Retention(1, 1, 1))
    store.prune_rows(conn, store.Retention(1e9, 1e9, 1e9))
    store.end_duty(conn, store.take_duty(conn, host_id, ["partitions"]) or "")


def test_every_function_runs(own_fleet: Fleet) -> None:
    """A function's body is checked only when it runs: this tour runs each of them."""
    own_fleet.conn.execute("ALTER DATABASE " + own_fleet.conn.info.dbname + " SET track_functions = 'all'")
    with Fleet(around(own_fleet.dsn)) as tour:  # a session tells its counters when it ends
        child = tour.worker("p", "q")
        conn = child.conn
        ids = admin.enqueue_many(conn, [{"pipeline": "p", "key": str(i)} for i in range(6)])
        conn.execute("SELECT orbit.enqueue('p')")
        admin.enqueue(conn, "p", in_seconds=0.000001)
        fence = child.must_claim().fence
        store.record_step(conn, fence, "s", "1", 0.1)
        assert store.count_commit(conn, fence) == store.last_commit(conn, fence)
        store.record_progress(conn, fence, 0.5, None)
        store.append_logs(conn, fence, [("2026-01-01T00:00:00Z", "info", "x")])
        answer = child.go_on(Report.failed(fence, FAILURE))
        assert answer.offer.claimed
        tour.come_again(child, asked=(answer.offer.claimed.token, child.lanes))
        admin.cancel(conn, ids[2], "me")
        admin.enqueue(conn, "unknown", queue="elsewhere")
        store.register_pipelines(conn, child.host_id, [store.PipelineSpec("unknown", "q", 0, "{}", 3, 3)])
        store.beat(conn, child.host_id, 20)
        store.sweep(conn, dict.fromkeys(child.lanes, 0))
        store.doze(conn, {}, 1)
        store.stay_awake(conn, 1)
        fence = child.must_claim().fence
        admin.resume(conn, fence.run_id, "me")
        tour.crash(child, fence, mode="hold")
        admin.resume(conn, fence.run_id, "me")
        admin.rerun(conn, ids[0], "me")
        admin.dlq_resolve(conn, ids[0], "me")
        admin.retry(conn, ids[0], "me")
        with pytest.raises(Conflict):
            admin.dlq_delete(conn, ids[0])
        with pytest.raises(Exception, match="moved too often"):
            conn.execute("SELECT orbit.moved_too_often(1)")
        admin.recover(conn, auto_resume=True, by="me")
        tour.come_again(child)
        child.must_claim()
        conn.execute("UPDATE orbit.children SET started_at = '-infinity'")
        store.end_missing_children(conn, child.host_id, [])
        store.rescue(conn, child.host_id, "resume")
        store.end_host(conn, tour.boot_id(child.host_id), "stopped", "resume")
        be_refused(child)
        keep_up(conn, child.host_id)
    missing = {path.stem for path in (queries.FOLDER / "functions").glob("*.sql")} - INLINED
    names = set(missing)
    while missing:  # until the counters of the closed sessions have arrived
        own_fleet.conn.execute("SELECT pg_stat_clear_snapshot()")
        missing = names - {name for (name,) in own_fleet.rows("SELECT funcname FROM pg_stat_user_functions")}


def check_of(fleet: Fleet, table: str, column: str) -> set[str]:
    """The words that a CHECK allows for a column."""
    query = "SELECT pg_get_constraintdef(oid) FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'c'"
    (definition,) = (text for (text,) in fleet.rows(query, table) if re.match(rf"CHECK \(\({column} = ANY", str(text)))
    return set(re.findall(r"'(\w+)'", str(definition)))


def test_the_outcomes_of_the_code_are_those_of_the_check(unwritten: Fleet) -> None:
    assert check_of(unwritten, "orbit.outcomes", "outcome") == set(Outcome)


def test_the_states_of_the_view_are_those_of_the_code(unwritten: Fleet) -> None:
    definition = str(unwritten.value("SELECT pg_get_viewdef('orbit.runs_view')"))
    spoken = set(re.findall(r"THEN '(\w+)'::text", definition))
    terminal = {"succeeded", "failed", "cancelled"}
    assert spoken | terminal == set(RunState)
    assert terminal <= set(Outcome)


@pytest.mark.parametrize(
    "row",
    [
        "(run_id, lane, state) VALUES (1, 1, 2)",
        "(run_id, lane, state) VALUES (1, 1, 1)",
        "(run_id, lane, token) VALUES (1, 1, 5)",
        "(run_id, lane, state, token, claimed_at) VALUES (1, 1, 1, 5, now())",
    ],
)
def test_live_refuses_rows_that_are_neither_pending_nor_running(unwritten: Fleet, row: str) -> None:
    with pytest.raises(Exception, match="violates check constraint"):
        unwritten.conn.execute(f"INSERT INTO orbit.live {row}".encode())
