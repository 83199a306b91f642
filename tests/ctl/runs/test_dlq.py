"""Dead letters: seen, tried again, resolved, deleted."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orbitd.store import admin
from orbitd.store.connection import Connection
from tests.ctl.conftest import Orbitctl
from tests.ctl.runs.conftest import OnTerminal, Worker, short

Enqueued = Callable[..., str]


@pytest.fixture
def letters(worker: Worker, enqueued: Enqueued) -> list[str]:
    """Three dead letters, the first two of one group."""
    runs = enqueued("--count", "3").split()
    for error in ("ValueError: row 17", "ValueError: row 99", "KeyError: 'x'"):
        worker.fail(error)
    return runs


def group_of(orbitctl: Orbitctl, run: str) -> str:
    return str(orbitctl("dlq", "show", run, "--json").document["group"])


class TestLook:
    def test_there_are_none(self, orbitctl: Orbitctl) -> None:
        assert orbitctl("dlq").out == "no such dead letters\n"
        assert orbitctl("dlq", "list", "--json").document == {"schema": "orbit.dlq/1", "items": [], "next": None}

    def test_a_list_says_what_to_type(self, orbitctl: Orbitctl, letters: list[str]) -> None:
        lines = orbitctl("dlq", "list").out.splitlines()
        assert lines[0].split() == ["RUN", "PIPELINE", "FAILED", "CAUSE", "TRIES", "GROUP", "QUEUE", "ERROR"]
        assert [line.split()[0] for line in lines[1:4]] == [short(run) for run in reversed(letters)]
        assert lines[5:] == [
            f"what is known of one  → orbitctl dlq show {short(letters[2])}",
            f"all of a group again  → orbitctl dlq retry --group {group_of(orbitctl, letters[2])}",
        ]

    def test_a_list_can_be_narrowed_and_comes_in_pages(self, orbitctl: Orbitctl, letters: list[str]) -> None:
        group = group_of(orbitctl, letters[0])
        assert [item["id"] for item in orbitctl("dlq", "list", f"group:{group}", "--json").document["items"]] == letters[1::-1]
        first = orbitctl("dlq", "list", "--limit", "2", "--json").document
        assert [item["id"] for item in orbitctl("dlq", "list", "--before", first["next"], "--json").document["items"]] == letters[:1]
        assert f"→ orbitctl dlq list --limit 2 --before {short(first['next'])}" in orbitctl("dlq", "list", "--limit", "2").out
        assert orbitctl("dlq", "list", "--limit", "1001").code == 2

    def test_show_tells_the_error_first_and_what_to_type_last(self, orbitctl: Orbitctl, failed_run: str) -> None:
        out = orbitctl("dlq", "show", short(failed_run)).out
        assert out.startswith(f"✗ failed · invoice.sync · run {failed_run}\nerror       ValueError: \\x1b[31mred\n            and more\n")
        assert "traceback of attempt 1\n" in out
        assert f"try it again      → orbitctl dlq retry {short(failed_run)}\n" in out
        assert f"and all like it   → orbitctl dlq retry --group {group_of(orbitctl, failed_run)}\n" in out
        assert "\x1b" not in out

    def test_show_of_what_is_none(self, orbitctl: Orbitctl, enqueued: Enqueued) -> None:
        run = enqueued()
        called = orbitctl("dlq", "show", run)
        assert called.code == 6
        assert f"run {short(run)} is no dead letter: it is in the state pending\nhint: see `orbitctl dlq list`" in called.err
        assert orbitctl("dlq", "show", "77").code == 4


class TestAct:
    def test_retry_of_a_group(self, orbitctl: Orbitctl, letters: list[str]) -> None:
        group = group_of(orbitctl, letters[0])
        called = orbitctl("dlq", "retry", "--group", group, "--yes")
        assert called.out == "".join(f"run {short(run)} is pending again\n" for run in letters[1::-1])
        assert orbitctl("dlq", "retry", "--group", group, "--yes").code == 4

    def test_a_group_is_known_by_how_it_begins(self, orbitctl: Orbitctl, letters: list[str], conn: Connection) -> None:
        conn.execute("UPDATE orbit.failed SET group_id = 'g5d7aaaaa' WHERE run_id = %s", [letters[0]])
        conn.execute("UPDATE orbit.failed SET group_id = 'g5d71bbbb' WHERE run_id = %s", [letters[1]])
        assert orbitctl("dlq", "resolve", "--group", "g5d7a").out == f"run {short(letters[0])} is resolved\n"
        called = orbitctl("dlq", "retry", "--group", "g5d7", "--yes")
        assert (called.code, called.out) == (4, "")
        assert called.err == 'orbitctl: more than one group begins with "g5d7"\nhint: there are g5d71bbbb, g5d7aaaaa\n'

    @pytest.mark.usefixtures("letters")
    @pytest.mark.parametrize("group", ["nope", "", "g0%", 'x" state:failed', "g\x1b"])
    def test_a_group_that_there_is_not_is_named(self, orbitctl: Orbitctl, group: str) -> None:
        for verb in ("retry", "resolve", "delete"):
            called = orbitctl("dlq", verb, "--group", group, "--yes")
            assert (called.code, called.out) == (4, "")
            assert "no group of dead letters" in called.err
            assert "\x1b" not in called.err

    def test_resolve_keeps_them_with_a_note(self, orbitctl: Orbitctl, letters: list[str]) -> None:
        run = letters[0]
        called = orbitctl("dlq", "resolve", run, "--by", "anna\x1b", "--notes", "address\nwas wrong")
        assert (called.code, called.out) == (0, f"run {short(run)} is resolved\n")
        assert orbitctl("dlq", "resolve", run).out == f"run {short(run)} was resolved already\n"
        assert [item["id"] for item in orbitctl("dlq", "list", "--json").document["items"]] == letters[:0:-1]
        out = orbitctl("dlq", "list", "--resolved").out
        assert out.splitlines()[3].split()[0] == short(run)
        assert "by anna\\x1b" in out
        assert "resolved    by anna\\x1b 0s ago · address\\nwas wrong\n" in orbitctl("dlq", "show", run).out

    def test_delete_asks_even_before_one(self, orbitctl: Orbitctl, on_terminal: OnTerminal, letters: list[str]) -> None:
        called = orbitctl("dlq", "delete", letters[0])
        assert called.code == 5
        assert "would delete 1 dead letter, and nobody is there to be asked" in called.err
        with on_terminal("dlq", "delete", letters[0]) as screen:
            screen.expect("delete 1 dead letter; this cannot be undone? [y/N] ")
            screen.type("y\n")
            assert screen.end() == 0
        assert f"run {short(letters[0])} is deleted" in screen.shown
        assert orbitctl("describe", letters[0]).code == 4
        assert orbitctl("dlq", "delete", letters[0], "--yes").code == 4

    def test_delete_takes_the_resolved_only_when_told(self, orbitctl: Orbitctl, letters: list[str]) -> None:
        orbitctl("dlq", "resolve", letters[0])
        lines = orbitctl("dlq", "delete", "--all", "--dry-run").out.splitlines()
        assert [line.split()[0] for line in lines[1:]] == [short(run) for run in letters[:0:-1]]
        assert orbitctl("dlq", "delete", "--all", "--resolved", "--yes", "--json").document["changed"] == 3
        assert orbitctl("dlq", "list", "--resolved").out == "no such dead letters\n"

    def test_delete_of_one_that_was_tried_again_meanwhile_is_a_conflict(
        self, orbitctl: Orbitctl, on_terminal: OnTerminal, letters: list[str], conn: Connection
    ) -> None:
        with on_terminal("dlq", "delete", *letters) as screen:
            screen.expect("delete 3 dead letters; this cannot be undone? [y/N] ")
            admin.retry(conn, int(letters[1]), "somebody")
            screen.type("y\n")
            assert screen.end() == 1
        assert orbitctl("describe", letters[1], "--json").document["state"] == "pending"
        assert orbitctl("describe", letters[0]).code == 4

    def test_resolve_of_a_run_that_has_not_failed_is_a_conflict(self, orbitctl: Orbitctl, enqueued: Enqueued) -> None:
        run = enqueued()
        assert orbitctl("dlq", "resolve", run).code == 6
        assert orbitctl("dlq", "delete", run, "--yes").code == 6
