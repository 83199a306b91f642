"""When `orbitd once` may end: by tables of facts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orbitd.errors import ExitCode
from orbitd.rules.once import Facts, Word, conclusion

IDLE = Facts(is_staged=True, runs_in_hand=0, changed_at=100.0, may_begin=True, down_seconds=None, patience_seconds=5.0, are_all_held=False)
NOTHING_WAITS = Word(at=101.0, has_work=False)


def test_it_ends_when_nothing_waits_and_no_run_is_in_hand() -> None:
    assert conclusion(IDLE, NOTHING_WAITS) is ExitCode.OK


@pytest.mark.parametrize(
    "word", [None, Word(at=100.0, has_work=False), Word(at=101.0, has_work=True)], ids=["no word", "a look before the change", "work"]
)
def test_it_goes_on_until_the_janitor_has_looked_after_the_last_change_and_found_nothing(word: Word | None) -> None:
    assert conclusion(IDLE, word) is None


def test_it_goes_on_while_a_run_is_in_hand() -> None:
    assert conclusion(replace(IDLE, runs_in_hand=1), NOTHING_WAITS) is None


def test_it_goes_on_while_the_pipelines_are_imported() -> None:
    assert conclusion(replace(IDLE, is_staged=False), NOTHING_WAITS) is None


def test_it_ends_with_work_left_when_as_many_runs_as_asked_for_have_begun() -> None:
    used_up = replace(IDLE, may_begin=False)
    assert conclusion(used_up, Word(at=101.0, has_work=True)) is ExitCode.OK
    assert conclusion(replace(used_up, runs_in_hand=1), None) is None


def test_a_database_that_stays_away_is_the_end_whatever_is_in_hand() -> None:
    assert conclusion(replace(IDLE, down_seconds=4.9, runs_in_hand=1), None) is None
    assert conclusion(replace(IDLE, down_seconds=5.0, runs_in_hand=1), None) is ExitCode.DATABASE_UNAVAILABLE


def test_children_that_die_as_fast_as_they_come_are_the_end() -> None:
    assert conclusion(replace(IDLE, are_all_held=True), Word(at=101.0, has_work=True)) is ExitCode.FAILED
