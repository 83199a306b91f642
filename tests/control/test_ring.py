"""The last events: numbered, bounded, the latest last."""

from __future__ import annotations

import json

from orbitd.control.commands import MOST_EVENTS
from orbitd.control.ring import Ring


def ring_of(count: int) -> Ring:
    ring = Ring()
    for index in range(1, count + 1):
        ring.take({"ts": "2025-01-01T00:00:00.000Z", "level": "info", "event": f"e{index}"})
    return ring


def numbers(ring: Ring, after: int, limit: int) -> list[int]:
    return [event["number"] for event in ring.after(after, limit)]


def test_events_are_numbered_from_one_on_and_the_latest_is_last() -> None:
    ring = ring_of(3)
    assert [(event["number"], event["event"]) for event in ring.after(0, 50)] == [(1, "e1"), (2, "e2"), (3, "e3")]
    assert ring.last_number == 3


def test_the_limit_takes_the_latest_and_after_takes_the_later() -> None:
    ring = ring_of(10)
    assert numbers(ring, 0, 3) == [8, 9, 10]
    assert numbers(ring, 8, 50) == [9, 10]
    assert numbers(ring, 10, 50) == []
    assert numbers(ring, 99, 50) == []


def test_no_more_than_the_last_thousand_are_kept() -> None:
    ring = ring_of(MOST_EVENTS + 5)
    assert numbers(ring, 0, MOST_EVENTS) == list(range(6, MOST_EVENTS + 6))


def test_a_long_text_is_cut() -> None:
    ring = Ring()
    ring.take({"ts": "", "level": "error", "event": "mold_failed", "error": "x" * 100_000})
    assert len(ring.after(0, 1)[0]["error"]) <= 500


def test_a_long_list_or_mapping_is_cut() -> None:
    ring = Ring()
    ring.take({"ts": "", "level": "info", "event": "pipelines", "names": ["x" * 30_000] * 64, "sizes": {"y" * 200: "z" * 30_000}})
    (kept,) = ring.after(0, 1)
    assert len(json.dumps(kept)) < 1500
