"""The documents have the fields that scripts rely on."""

from __future__ import annotations

from typing import Any

import pytest

from orbitd.control import views
from orbitd.rules.findings import Finding, Status
from orbitd.rules.states import DaemonState, SlotState


def slot(number: int, state: SlotState) -> dict[str, Any]:
    return dict.fromkeys(views.SLOT_FIELDS) | {"slot": number, "state": state}


def status(slots: list[dict[str, Any]]) -> dict[str, Any]:
    return views.status(
        state=DaemonState.RUNNING,
        pid=812,
        version="1",
        generation=7,
        config=None,
        target=4,
        slots=slots,
        problems=[Finding("c", Status.WARNING, "m", "orbitctl list")],
        last_reload=None,
        last_beat_at="2025-01-01T00:00:00.000Z",
        age_seconds=0.0,
        processes=[{"role": "mold", "pid": 1, "state": "ready", "generation": 7}],
        memory=dict.fromkeys(views.MEMORY_FIELDS, 0),
    )


def test_the_children_are_counted_by_the_states_of_their_slots() -> None:
    document = status([slot(number, state) for number, state in enumerate([*SlotState, SlotState.BUSY])])
    assert document["children"] == {"target": 4, "ready": 3, "busy": 2, "draining": 1, "starting": 1, "backoff": 2}


def test_the_fields_of_a_status_are_those_of_the_interface() -> None:
    document = status([slot(0, SlotState.IDLE)])
    assert list(document) == [
        *("schema", "state", "pid", "version", "generation", "config"),
        *("children", "problems", "last_reload", "last_beat_at", "age_seconds", "memory", "processes", "slots"),
    ]
    assert document["problems"] == [{"code": "c", "message": "m", "command": "orbitctl list"}]
    assert list(document["slots"][0]) == list(views.SLOT_FIELDS)


def test_a_slot_without_a_field_is_a_fault_of_the_caller() -> None:
    with pytest.raises(KeyError):
        status([{"slot": 0, "state": "idle"}])


def test_a_listing_is_the_slots_alone() -> None:
    assert views.listing(status([])) == {"schema": "orbit.list/1", "generation": 7, "age_seconds": 0.0, "slots": []}


def test_a_listing_tells_how_children_ended_where_that_is_asked_for() -> None:
    ended = dict.fromkeys(views.EXIT_FIELDS) | {"cause": "out_of_memory"}
    asked = views.listing(status([slot(0, SlotState.IDLE), slot(1, SlotState.IDLE)]), {0: [ended], 7: [ended]})
    assert [each["exits"] for each in asked["slots"]] == [[ended], []]


def test_events_name_the_number_to_go_on_after() -> None:
    items = [{"number": 7, "ts": "…", "level": "info", "event": "scaled"}]
    assert views.events(items, 7) == {"schema": "orbit.events/1", "items": items, "next": 7}
