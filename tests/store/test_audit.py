"""An audit finds each way in which the tables can disagree, and nothing where they agree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from orbitd.rules.states import Finding, RunState
from orbitd.store import Report, admin, auditing
from tests.store.fleet import FAILURE, Fleet


def found(fleet: Fleet) -> dict[Finding, int]:
    return dict(admin.audit(fleet.conn).counts)


def test_nothing_is_wrong_with_runs_in_every_state(fleet: Fleet, one_of_each: dict[RunState, int]) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p", key="k")
    asked_to_end = child.must_claim()
    admin.cancel(fleet.conn, asked_to_end.run_id, "anna")
    admin.retry(fleet.conn, one_of_each[RunState.FAILED], "anna")
    result = admin.audit(fleet.conn)
    assert (result.counts, result.items) == ({}, [])
    assert result.looked_at["runs"] == len(one_of_each) + 1
    assert (result.looked_at["live"], result.looked_at["delayed"], result.looked_at["interrupted"]) == (4, 1, 1)
    assert (result.looked_at["keys"], result.looked_at["cancel_requests"], result.looked_at["requeued"]) == (1, 1, 1)


# What is done to the tables behind everybody's back; the run is in the state that is named first.
DAMAGES: list[tuple[RunState, str, set[Finding]]] = [
    (RunState.PENDING, "DELETE FROM orbit.live WHERE run_id = {run}", {Finding.LOST}),
    (RunState.SCHEDULED, "DELETE FROM orbit.delayed WHERE run_id = {run}", {Finding.LOST}),
    (RunState.INTERRUPTED, "DELETE FROM orbit.interrupted WHERE run_id = {run}", {Finding.LOST}),
    (RunState.SUCCEEDED, "DELETE FROM orbit.outcomes WHERE run_id = {run}", {Finding.LOST}),
    (RunState.FAILED, "DELETE FROM orbit.failed WHERE run_id = {run}", {Finding.LOST}),
    (
        RunState.PENDING,
        "INSERT INTO orbit.delayed SELECT run_id, now(), lane, 0, 0, 0, 0 FROM orbit.live WHERE run_id = {run}",
        {Finding.DOUBLED},
    ),
    (RunState.SUCCEEDED, "INSERT INTO orbit.interrupted SELECT {run}, 2, 1, 0, 0, 0, 'x'", {Finding.DOUBLED}),
    (
        RunState.FAILED,
        "INSERT INTO orbit.outcomes (run_id, token, attempt, reported, outcome) VALUES ({run}, 1, 1, false, 'succeeded')",
        {Finding.DOUBLED},
    ),
    (RunState.PENDING, "UPDATE orbit.live SET seq = seq + 1000 WHERE run_id = {run}", {Finding.LOST, Finding.MISPLACED}),
    (RunState.RUNNING, "UPDATE orbit.live SET child = 0 WHERE run_id = {run}", {Finding.ABANDONED}),
    (
        RunState.RUNNING,
        "UPDATE orbit.children SET ended_at = now() - interval '61 s', ended_cause = 'x' WHERE {run} IN (SELECT run_id FROM orbit.live)",
        {Finding.ABANDONED},
    ),
    (
        RunState.SUCCEEDED,
        "INSERT INTO orbit.outcomes (run_id, token, attempt, reported, outcome) VALUES ({run}, 1, 1, false, 'cancelled')",
        {Finding.FINISHED_TWICE},
    ),
    (
        RunState.SUCCEEDED,
        "INSERT INTO orbit.outcomes (run_id, token, attempt, reported, outcome) VALUES ({run}, 1, 1, true, 'retried')",
        {Finding.REPORTED_TWICE},
    ),
    (RunState.INTERRUPTED, "UPDATE orbit.interrupted SET attempt = 0 WHERE run_id = {run}", {Finding.ATTEMPT_BEHIND}),
    (
        RunState.SUCCEEDED,
        "INSERT INTO orbit.outcomes (run_id, token, attempt, reported, outcome) VALUES ({run}, 1, 2, true, 'retried')",
        {Finding.ATTEMPT_BEHIND},
    ),
    (RunState.PENDING, "DELETE FROM orbit.runs WHERE id = {run}", {Finding.NO_INPUT}),
    (RunState.SCHEDULED, "DELETE FROM orbit.runs WHERE id = {run}", {Finding.NO_INPUT}),
    (RunState.INTERRUPTED, "DELETE FROM orbit.runs WHERE id = {run}", {Finding.NO_INPUT}),
    (RunState.PENDING, "UPDATE orbit.runs SET key = 'k' WHERE id = {run}", {Finding.KEY_LOST}),
    (RunState.SUCCEEDED, "INSERT INTO orbit.keys VALUES ('p', 'k', {run})", {Finding.KEY_LEFT}),
    (RunState.SUCCEEDED, "INSERT INTO orbit.keys VALUES ('p', 'k', 1)", {Finding.KEY_LEFT}),
    (RunState.SUCCEEDED, "INSERT INTO orbit.requeued VALUES ({run}, 2, 1)", {Finding.PLACE_LEFT}),
    (RunState.SUCCEEDED, "INSERT INTO orbit.requeued VALUES (1, 2, 1)", {Finding.PLACE_LEFT}),
    (RunState.PENDING, "INSERT INTO orbit.cancel_requests VALUES ({run}, 'anna')", {Finding.CANCEL_LEFT}),
    (RunState.SUCCEEDED, "INSERT INTO orbit.cancel_requests VALUES (1, 'anna')", {Finding.CANCEL_LEFT}),
]


@pytest.mark.parametrize(("state", "damage", "findings"), DAMAGES)
def test_each_disagreement_is_found(
    fleet: Fleet, one_of_each: dict[RunState, int], state: RunState, damage: str, findings: set[Finding]
) -> None:
    fleet.conn.execute(damage.format(run=one_of_each[state]).encode())
    assert found(fleet) == dict.fromkeys(findings, 1)


def test_each_finding_is_shown_to_be_found() -> None:
    assert {finding for _, _, findings in DAMAGES for finding in findings} == set(Finding)


def test_what_the_dead_have_held_for_less_than_a_minute_is_on_its_way_back(fleet: Fleet) -> None:
    child = fleet.worker("p")
    fleet.enqueue("p")
    child.must_claim()
    fleet.conn.execute("SELECT orbit.end_child(%s, 'x')", [child.child_id])
    assert found(fleet) == {}


def test_more_than_a_page_is_looked_at_and_all_is_counted(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "_LOOK_AT_ONCE", 3)
    monkeypatch.setattr(auditing, "MOST_FOUND", 5)
    admin.enqueue_many(fleet.conn, [{"pipeline": "p", "key": f"k{n}"} for n in range(8)])
    assert found(fleet) == {}
    fleet.conn.execute("DELETE FROM orbit.live; DELETE FROM orbit.keys")
    result = admin.audit(fleet.conn)
    assert result.looked_at["runs"] == result.counts[Finding.LOST] == 8
    assert len(result.items) == 5


def test_since_leaves_older_runs_alone(fleet: Fleet) -> None:
    fleet.enqueue("p")
    fleet.conn.execute("DELETE FROM orbit.live")
    assert admin.audit(fleet.conn, datetime.now(UTC) - timedelta(hours=1)).counts == {Finding.LOST: 1}
    assert admin.audit(fleet.conn, datetime.now(UTC) + timedelta(days=2)).counts == {}


def test_it_only_reads_and_waits_for_nobody(fleet: Fleet) -> None:
    child = fleet.worker("p")
    run_id = fleet.enqueue("p", key="k")
    fence = child.must_claim().fence
    other = fleet.session(call_timeout_seconds=2)
    other.execute("SET default_transaction_read_only = on")
    with child.conn.transaction():
        child.finish(Report.failed(fence, FAILURE))
        assert admin.audit(other).counts == {}
    assert admin.audit(other).counts == {}
    assert fleet.state(run_id) is RunState.FAILED
