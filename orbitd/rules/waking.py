"""When a host looks for work by itself, and when it sleeps and is rung for.

    AWAKE    nobody rings: look each 10 ms while a child is idle; the state of a new connection
               │ calm for a while: mark that we sleep, and look once more
    DROWSY   producers that may have looked before the mark are still open: mark and look again, ever more seldom
               │ none of them is left
    ASLEEP   whoever has work rings; a bell ends this state, and DROWSY

A bell costs its producer a commit of its own, so that bells are for quiet times; a look costs us a statement, so that looks are
for busy ones. A single bell leaves us marked, unless another host ends the ringing because it hears more of them: so we mark
again a little later. Two close together are traffic, and make us look for as long as each look finds something new. While all
children are busy there is nobody to wake, hence neither look nor bell.

Times are seconds on the clock of the caller.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

LOOK_SECONDS = 0.01
MARK_SECONDS = 0.05
CALM_SECONDS = 0.1
_SHARE = 10
"""What takes so long is looked at after that share of its time: a look's own cost, a producer that stays open."""


class Wakefulness:
    """One host's, for as long as its connection lasts."""

    def __init__(self, now: float) -> None:
        self._slept_at: float | None = None
        self._calm_at = now
        self._looks_at = now
        self._belled_at = -inf
        self._ticket = 0
        self._producers: frozenset[str] = frozenset()
        self._known: Mapping[int, int] = {}

    @property
    def is_asleep(self) -> bool:
        """Whether we have said that we want to be rung for; unless a bell has rung since."""
        return self._slept_at is not None

    @property
    def looks_at(self) -> float:
        """When to look again if a child is idle; never, if we are asleep for good."""
        return self._looks_at

    def wants_to_doze(self, now: float) -> bool:
        """Whether the next look shall mark us as asleep."""
        return self.is_asleep or now >= self._calm_at

    def hear(self, ticket: int, now: float) -> None:
        """A bell has rung, for all who had drawn a ticket up to this one."""
        if self.is_asleep:
            self._slept_at = None
            self._calm_at = self._looks_at = now + MARK_SECONDS
        if now < self._belled_at + LOOK_SECONDS:
            self._calm_at = now + CALM_SECONDS
            self._looks_at = min(self._looks_at, now + LOOK_SECONDS)
            self._ticket = max(self._ticket, ticket)
        self._belled_at = now

    def take_ticket(self) -> int:
        """The ticket up to which bells can cease, because we are awake; 0: none."""
        ticket, self._ticket = self._ticket, 0
        return ticket

    def looked(self, firsts: Mapping[int, int], begun: float, ended: float) -> None:
        """A look has found these lanes with work, each with its first number. What was there before is no news."""
        if firsts and firsts != self._known:
            self._calm_at = ended + CALM_SECONDS
        self._known = firsts
        self._looks_at = ended + max(LOOK_SECONDS, _SHARE * (ended - begun))

    def dozed(self, firsts: Mapping[int, int], producers: frozenset[str], begun: float) -> None:
        """The same, of a look that marks us as asleep. These producers were open then."""
        self._known = firsts
        self._producers = producers if self._slept_at is None else self._producers & producers
        self._slept_at = begun if self._slept_at is None else self._slept_at
        self._looks_at = begun + max(LOOK_SECONDS, (begun - self._slept_at) / _SHARE) if self._producers else inf
