"""Which queues are served."""

from __future__ import annotations

import pytest

from orbitd.rules.queues import is_served


@pytest.mark.parametrize(
    ("queue", "patterns", "served"),
    [
        ("mail", ["*"], True),
        ("mail", ["mail"], True),
        ("mail.slow", ["mail"], False),
        ("mail.slow", ["web", "mail.*"], True),
        ("Mail", ["mail"], False),
        ("mail", [], False),
    ],
)
def test_a_queue_is_served_when_one_of_the_patterns_names_it(queue: str, patterns: list[str], *, served: bool) -> None:
    assert is_served(queue, patterns) is served
