"""The verbs about runs, on a real database and without a daemon."""

from __future__ import annotations

import io
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from orbitd.store import claims, hosts
from orbitd.store.connection import Connection, connect
from orbitd.store.outcomes import Failure, Report
from orbitd.store.rows import Claimed, Fence, Lane, PipelineSpec
from orbitd.store.steps import record_progress, record_step
from tests.ctl.conftest import Orbitctl

Ending = Callable[[Fence], Report]

ANYTHING = '{"required": [], "optional": [], "open": true}'


@pytest.fixture(autouse=True)
def database(environ: pytest.MonkeyPatch, dsn: str) -> str:
    environ.setenv("DATABASE_URL", dsn)
    return dsn


@dataclass
class Worker:
    """A child of a host, that claims and reports by hand."""

    conn: Connection
    child_id: int
    lanes: list[Lane]

    def claim(self) -> Claimed:
        claimed = claims.claim(self.conn, self.child_id, claims.new_token(), [lane.id for lane in self.lanes])
        assert claimed is not None
        return claimed

    def finish(self, report: Report) -> None:
        assert claims.finish(self.conn, report)


@pytest.fixture
def worker(conn: Connection) -> Worker:
    host_id = hosts.register(conn, boot_id="boot", name="prod-a", pid=1, version="1", lease_seconds=60)
    specs = [PipelineSpec(name, "billing", 0, ANYTHING, 3, 3) for name in ("invoice.sync", "invoice.send")]
    lanes = hosts.register_pipelines(conn, host_id, specs)
    hosts.beat(conn, host_id, 60)
    return Worker(conn, hosts.start_child(conn, host_id=host_id, slot=3, nonce="n", pid=2), lanes)


@pytest.fixture
def failed_run(orbitctl: Orbitctl, worker: Worker) -> str:
    """A run that failed, with all that can be known of one."""
    run = orbitctl("enqueue", "invoice.sync", "tenant_id=42", "--tenant", "t-1").out.strip()
    claimed = worker.claim()
    record_step(worker.conn, claimed.fence, "fetch\x1b[2J", '{"pages": 3}', 1.5)
    record_progress(worker.conn, claimed.fence, 0.5, "half\rway")
    failure = Failure("error", "ValueError: \x1b[31mred\nand more", "Traceback:\n  File \x1b[1m\nValueError")
    worker.finish(Report.failed(claimed.fence, failure))
    return run


