"""What is well and what is not: the rules, their limits, and that a value at a limit does not flap."""

from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from orbitd.rules.findings import Status, gravest
from orbitd.rules.health import Bounds, Facts, judge

WELL = Facts(able=2, target=2)


def codes(facts: Facts, before: frozenset[str] = frozenset(), bounds: Bounds | None = None) -> list[str]:
    return [finding.code for finding in judge(facts, bounds or Bounds(), before)]


def test_a_daemon_that_has_done_nothing_yet_is_healthy() -> None:
    assert codes(WELL) == []
    assert gravest([]) is Status.HEALTHY


def test_silence_alone_is_no_fault_and_failures_alone_are_none() -> None:
    assert codes(Facts(able=1, target=1, silent_seconds=86400)) == []
    assert codes(Facts(able=1, target=1, failures_in_row=50)) == []


@pytest.mark.parametrize(("failures", "silent_seconds", "fails"), [(6, 300, True), (5, 300, False), (6, 299, False)])
def test_more_than_five_failures_and_then_five_minutes_of_nothing_are_a_fault(failures: int, silent_seconds: int, *, fails: bool) -> None:
    facts = Facts(able=1, target=1, failures_in_row=failures, silent_seconds=silent_seconds)
    assert codes(facts) == (["failing"] if fails else [])


@pytest.mark.parametrize(("failures", "fails"), [(7, True), (3, True), (2, False), (0, False)])
def test_who_was_failing_is_well_only_below_three(failures: int, *, fails: bool) -> None:
    facts = Facts(able=1, target=1, failures_in_row=failures, silent_seconds=1)
    assert codes(facts, frozenset({"failing"})) == (["failing"] if fails else [])


@pytest.mark.parametrize(
    ("ended", "failed", "was_high", "is_high"),
    [(100, 6, False, True), (100, 5, False, False), (100, 5, True, True), (100, 4, True, False), (19, 19, False, False)],
)
def test_the_failure_rate_has_one_limit_and_two_sides(ended: int, failed: int, *, was_high: bool, is_high: bool) -> None:
    before = frozenset({"failure_rate"} if was_high else ())
    assert codes(Facts(able=1, target=1, ended=ended, failed=failed), before) == (["failure_rate"] if is_high else [])


def test_too_few_attempts_leave_the_judgement_as_it_was_until_there_are_none() -> None:
    high = frozenset({"failure_rate"})
    assert codes(Facts(able=1, target=1, ended=5, failed=0), high) == ["failure_rate"]
    assert codes(WELL, high) == []


def test_a_pause_is_told_unless_it_is_said_to_be_usual() -> None:
    paused = Facts(able=1, target=1, is_paused=True)
    assert codes(paused) == ["paused"]
    assert codes(paused, bounds=Bounds(is_pause_unhealthy=False)) == []


def test_no_child_is_an_error_but_not_while_starting_or_stopping_nor_when_none_is_wanted() -> None:
    assert codes(Facts(target=2)) == ["no_child"]
    assert codes(Facts(target=2, is_starting=True)) == ["starting"]
    assert codes(Facts(target=2, is_stopping=True)) == ["stopping"]
    assert codes(Facts(target=0)) == []


def test_a_run_that_only_a_look_in_full_has_found_is_told() -> None:
    assert codes(Facts(found_by_sweep=1)) == ["overlooked_runs"]


def test_the_gravest_finding_counts() -> None:
    findings = list(judge(Facts(target=2, is_paused=True, stuck_runs=3), Bounds(), frozenset()))
    assert [finding.status for finding in findings] == [Status.ERROR, Status.WARNING, Status.WARNING]
    assert gravest(finding.status for finding in findings) is Status.ERROR


@given(
    st.builds(
        Facts,
        ended=st.integers(0, 50),
        failed=st.integers(0, 50),
        failures_in_row=st.integers(0, 9),
        silent_seconds=st.floats(0, 600),
        stuck_runs=st.integers(0, 2),
        found_by_sweep=st.integers(0, 2),
        able=st.integers(0, 2),
        target=st.integers(0, 2),
        is_starting=st.booleans(),
        is_stopping=st.booleans(),
        is_paused=st.booleans(),
    ),
    st.frozensets(st.sampled_from(["failing", "failure_rate", "paused"])),
)
def test_the_same_facts_judged_again_give_the_same_findings(facts: Facts, before: frozenset[str]) -> None:
    once = codes(facts, before)
    assert codes(facts, frozenset(once)) == once
    assert all(finding.command.startswith("orbitctl ") for finding in judge(facts, Bounds(), before))
