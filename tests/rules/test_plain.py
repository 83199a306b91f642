"""What an upgrade hands over comes back as it was, whatever fields there are: types are all that counts."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

import pytest
from hypothesis import given

from orbitd.rules.limits import Backoff, Limits
from orbitd.rules.plain import Unreadable, plain, restored
from orbitd.rules.roster import Child, Roster
from orbitd.rules.states import Phase
from tests.support.anything import anything


def over_the_wire(value: object) -> Any:
    return restored(type(value), json.loads(json.dumps(plain(value))))


@given(anything(Roster))
def test_no_field_of_the_roster_is_lost(roster: Roster) -> None:
    assert over_the_wire(roster) == roster


class _Grade(IntEnum):
    LOW = 1


@dataclass
class _All:
    pair: tuple[int, str]
    many: tuple[float, ...]
    some: frozenset[int]
    by_grade: dict[_Grade, list[str | None]]
    either: str | tuple[float, ...]


@given(anything(_All))
def test_every_kind_of_field_comes_back(value: _All) -> None:
    assert over_the_wire(value) == value


def test_a_field_that_the_writer_did_not_know_has_its_default() -> None:
    document = plain(Child(slot=3, generation=2, asked_at=1.0, heavy_samples=7))
    del document["heavy_samples"], document["phase"]
    assert restored(Child, document) == Child(slot=3, generation=2, asked_at=1.0, phase=Phase.STARTING, heavy_samples=0)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"mood": 1}, r"slots\[1\]\.child: unknown: mood"),
        ({"pid": "7"}, r"slots\[1\]\.child\.pid: '7' is no int"),
        ({"phase": "asleep"}, r"slots\[1\]\.child\.phase: 'asleep' does not fit"),
        ({"generation": None}, r"slots\[1\]\.child\.generation: None is no int"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(change: dict[str, object], says: str) -> None:
    roster = Roster.of(2, Limits(Backoff(), Backoff()))
    roster.slots[1].child = Child(slot=1, generation=1, asked_at=0.0)
    document = plain(roster)
    document["slots"][1]["child"].update(change)
    with pytest.raises(Unreadable, match=says):
        restored(Roster, document)


def test_a_field_that_is_missing_and_has_no_default_is_refused() -> None:
    with pytest.raises(Unreadable, match="asked_at is missing"):
        restored(Child, {"slot": 1, "generation": 1})


def test_what_would_not_come_back_is_not_written() -> None:
    @dataclass
    class Holder:
        thing: object = field(default_factory=object)

    with pytest.raises(TypeError, match="object"):
        plain(Holder())
