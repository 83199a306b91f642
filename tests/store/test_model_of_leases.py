"""The leases hold in every state of their model, and none of their guards can be left out."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from tests.store.model_of_leases import Design, explore

# How far the model goes, in one direction each: together they are visited in some three seconds.
LAPSING = Design(lapsing_leases=2)
RECONNECTING = Design(most_children=3)
FAILING_OVER = Design(most_children=3, failovers=1)
LAPSING_AND_RECONNECTING = Design(most_children=3, lapsing_leases=1)
DESIGNS = [LAPSING, RECONNECTING, FAILING_OVER, LAPSING_AND_RECONNECTING]

# What becomes of which promise when one guard is left out.
MUTANTS: dict[str, tuple[Design, str]] = {
    "finish_names_token": (LAPSING, "P2"),
    "finish_wants_running": (RECONNECTING, "P1"),
    "finish_locks_run": (LAPSING, "P2"),
    "claim_locks_run": (LAPSING, "P5"),
    "claim_locks_child": (LAPSING, "P4"),
    "claim_wants_living_child": (LAPSING, "P4"),
    "claim_wants_lease": (LAPSING, "P7"),
    "token_is_random": (FAILING_OVER, "P6"),
    "take_back_names_token": (LAPSING, "P6"),
    "reconcile_wants_ended_child": (LAPSING, "P6"),
    "reconcile_locks_run": (LAPSING, "P3"),
    "reconnect_ends_former_child": (RECONNECTING, "P4"),
    "reconnect_names_token": (LAPSING_AND_RECONNECTING, "P6"),
    "rescue_wants_lapsed_lease": (LAPSING, "P7"),
    "janitor_ends_missing_children": (FAILING_OVER, "P8"),
}


@pytest.mark.parametrize("design", DESIGNS)
def test_every_promise_holds_in_every_state(design: Design) -> None:
    explored = explore(design)
    assert not explored.broken, explored.trace
    assert explored.states > 5000


@pytest.mark.parametrize("guard", MUTANTS)
def test_without_a_guard_a_promise_is_broken(guard: str) -> None:
    """Complaints 1 (riverqueue/river#1302), 9 (graphile/worker#449) and 14 (rails/solid_queue#735) are among them."""
    design, promise = MUTANTS[guard]
    explored = explore(replace(design, **{guard: False}))
    assert explored.broken.startswith(promise), explored


def test_every_guard_has_its_mutant() -> None:
    assert {field.name for field in fields(Design) if field.default is True} == set(MUTANTS)
