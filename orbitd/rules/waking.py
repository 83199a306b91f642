"""When a host looks for work by itself, and when it sleeps and is rung for.

    AWAKE    nobody rings: look each 10 ms while a child is idle
               │ calm: in 100 ms there were fewer new runs than looks
    DROWSY   mark that we sleep, and look, ever more seldom: producers that may have looked before the mark are still open;
               │ none of them is left                                     the state of a new connection, too
    ASLEEP   whoever has work rings
               │ traffic: in 100 ms there were as many bells as there would have been looks; ends DROWSY as well
             AWAKE

A bell costs its producer a commit of its own, so that bells are for quiet times; a look costs us a statement, so that looks are
for busy ones. Who asks for one run after the other, each when the last has begun, makes no traffic, and has its bell every time.
Another host may end the ringing, because it has heard one bell more: so a little after a bell we mark again. While all children
are busy there is nobody to wake, hence neither look nor bell.

Times are seconds on the clock of the caller.
"""

from __future__ import annotations

from collections import deque
from math import inf

LOOK_SECONDS = 0.01
MARK_SECONDS = 0.05
CALM_SECONDS = 0.1
TRAFFIC = 10
"""So many bells or new runs within CALM_SECONDS are better looked for."""

_SHARE = 10
"""What takes so long is looked at after that share of its time: a look's own cost, a producer that stays open."""


class Wakefulness:
    """One host's, for as long as its connection lasts."""

    def __init__(self, now: float) -> None:
        self._is_awake = False
        self._slept_at: float | None = None
        self._looks_at = now
        self._belled_at: deque[float] = deque(maxlen=TRAFFIC)
        self._ticket = 0
        self._counted: tuple[float, int] | None = None
        self._producers: frozenset[str] = frozenset()

    @property
    def looks_at(self) -> float:
        """When to look again if a child is idle; never, if we are asleep for good."""
        return self._looks_at

    @property
    def wants_to_doze(self) -> bool:
        """Whether the next look shall mark us as asleep."""
        return not self._is_awake

    def hear(self, ticket: int, now: float) -> None:
        """A bell has rung, for all who had drawn a ticket up to this one."""
        if self._slept_at is not None:
            self._slept_at, self._looks_at = None, now + MARK_SECONDS
        self._belled_at.append(now)
        if len(self._belled_at) == TRAFFIC and now < self._belled_at[0] + CALM_SECONDS:
            self._belled_at.clear()
            self._ticket = ticket
            if not self._is_awake:
                self._is_awake, self._counted = True, None
                self._looks_at = min(self._looks_at, now + LOOK_SECONDS)

    def take_ticket(self) -> int:
        """The ticket up to which bells can cease, because we are awake; 0: none."""
        ticket, self._ticket = self._ticket, 0
        return ticket

    def looked(self, last_seq: int, begun: float, ended: float) -> None:
        """A look was made, before which so many runs had come to wait, of all that ever have."""
        self._looks_at = ended + max(LOOK_SECONDS, _SHARE * (ended - begun))
        counted_at, before = self._counted or (ended, last_seq)
        if self._counted is None or ended >= counted_at + CALM_SECONDS:
            self._counted = ended, last_seq
            self._is_awake = (last_seq - before) * CALM_SECONDS >= TRAFFIC * (ended - counted_at)

    def dozed(self, producers: frozenset[str], begun: float) -> None:
        """A look has marked us as asleep. These producers were open then."""
        self._producers = producers if self._slept_at is None else self._producers & producers
        self._slept_at = begun if self._slept_at is None else self._slept_at
        self._looks_at = begun + max(LOOK_SECONDS, (begun - self._slept_at) / _SHARE) if self._producers else inf
