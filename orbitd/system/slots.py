"""The memory that the arbiter shares with its children: one memfd, one record a slot, one writer a field.

    header        4096 bytes   host and lease, and whether a child that becomes idle shall ring for the janitor (the janitor
                               writes), pause, log level, whether somebody waits for idle children, and for how long all
                               of us were frozen (the arbiter writes)
    records       max_slots × 256 bytes
    claims pages  max_slots × 4096 bytes
    lane board    max_boarded × 40 bytes, see `laneboard`

Every word is an aligned 8-byte integer, stored at once. The claims page is the child's will: it writes what it is about to
ask for *before* it asks, so that a claim that commits after its death is found. Beside the memory each slot has a *bell*
(an eventfd that wakes an idle child) and a *stack file* (see `stacks`); the last bell is the janitor's.
"""

from __future__ import annotations

import mmap
import os
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbitd.rules.states import Activity
from orbitd.system.laneboard import BOARD_WORDS, LaneBoard
from orbitd.system.permits import Permits
from orbitd.system.stacks import StackFile

MAX_SLOTS = 64
MAX_LANES = 128
MAX_HELD = 64

LAYOUT = 3
"""Of all this; to be raised when something moves, or means something else."""

_WORD = 8
_HEADER_BYTES, _RECORD_BYTES, _PAGE_BYTES = 4096, 256, 4096
_BOARD_BYTES = BOARD_WORDS * _WORD
_NAME_AT, _NAME_BYTES = 16 * _WORD, 120
_HELD_AT, _HELD_WORDS = 2 + MAX_LANES + 1, 5
_ACTIVITIES = frozenset(Activity)
_NAME = "orbitd-slots"


class _Word:
    """An 8-byte integer in shared memory, as an attribute."""

    def __init__(self, index: int) -> None:
        self.index = index

    def __get__(self, owner: _Words, _type: type[_Words] | None = None) -> int:
        return owner.words[self.index]

    def __set__(self, owner: _Words, value: int) -> None:
        owner.words[self.index] = value


class _Seconds(_Word):
    """A time or duration in seconds, kept as nanoseconds."""

    def __get__(self, owner: _Words, _type: type[_Words] | None = None) -> float:  # type: ignore[override]
        return owner.words[self.index] / 1e9

    def __set__(self, owner: _Words, value: float) -> None:
        owner.words[self.index] = int(value * 1e9)


class _Words:
    def __init__(self, view: memoryview) -> None:
        self.bytes = view
        self.words = view.cast("q")


class Header(_Words):
    """What all processes of this host know."""

    host_id = _Word(0)
    lease_until = _Seconds(1)
    beat_at = _Seconds(2)
    janitor_tick_at = _Seconds(3)
    lanes_version = _Word(4)
    is_paused = _Word(5)
    log_level = _Word(6)
    is_awaited = _Word(7)
    frozen_seconds = _Seconds(8)
    found_by_sweep = _Word(9)
    tells_idle = _Word(10)
    layout = _Word(511)


class Record(_Words):
    """What one child tells about itself. Times are CLOCK_BOOTTIME; 0 means none.

    `tick_at` is the child's sign of life: with a run in hand its attendant writes it each second, else its main line does at
    each turn.
    """

    activity = _Word(0)
    since = _Seconds(1)
    run_id = _Word(2)
    run_deadline = _Seconds(3)
    runs = _Word(4)
    failed = _Word(5)
    child_id = _Word(6)
    succeeded = _Word(7)
    seconds_total = _Seconds(8)
    seconds_least = _Seconds(9)
    seconds_most = _Seconds(10)
    ended_at = _Seconds(11)
    tick_at = _Seconds(12)
    generation = _Word(14)
    pid = _Word(15)

    def count(self, at: float, seconds: float, *, has_failed: bool) -> None:
        """Count an attempt that has succeeded or failed."""
        words, nanoseconds = self.words, int(seconds * 1e9)
        total, least, most, count = _COUNTERS[has_failed]
        words[total] += nanoseconds
        words[least] = min(words[least] or nanoseconds, nanoseconds)
        words[most] = max(words[most], nanoseconds)
        words[count] += 1
        self.ended_at = at

    @property
    def pipeline(self) -> str:
        """The name of the pipeline in hand, cut to what fits."""
        return bytes(self.bytes[_NAME_AT : _NAME_AT + _NAME_BYTES]).split(b"\0", 1)[0].decode(errors="replace")

    @pipeline.setter
    def pipeline(self, name: str) -> None:
        self.bytes[_NAME_AT : _NAME_AT + _NAME_BYTES] = name.encode()[:_NAME_BYTES].ljust(_NAME_BYTES, b"\0")

    def read_activity(self) -> Activity:
        """What the child does now. User code shares this memory and may have written anything: then it is NONE."""
        return Activity(self.activity) if self.activity in _ACTIVITIES else Activity.NONE

    def set_activity(self, activity: Activity, at: float) -> None:
        """Say what the child does from `at` on."""
        if self.activity != activity:
            self.since = at
        self.activity = activity

    def clear(self) -> None:
        """Forget the child that was here."""
        self.words[:] = memoryview(bytes(_RECORD_BYTES)).cast("q")


