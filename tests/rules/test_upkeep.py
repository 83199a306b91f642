"""When duties are late, and how whoever holds back vacuum is named."""

from __future__ import annotations

import shlex

import pytest

from orbitd.rules.findings import Status
from orbitd.rules.upkeep import LOOK_SECONDS, Duty, Holder, held, late, pause_seconds

SESSION = Holder("session", "4711", "psql", "alice", "idle in transaction", 7380.0, 1_234_567)


@pytest.mark.parametrize(("age", "is_late"), [(3600.0, False), (3 * 3600.0 + 899, False), (3 * 3600.0 + 901, True)])
def test_a_duty_is_late_after_several_chances(age: float, is_late: bool) -> None:  # noqa: FBT001
    findings = list(late([Duty("partitions", 3600.0, age, None)]))
    assert bool(findings) == is_late


def test_a_late_duty_says_since_when_and_why() -> None:
    """Complaint 10: graphile/worker 0.17, where cron stopped silently."""
    (finding,) = late([Duty("retention", 600.0, 86400.0, "canceling statement due to lock timeout"), Duty("leftovers", 600.0, 1.0, None)])
    assert finding.code == "duty_late"
    assert finding.message == "the duty retention was last done 1d ago: canceling statement due to lock timeout"


@pytest.mark.parametrize(
    ("transactions", "seconds", "is_harmful"),
    [(100, 299.0, False), (99, 300.0, False), (100, 300.0, True), (100, None, True), (99, None, False)],
)
def test_a_holder_is_harmful_when_it_is_old_and_much_has_happened(transactions: int, seconds: float | None, is_harmful: bool) -> None:  # noqa: FBT001
    assert Holder("session", "1", None, None, None, seconds, transactions).is_harmful(100, 300.0) == is_harmful


def test_a_session_is_named_with_all_that_is_known_of_it() -> None:
    """Complaint 7: riverqueue/river#59."""
    finding = held(SESSION)
    assert finding.status is Status.WARNING
    assert finding.message == (
        "pid 4711 (psql, user alice, idle in transaction for 2h3m) keeps vacuum from clearing the dead rows of 1234567 transactions"
    )
    assert finding.command == "psql -c 'select pg_terminate_backend(4711)'"


def test_a_session_of_which_we_may_see_nothing_is_named_all_the_same() -> None:
    assert held(Holder("session", "4711", None, None, None, None, 5)).message.startswith("pid 4711 keeps vacuum")


def test_a_hostile_name_stays_one_word_of_the_shell_and_one_literal_of_sql() -> None:
    command = held(Holder("prepared", "x'; drop table a; --\n$(rm)", None, "bob", "prepared", 1.0, 5)).command
    assert shlex.split(command) == ["psql", "-c", "rollback prepared 'x''; drop table a; --\n$(rm)'"]


def test_a_slot_is_dropped_by_its_name_and_a_grave_age_is_an_error() -> None:
    finding = held(Holder("slot", "standby_1", None, None, "inactive", None, 600_000_000))
    assert finding.status is Status.ERROR
    assert finding.message.startswith('replication slot "standby_1" (inactive) keeps')
    assert finding.command == """psql -c 'select pg_drop_replication_slot('"'"'standby_1'"'"')'"""


def test_the_next_look_is_when_a_duty_is_due_but_no_sooner_than_in_a_minute_and_no_later_than_usual() -> None:
    hourly, often = Duty("partitions", 3600.0, 10.0, None), Duty("retention", 600.0, 200.0, None)
    overdue = Duty("leftovers", 600.0, 9999.0, "division by zero")
    pauses = [pause_seconds(duties, is_amiss=False, draw=0.0) for duties in ([], [hourly], [hourly, often], [often, overdue])]
    assert pauses == [LOOK_SECONDS, LOOK_SECONDS, 400.0, 60.0]


def test_while_something_is_amiss_a_host_looks_each_minute_and_hosts_do_not_look_all_at_once() -> None:
    often = Duty("retention", 600.0, 200.0, None)
    assert pause_seconds([often], is_amiss=True, draw=0.0) == 60.0
    assert pause_seconds([often], is_amiss=False, draw=0.0) == 400.0
    assert pause_seconds([often], is_amiss=False, draw=0.999) == pytest.approx(430.0, abs=0.1)
