"""What a child has in hand, and what its run says, over a link that may fail."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orbitd import hand, store
from orbitd.hand import Hand
from orbitd.ledger import Courier
from orbitd.store import Claimed, Fence, Finished, Offer, Report

RUNS = [Claimed(1, seq, seq, 7, "p", None, "{}", 1, 0, 0) for seq in (1, 2, 3)]


class FakeLink:
    """Offers the runs once. While it `is_cut` what can wait is not done, and nothing may be begun."""

    def __init__(self) -> None:
        self.is_cut = False
        self.held: set[int] = set()
        self._offers: list[Offer] = [Offer(3, RUNS)]

    @property
    def may_begin(self) -> bool:
        return not self.is_cut

    def ask(self) -> None:
        pass

    def call(self, operation: Callable[[Any, int], Any]) -> Any:
        return operation(None, 1)

    def try_call(self, operation: Callable[[Any, int], Any]) -> Any:
        return None if self.is_cut else operation(None, 1)

    def take(self, _: Offer | None) -> Sequence[Claimed]:
        runs = self._offers.pop().runs if self._offers else ()
        self.held = {run.run_id for run in runs}
        return runs

    def begin(self, run_id: int) -> None:
        assert run_id in self.held

    def let_go(self, run_ids: Collection[int]) -> None:
        self.held -= set(run_ids)

    def is_called_away(self, _lane: int) -> bool:
        return False


@pytest.fixture
def link() -> FakeLink:
    return FakeLink()


@pytest.fixture
def orders() -> SimpleNamespace:
    return SimpleNamespace(is_draining=False, waiting=set(), unwanted=set())


@pytest.fixture
def released(monkeypatch: pytest.MonkeyPatch) -> list[Fence]:
    """What is handed back. The database answers that all of it was somebody else's already."""
    asked: list[Fence] = []

    def release(_: None, fences: Sequence[Fence]) -> list[int]:
        asked.extend(fences)
        return []

    monkeypatch.setattr(store, "release", release)
    return asked


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What is reported, of runs and of their progress."""
    told: list[object] = []

    def finish(_: None, reports: Sequence[Report]) -> Finished:
        told.extend(report.fence for report in reports)
        return Finished((), {})

    def record_progress(_: None, _fence: Fence, fraction: float | None, note: str | None) -> bool:
        told.append((fraction, note))
        return True

    monkeypatch.setattr(store, "finish", finish)
    monkeypatch.setattr(store, "record_progress", record_progress)
    return told


@pytest.fixture
def batch(link: FakeLink, orders: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> Hand:
    """One without a keeper: nothing happens meanwhile."""
    monkeypatch.setattr(Hand, "_keep", lambda _: None)
    return Hand(cast("Any", link), cast("Any", orders))


def test_what_waits_in_a_hand_that_may_no_longer_be_ours_is_handed_back_and_not_begun(
    batch: Hand, link: FakeLink, released: list[Fence]
) -> None:
    assert batch.claim() == RUNS[0]
    link.is_cut = True
    batch.done(RUNS[0], Report.succeeded(RUNS[0].fence, "null", None))
    assert batch.next() is None
    assert released == [run.fence for run in RUNS[1:]]
    assert link.held == {RUNS[0].run_id}


def test_the_next_run_does_not_wait_for_the_keeper_to_be_answered(batch: Hand, told: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hand, "LATE_SECONDS", 0.0)
    assert batch.claim() == RUNS[0]
    batch.done(RUNS[0], Report.succeeded(RUNS[0].fence, "null", None))
    taken, answered = threading.Event(), threading.Event()

    def speak() -> None:
        with batch._voice:
            taken.set()
            answered.wait(20)

    keeper = threading.Thread(target=speak)
    keeper.start()
    taken.wait()
    assert batch.next() == RUNS[1]
    assert told == []
    answered.set()
    keeper.join()
    assert batch.next() == RUNS[2]
    assert told == [RUNS[0].fence]


def test_a_cancellation_that_comes_while_a_batch_is_taken_is_not_forgotten(
    batch: Hand, orders: SimpleNamespace, released: list[Fence]
) -> None:
    class Orders(SimpleNamespace):
        """Hears of the second run as soon as it may."""

        def __setattr__(self, name: str, value: Any) -> None:
            super().__setattr__(name, value)
            if name == "waiting" and RUNS[1].run_id in value:
                self.unwanted.add(RUNS[1].run_id)

    batch._orders = cast("Any", Orders(**vars(orders)))
    assert batch.claim() == RUNS[0]
    assert batch.next() == RUNS[2]
    assert released == [RUNS[1].fence]


def test_progress_that_could_not_be_told_is_told_later(link: FakeLink, told: list[object]) -> None:
    courier = Courier(cast("Any", link), RUNS[0].fence, 1000)
    link.is_cut = True
    courier.report_progress(0.5, "half")
    courier.deliver()
    link.is_cut = False
    courier.finish()
    assert told == [(0.5, "half")]
