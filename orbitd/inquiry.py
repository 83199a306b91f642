"""Asking a child where all its threads stand: a signal, and an answer that is looked for at turns of the arbiter's loop.

The child's main line may be deep in C and hold the interpreter; so faulthandler answers, in the signal's handler, into the
slot's stack file. A child that is stopped or frozen would answer only when it goes on, and is not asked.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from orbitd.rules import liveness
from orbitd.system import clock, process
from orbitd.system.process import Process
from orbitd.system.slots import SharedSlots
from orbitd.system.stacks import DUMP_SIGNAL

_PATIENCE_SECONDS = 2.0
_LOOK_SECONDS = 0.02
_NOT_NOW = "D"
_STANDS_STILL = ("T", "t", "Z", "")


@dataclass(frozen=True, slots=True)
class Sight:
    """What is to be seen of a process from outside.

    `state` is the letter of /proc, empty when it is gone; `kernel_function` is what it waits in; `words` say what that means.
    `stack` has the stacks of its threads, and is empty when it gave none.
    """

    pid: int
    state: str
    kernel_function: str
    words: str
    stack: str = ""


def look_at(pid: int) -> Sight:
    """A process as the kernel shows it."""
    facts = process.stat(pid)
    state, function = facts.state if facts else "", process.kernel_function(pid)
    return Sight(pid, state, function, liveness.in_words(state, function))


class Children(Protocol):
    """Where the children are: the fleet."""

    slots: SharedSlots

    def process_of(self, slot: int) -> Process | None:
        """The child of a slot; None when there is none, or it has not said hello."""


class Inquiry:
    """One question to the child that is in a slot now.

    `keeps`: the stacks stay in the file, for whoever buries the child; else only what was there before.
    """

    def __init__(self, children: Children, slot: int) -> None:
        self.keeps = False
        self._children, self._slot, self._child = children, slot, children.process_of(slot)
        self._stack = children.slots.stack(slot)
        self._until = clock.now() + _PATIENCE_SECONDS
        self._start = self._size = self._stack.size
        self._is_asked = False

    def step(self, now: float) -> Sight | None:
        """Ask, or look for the answer."""
        child, is_late = self._child, now >= self._until
        if child is None or self._children.process_of(self._slot) is not child:
            return Sight(child.pid if child else 0, "", "", liveness.in_words("", ""))  # its pid may be somebody else's by now
        sight = look_at(child.pid)
        if sight.state in _STANDS_STILL or (is_late and not self._is_asked):
            return sight
        if self._is_asked:
            return self._read(sight, is_late=is_late)
        if sight.state != _NOT_NOW:
            self._is_asked = True
            child.send_signal(DUMP_SIGNAL)
        return None

    def _read(self, sight: Sight, *, is_late: bool) -> Sight | None:
        """The answer is complete when it has not grown since the last look."""
        before, self._size = self._size, self._stack.size
        self._start = min(self._start, self._size)  # a run that has begun meanwhile has emptied the file
        if not (self._start < self._size == before or is_late):
            return None
        stack = self._stack.read(self._start)
        if not self.keeps:
            self._stack.cut(self._start)
        return replace(sight, stack=stack)


class Inquiries:
    """All questions under way."""

    def __init__(self, children: Children) -> None:
        self._children = children
        self._open: dict[int, tuple[Inquiry, list[Callable[[Sight], None]]]] = {}
        self.next_deadline = math.inf

    def ask(self, slot: int, answered: Callable[[Sight], None], *, keeps: bool = False) -> None:
        """Ask the child of a slot, once for all who ask now; `answered` is called in a later turn."""
        if slot not in self._open:
            self._open[slot] = (Inquiry(self._children, slot), [])
        inquiry, callers = self._open[slot]
        inquiry.keeps |= keeps
        callers.append(answered)
        self.next_deadline = 0.0

    def step(self, now: float) -> None:
        """Look for answers."""
        if now < self.next_deadline:
            return
        for slot, (inquiry, callers) in list(self._open.items()):
            if sight := inquiry.step(now):
                del self._open[slot]
                for answered in callers:
                    answered(sight)
        self.next_deadline = now + _LOOK_SECONDS if self._open else math.inf
