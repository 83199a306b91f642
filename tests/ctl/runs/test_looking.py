"""The verbs that look at runs and pipelines, on a real database and without a daemon."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from orbitd import store
from orbitd.store import PipelineSpec
from orbitd.store.connection import connect
from tests.ctl.conftest import Orbitctl
from tests.ctl.runs.conftest import ANYTHING, OnTerminal, Worker, short


class TestRuns:
    def test_nothing_is_said_in_words(self, orbitctl: Orbitctl) -> None:
        assert orbitctl("runs").out == "no such runs\n"
        assert orbitctl("runs", "--json").document == {"schema": "orbit.runs/1", "items": [], "next": None}

    def test_problems_stand_first_and_what_to_type_last(self, orbitctl: Orbitctl, failed_run: str) -> None:
        orbitctl("enqueue", "invoice.send")
        lines = orbitctl("runs").out.splitlines()
        assert lines[0].split() == ["RUN", "STATE", "PIPELINE", "TRY", "AGE", "TOOK", "QUEUE", "TENANT", "HOST", "ERROR"]
        assert lines[1].split()[:4] == [short(failed_run), "✗", "failed", "invoice.sync"]
        assert lines[1].endswith("ValueError: \\x1b[31mred")
        assert "pending" in lines[2]
        assert lines[3:] == ["", f"what is known of one  → orbitctl describe {short(failed_run)}"]

    def test_the_fields_of_the_document(self, orbitctl: Orbitctl, failed_run: str) -> None:
        [item] = orbitctl("runs", "--json").document["items"]
        assert list(item) == [
            *("id", "pipeline", "queue", "state", "tenant", "attempt"),
            *("created_at", "started_at", "finished_at", "host", "slot", "error"),
        ]
        assert (item["id"], item["state"], item["host"], item["slot"]) == (failed_run, "failed", "prod-a", 3)

    def test_are_chosen_by_a_filter(self, orbitctl: Orbitctl, failed_run: str) -> None:
        pending = orbitctl("enqueue", "invoice.send").out.strip()

        def found(*words: str) -> list[str]:
            return [item["id"] for item in orbitctl("runs", "--json", *words).document["items"]]

        assert found("state:failed") == [failed_run]
        assert set(found("state:failed,pending")) == {failed_run, pending}
        assert found("pipeline:*.send") == [pending]
        assert found("tenant:t-1", "since:1h") == [failed_run]
        assert found("--", "-state:failed", "since:1h") == [pending]

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["state:lost"], "lost"),
            (["colour:red"], "colour"),
            (["tenant:42"], "add since: or pipeline:"),
            (["--limit", "0"], "--limit 0 is not between 1 and 1000"),
        ],
    )
    def test_a_filter_that_cannot_be_is_refused_in_words(self, orbitctl: Orbitctl, words: list[str], message: str) -> None:
        called = orbitctl("runs", *words)
        assert (called.code, called.out) == (2, "")
        assert message in called.err

    def test_come_in_pages(self, orbitctl: Orbitctl) -> None:
        ids = orbitctl("enqueue", "a.b", "--count", "5").out.split()
        first = orbitctl("runs", "--limit", "3", "--json").document
        for before in (first["next"], short(first["next"])):
            second = orbitctl("runs", "--limit", "3", "--before", before, "--json").document
            assert [item["id"] for item in first["items"] + second["items"]] == ids[::-1]
            assert second["next"] is None
        told = f"older ones            → orbitctl runs pipeline:a.b --limit 3 --before {short(first['next'])}\n"
        assert told in orbitctl("runs", "pipeline:a.b", "--limit", "3").out

    def test_a_page_of_lines_of_json_tells_beside_it_where_the_next_begins(self, orbitctl: Orbitctl) -> None:
        orbitctl("enqueue", "a.b", "--count", "2")
        called = orbitctl("runs", "--limit", "1", "-o", "jsonl")
        assert called.out.count("\n") == 1
        assert '"note": "older ones: orbitctl runs --limit 1 --before ' in called.err

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
        assert f"→ orbitctl retry {short(failed_run)}\n" in called.out
        assert "\x1b" not in called.out

    def test_says_when_a_scheduled_run_is_due(self, orbitctl: Orbitctl) -> None:
        run = orbitctl("enqueue", "a.b", "--in", "2h").out.strip()
        assert "due in 1h59m" in orbitctl("describe", run).out

    def test_says_who_asked_for_the_end_of_a_running_run(self, orbitctl: Orbitctl, worker: Worker, enqueued: Callable[..., str]) -> None:
        run = enqueued()
        worker.claim()
        orbitctl("cancel", run, "--reason", "wrong\x1b month")
        out = orbitctl("describe", run).out
        assert "ago · wrong\\x1b month\n" in out
        assert f"→ orbitctl logs {short(run)} -f\n" in out

    def test_takes_either_form_of_the_id(self, orbitctl: Orbitctl, failed_run: str) -> None:
        assert orbitctl("describe", short(failed_run)).out.splitlines()[0] == orbitctl("describe", failed_run).out.splitlines()[0]

    def test_has_the_fields_of_the_interface(self, orbitctl: Orbitctl, failed_run: str) -> None:
        document = orbitctl("describe", failed_run, "--json").document
        assert document["schema"] == "orbit.run_detail/1"
        assert document["group"].startswith("g")
        [attempt] = document["attempts"]
        assert attempt["cause"] == "error"
        assert [step["state"] for step in document["steps"]] == ["done"]

    @pytest.mark.parametrize("run", ["1", "999999999999999999", "1" * 100, "٣"])
    def test_a_run_that_is_not_there_is_told(self, orbitctl: Orbitctl, run: str) -> None:
        called = orbitctl("describe", run)
        assert called.code == 4
        assert f'no run "{run}' in called.err
        assert orbitctl("describe", "--json", run).error["code"] == "no_such_object"

    @pytest.mark.parametrize("name", ["x", "-1", "no.such", "a\x1bb"])
    def test_what_is_neither_run_nor_pipeline_is_told(self, orbitctl: Orbitctl, name: str) -> None:
        called = orbitctl("describe", "--", name)
        assert called.code == 4
        assert "no run or pipeline" in called.err
        assert "hint: see `orbitctl runs` and `orbitctl pipelines`" in called.err
        assert "\x1b" not in called.err

    def test_a_pipeline(self, orbitctl: Orbitctl, failed_run: str) -> None:
        out = orbitctl("describe", "invoice.sync").out
        assert "invoice.sync · queue billing · priority 0\n" in out
        assert "1 failed · 0 running" in out
        assert "prod-a" in out
        assert "→ orbitctl runs pipeline:invoice.sync\n" in out
        assert orbitctl("describe", "invoice.sync", "--json").document["failed"] == 1

    def test_a_pipeline_that_nobody_serves_is_a_problem(self, orbitctl: Orbitctl, worker: Worker) -> None:
        worker.die()
        first, second, *_ = orbitctl("describe", "invoice.sync").out.splitlines()
        assert first == "no daemon that runs now serves it: its runs wait"
        assert second.startswith("invoice.sync")

    @pytest.mark.usefixtures("daemon")
    def test_a_slot_is_asked_of_the_daemon(self, orbitctl: Orbitctl) -> None:
        assert "held" in orbitctl("describe", "slot:2").out
        assert "out_of_memory  kernel" in orbitctl("describe", "slot/2").out
        assert orbitctl("describe", "slot/2", "--json").document["exits"][1]["reason"] == "outdated"
        assert orbitctl("describe", "slot:2", "--json").document["last_exit"] == "killed by SIGSEGV"
        called = orbitctl("describe", "slot:77")
        assert called.code == 4
        assert called.err == 'orbitctl: no slot "77"\nhint: see `orbitctl list`\n'

    def test_a_slot_of_no_daemon(self, orbitctl: Orbitctl) -> None:
        assert orbitctl("describe", "slot:2").code == 3


class TestPipelines:
    def test_none_is_said_in_words(self, orbitctl: Orbitctl) -> None:
        assert orbitctl("pipelines").out == "no daemon has told of a pipeline yet: start `orbitd`\n"

    def test_those_with_dead_letters_stand_first(self, orbitctl: Orbitctl, failed_run: str) -> None:
        lines = orbitctl("pipelines").out.splitlines()
        assert lines[1].split() == ["invoice.sync", "billing", "1", "prod-a", "..."]
        assert lines[2].split()[0] == "invoice.send"
        assert lines[-1] == "its dead letters  → orbitctl dlq list pipeline:invoice.sync"
        assert [item["name"] for item in orbitctl("pipelines", "--json").document["items"]] == ["invoice.send", "invoice.sync"]

    def test_a_name_that_runs_wait_for_and_no_daemon_has_told_of_stands_first(self, orbitctl: Orbitctl, failed_run: str) -> None:
        waiting = orbitctl("enqueue", "invoice.snyc").out.strip()
        later = orbitctl("enqueue", "invoice.snyc", "--in", "1h").out.strip()
        lines = orbitctl("pipelines").out.splitlines()
        assert lines[1].split() == ["invoice.snyc", "1", "1", "unknown", "to", "all", "..."]
        assert lines[-2:] == [
            "who waits for it  → orbitctl runs pipeline:invoice.snyc",
            "its dead letters  → orbitctl dlq list pipeline:invoice.sync",
        ]
        item = orbitctl("pipelines", "--json").document["items"][-1]
        assert (item["name"], item["pending"], item["scheduled"], item["hosts"]) == ("invoice.snyc", 1, 1, [])
        assert (item["queue"], item["registered_at"]) == (None, None)
        assert orbitctl("describe", "invoice.snyc").out.startswith("no daemon has told of this pipeline: its runs wait until one does\n")
        for run in (waiting, later):
            assert "why         no daemon has told of this pipeline\n" in orbitctl("describe", run).out
            assert orbitctl("describe", run, "--json").document["pipeline_known"] is False
        assert "no daemon has told" not in orbitctl("describe", failed_run).out

    def test_a_hostile_name_can_be_pasted_into_a_shell(self, orbitctl: Orbitctl, worker: Worker) -> None:
        name = "a b;'\"$(reboot)\x1b[2J"
        store.register_pipelines(worker.conn, worker.host_id, [PipelineSpec(name, "q", 0, ANYTHING, 3, 3)])
        out = orbitctl("describe", name).out
        assert "\x1b" not in out
        command = next(line for line in out.splitlines() if "orbitctl enqueue" in line).partition("→ orbitctl enqueue ")[2]
        said = subprocess.run(["sh", "-c", f"printf %s {command}"], capture_output=True, text=True, check=True).stdout
        assert said == name.replace("\x1b", "\\x1b")


class TestWithoutDatabase:
    def test_nobody_answers(self, orbitctl: Orbitctl, environ: pytest.MonkeyPatch) -> None:
        environ.setenv("DATABASE_URL", "postgresql://u:hunter2@/x?host=/nowhere")
        called = orbitctl("runs")
        assert called.code == 69
        assert called.err.startswith("orbitctl: the database does not answer: ")
        assert "hint: check database.url, and whether Postgres runs" in called.err
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
        assert called.code == 78
        assert "hint: run `orbitd migrate`" in called.err

    def test_its_schema_is_too_new(self, orbitctl: Orbitctl, dsn: str) -> None:
        with connect(dsn, connect_timeout_seconds=5, call_timeout_seconds=10, application_name="test") as conn:
            conn.execute("UPDATE orbit.meta SET value = '99' WHERE name = 'schema_version'")
        called = orbitctl("runs")
        assert called.code == 78
        assert "hint: install a newer orbitd" in called.err

    def test_the_caller_has_no_rights(self, orbitctl: Orbitctl, environ: pytest.MonkeyPatch, dsn: str) -> None:
        with connect(dsn, connect_timeout_seconds=5, call_timeout_seconds=10, application_name="test") as conn:
            conn.execute("DO $$ BEGIN CREATE ROLE nobody_here LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
            conn.execute("GRANT USAGE ON SCHEMA orbit TO nobody_here; GRANT SELECT ON orbit.meta TO nobody_here")
        environ.setenv("ORBITD_DATABASE__ADMIN_URL", as_user(dsn, "nobody_here"))
        called = orbitctl("runs")
        assert called.code == 5
        assert "the database does not allow it: permission denied" in called.err
        assert "hint: name a role with the rights in database.admin_url" in called.err
        environ.setenv("ORBITD_DATABASE__ADMIN_URL", as_user(dsn, "never_made"))
        called = orbitctl("runs")
        assert called.code == 5
        assert "the database does not let us in: " in called.err
        assert "hint: check user and password in database.admin_url" in called.err

    def test_the_address_for_people_is_asked_first(self, orbitctl: Orbitctl, environ: pytest.MonkeyPatch, dsn: str) -> None:
        environ.setenv("DATABASE_URL", "postgresql:///x?host=/nowhere")
        environ.setenv("ORBITD_DATABASE__DIRECT_URL", dsn)
        assert orbitctl("runs").code == 0
        environ.setenv("ORBITD_DATABASE__ADMIN_URL", "postgresql:///x?host=/elsewhere")
        assert "check database.admin_url" in orbitctl("runs").err

    def test_faults_of_other_options_do_not_matter(self, orbitctl: Orbitctl, tmp_path: Path) -> None:
        config = tmp_path / "orbitd.toml"
        config.write_text('[poll]\ninterval = "wrong"\n[nonsense]\n')
        assert orbitctl("-c", str(config), "runs").code == 0


def as_user(dsn: str, user: str) -> str:
    """The address with another user in it."""
    return make_conninfo(dsn, user=user)


class TestWithoutDaemon:
    """The verbs about runs work all the same, and say so to whoever looks on."""

    @pytest.mark.parametrize("words", [["runs"], ["pipelines"], ["recover"], ["dlq", "list"], ["runs", "-o", "csv"]])
    def test_whoever_looks_on_is_told(self, on_terminal: OnTerminal, words: list[str]) -> None:
        with on_terminal(*words) as screen:
            assert screen.end() == 0
        assert screen.shown.count("orbitd is not running: nobody listens on ") == 1
        assert "the database answers, and its runs wait for a daemon" in screen.shown

    def test_a_program_is_not(self, orbitctl: Orbitctl, on_terminal: OnTerminal) -> None:
        assert orbitctl("runs").err == ""
        with on_terminal("runs", "--json") as screen:
            assert screen.end() == 0
        assert "orbitd is not running" not in screen.shown

    @pytest.mark.usefixtures("daemon")
    def test_nor_is_anybody_when_it_answers(self, on_terminal: OnTerminal) -> None:
        with on_terminal("runs") as screen:
            assert screen.end() == 0
        assert screen.shown == "no such runs\n"
