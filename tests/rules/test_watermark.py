"""The numbers below which claims need not search, and janitors need not look."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given, strategies as st

from orbitd.rules.watermark import LEAST_PAUSE_SECONDS, SETTLING_SECONDS, Bounds, NumberClock, pause_after


def test_a_number_counts_once_producers_have_had_the_time_to_commit() -> None:
    numbers = NumberClock()
    assert numbers.settled(100.0) == 0
    numbers.note(40, 100.0)
    assert numbers.settled(100.0 + SETTLING_SECONDS / 2) == 0
    assert numbers.settled(100.0 + SETTLING_SECONDS) == 40


def test_many_looks_do_not_keep_a_number_from_counting() -> None:
    numbers, now = NumberClock(), 100.0
    for look in range(100):
        now = 100.0 + look * SETTLING_SECONDS / 10
        numbers.note(look, now)
    assert 99 - 25 <= numbers.settled(now) <= 99 - 10


def test_nothing_is_known_of_another_server() -> None:
    numbers = NumberClock()
    numbers.note(40, 100.0)
    numbers.forget()
    assert numbers.settled(200.0) == 0


# --- the janitor's bounds ---

LANE = 7
BLOCK = 4


class World:
    """Producers, claims and a janitor, one lane, each step by itself. A claim raises the floor as high as it can be."""

    def __init__(self) -> None:
        self.bounds = Bounds()
        self.last_seq = 0
        self.floor = 0
        self.announced: list[int] = []  # the numbers that producers have read
        self.drawn: dict[int, int] = {}  # their numbers, with what they have announced
        self.waiting: set[int] = set()
        self.in_hand: set[int] = set()  # of those waiting: whose claim has not committed
        self.asked: dict[int, int] = {}
        self.safe_seq: int | None = None

    def announce(self) -> None:
        self.announced.append(self.last_seq)

    def draw(self) -> None:
        if self.announced:
            self.last_seq += 1
            self.drawn[self.last_seq] = self.announced.pop(0)

    def commit(self, which: int) -> None:
        if self.drawn:
            seq = sorted(self.drawn)[which % len(self.drawn)]
            del self.drawn[seq]
            self.waiting.add(seq)

    def give_up(self, which: int) -> None:
        if self.drawn:
            del self.drawn[sorted(self.drawn)[which % len(self.drawn)]]

    def claim(self) -> bool:
        free = [seq for seq in self.waiting - self.in_hand if seq >= self.floor]
        if free:
            self.in_hand.add(min(free))
        else:
            self.floor = self.last_seq + 1
        return bool(free)

    def commit_claims(self) -> None:
        self.waiting -= self.in_hand
        self.in_hand.clear()

    def roll_back_claims(self) -> None:
        self.floor = max(self.floor, *self.in_hand, 0) + 1  # others have searched further on meanwhile
        self.in_hand.clear()

    def read_numbers(self) -> None:
        self.asked, self.safe_seq = self.bounds.open_lanes({LANE: self.floor}), self.last_seq

    def read_locks(self) -> None:
        if self.safe_seq is not None:
            locks = [read // BLOCK * BLOCK for read in (*self.announced, *self.drawn.values())]
            self.safe_seq = min([self.safe_seq, *locks])

    def look(self) -> None:
        if self.safe_seq is not None:
            found = {lane: min(seqs) for lane, bound in self.asked.items() if (seqs := [seq for seq in self.waiting if seq >= bound])}
            self.bounds.learn(self.asked, self.safe_seq, found)
            self.floor = min([self.floor, *found.values()])
            self.safe_seq = None

    def sweep(self) -> None:
        self.read_numbers()
        self.read_locks()
        self.look()


STEPS = ("announce", "draw", "claim", "commit_claims", "roll_back_claims", "sweep")
DECISIONS = ("commit", "give_up")
PARTS = ("read_numbers", "read_locks", "look")


@given(st.data())
def test_whatever_happens_in_between_each_committed_run_is_found(data: st.DataObject) -> None:
    world, part = World(), 0
    for step in data.draw(st.lists(st.sampled_from((*STEPS, *DECISIONS, "part")), max_size=60)):
        if step == "part":  # of a sweep, in their order
            getattr(world, PARTS[part % 3])()
            part += 1
        elif step == "sweep" and part % 3:
            continue  # one at a time
        elif step in DECISIONS:
            getattr(world, step)(data.draw(st.integers(0, 5)))
        else:
            getattr(world, step)()
    while part % 3:
        getattr(world, PARTS[part % 3])()
        part += 1
    while world.drawn:
        world.commit(0)
    world.announced.clear()
    world.roll_back_claims()
    for _ in range(len(world.waiting) + 1):
        world.sweep()
        while world.claim():
            world.commit_claims()
    assert world.waiting == set()
    world.sweep()
    assert world.bounds.open_lanes({LANE: world.floor}) == {}, "there is nothing to look for any more"


def test_the_bound_stays_below_a_run_that_still_waits_and_below_what_is_not_safe() -> None:
    bounds = Bounds()
    assert bounds.open_lanes({1: 50, 2: 0}) == {1: 0}
    bounds.learn([1, 2], 100, {1: 40})
    assert bounds.open_lanes({1: 101, 2: 101}) == {1: 40}
    bounds.learn([1], 20, {})
    assert bounds.open_lanes({1: 101}) == {1: 40}


def test_another_server_or_one_whose_numbers_have_gone_back_has_no_bounds() -> None:
    bounds, start = Bounds(), datetime(2026, 1, 1, tzinfo=UTC)
    for started_at, last_seq, is_other in [(start, 100, False), (start, 100, False), (start, 99, True), (start + timedelta(1), 200, True)]:
        assert bounds.note_server(started_at, last_seq) is is_other
        assert bounds.open_lanes({1: 50}) == ({1: 0} if is_other or last_seq == 100 else {})
    bounds.learn([1], 300, {})
    assert not bounds.note_server(start + timedelta(1), 300)
    assert bounds.open_lanes({1: 301}) == {}
    bounds.forget()
    assert bounds.open_lanes({1: 301}) == {1: 0}
    assert not bounds.note_server(start, 1)


def test_what_a_look_in_full_finds_below_the_bound_was_missed_and_is_looked_for_from_then_on() -> None:
    bounds = Bounds()
    bounds.learn([1, 2], 100, {2: 60})
    assert bounds.missed({1: 40, 2: 60, 3: 5}) == {1: 40}
    bounds.learn([1], 100, {1: 40})
    assert bounds.open_lanes({1: 101}) == {1: 40}


# --- the numbers that a child has seen ---


@given(st.lists(st.tuples(st.floats(0, 0.2), st.integers(0, 50)), min_size=1))
def test_a_settled_number_was_given_out_long_enough_ago_and_the_latest_such_is_not_far_behind(steps: list[tuple[float, int]]) -> None:
    numbers, now, last_seq, seen = NumberClock(), 100.0, 0, [(0.0, 0)]
    for pause, drawn in steps:
        now, last_seq = now + pause, last_seq + drawn
        settled = numbers.settled(now)
        assert settled <= max(seq for at, seq in seen if at <= now - SETTLING_SECONDS + 1e-9)
        assert settled >= max(seq for at, seq in seen if at <= now - 2 * SETTLING_SECONDS - 0.2)
        numbers.note(last_seq, now)
        seen.append((now, last_seq))


def test_numbers_that_go_back_are_another_servers() -> None:
    numbers = NumberClock()
    assert not numbers.note(40, 100.0)
    assert not numbers.note(40, 101.0)
    assert numbers.note(39, 102.0)
    assert numbers.settled(102.0) == 0
    assert numbers.settled(103.0) == 39


def test_looking_takes_a_twentieth_of_the_time_at_most() -> None:
    assert pause_after(0.0) == LEAST_PAUSE_SECONDS
    assert 3.0 / (3.0 + pause_after(3.0)) <= 1 / 20
