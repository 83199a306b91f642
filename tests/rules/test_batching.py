from __future__ import annotations

import pytest

from orbitd.rules.batching import AUTO, MOST_IN_HAND, Batch, Pace
from orbitd.system.slots import MAX_HELD


def after(*seconds: float, is_full: bool = True) -> Pace:
    pace = Pace()
    for each in seconds:
        pace.note_run(each)
    pace.note_claim(1, 1 if is_full else 0)
    return pace


@pytest.mark.parametrize(
    ("history", "batch", "want"),
    [
        pytest.param(after(), 1, 1, id="one is one"),
        pytest.param(after(), 10, 10, id="who names a number gets it at once"),
        pytest.param(after(*[9.0] * 30), 10, 10, id="however long they take"),
        pytest.param(after(), 1000, MOST_IN_HAND, id="and no more than a hand holds"),
        pytest.param(after(), AUTO, 1, id="nothing is known yet"),
        pytest.param(after(*[0.001] * 19), AUTO, 1, id="too little is known"),
        pytest.param(after(*[0.001] * 20), AUTO, MOST_IN_HAND, id="short, and many of them"),
        pytest.param(after(*[0.0] * 20), AUTO, MOST_IN_HAND, id="no time at all"),
        pytest.param(after(*[0.001] * 20, is_full=False), AUTO, 1, id="short, but no more of them"),
        pytest.param(after(*[0.01] * 20), AUTO, 10, id="a tenth of a second's worth"),
        pytest.param(after(*[0.04] * 20), AUTO, 2, id="hardly worth it"),
        pytest.param(after(*[0.06] * 30), AUTO, 1, id="too long"),
        pytest.param(after(*[0.001] * 30, 0.06), AUTO, 1, id="one long run begins the count anew"),
        pytest.param(after(*[0.001] * 30, 0.06, *[0.01] * 20), AUTO, 10, id="and the mean"),
    ],
)
def test_how_many_runs_are_asked_for(history: Pace, batch: Batch, want: int) -> None:
    assert history.want(batch) == want


def test_a_claim_that_brought_fewer_than_it_asked_for_is_followed_by_one_for_a_single_run() -> None:
    pace = after(*[0.001] * 20)
    pace.note_claim(MOST_IN_HAND, MOST_IN_HAND - 1)
    assert pace.want(AUTO) == 1
    pace.note_claim(1, 1)
    assert pace.want(AUTO) == MOST_IN_HAND


def test_the_mean_follows_the_runs() -> None:
    pace = after(*[0.001] * 100, *[0.02] * 100)
    assert pace.want(AUTO) == 5


def test_the_claims_page_has_room_for_all_that_a_child_may_ask_for() -> None:
    assert MOST_IN_HAND <= MAX_HELD