_COUNTERS = {
    has_failed: tuple(vars(Record)[name].index for name in ("seconds_total", "seconds_least", "seconds_most", count))
    for has_failed, count in ((False, "succeeded"), (True, "failed"))
}
"""Where `count` counts: one look up here and not twelve through attributes, for each run."""


@dataclass(frozen=True, slots=True)
class Held:
    """A run that the child holds. `begun`: user code was entered for it last, so that a death is charged to it."""

    lane: int
    seq: int
    run_id: int
    token: int
    begun: bool


@dataclass(frozen=True, slots=True)
class Will:
    """A copy of a claims page: what its child held, and what it may have been given without knowing."""

    held: tuple[Held, ...]
    asked_token: int
    asked_lanes: tuple[int, ...]


class ClaimsPage(_Words):
    """What the child holds and asks: token asked, number of lanes, the lanes, number held, then five words for each held run.

    A held run keeps its place there; one that was reported or handed back before the others has the token 0.
    """

    _begun_at = _HELD_AT + _HELD_WORDS - 1

    def ask(self, token: int, lanes: Sequence[int]) -> None:
        """Before a claim is sent: under this token, of these lanes. More than MAX_LANES are not written: none means all."""
        lanes = lanes if len(lanes) <= MAX_LANES else ()
        self.words[0] = 0
        self.words[1] = len(lanes)
        for index, lane in enumerate(lanes):
            self.words[2 + index] = lane
        self.words[0] = token

    def settle(self) -> None:
        """The claim was answered, or is known to have failed."""
        self.words[0] = 0

    def hold(self, fences: Sequence[tuple[int, int, int, int]]) -> None:
        """The answer has brought these runs (lane, seq, run, token), in place of those held before; none has begun."""
        self.words[_HELD_AT - 1] = 0
        held = array("q", [word for fence in fences for word in (*fence, 0)])
        self.words[_HELD_AT : _HELD_AT + len(held)] = memoryview(held)
        self.words[_HELD_AT - 1] = len(fences)

    def begin(self, index: int) -> None:
        """User code is entered for this run: from now on a death is charged to it, and no more to the one before."""
        self.words[self._begun_at] = 0
        self._begun_at = _HELD_AT + index * _HELD_WORDS + _HELD_WORDS - 1
        self.words[self._begun_at] = 1

    def let_go(self, index: int) -> None:
        """The run is no longer ours: its outcome is committed, or it was handed back."""
        self.words[_HELD_AT + index * _HELD_WORDS + _HELD_WORDS - 2] = 0

    def let_all_go(self) -> None:
        """Nothing is held."""
        self.words[_HELD_AT - 1] = 0

    def read(self) -> Will:
        """A copy, for whoever takes the runs back."""
        count = max(0, min(self.words[_HELD_AT - 1], MAX_HELD))
        lanes = self.words[2 : 2 + max(0, min(self.words[1], MAX_LANES))]
        held = tuple(held for held in map(self._read, range(count)) if held.token)
        return Will(held, self.words[0], tuple(lanes) if self.words[0] else ())

    def holds(self, run_id: int) -> bool:
        """Whether the child holds this run, which may be waiting for its turn."""
        return any(held.run_id == run_id for held in self.read().held)

    @property
    def is_empty(self) -> bool:
        """Whether the child holds nothing and may not be given anything just now."""
        return not self.words[0] and not self.words[_HELD_AT - 1]

    def clear(self) -> None:
        """Forget the child that was here."""
        self.words[0] = self.words[1] = self.words[_HELD_AT - 1] = 0

    def _read(self, index: int) -> Held:
        at = _HELD_AT + index * _HELD_WORDS
        lane, seq, run_id, token, begun = self.words[at : at + _HELD_WORDS]
        return Held(lane, seq, run_id, token, bool(begun))


