"""`orbitctl enqueue`, on a real database and without a daemon."""

from __future__ import annotations

import io
import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from orbitd.store import Failure, Fence, PipelineSpec, Report, hosts
from orbitd.store.connection import Connection, connect
from orbitd.store.steps import record_progress, record_step
from orbitd.units import format_duration
from tests.ctl.conftest import Orbitctl
from tests.ctl.runs.conftest import OnTerminal, Worker, short
from tests.support.addresses import around
from tests.support.daemon import eventually

Ending = Callable[[Fence], Report]


class TestEnqueue:
    @pytest.mark.usefixtures("worker")
    def test_prints_the_id_alone(self, orbitctl: Orbitctl) -> None:
        called = orbitctl("enqueue", "invoice.sync")
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
            (["--count", "1000001"], "--count 1000001 is not between 1 and 1000000"),
            (["--count", "2", "--key", "k"], "with --count, --key needs {n}: while a run has a key, no second one gets it"),
            (["--key-for", "1d"], "--key-for says for how long a key counts, and there is no --key"),
            (["--count", "2", "--follow"], "--follow is for one run, not for --count"),
            (["--count", "2", "n={n}", "--priority", "9"], "priority 9 is not between -2 and 2"),
            (["--priority", "99"], "priority 99 is not between -2 and 2"),
            (["--priority", "99999999999"], "cannot be stored"),
            (["--in", "1"], 'in: "1" is not a duration'),
            (["--in", "-5s"], 'in: "-5s" is not a duration'),
            (["--in=-5s"], 'in: "-5s" is not a duration'),
            (["--at", "tomorrow"], '--at: "tomorrow" is not a time'),
            (["--at", "2030-01-31T08:00:00"], '--at: "2030-01-31T08:00:00" has no zone'),
            (["--at", "2030-02-31T08:00:00Z"], '--at: "2030-02-31T08:00:00Z" is not a time'),
            (["--in", "1s", "--at", "2030-01-31T08:00:00Z"], "--in and --at exclude each other"),
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

    @pytest.mark.usefixtures("worker")
    def test_with_a_key_makes_one_run(self, orbitctl: Orbitctl) -> None:
        first, second = (orbitctl("enqueue", "invoice.sync", "--key", "k") for _ in range(2))
        assert first.out == second.out
        assert second.err == 'the key "k" belongs to this run already, which is pending\n'
        assert orbitctl("enqueue", "invoice.sync", "--key", "k", "--json").document["created"] is False

    def test_with_a_key_for_a_time_makes_one_run_though_it_has_ended(self, orbitctl: Orbitctl) -> None:
        made = [orbitctl("enqueue", "a.b", "--key", "k", "--key-for", "1d").out]
        orbitctl("cancel", made[0].strip())
        again = orbitctl("enqueue", "a.b", "--key", "k")
        made += [again.out, orbitctl("enqueue", "a.b", "--key", "k", "--key-for", "1d", "--count", "1").out]
        assert made == made[:1] * 3
        assert again.err.splitlines()[-1] == 'the key "k" belongs to this run already, which was cancelled'

    @pytest.mark.parametrize(("ending", "code"), [("succeed", 0), ("fail", 20)])
    def test_with_a_key_that_has_outlived_its_run_tells_how_that_ended(
        self, orbitctl: Orbitctl, worker: Worker, ending: str, code: int
    ) -> None:
        run = orbitctl("enqueue", "invoice.sync", "--key", "k", "--key-for", "1d").out.strip()
        getattr(worker, ending)()
        worker.conn.execute("SELECT orbit.delete_runs(ARRAY[%s::bigint])", [run])
        again = orbitctl("enqueue", "invoice.sync", "--key", "k", "--wait")
        state = f"{ending}ed"
        assert (again.out.strip(), again.code) == (run, code)
        assert again.err.splitlines()[-1] == f"run {short(run)} {state}, and is kept no longer"
        document = orbitctl("enqueue", "invoice.sync", "--key", "k", "--wait", "--json").document
        assert (document["created"], document["state"]) == (False, state)

    def test_starts_at_a_time(self, orbitctl: Orbitctl) -> None:
        for at in ("2037-01-31T08:00:00Z", "2037-01-31T10:00:00+02:00"):
            run = orbitctl("enqueue", "a.b", "--at", at).out.strip()
            assert orbitctl("describe", run, "--json").document["due_at"] == "2037-01-31T08:00:00.000Z"
        assert orbitctl("enqueue", "a.b", "--at", "2001-01-31T08:00:00Z", "--json").document["state"] == "pending"

    def test_many(self, orbitctl: Orbitctl, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("orbitd.ctl.enqueue._AT_ONCE", 10)
        ids = orbitctl("enqueue", "a.b", "n=1", "--count", "25").out.split()
        assert len(set(ids)) == 25
        assert len(orbitctl("enqueue", "a.b", "--count", "3", "--json").document["items"]) == 3
        assert orbitctl("describe", ids[24], "--json").document["args"] == {"n": 1}

    def test_many_have_each_its_number(self, orbitctl: Orbitctl, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("orbitd.ctl.enqueue._AT_ONCE", 2)
        words = ["n={n}", "name=site-{n}", "--key", "k{n}", "--tenant", "t{n}", "--in", "1h", "--queue", "q", "--count", "3"]
        ids = orbitctl("enqueue", "a.b", *words).out.split()
        made = [orbitctl("describe", run, "--json").document for run in ids]
        assert [run["args"] for run in made] == [{"n": number, "name": f"site-{number}"} for number in (1, 2, 3)]
        assert [(run["key"], run["tenant"], run["queue"], run["state"]) for run in made] == [
            (f"k{number}", f"t{number}", "q", "scheduled") for number in (1, 2, 3)
        ]
        assert orbitctl("enqueue", "a.b", *words).out.split() == ids

    def test_a_count_of_one_is_numbered_too_and_no_count_is_not(self, orbitctl: Orbitctl) -> None:
        [numbered, plain] = [orbitctl("enqueue", "a.b", "n=x{n}", *flags).out.strip() for flags in (["--count", "1"], [])]
        assert orbitctl("describe", numbered, "--json").document["args"] == {"n": "x1"}
        assert orbitctl("describe", plain, "--json").document["args"] == {"n": "x{n}"}

    def test_many_are_waited_for(self, orbitctl: Orbitctl, worker: Worker) -> None:
        for endings, code, said in (
            ([worker.succeed, worker.succeed], 0, "2 runs ended: 2 succeeded\n"),
            ([worker.succeed, worker.fail], 1, "2 runs ended: 1 succeeded, 1 failed\n"),
        ):
            working = threading.Thread(target=lambda endings=endings: [end() for end in endings])
            working.start()
            called = orbitctl("enqueue", "invoice.sync", "--count", "2", "--wait")
            working.join()
            assert (called.code, called.err) == (code, said)

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
            working = threading.Thread(target=lambda: worker.finish(ending(worker.claim().fence)))
            working.start()
            called = orbitctl("enqueue", "invoice.sync", "--wait", "--timeout", "20s", *flags)
            working.join()
            assert called.code == code
            if flags:
                assert called.document["state"] == said.partition(":")[0]
            else:
                assert called.err == f"run {short(called.out)} {said}\n"

    def test_is_waited_for_no_longer_than_told(self, orbitctl: Orbitctl) -> None:
        called = orbitctl("enqueue", "a.b", "--wait", "--timeout", "60ms")
        assert called.code == 124
        assert f"run {short(called.out)} is still pending after 60ms; it goes on" in called.err


class TestFollow:
    def test_streams_steps_progress_and_log_beside_the_id(self, orbitctl: Orbitctl, worker: Worker) -> None:
        def work() -> None:
            claimed = worker.claim()
            worker.say(claimed, ("info", "first\nsecond"), ("error", "\x1b[2Jbad \u202e"))
            record_step(worker.conn, claimed.fence, "fetch", "1", 1.5)
            record_progress(worker.conn, claimed.fence, 0.5, "half")
            worker.finish(Report.failed(claimed.fence, Failure("error", "ValueError: no")))

        working = threading.Thread(target=work)
        working.start()
        called = orbitctl("enqueue", "invoice.sync", "--follow")
        working.join()
        assert called.code == 20
        run = called.out.strip()
        assert called.out == f"{int(run)}\n"
        told = re.sub(r"[0-9:.]{12}Z", "TIME", called.err).splitlines()
        said = [line for line in told if not line.startswith(("step", "progress", "run"))]
        assert said == ["TIME info    first", " " * len("12:00:00.123Z info    ") + "second", "TIME error   \\x1b[2Jbad \\u202e"]
        done = [line for line in told if line not in said]  # two streams, each in its order; which one a look sees first is open
        assert done == [f"step fetch done, {format_duration(1.5)}", "progress 50% half", f"run {short(run)} failed: ValueError: no"]
        assert told[-1] == done[-1]

    def test_a_program_gets_one_document_and_no_stream(self, orbitctl: Orbitctl, worker: Worker) -> None:
        working = threading.Thread(target=worker.succeed)
        working.start()
        called = orbitctl("enqueue", "invoice.sync", "-f", "--json")
        working.join()
        assert (called.code, called.err, called.document["state"]) == (0, "", "succeeded")


class TestUnknownPipeline:
    @pytest.mark.usefixtures("worker")
    def test_is_told_in_any_case_with_a_suggestion_and_the_id_stays_alone(self, orbitctl: Orbitctl) -> None:
        called = orbitctl("enqueue", "invoice.snyc")
        assert called.code == 0
        assert called.out.strip().isdecimal()
        assert called.err == 'no daemon has told of a pipeline "invoice.snyc": its runs wait until one does; did you mean invoice.sync?\n'
        called = orbitctl("enqueue", "zzz", "--count", "2", "--json")
        assert json.loads(called.err) == {"note": 'no daemon has told of a pipeline "zzz": its runs wait until one does'}

    @pytest.mark.usefixtures("worker")
    def test_of_a_known_one_nothing_is_said(self, orbitctl: Orbitctl) -> None:
        assert orbitctl("enqueue", "invoice.sync").err == ""


class TestOnTerminal:
    def test_says_that_no_daemon_will_take_it_yet(self, on_terminal: OnTerminal) -> None:
        with on_terminal("enqueue", "a.b") as screen:
            assert screen.end() == 0
        assert 'no daemon has told of a pipeline "a.b": its runs wait until one does' in screen.shown
        assert "orbitd is not running: " in screen.shown
        assert "its runs wait for a daemon, here or elsewhere" in screen.shown

    def test_ctrl_c_stops_the_waiting_only(self, on_terminal: OnTerminal, orbitctl: Orbitctl) -> None:
        with on_terminal("enqueue", "a.b", "--wait") as screen:
            screen.expect("waiting for run ")
            screen.type("\x03")
            assert screen.end() == 130
        [run] = [item["id"] for item in orbitctl("runs", "--json").document["items"]]
        assert "^C\n" in screen.shown
        assert f"stopped waiting; run {short(run)} goes on" in screen.shown
        assert orbitctl("describe", run, "--json").document["state"] == "pending"

    def test_ctrl_c_amid_many_tells_how_many_were_made(self, on_terminal: OnTerminal, conn: Connection, dsn: str) -> None:
        """The second batch waits for a lock when Ctrl-C is pressed: that batch is made as a whole, no third one is begun."""
        with connect(dsn, connect_timeout_seconds=5, call_timeout_seconds=20, application_name="test") as holder:
            holder.execute("BEGIN")
            holder.execute("INSERT INTO orbit.keys VALUES ('a.b', 'k1500', 1)")
            with on_terminal("enqueue", "a.b", "--count", "5000", "--key", "k{n}") as screen:
                eventually(lambda: is_waiting_for_a_lock(conn))
                screen.type("\x03")
                screen.expect("^C")
                holder.execute("ROLLBACK")
                assert screen.end() == 130
        assert "stopped: 2000 of 5000 runs were made" in screen.shown
        assert conn.execute("SELECT count(*) FROM orbit.runs").fetchall() == [(2000,)]


def is_waiting_for_a_lock(conn: Connection) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'orbitctl' AND wait_event_type = 'Lock'"
    return bool(conn.execute(query).fetchall()[0][0])


@pytest.mark.parametrize(
    ("options", "hint"), [((), "look with orbitctl runs before you repeat it"), (("--key", "k"), "repeat it: its key")]
)
def test_the_database_that_goes_away_in_mid_wait_is_told(
    orbitctl: Orbitctl, environ: pytest.MonkeyPatch, dsn: str, options: tuple[str, ...], hint: str
) -> None:
    environ.setenv("DATABASE_URL", around(dsn))  # a pooler would go on with another server process

    def cut_off() -> None:
        with connect(dsn, connect_timeout_seconds=5, call_timeout_seconds=10, application_name="test") as conn:
            eventually(lambda: conn.execute("SELECT FROM orbit.runs").fetchall() != [])
            conn.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'orbitctl'")

    cutting = threading.Thread(target=cut_off)
    cutting.start()
    called = orbitctl("enqueue", "a.b", "--wait", *options)
    cutting.join()
    assert called.code == 69
    assert hint in called.err
    assert "Traceback" not in called.err
