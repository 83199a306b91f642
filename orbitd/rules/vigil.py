"""What is remembered of a child's signs of life: data, changed by facts; what follows from it is decided in `liveness`."""

from __future__ import annotations

from dataclasses import dataclass

from orbitd.rules import events


@dataclass(slots=True)
class Vigil:
    """Times are CLOCK_BOOTTIME, and 0 for never.

    `tick_at`: the last sign of life. `told_at` and `told_tick_at`: when a stall was told last, and of which tick.
    `dumped_deadline` and `dumped_at`: of which deadline the stacks were asked for, and when. `killed_at`: when the child was
    killed, `is_abandoned` once it has not ended by that. `state` and `words`: how the kernel has it, while that matters.
    """

    tick_at: float = 0.0
    told_at: float = 0.0
    told_tick_at: float = 0.0
    dumped_deadline: float = 0.0
    dumped_at: float = 0.0
    killed_at: float = 0.0
    is_abandoned: bool = False
    state: str = ""
    words: str = ""
    _deadline: float = 0.0
    _frozen_seconds: float = 0.0

    def see(self, deadline: float, tick_at: float) -> float:
        """Take down what the child has written, and give back its run's deadline.

        Time in which all of us were frozen counts until the child itself has added it: then its deadline is another one.
        """
        self.tick_at = max(self.tick_at, tick_at)
        if deadline != self._deadline:
            self._deadline, self._frozen_seconds = deadline, 0.0
        return deadline + self._frozen_seconds

    def note(self, event: events.OfVigil) -> None:
        """Take down a fact."""
        match event:
            case events.ProcessSeen(_, state, words):
                self.state, self.words = state, words
            case events.StallTold(_, at):
                self.told_at, self.told_tick_at = at, self.tick_at
            case events.DumpSent(_, at):
                self.dumped_deadline, self.dumped_at = self._deadline + self._frozen_seconds, at
            case events.ChildAbandoned():
                self.is_abandoned = True

    def thaw(self, gap_seconds: float, now: float) -> None:
        """Let a time in which all of us were frozen, and which ends now, not count. The tick may be from after it already."""
        is_told = self.told_tick_at == self.tick_at
        self.tick_at = min(now, self.tick_at + gap_seconds) if self.tick_at else 0.0
        self.told_tick_at = self.tick_at if is_told else self.told_tick_at
        self.killed_at = min(now, self.killed_at + gap_seconds) if self.killed_at else 0.0
        self._frozen_seconds += gap_seconds if self._deadline else 0.0
