"""The most critical guards of the store's SQL, each left out once: the test that is for it fails.

`make test-mutants` leaves out every condition and every lock, and runs all tests against each.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import psycopg
import pytest

from tests.store import test_cancel, test_claims, test_hosts
from tests.store.fleet import Fleet
from tests.support.mutants import all_mutants, mutants_of, reasons
from tests.support.postgres import Databases

GUARDS: dict[str, Callable[[Fleet], None]] = {
    r"claim\w*: l\.state = 0": test_claims.test_runs_are_claimed_in_order_and_each_only_once,
    r"may_claim: c\.ended_at IS NULL": test_hosts.test_a_reconnected_child_goes_on_with_what_it_holds,
    r"may_claim: FOR KEY SHARE OF c SKIP LOCKED": test_hosts.test_a_missing_child_with_a_claim_in_flight_is_ended_later,
    r"may_claim: SKIP LOCKED": test_hosts.test_a_claim_during_an_interrupt_is_refused_without_waiting,
    r"finish: l\.token = \S+": lambda fleet: test_claims.test_each_part_of_the_fence_counts(fleet, "token"),
    r"finish: l\.token = \S+ \(2\)": lambda fleet: test_claims.test_each_part_of_the_fence_counts(fleet, "token"),
    r"finish: FOR UPDATE": test_cancel.test_a_finish_waits_for_a_cancel_in_flight_and_obeys_it,
    r"finish: o\.reported": test_claims.test_what_was_taken_back_is_no_report_of_the_child,
    r"end_host: FOR UPDATE \(2\)": lambda fleet: test_hosts.test_ending_a_host_waits_for_the_claim_in_flight(fleet, "rollback"),
    r"lost_runs: c\.ended_at IS NOT NULL": test_hosts.test_reconcile_leaves_the_living_alone,
}


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_is_missed(databases: Databases, guard: str) -> None:
    (mutant,) = [mutant for mutant in all_mutants() if re.fullmatch(guard, mutant.name)]
    with databases.copy_of(databases.migrated) as dsn, Fleet(dsn) as fleet:
        GUARDS[guard](fleet)
        fleet.wipe()
        fleet.conn.execute(mutant.text.encode())
        with pytest.raises((AssertionError, psycopg.Error, pytest.fail.Exception)):
            GUARDS[guard](fleet)


def test_each_reason_is_for_a_mutant_that_there_is() -> None:
    assert reasons().keys() <= {mutant.name for mutant in all_mutants()}


def test_conditions_and_locks_are_found_where_they_are() -> None:
    text = """
-- Not this: WHERE a = 1 AND b = 2 FOR UPDATE
CREATE FUNCTION f() RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM t WHERE a BETWEEN 1 AND 2 AND b = 'x AND y' FOR NO KEY UPDATE OF t SKIP LOCKED;
    DELETE FROM t WHERE c OR d = ANY (ARRAY(SELECT e FROM u WHERE e > 1 AND (f OR g) LIMIT 1)) RETURNING a;
END
$$;
"""
    found = {mutant.name: mutant.text for mutant in mutants_of("f", text)}
    assert list(found) == [
        "f: a BETWEEN 1 AND 2",
        "f: b = 'x AND y'",
        "f: FOR NO KEY UPDATE OF t SKIP LOCKED",
        "f: SKIP LOCKED",
        "f: c",
        "f: d = ANY (ARRAY(SELECT e FROM u WHERE e > 1 AND (f OR g) LIMIT 1))",
        "f: e > 1",
        "f: (f OR g)",
    ]
    assert "WHERE a BETWEEN 1 AND 2 AND true FOR" in found["f: b = 'x AND y'"]
    assert "FOR NO KEY UPDATE OF t;" in found["f: SKIP LOCKED"]
    assert "WHERE false OR d" in found["f: c"]
