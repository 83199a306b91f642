"""A reload carried out: what is kept, given back and told. The processes are made up; the rules are in tests/rules."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from orbitd import config
from orbitd.config import Loaded, Settings
from orbitd.errors import ExitCode
from orbitd.generations import Generations, limits_of
from orbitd.rollouts import Rollouts
from orbitd.rules import actions, events, service
from orbitd.rules.exits import ExitStatus
from orbitd.rules.roster import Child, Roster
from orbitd.rules.service import Said, Standing
from orbitd.rules.states import DaemonState
from orbitd.rules.supervise import Desired
from tests.support.simulated import Fleet

FRESH_BYTES = 200 * 1024**2


def _configured(**options: object) -> Loaded:
    return config.survey(None, environ={f"ORBITD_CHILDREN__{name.upper()}": str(value) for name, value in options.items()})


@dataclass
class Operator:
    """Stands in for the arbiter, and takes each step when the test says so."""

    newest: Loaded = field(default_factory=lambda: _configured(count=4))

    def __post_init__(self) -> None:
        self.generations = Generations(self.newest, lambda: self.newest)
        self.roster = Roster.of(8, limits_of(self.newest.settings))
        self.desired = Desired(self.newest.settings.children.count)
        hands: Any = self
        self.rollouts = Rollouts(self, self.generations, hands, hands)
        self.given_up = ""

    def note(self, event: events.Event) -> None:
        self.roster.note(event)

    def go_by(self, settings: Settings) -> None:
        pass

    def scale(self, count: int) -> None:
        self.desired.count = count

    def give_up_start(self, error: str) -> None:
        self.given_up = error

    def weigh(self, child: Child, now: float) -> None:
        self.note(events.MemorySeen(child.slot, FRESH_BYTES, FRESH_BYTES, now))

    def stage(self) -> int:
        self.rollouts.take(actions.Stage(self.desired.generation))
        self.note(events.MoldSpawned(self.desired.generation, 7, 1.0))
        self.note(events.MoldReady(self.desired.generation))
        return self.desired.generation

    def promote(self) -> int:
        self.rollouts.take(actions.Promote(self.desired.generation))
        return self.desired.generation

    def reload(self, **options: object) -> int:
        self.newest = _configured(**options) if options else self.newest
        self.rollouts.begin()
        return self.stage()

    def give_up(self, generation: int) -> None:
        self.rollouts.take(actions.GiveUp(generation, "it is broken", ExitCode.FAILED))

    def up(self) -> Operator:
        self.stage()
        self.promote()
        self.rollouts.take(actions.Hold(1))
        self.rollouts.take(actions.Settle(1))
        return self


def test_nothing_is_kept_of_reloads_that_have_failed() -> None:
    operator = Operator().up()
    for _ in range(3):
        operator.give_up(operator.reload())
    assert list(operator.generations.hand_over().loaded) == [1]
    operator.reload()
    operator.promote()
    operator.give_up(operator.reload())
    assert list(operator.generations.hand_over().loaded) == [1, 5], "the one that rolls in, and the one to go back to"


@pytest.mark.parametrize(("asked_since", "count"), [(None, 8), (6, 6)])
def test_a_rollback_gives_back_the_number_of_children_unless_somebody_has_scaled_since(asked_since: int | None, count: int) -> None:
    operator = Operator().up()
    operator.scale(8)
    operator.reload(count=5)
    assert operator.desired.count == 8
    generation = operator.promote()
    assert operator.desired.count == 5
    if asked_since:
        operator.scale(asked_since)
    operator.give_up(generation)
    assert operator.desired.count == count


def test_a_limit_that_a_fresh_child_exceeds_is_refused_also_of_a_reload_in_the_midst_of_the_start() -> None:
    operator = Operator(_configured(max_own_memory="100MiB"))
    operator.stage()
    assert operator.reload() == 2
    operator.promote()
    operator.note(events.ChildAsked(0, 2, 1.0))
    operator.rollouts.child_booted(0)
    assert "max_own_memory" in operator.given_up


def test_a_reload_that_was_refused_is_told_also_once_the_one_before_has_rolled_in() -> None:
    operator = Operator().up()
    operator.reload()
    rolling = operator.promote()
    refused = operator.reload()
    operator.give_up(refused)
    operator.rollouts.take(actions.Hold(rolling))
    assert (operator.generations.reload.generation, operator.generations.reload.ok) == (refused, False)


def test_a_start_whose_children_import_for_themselves_is_given_more_time() -> None:
    fleet = Fleet()
    fleet.turn()
    fleet.roster.note(events.MoldReady(1, forks=False))
    fleet.roster.note(events.MoldExited(1, ExitStatus(0), fleet.now, 0.5))
    fleet.turn()
    facts = service.facts_of(fleet.roster, fleet.desired, DaemonState.STARTING, reload=1, is_under_way=True, trouble="")
    messages, said = service.say(Said(), facts, 0.0, fleet.now, 0)
    assert "EXTEND_TIMEOUT_USEC=30000000" in messages[-1].splitlines()
    assert service.next_deadline(said, facts, 0.0) < fleet.now + 30
    assert "EXTEND" not in "".join(service.say(replace(said, standing=Standing.READY, extended_at=0.0), facts, 0.0, fleet.now, 0)[0])
