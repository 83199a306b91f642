"""`orbitctl check-interrupted` and `recover`: what waits for a person after a crash."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orbitd.store.steps import record_step
from tests.ctl.conftest import Orbitctl
from tests.ctl.runs.conftest import Worker, short

Enqueued = Callable[..., str]


@pytest.fixture
def interrupted(worker: Worker, enqueued: Enqueued) -> list[str]:
    """Two runs whose host has died: one after a step."""
    runs = enqueued("--count", "2").split()
    record_step(worker.conn, worker.claim().fence, "load\x1b", "1", 0.5)
    worker.claim()
    worker.die()
    return runs


@pytest.fixture
def lost(worker: Worker, enqueued: Enqueued) -> str:
    """A run whose host is silent, and that nobody has taken back."""
    run = enqueued()
    worker.claim()
    worker.conn.execute("UPDATE orbit.hosts SET lease = '1 us', lease_until = clock_timestamp() - interval '1 hour'")
    return run


class TestCheckInterrupted:
    def test_nothing_waits(self, orbitctl: Orbitctl) -> None:
        called = orbitctl("check-interrupted")
        assert (called.code, called.out) == (0, "no run waits for recovery\n")
        assert orbitctl("check-interrupted", "--json").document == {"schema": "orbit.interrupted/1", "items": []}

    def test_tells_which_wait_and_what_to_type(self, orbitctl: Orbitctl, interrupted: list[str]) -> None:
        called = orbitctl("check-interrupted")
        lines = called.out.splitlines()
        assert called.code == 0
        assert lines[0].split() == ["RUN", "STATE", "PIPELINE", "TRY", "SINCE", "CAUSE", "HOST", "STEPS", "LAST", "STEP"]
        assert {line.split()[0] for line in lines[1:3]} == {short(run) for run in interrupted}
        assert "host_lost" in lines[1]
        assert "load\\x1b" in called.out
        assert lines[-1] == "all  → orbitctl recover --auto-resume"
        assert lines[-2].startswith("one  → orbitctl resume ")

    def test_of_a_run_that_nobody_has_taken_back_only_recover_is_told(self, orbitctl: Orbitctl, lost: str) -> None:
        *_, last = lines = orbitctl("check-interrupted").out.splitlines()
        assert last == "all  → orbitctl recover --auto-resume"
        assert not any("orbitctl resume" in line for line in lines)
        called = orbitctl("resume", lost)
        assert (called.code, called.out) == (6, "")
        assert called.err == (
            f"orbitctl: run {short(lost)} still counts as running, but its child or its host is gone\n"
            "hint: take it back: orbitctl recover --auto-resume\n"
        )

    def test_tells_of_runs_in_nobodys_hands(self, orbitctl: Orbitctl, lost: str) -> None:
        [item] = orbitctl("check-interrupted", "--json").document["items"]
        assert (item["id"], item["state"], item["cause"]) == (lost, "running", "host_lost")


class TestRecover:
    def test_of_nothing_does_nothing(self, orbitctl: Orbitctl) -> None:
        assert orbitctl("recover").out == "no run waits for recovery\n"
        assert orbitctl("recover", "--json").document["items"] == []

    def test_takes_back_what_is_in_nobodys_hands(self, orbitctl: Orbitctl, lost: str) -> None:
        called = orbitctl("recover")
        assert called.code == 0
        assert called.out == (f"⚡ interrupted · run {short(lost)} · was taken back\n\nlet them go on  → orbitctl recover --auto-resume\n")
        document = orbitctl("recover", "--auto-resume", "--json").document
        assert document["items"] == [{"id": lost, "state": "pending", "act": "resumed"}]

    def test_auto_resume_lets_all_go_on_and_asks_before_many(self, orbitctl: Orbitctl, interrupted: list[str]) -> None:
        called = orbitctl("recover", "--auto-resume")
        assert called.code == 5
        assert "would take back and resume 2 runs" in called.err
        assert "type: orbitctl recover --auto-resume --yes" in called.err
        called = orbitctl("recover", "--auto-resume", "--yes")
        assert set(called.out.splitlines()) == {f"· pending · run {short(run)} · goes on" for run in interrupted}
        assert orbitctl("check-interrupted").out == "no run waits for recovery\n"

    def test_dry_run_shows_which_and_does_nothing(self, orbitctl: Orbitctl, interrupted: list[str]) -> None:
        assert orbitctl("recover", "--dry-run").out == "no run waits for recovery\n"
        document = orbitctl("recover", "--auto-resume", "--dry-run", "--json").document
        assert (document["dry_run"], document["auto_resume"]) == (True, True)
        assert sorted(item["id"] for item in document["items"]) == sorted(interrupted)
        assert "host_lost" in orbitctl("recover", "--auto-resume", "--dry-run").out
        assert len(orbitctl("check-interrupted", "--json").document["items"]) == 2

    @pytest.mark.usefixtures("interrupted")
    def test_leaves_alone_what_is_too_fresh(self, orbitctl: Orbitctl) -> None:
        assert orbitctl("recover", "--auto-resume", "--older-than", "1h").out == "no run waits for recovery\n"
        called = orbitctl("recover", "--older-than", "soon")
        assert called.code == 2
        assert 'older-than: "soon" is not a duration' in called.err
