"""`orbitd once`, as the arbiter carries it out: ask the janitor for work until there is none, then end.

The rule is `rules.once.conclusion`; here its facts are gathered, and the question is put again and again, not too often.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from orbitd.errors import ExitCode
from orbitd.rules.once import Facts, Once, Word, conclusion
from orbitd.rules.roster import Roster
from orbitd.rules.states import SlotState
from orbitd.rules.tally import Tally
from orbitd.system import clock
from orbitd.system.permits import Permits
from orbitd.system.slots import SharedSlots

_ASK_AGAIN_SECONDS = 0.2


class Errand:
    """What is known of the work that is left. `ask` has the janitor look for it."""

    def __init__(self, once: Once, slots: SharedSlots, ask: Callable[[], None]) -> None:
        self.once = once
        self._slots, self._ask = slots, ask
        self._permits = Permits(slots.permits)
        self._word: Word | None = None
        self._changed_at = self._next_ask = 0.0
        self.next_deadline = math.inf
        """When to turn again although nothing happens."""

    def heard(self, looked_at: float, *, has_work: bool) -> None:
        """The janitor has looked."""
        self._word = Word(looked_at, has_work)

    def note_change(self) -> None:
        """A child has died, or its runs were taken back: what was seen before tells nothing."""
        self._changed_at = clock.now()

    def conclude(self, tally: Tally) -> None:
        """Write down what came of it."""
        self.once.succeeded, self.once.failed = tally.succeeded, tally.failed

    def step(self, roster: Roster, runs_in_hand: int, down_seconds: float | None, patience_seconds: float) -> ExitCode | None:
        """What to end with; while that is open, the janitor is asked."""
        now = clock.now()
        waiting = [roster.slot_state(slot, now) for slot in roster.slots if slot.history.is_waiting(now)]
        facts = Facts(
            is_staged=roster.generation > 0,
            runs_in_hand=runs_in_hand,
            changed_at=max([self._changed_at, *(self._slots.records[child.slot].since for child in roster.children())]),
            may_begin=self._permits.are_left,
            down_seconds=down_seconds,
            patience_seconds=patience_seconds,
            are_all_held=not any(roster.children()) and SlotState.HELD in waiting and SlotState.BACKOFF not in waiting,
        )
        ending = conclusion(facts, self._word)
        if ending is None and facts.is_staged and not runs_in_hand:
            self._ask_again(now)
        else:
            self.next_deadline = math.inf
        return ending

    def _ask_again(self, now: float) -> None:
        if now >= self._next_ask:
            self._next_ask = now + _ASK_AGAIN_SECONDS
            self._ask()
        self.next_deadline = self._next_ask
