"""The arbiter's scales: samples of its children's memory and of its control group, noted as facts. What follows is up to the rules.

In two stages: the resident set of every child each 2 s, and of one child the full sample, which takes milliseconds. Between
the rounds, newborn children get their first full sample, one after the other: the baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orbitd.rules import events
from orbitd.rules.memory import OomKills, is_newborn, whom_to_weigh_fully
from orbitd.rules.roster import Child
from orbitd.system import memory
from orbitd.system.cgroup import MemoryGroup
from orbitd.system.memory import Share

_ROUND_SECONDS = 2.0
_BETWEEN_NEWBORN_SECONDS = 0.2


class Scales:
    """Weighs when it is due; `next_at` tells when that is."""

    def __init__(self, note: Callable[[events.Event], None]) -> None:
        self._note, self._group = note, MemoryGroup()
        self._oom_kills = OomKills(self._group.oom_kills())
        self._next_round = 0.0
        self.next_at = 0.0

    def look(self, children: Sequence[Child], now: float) -> None:
        """Weigh all, or only a newborn one, if it is time."""
        if now < self.next_at:
            return
        newborn = [child for child in children if is_newborn(child, now)]
        if now >= self._next_round:
            self._next_round = now + _ROUND_SECONDS
            self._weigh_all(children, now)
        elif newborn:
            self.weigh(newborn[0], now)
        self.next_at = min(self._next_round, now + _BETWEEN_NEWBORN_SECONDS) if newborn else self._next_round

    def weigh(self, child: Child, now: float) -> None:
        """Weigh one fully, at once."""
        if child.pid is not None:
            self._note_sample(child, memory.rss_bytes(child.pid), memory.share_of(child.pid), now)

    def has_oom_killed(self, now: float) -> bool:
        """Whether the kernel has killed one of us for want of memory, and no other death was put down to that."""
        self._oom_kills.note(self._group.oom_kills(), now)
        return self._oom_kills.claim()

    def _weigh_all(self, children: Sequence[Child], now: float) -> None:
        pids = {child.slot: child.pid for child in children if child.pid is not None}
        if not pids:
            return
        rss_bytes = {slot: memory.rss_bytes(pid) for slot, pid in pids.items()}
        there = [child for child in children if child.slot in pids]
        chosen = whom_to_weigh_fully(there, rss_bytes, now)
        for child in there:
            share = memory.share_of(pids[child.slot]) if child is chosen else None
            self._note_sample(child, rss_bytes[child.slot], share, now)
        if usage := self._group.usage():
            self._note(events.MemoryPressure(usage.used_bytes, usage.limit_bytes, now))
        self._oom_kills.note(self._group.oom_kills(), now)

    def _note_sample(self, child: Child, rss_bytes: int, share: Share | None, now: float) -> None:
        own_bytes, pss_bytes = (share.own_bytes, share.pss_bytes) if share else (None, None)
        self._note(events.MemorySeen(child.slot, rss_bytes, own_bytes, now, pss_bytes))
