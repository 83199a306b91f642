"""What a child has in hand: the runs that its last claim has brought, and the reports that wait to be told.

    claim --> waiting --next--> running --done--> to be told --hand_in--> (and the next claim, in one statement)
                 |                                     +--late--> told by themselves
                 +--handed back: as if it had never been claimed

Mostly that is one run, told at once. Of a batch the others must not suffer from the one in front, which may turn out to be long, and
runs on the main thread. So while there is a batch a second thread, the *keeper*, looks at it every few milliseconds: it tells
what is late, and hands back what would have to wait.

Who speaks to the database about the hand has the *voice* until the answer is noted. What is being told or handed back is in
nobody's list meanwhile, so the main thread goes on with the rest; it needs the voice only where there is nothing else to do.

Once the connection was lost or the lease may be over, nothing that waits is begun: a hand-back whose answer was lost, or a rescue, may
have given it to others. It is handed back, which takes nothing from them.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from typing import TypeVar

from orbitd import store
from orbitd.errors import ExitCode
from orbitd.link import Link
from orbitd.orders import Orders
from orbitd.store import Claimed, Connection, Finished, Offer, Report
from orbitd.system import clock, log, process

T = TypeVar("T")

KEEPER = "keeper"
LATE_SECONDS = 0.005
PATIENCE_SECONDS = 0.25
"""So long the run in front may take before the others are handed back."""


class Hand:
    """One child's hand. All but the keeper's part is for the main thread."""

    def __init__(self, link: Link, orders: Orders) -> None:
        self._link, self._orders = link, orders
        self._waiting: deque[Claimed] = deque()
        self._reports: list[Report] = []
        self._running_since = self._untold_since = 0.0
        self.is_batch = False
        self._is_watched = threading.Event()
        self._voice = threading.RLock()
        self._lock = threading.Lock()  # around each change of the lists; taken after the voice, and never for longer than that
        self._keeper: threading.Thread | None = None

    def claim(self) -> Claimed | None:
        """Ask for runs; the first to begin. Raises Drained."""

        def operation(connection: Connection, child_id: int) -> Offer | None:
            ask = self._link.ask()  # here: to get so far may have taken an outage
            return store.claim(connection, child_id, ask) if ask else None

        with self._voice:
            self._take(self._link.call(operation))
        return self.next()

    def next(self) -> Claimed | None:
        """The run to begin now; None when there is none left, or none may be begun."""
        if self._waiting and self._reports and clock.now() >= self._untold_since + LATE_SECONDS and self._voice.acquire(blocking=False):
            try:
                self._tell()
            finally:
                self._voice.release()
        claimed = None
        while claimed is None:
            with self._lock:
                if not self._waiting:
                    return None
                if not self._unwanted():
                    claimed = self._waiting.popleft()
            if claimed is None:
                with self._voice:
                    self._hand_back(self._unwanted, self._link.call)
        self._running_since = clock.now()
        self._orders.waiting.discard(claimed.run_id)
        self._link.begin(claimed.run_id)
        return claimed

    def done(self, claimed: Claimed, report: Report | None) -> None:
        """The run has ended; None: it is no longer ours."""
        with self._lock:
            self._running_since = 0.0
            if report is None:
                self._link.let_go([claimed.run_id])
                return
            if not self._reports:
                self._untold_since = clock.now()
            self._reports.append(report)

    def hand_in(self) -> Claimed | None:
        """Report what has ended, and claim more in the same statement unless we may not; the next run to begin."""

        def operation(connection: Connection, child_id: int) -> tuple[Finished, Offer | None]:
            ask = self._link.ask()
            if ask is None:
                return store.finish(connection, self._reports), None
            answer = store.finish_and_claim(connection, child_id, self._reports, ask)
            if not answer.lease_ok:
                self._link.forget_registration()
                return answer.finished, None  # it was refused
            return answer.finished, answer.offer

        with self._voice:
            if claimed := self.next():  # the keeper could not hand it back
                return claimed
            if not self._reports:
                return None
            finished, offer = self._link.call(operation)
            self._reports = []
            self._say(finished)
            self._take(offer)
        return self.next()

    # --- with the voice ---

    def _take(self, offer: Offer | None) -> None:
        runs = self._link.take(offer)
        self._waiting.extend(runs)
        self.is_batch = len(runs) > 1
        if self.is_batch:
            self._orders.unwanted.clear()
            self._orders.waiting = {run.run_id for run in runs}
            self._keep()

    def _tell(self) -> None:
        """Report what has ended, and no more, if the database is there."""
        with self._lock:
            reports, self._reports = self._reports, []
        finished = self._link.try_call(lambda connection, _: store.finish(connection, reports)) if reports else None
        with self._lock:
            if finished:
                self._link.let_go([report.fence.run_id for report in reports])
            else:
                self._reports[:0] = reports
        if finished:
            self._say(finished)

    def _say(self, finished: Finished) -> None:
        for run_id, why in finished.refused.items():
            log.warn("result_refused", run=run_id, error=why)
        for run_id in finished.fenced:
            log.warn("zombie_rejected", run=run_id)

    def _unwanted(self) -> Sequence[Claimed]:
        """Which of those that wait must not wait here: all, if we may not begin them, or something more urgent has come."""
        if not self._waiting:
            return ()
        if self._orders.is_draining or not self._link.may_begin or self._link.is_called_away(self._waiting[0].lane):
            return list(self._waiting)
        if self._orders.unwanted:
            return [run for run in self._waiting if run.run_id in self._orders.unwanted]
        return ()

    def _hand_back(
        self, choose: Callable[[], Sequence[Claimed]], call: Callable[[Callable[[Connection, int], list[int]]], list[int] | None]
    ) -> None:
        """Give back those that are chosen, as if they had never been claimed."""
        with self._lock:
            runs = choose()
            gone = {run.run_id for run in runs}
            self._waiting = deque(run for run in self._waiting if run.run_id not in gone)
        if not runs:
            return
        fences = [run.fence for run in runs]
        released = call(lambda connection, _: store.release(connection, fences))
        with self._lock:
            if released is None:
                self._waiting = deque(sorted([*self._waiting, *runs], key=lambda run: run.seq))
                return
            self._orders.waiting -= gone
            self._link.let_go(gone)
        log.event("runs_handed_back", runs=len(released))

    # --- the keeper ---

    def _keep(self) -> None:
        self._is_watched.set()
        if self._keeper is None:
            self._keeper = threading.Thread(target=self._look_after, name=KEEPER, daemon=True)
            self._keeper.start()

    def _look_after(self) -> None:
        try:
            while self._is_watched.wait():
                time.sleep(LATE_SECONDS)
                with self._voice:
                    self._look()
        except BaseException:  # noqa: BLE001 - whatever it is, a hand that nobody looks after must not be filled again
            log.fault("keeper_failed", error=traceback.format_exc())
            process.leave(ExitCode.FAILED)

    def _look(self) -> None:
        if self._running_seconds() >= LATE_SECONDS:  # else the main thread is about to tell them
            self._tell()
        self._hand_back(self._held_up, self._link.try_call)
        with self._lock:
            if not self._waiting and not self._reports:
                self._is_watched.clear()

    def _held_up(self) -> Sequence[Claimed]:
        return list(self._waiting) if self._running_seconds() > PATIENCE_SECONDS else self._unwanted()

    def _running_seconds(self) -> float:
        since = self._running_since
        return clock.now() - since if since else 0.0