class SlotMemory:
    """The shared memory, as one process sees it."""

    def __init__(self, mapped: mmap.mmap) -> None:
        self._map = memoryview(mapped)
        self.header = Header(self._map[:_HEADER_BYTES])
        self.records = [Record(self._part(_HEADER_BYTES, _RECORD_BYTES, index)) for index in range(MAX_SLOTS)]
        pages_at = _HEADER_BYTES + MAX_SLOTS * _RECORD_BYTES
        self.claims = [ClaimsPage(self._part(pages_at, _PAGE_BYTES, index)) for index in range(MAX_SLOTS)]
        self.board = LaneBoard(self._part(pages_at + MAX_SLOTS * _PAGE_BYTES, _BOARD_BYTES, 0))

    @classmethod
    def of_process(cls, pid: int) -> SlotMemory | None:
        """That of another process, to be read and not written; None if it has none, or one of another layout.

        Raises PermissionError when that process is not ours to look at, FileNotFoundError when it is gone.
        """
        for link in Path(f"/proc/{pid}/fd").iterdir():
            if link.readlink().name.startswith(f"memfd:{_NAME} "):
                fd = os.open(link, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    if os.fstat(fd).st_size != _size(MAX_SLOTS):
                        return None
                    memory = cls(mmap.mmap(fd, _size(MAX_SLOTS), access=mmap.ACCESS_READ))
                finally:
                    os.close(fd)
                return memory if memory.header.layout == LAYOUT else None
        return None

    def _part(self, at: int, size: int, index: int) -> memoryview:
        return self._map[at + index * size : at + (index + 1) * size]


class SharedSlots(SlotMemory):
    """The shared memory and the descriptors beside it. `permits` is there if runs are counted."""

    def __init__(self, fd: int, bells: Sequence[int], stacks: Sequence[int], permits: int | None) -> None:
        self.fd, self.bells, self.stacks, self.permits = fd, list(bells), list(stacks), permits
        for each in self.fds:
            os.set_inheritable(each, False)  # we pass them on by name; no program that user code starts gets them
        super().__init__(mmap.mmap(fd, _size(MAX_SLOTS)))

    @classmethod
    def create(cls, most_runs: int | None = None) -> SharedSlots:
        """New and empty; the arbiter's. `most_runs`: so many runs are begun in all, and no more."""
        fd = os.memfd_create(_NAME)
        os.ftruncate(fd, _size(MAX_SLOTS))
        bells = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(MAX_SLOTS + 1)]
        stacks = [os.memfd_create(f"orbitd-stack-{index}") for index in range(MAX_SLOTS)]
        slots = cls(fd, bells, stacks, None if most_runs is None else Permits.create(most_runs))
        slots.header.layout = LAYOUT
        return slots

    @property
    def fds(self) -> list[int]:
        """All descriptors, to be kept over an exec."""
        return [self.fd, *self.bells, *self.stacks, *([] if self.permits is None else [self.permits])]

    @property
    def description(self) -> dict[str, Any]:
        """How another process of ours finds them: its arguments of the constructor."""
        return {"fd": self.fd, "bells": self.bells, "stacks": self.stacks, "permits": self.permits}

    @staticmethod
    def layout() -> dict[str, int]:
        """Where each word is. Whoever knows more words than a writer did reads its memory rightly; with other places, nobody does."""
        words = {
            f"{part.__name__}.{name}": word.index
            for part in (Header, Record)
            for name, word in vars(part).items()
            if isinstance(word, _Word)
        }
        sizes = {"header": _HEADER_BYTES, "record": _RECORD_BYTES, "page": _PAGE_BYTES, "board": _BOARD_BYTES, "slots": MAX_SLOTS}
        return {**sizes, "name": _NAME_AT, "held": _HELD_AT, "held words": _HELD_WORDS, **words}

    def ring(self, slot: int) -> None:
        """Wake the slot's child if it is idle. A bell that rings already stays as it is."""
        os.eventfd_write(self.bells[slot], 1)

    @property
    def janitor_bell(self) -> int:
        """The descriptor that a child rings when it becomes idle, if `header.tells_idle`."""
        return self.bells[MAX_SLOTS]

    def tell_idle(self) -> None:
        """A child has become idle: tell the janitor, if it wants to know."""
        if self.header.tells_idle:
            os.eventfd_write(self.janitor_bell, 1)

    def clear(self, slot: int) -> None:
        """Make a slot ready for its next child."""
        self.records[slot].clear()
        self.claims[slot].clear()
        self.stack(slot).cut()

    def stack(self, slot: int) -> StackFile:
        """The slot's stack file."""
        return StackFile(self.stacks[slot])

    def keep_only(self, slot: int) -> None:
        """In a child: close the descriptors of all other slots, and our own of the memory, which is mapped."""
        os.close(self.fd)
        for index in range(MAX_SLOTS):
            if index != slot:
                os.close(self.bells[index])
                os.close(self.stacks[index])


def _size(max_slots: int) -> int:
    return _HEADER_BYTES + max_slots * (_RECORD_BYTES + _PAGE_BYTES) + _BOARD_BYTES
