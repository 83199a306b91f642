"""What is done to runs: by ids, by filter, dry, asked for, pinned; and how it is told."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest

from orbitd.ctl import acts
from orbitd.store import Report, admin
from orbitd.store.connection import Connection
from tests.ctl.conftest import Orbitctl
from tests.ctl.runs.conftest import OnTerminal, Worker, short
from tests.support.daemon import eventually

Enqueued = Callable[..., str]


def state_of(orbitctl: Orbitctl, run: str) -> str:
    return str(orbitctl("describe", run, "--json").document["state"])


class TestChoice:
    @pytest.mark.parametrize(
        ("words", "message"),
        [
            ([], "which runs?"),
            (["12", "--all"], "ids, a filter and --all exclude each other"),
            (["12", "--where", "state:failed"], "ids, a filter and --all exclude each other"),
            (["--all", "--where", "state:failed"], "ids, a filter and --all exclude each other"),
            (["--where", " "], "--where is empty"),
            (["--where", "colour:red"], "colour"),
        ],
    )
    @pytest.mark.parametrize("verb", ["cancel", "retry", "rerun", "resume"])
    def test_is_refused_in_words_unless_it_is_one(self, orbitctl: Orbitctl, verb: str, words: list[str], message: str) -> None:
        called = orbitctl(verb, *words)
        assert (called.code, called.out) == (2, "")
        assert message in called.err
        assert "hint: " in called.err

    @pytest.mark.parametrize("verb", ["cancel", "retry", "resume", "dlq retry", "dlq resolve", "dlq delete"])
    def test_of_nothing_does_nothing(self, orbitctl: Orbitctl, verb: str) -> None:
        for flags in ([], ["--dry-run"]):
            called = orbitctl(*verb.split(), "--all", *flags)
            things = "dead letters" if verb.startswith("dlq") else "runs"
            assert (called.code, called.out, called.err) == (0, f"no such {things}\n", "")
        document = orbitctl(*verb.split(), "--all", "--json").document
        assert (document["items"], document["changed"], document["failed"], document["dry_run"]) == ([], 0, 0, False)

    def test_of_all_runs_there_ever_were_is_refused(self, orbitctl: Orbitctl) -> None:
        called = orbitctl("rerun", "--all")
        assert (called.code, called.out) == (2, "")
        assert "hint: add since: or pipeline:" in called.err

    def test_of_more_than_can_be_pinned_is_refused(self, orbitctl: Orbitctl, enqueued: Enqueued, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(acts, "_MOST", 2)
        enqueued("--count", "3")
        called = orbitctl("cancel", "--all", "--yes")
        assert called.code == 2
        assert "more than 2 runs" in called.err

    def test_names_a_run_once_however_often_it_is_named(self, orbitctl: Orbitctl, enqueued: Enqueued) -> None:
        run = enqueued()
        assert orbitctl("cancel", run, short(run), run).out == f"run {short(run)} is cancelled\n"


class TestCancel:
    def test_tells_what_became_of_each(
        self, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued, environ: pytest.MonkeyPatch, conn: Connection
    ) -> None:
        environ.setenv("SUDO_USER", "anna")
        running = enqueued()
        worker.claim()
        pending = enqueued()
        called = orbitctl("cancel", running, short(pending), "--yes", "--reason", "wrong month")
        assert called.code == 0
        assert called.out == f"run {short(running)} is being cancelled\nrun {short(pending)} is cancelled\n"
        assert conn.execute("SELECT by, reason FROM orbit.cancel_requests").fetchall() == [("anna", "wrong month")]

    def test_asked_twice_is_fine(self, orbitctl: Orbitctl, enqueued: Enqueued) -> None:
        run = enqueued()
        document = orbitctl("cancel", run, "--json").document
        assert (document["act"], document["changed"], document["items"][0]["state"]) == ("cancel", 1, "cancelled")
        called = orbitctl("cancel", run)
        assert (called.code, called.out) == (0, f"run {short(run)} was cancelled already\n")
        document = orbitctl("cancel", run, "--json").document
        assert (document["changed"], document["items"][0]["changed"], document["items"][0]["outcome"]) == (0, False, "cancelled")

    def test_of_a_run_that_has_ended_says_how(self, orbitctl: Orbitctl, failed_run: str) -> None:
        called = orbitctl("cancel", failed_run)
        assert (called.code, called.out) == (0, f"run {short(failed_run)} had failed already\n")

    def test_of_some_that_are_not_there_ends_with_1_and_tells_them(self, orbitctl: Orbitctl, enqueued: Enqueued) -> None:
        run = enqueued()
        called = orbitctl("cancel", "12345", run, "x\x1b")
        assert called.code == 1
        assert called.out == f"run {short(run)} is cancelled\n"
        assert 'orbitctl: no run "12345"\nhint: see `orbitctl runs`\n' in called.err
        assert 'no run "x\\x1b"' in called.err
        document = orbitctl("cancel", "12345", run, "--json").document
        assert [(item["id"], item["error"] and item["error"]["code"]) for item in document["items"]] == [
            (run, None),
            ("12345", "no_such_object"),
        ]
        assert document["failed"] == 1

    def test_of_nothing_but_strangers_ends_as_their_error(self, orbitctl: Orbitctl) -> None:
        called = orbitctl("cancel", "12345")
        assert (called.code, called.out) == (4, "")
        assert orbitctl("cancel", "12345", "--json").error["code"] == "no_such_object"
        assert orbitctl("cancel", "12345", "12346").code == 4

    def test_waits_for_any_end(self, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued) -> None:
        run = enqueued()
        fence = worker.claim().fence

        def obey() -> None:
            eventually(lambda: worker.conn.execute("SELECT FROM orbit.cancel_requests").fetchall())
            worker.finish(Report.cancelled(fence))

        working = threading.Thread(target=obey)
        working.start()
        called = orbitctl("cancel", run, "--wait")
        working.join()
        assert (called.code, called.out, called.err) == (0, f"run {short(run)} is being cancelled\n", f"run {short(run)} cancelled\n")

    def test_waits_no_longer_than_told(self, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued) -> None:
        run = enqueued()
        worker.claim()
        called = orbitctl("cancel", run, "--wait", "--timeout", "50ms")
        assert called.code == 124
        assert f"run {short(run)} is still running after 50ms; it goes on\nhint: see `orbitctl describe {short(run)}`" in called.err
        called = orbitctl("cancel", run, "--wait", "--timeout", "50ms", "--json")
        assert called.document["items"][0]["outcome"] == "cancelling"
        assert called.error["code"] == "wait_timeout"


def test_a_filter_among_ids_is_told_where_it_belongs(orbitctl: Orbitctl) -> None:
    called = orbitctl("cancel", "pipeline:basics.*")
    assert called.code == 4
    assert called.err == "orbitctl: no run \"pipeline:basics.*\"\nhint: a filter is given as --where 'pipeline:basics.*'\n"


class TestRetryRerunResume:
    def test_retry_puts_a_failed_run_back(self, orbitctl: Orbitctl, failed_run: str) -> None:
        called = orbitctl("retry", short(failed_run), "--reason", "the bank is back")
        assert (called.code, called.out) == (0, f"run {short(failed_run)} is pending again\n")
        assert orbitctl("retry", failed_run).out == f"run {short(failed_run)} is pending already\n"
        assert "the bank is back" in orbitctl("logs", failed_run).out

    def test_retry_of_a_run_that_succeeded_is_a_conflict_that_names_the_way(
        self, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued
    ) -> None:
        run = enqueued()
        worker.succeed()
        called = orbitctl("retry", run)
        assert (called.code, called.out) == (6, "")
        assert f"orbitctl rerun {short(run)}`" in called.err
        assert orbitctl("retry", run, "--json").error["code"] == "conflict"

    def test_rerun_makes_a_new_run(self, orbitctl: Orbitctl, failed_run: str) -> None:
        document = orbitctl("rerun", failed_run, "--json").document
        [item] = document["items"]
        assert item["new_id"] != failed_run
        assert state_of(orbitctl, failed_run) == "failed"
        assert orbitctl("describe", item["new_id"], "--json").document["args"] == {"tenant_id": 42}
        new = orbitctl("rerun", failed_run).out.split()[-1]
        assert state_of(orbitctl, new) == "pending"
        assert orbitctl("rerun", new).code == 6

    def test_resume_lets_an_interrupted_run_go_on(self, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued) -> None:
        run = enqueued()
        worker.claim()
        worker.die()
        assert state_of(orbitctl, run) == "interrupted"
        assert orbitctl("resume", run).out == f"run {short(run)} is pending again\n"
        assert orbitctl("resume", run).out == f"run {short(run)} is pending already\n"

    def test_resume_of_a_run_in_good_hands_does_nothing(self, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued) -> None:
        run = enqueued()
        worker.claim()
        called = orbitctl("resume", run)
        assert (called.code, called.out) == (0, f"run {short(run)} is running already\n")

    @pytest.mark.parametrize("act", ["retry", "rerun"])
    @pytest.mark.parametrize(("verb", "code"), [("succeed", 0), ("fail", 20)])
    def test_waited_for_ends_as_the_run_ends(self, orbitctl: Orbitctl, worker: Worker, act: str, verb: str, code: int) -> None:
        orbitctl("enqueue", "invoice.sync")
        run = str(worker.fail())
        working = threading.Thread(target=getattr(worker, verb))
        working.start()
        called = orbitctl(act, run, "--wait", "--json")
        working.join()
        assert (called.code, called.document["items"][0]["ended"]) == (code, {0: "succeeded", 20: "failed"}[code])

    def test_several_waited_for_end_with_1_when_one_failed(self, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued) -> None:
        enqueued("--count", "2")
        worker.fail()
        worker.fail()
        working = threading.Thread(target=lambda: [worker.succeed(), worker.fail()])
        working.start()
        called = orbitctl("retry", "--all", "--yes", "--wait")
        working.join()
        assert (called.code, called.err) == (1, "2 runs ended: 1 succeeded, 1 failed\n")

    def test_several_that_do_not_end_are_told(self, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued) -> None:
        enqueued("--count", "2")
        worker.fail()
        worker.fail()
        called = orbitctl("retry", "--all", "--yes", "--wait", "--timeout", "50ms")
        assert called.code == 124
        assert "2 of 2 runs have not ended after 50ms: 2 pending; they go on" in called.err


class TestMany:
    def test_dry_run_shows_which_and_does_nothing(self, orbitctl: Orbitctl, enqueued: Enqueued, failed_run: str) -> None:
        pending = enqueued()
        called = orbitctl("cancel", "--all", "--dry-run")
        lines = called.out.splitlines()
        assert called.code == 0
        assert lines[0].split() == ["RUN", "STATE", "PIPELINE", "AGE"]
        assert [line.split()[0] for line in lines[1:]] == [short(pending)]
        document = orbitctl("cancel", "--all", "--dry-run", "--json").document
        assert (document["dry_run"], document["changed"], document["items"][0]["outcome"]) == (True, 0, None)
        assert (state_of(orbitctl, pending), state_of(orbitctl, failed_run)) == ("pending", "failed")

    def test_where_nobody_can_be_asked_yes_is_needed(self, orbitctl: Orbitctl, enqueued: Enqueued) -> None:
        enqueued("--count", "2")
        called = orbitctl("cancel", "--where", "pipeline:invoice.*")
        assert (called.code, called.out) == (5, "")
        assert "would cancel 2 runs, and nobody is there to be asked" in called.err
        assert "type: orbitctl cancel --where 'pipeline:invoice.*' --yes" in called.err
        assert orbitctl("cancel", "--where", "pipeline:invoice.*", "--yes").out.count(" is cancelled\n") == 2

    def test_a_person_sees_them_and_is_asked(self, on_terminal: OnTerminal, orbitctl: Orbitctl, enqueued: Enqueued) -> None:
        runs = enqueued("--count", "30").split()
        with on_terminal("cancel", "--all") as screen:
            screen.expect("and 10 more\ncancel 30 runs? [y/N] ")
            assert short(runs[29]) in screen.shown
            screen.type("n\n")
            assert screen.end() == 5
        assert "nothing was done" in screen.shown
        with on_terminal("cancel", "--all") as screen:
            screen.expect("[y/N] ")
            screen.type("y\n")
            assert screen.end() == 0
        assert {state_of(orbitctl, run) for run in runs} == {"cancelled"}

    def test_beyond_a_hundred_the_number_is_typed(self, on_terminal: OnTerminal, orbitctl: Orbitctl, enqueued: Enqueued) -> None:
        enqueued("--count", "101")
        for typed, code in (("y", 5), ("101", 0)):
            with on_terminal("cancel", "--all") as screen:
                screen.expect("cancel 101 runs? type 101 to go on: ")
                screen.type(f"{typed}\n")
                assert screen.end() == code
        assert orbitctl("runs", "state:pending").out == "no such runs\n"

    def test_what_arrives_or_changes_after_the_listing_is_left_alone(
        self, on_terminal: OnTerminal, orbitctl: Orbitctl, worker: Worker, enqueued: Enqueued
    ) -> None:
        changing, staying = enqueued("--count", "2").split()
        with on_terminal("cancel", "--all") as screen:
            screen.expect("cancel 2 runs? [y/N] ")
            assert worker.claim().run_id == int(changing)
            arrived = enqueued()
            screen.type("y\n")
            assert screen.end() == 1
        assert f"run {short(staying)} is cancelled" in screen.shown
        assert f"run {short(changing)} has changed: from pending, attempt 0, to running, attempt 1" in " ".join(screen.shown.split())
        states = [state_of(orbitctl, run) for run in (changing, staying, arrived)]
        assert states == ["running", "cancelled", "pending"]
        assert orbitctl("describe", changing, "--json").document["cancel_asked"] is None

    def test_a_run_that_failed_once_more_after_the_listing_is_left_alone(
        self, orbitctl: Orbitctl, worker: Worker, failed_run: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        listed = admin.pinned

        def listing(conn: Connection, *args: object, **options: object) -> list[admin.Pinned]:
            pins = listed(conn, *args, **options)  # type: ignore[arg-type]
            admin.retry(worker.conn, int(failed_run), "somebody")
            worker.fail()
            return pins

        monkeypatch.setattr(admin, "pinned", listing)
        called = orbitctl("retry", "--where", "state:failed")
        assert called.code == 6
        assert "has changed: from failed, attempt 1, to failed, attempt 2" in called.err
        assert state_of(orbitctl, failed_run) == "failed"

    def test_ctrl_c_between_two_tells_how_many_were_done(
        self, orbitctl: Orbitctl, enqueued: Enqueued, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        runs = enqueued("--count", "3").split()
        cancel = admin.cancel

        def cancelling(*args: object) -> str:
            signal.raise_signal(signal.SIGINT)
            return cancel(*args)  # type: ignore[arg-type]

        monkeypatch.setattr(admin, "cancel", cancelling)
        called = orbitctl("cancel", *runs, "--yes")
        assert called.code == 130
        assert called.out == f"run {short(runs[0])} is cancelled\n"
        assert "stopped: 1 of 3 runs done" in called.err
        assert [state_of(orbitctl, run) for run in runs] == ["cancelled", "pending", "pending"]

    def test_many_errors_are_told_in_few_lines(self, orbitctl: Orbitctl) -> None:
        called = orbitctl("cancel", *map(str, range(100, 140)), "--yes")
        assert called.code == 4
        assert called.err.count("no run ") == 20
        assert called.err.endswith("and 20 more errors: -o json has all\n")


def test_a_person_hears_that_no_daemon_is_there_to_try_it_again(on_terminal: OnTerminal, failed_run: str) -> None:
    with on_terminal("retry", failed_run) as screen:
        assert screen.end() == 0
    assert "orbitd is not running: " in screen.shown
    assert "its runs wait for a daemon, here or elsewhere" in screen.shown