class TestEnqueue:
    def test_prints_the_id_alone(self, orbitctl: Orbitctl) -> None:
        called = orbitctl("enqueue", "a.b")
        assert (called.code, called.err) == (0, "")
        assert called.out == f"{int(called.out)}\n"

    def test_as_a_document(self, orbitctl: Orbitctl) -> None:
        document = orbitctl("enqueue", "a.b", "--json").document
        assert document == {"schema": "orbit.run/1", "id": document["id"], "created": True, "state": "pending"}
        assert orbitctl("enqueue", "a.b", "--in", "1h", "--json").document["state"] == "scheduled"

    def test_takes_values_as_json_or_as_text(self, orbitctl: Orbitctl) -> None:
        pairs = ["n=1", "f=1.5", "b=true", "z=null", "l=[1,2]", "t=hello", "e=", "eq=a=b", "nan=NaN", 'q="1"', "deep=" + "[" * 2000]
        run = orbitctl("enqueue", "a.b", *pairs).out.strip()
        assert orbitctl("describe", run, "--json").document["args"] == {
            "n": 1,
            "f": 1.5,
            "b": True,
            "z": None,
            "l": [1, 2],
            "t": "hello",
            "e": "",
            "eq": "a=b",
            "nan": "NaN",
            "q": "1",
            "deep": "[" * 2000,
        }

    def test_takes_an_object_from_anywhere(self, orbitctl: Orbitctl, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        file = tmp_path / "args.json"
        file.write_text('{"from": "file"}')
        monkeypatch.setattr("sys.stdin", io.StringIO('{"from": "stdin"}'))
        for written, expected in (('{"from": "here"}', "here"), (f"@{file}", "file"), ("-", "stdin")):
            run = orbitctl("enqueue", "a.b", "--args", written, "more=1").out.strip()
            assert orbitctl("describe", run, "--json").document["args"] == {"from": expected, "more": 1}

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["x"], '"x" is not of the form KEY=VALUE'),
            (["=1"], '"=1" is not of the form KEY=VALUE'),
            (["--args", "{"], "--args is not JSON"),
            (["--args", "[1]"], "--args is JSON, but no object"),
            (["--args", '{"a": NaN}'], "--args is not JSON: nan is not json"),
            (["--args", "[" * 3000], "--args is not JSON"),
            (["--args", "@/no/such"], "--args: /no/such cannot be read: no such file or directory"),
            (["--args", "@/dev/zero"], "--args: /dev/zero is a device, not a file"),
            (["--args", '{"x": "\\u0000"}'], "cannot be stored"),
            (["--args", '{"x": 1e999}'], "the arguments are not JSON"),
            (["--count", "0"], "--count 0 is not between 1 and 1000000"),
            (["--count", "2", "--key", "k"], "--count goes with neither --key, --in nor --wait"),
            (["--priority", "99"], "priority 99 is not between -2 and 2"),
            (["--priority", "99999999999"], "cannot be stored"),
            (["--in", "1"], 'in: "1" is not a duration'),
        ],
    )
    def test_refuses_in_words(self, orbitctl: Orbitctl, words: list[str], message: str) -> None:
        called = orbitctl("enqueue", "a.b", *words)
        assert (called.code, called.out) == (2, "")
        assert message in called.err

    def test_from_a_closed_standard_input_is_refused_in_words(self, orbitctl: Orbitctl, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("sys.stdin", None)
        assert orbitctl("enqueue", "a.b", "--args", "-").code == 2

    @pytest.mark.usefixtures("worker")
    def test_says_which_argument_the_pipeline_does_not_take(self, orbitctl: Orbitctl, conn: Connection) -> None:
        host_id = hosts.register(conn, boot_id="boot", name="prod-a", pid=1, version="1", lease_seconds=60)
        signature = '{"required": ["tenant_id"], "optional": [], "open": false}'
        hosts.register_pipelines(conn, host_id, [PipelineSpec("strict", "default", 0, signature, 3, 3)])
        called = orbitctl("enqueue", "strict", "tenant=1")
        assert called.code == 2
        assert "tenant" in called.err

    def test_a_value_is_text_where_the_pipeline_takes_only_text(self, orbitctl: Orbitctl, conn: Connection) -> None:
        host_id = hosts.register(conn, boot_id="boot", name="prod-a", pid=1, version="1", lease_seconds=60)
        signature = '{"required": ["name"], "optional": ["count"], "open": false, "text": ["name"]}'
        hosts.register_pipelines(conn, host_id, [PipelineSpec("typed", "default", 0, signature, 3, 3)])
        run_id = orbitctl("enqueue", "typed", "name=007", "count=7").out.strip()
        assert orbitctl("describe", run_id, "--json").document["args"] == {"name": "007", "count": 7}

    def test_with_a_key_makes_one_run(self, orbitctl: Orbitctl) -> None:
        first, second = (orbitctl("enqueue", "a.b", "--key", "k") for _ in range(2))
        assert first.out == second.out
        assert second.err == 'the key "k" belongs to this run already, which is pending\n'
        assert orbitctl("enqueue", "a.b", "--key", "k", "--json").document["created"] is False

    def test_many(self, orbitctl: Orbitctl, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("orbitd.ctl.runs._ENQUEUED_AT_ONCE", 10)
        ids = orbitctl("enqueue", "a.b", "n=1", "--count", "25").out.split()
        assert len(set(ids)) == 25
        assert len(orbitctl("enqueue", "a.b", "--count", "3", "--json").document["ids"]) == 3
        assert orbitctl("describe", ids[24], "--json").document["args"] == {"n": 1}

    @pytest.mark.parametrize(
        ("ending", "code", "said"),
        [
            (lambda fence: Report.succeeded(fence, "1"), 0, "succeeded"),
            (lambda fence: Report.failed(fence, Failure("error", "ValueError: no")), 20, "failed: ValueError: no"),
            (Report.cancelled, 21, "cancelled"),
        ],
    )
    def test_waited_for_ends_as_the_run_ends(self, orbitctl: Orbitctl, worker: Worker, ending: Ending, code: int, said: str) -> None:
        for flags in ([], ["--json"]):
            working = threading.Thread(target=lambda: worker.finish(ending(patiently(worker).fence)))
            working.start()
            called = orbitctl("enqueue", "invoice.sync", "--wait", "--timeout", "20s", *flags)
            working.join()
            assert called.code == code
            if flags:
                assert called.document["state"] == said.partition(":")[0]
            else:
                assert called.err == f"run {called.out.strip()} {said}\n"

    def test_is_waited_for_no_longer_than_told(self, orbitctl: Orbitctl) -> None:
        called = orbitctl("enqueue", "a.b", "--wait", "--timeout", "60ms")
        assert called.code == 124
        assert f"run {called.out.strip()} is still pending after 60ms; it goes on" in called.err


def patiently(worker: Worker) -> Claimed:
    """The next run, as soon as there is one."""
    while True:
        claimed = claims.claim(worker.conn, worker.child_id, claims.new_token(), [lane.id for lane in worker.lanes])
        if claimed is not None:
            return claimed


class TestRuns:
    def test_nothing_is_said_in_words(self, orbitctl: Orbitctl) -> None:
        assert orbitctl("runs").out == "no such runs\n"
        assert orbitctl("runs", "--json").document == {"schema": "orbit.runs/1", "items": [], "next": None}

    def test_problems_stand_first(self, orbitctl: Orbitctl, failed_run: str) -> None:
        orbitctl("enqueue", "invoice.send")
        lines = orbitctl("runs").out.splitlines()
        assert lines[0].split() == ["RUN", "STATE", "PIPELINE", "TRY", "AGE", "TOOK", "QUEUE", "TENANT", "HOST", "ERROR"]
        assert lines[1].split()[1:4] == ["✗", "failed", "invoice.sync"]
        assert lines[1].endswith("ValueError: \\x1b[31mred")
        assert "pending" in lines[2]
        assert lines[1].split()[0] == str(int(failed_run) % 2**39)

    def test_the_fields_of_the_document(self, orbitctl: Orbitctl, failed_run: str) -> None:
        [item] = orbitctl("runs", "--json").document["items"]
        assert list(item) == [
            *("id", "pipeline", "queue", "state", "tenant", "attempt"),
            *("created_at", "started_at", "finished_at", "host", "slot", "error"),
        ]
        assert (item["id"], item["state"], item["host"], item["slot"]) == (failed_run, "failed", "prod-a", 3)

    def test_can_be_chosen(self, orbitctl: Orbitctl, failed_run: str) -> None:
        pending = orbitctl("enqueue", "invoice.send").out.strip()

        def found(*words: str) -> list[str]:
            return [item["id"] for item in orbitctl("runs", "--json", *words).document["items"]]

        assert found("--state", "failed") == [failed_run]
        assert set(found("--state", "failed,pending")) == {failed_run, pending}
        assert found("--pipeline", "*.send") == [pending]
        assert orbitctl("runs", "--state", "lost").code == 2
        assert orbitctl("runs", "--limit", "0").code == 2

    def test_come_in_pages(self, orbitctl: Orbitctl) -> None:
        ids = orbitctl("enqueue", "a.b", "--count", "5").out.split()
        first = orbitctl("runs", "--limit", "3", "--json").document
        second = orbitctl("runs", "--limit", "3", "--before", first["next"], "--json").document
        assert [item["id"] for item in first["items"] + second["items"]] == ids[::-1]
        assert second["next"] is None
        assert f"older ones: orbitctl runs --before {first['next']}\n" in orbitctl("runs", "--limit", "3").out

    @pytest.mark.usefixtures("failed_run")
    @pytest.mark.parametrize("columns", [60, 80, 120, 200])
    def test_fit_the_terminal(self, orbitctl: Orbitctl, environ: pytest.MonkeyPatch, columns: int) -> None:
        environ.setenv("COLUMNS", str(columns))
        lines = orbitctl("runs").out.splitlines()
        assert max(map(len, lines)) <= columns
        assert "failed" in lines[1]
        assert "ValueError" in lines[1]


class TestDescribe:
    def test_tells_the_error_first_and_everything_after_it(self, orbitctl: Orbitctl, failed_run: str) -> None:
        called = orbitctl("describe", failed_run)
        lines = called.out.splitlines()
        assert lines[0] == f"✗ failed · invoice.sync · run {failed_run}"
        assert lines[1:3] == ["error       ValueError: \\x1b[31mred", "            and more"]
        assert "queue billing · tenant t-1 · attempt 1 · host prod-a/3" in called.out
        assert 'arguments   {"tenant_id": 42}' in called.out
        assert "fetch\\x1b[2J" in called.out
        assert "progress    50% · half\\rway" in called.out
        assert "traceback of attempt 1\n  Traceback:\n    File \\x1b[1m\n  ValueError\n" in called.out
        assert "\x1b" not in called.out

    def test_says_when_a_scheduled_run_is_due(self, orbitctl: Orbitctl) -> None:
        run = orbitctl("enqueue", "a.b", "--in", "2h").out.strip()
        assert "due in 1h59m" in orbitctl("describe", run).out

    def test_takes_either_form_of_the_id(self, orbitctl: Orbitctl, failed_run: str) -> None:
        short = str(int(failed_run) % 2**39)
        assert orbitctl("describe", short).out.splitlines()[0] == orbitctl("describe", failed_run).out.splitlines()[0]

    def test_has_the_fields_of_the_interface(self, orbitctl: Orbitctl, failed_run: str) -> None:
        document = orbitctl("describe", failed_run, "--json").document
        assert document["schema"] == "orbit.run_detail/1"
        assert document.keys() >= {"args", "result", "progress", "steps", "attempts", "usage"}
        [attempt] = document["attempts"]
        assert attempt.keys() >= {"attempt", "outcome", "cause", "error", "traceback", "stack", "host", "slot"}
        assert attempt["cause"] == "error"
        assert [step.keys() >= {"key", "state", "seconds"} for step in document["steps"]] == [True]

    @pytest.mark.parametrize("run", ["1", "999999999999999999", "x", "-1", "1" * 100, "٣"])
    def test_what_is_not_there_is_told(self, orbitctl: Orbitctl, run: str) -> None:
        called = orbitctl("describe", "--", run)
        assert called.code == 4
        assert f'no run "{run}' in called.err
        assert orbitctl("describe", "--json", "--", run).error["code"] == "no_such_object"


class TestCancel:
    def test_tells_what_became_of_each(self, orbitctl: Orbitctl, worker: Worker, environ: pytest.MonkeyPatch) -> None:
        environ.setenv("SUDO_USER", "anna")
        running = orbitctl("enqueue", "invoice.sync").out.strip()
        worker.claim()
        waiting = orbitctl("enqueue", "invoice.send").out.strip()
        called = orbitctl("cancel", waiting, running, waiting, "--reason", "why not")
        assert called.code == 0
        assert called.out == f"{waiting} is cancelled\n{running} is being cancelled\n"
        assert "anna" in orbitctl("describe", waiting).out
        assert "why not" in orbitctl("describe", waiting).out

    def test_of_what_has_ended_changes_nothing(self, orbitctl: Orbitctl, failed_run: str) -> None:
        called = orbitctl("cancel", failed_run)
        assert (called.code, called.out) == (0, f"{failed_run} had failed already\n")

    def test_of_some_is_a_part(self, orbitctl: Orbitctl) -> None:
        run = orbitctl("enqueue", "a.b").out.strip()
        called = orbitctl("cancel", "12345", run)
        assert called.code == 1
        assert called.out == f"{run} is cancelled\n"
        assert 'no run "12345"' in called.err

    def test_of_none_is_no_such_object(self, orbitctl: Orbitctl) -> None:
        assert orbitctl("cancel", "12345").code == 4


class TestWithoutDatabase:
    def test_nobody_answers(self, orbitctl: Orbitctl, environ: pytest.MonkeyPatch) -> None:
        environ.setenv("DATABASE_URL", "postgresql://u:hunter2@/x?host=/nowhere")
        called = orbitctl("runs")
        assert called.code == 69
        assert called.err.startswith("orbitctl: the database does not answer: ")
        assert "hunter2" not in called.err
        assert orbitctl("runs", "--json").error["code"] == "database_unavailable"

    def test_none_is_configured(self, orbitctl: Orbitctl, environ: pytest.MonkeyPatch) -> None:
        environ.delenv("DATABASE_URL")
        called = orbitctl("enqueue", "a.b")
        assert called.code == 78
        assert "no database is configured" in called.err

    def test_its_address_makes_no_sense(self, orbitctl: Orbitctl, environ: pytest.MonkeyPatch) -> None:
        environ.setenv("DATABASE_URL", "postgresql://u:hunter2@h:port/x")
        called = orbitctl("runs")
        assert called.code in {69, 78}
        assert "hunter2" not in called.err

    def test_it_has_no_schema(self, orbitctl: Orbitctl, environ: pytest.MonkeyPatch, empty_dsn: str) -> None:
        environ.setenv("DATABASE_URL", empty_dsn)
        called = orbitctl("runs")
        assert called.code != 0
        assert "hint: run `orbitd migrate`" in called.err

    def test_faults_of_other_options_do_not_matter(self, orbitctl: Orbitctl, tmp_path: Path) -> None:
        config = tmp_path / "orbitd.toml"
        config.write_text('[poll]\ninterval = "wrong"\n[nonsense]\n')
        assert orbitctl("-c", str(config), "runs").code == 0


def test_the_database_that_goes_away_in_mid_wait_is_told(orbitctl: Orbitctl, dsn: str) -> None:
    def cut_off() -> None:
        with connect(dsn, connect_timeout_seconds=5, call_timeout_seconds=10, application_name="test") as conn:
            query = "select count(pg_terminate_backend(pid)) from pg_stat_activity where application_name = 'orbitctl'"
            while not conn.execute(query).fetchall()[0][0]:
                pass

    cutting = threading.Thread(target=cut_off)
    cutting.start()
    called = orbitctl("enqueue", "a.b", "--wait")
    cutting.join()
    assert called.code == 69
    assert "Traceback" not in called.err
