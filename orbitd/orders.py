"""What a child is asked while its main thread is busy with user code.

The main thread may be deep in a pipeline, asleep, or in a C call. So a second thread, the *attendant*, reads the arbiter's
messages and watches the run's deadline. It never touches the run itself: it sends its own process a signal, whose handler,
on the main thread, raises in user code.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from orbitd.pipelines.exceptions import RunCancelled, RunInterrupted, RunOverMemory, RunStopped, RunTimeout
from orbitd.pipelines.interruption import Interruption
from orbitd.rules.states import Reason
from orbitd.system import clock, log
from orbitd.system.channel import Channel, ChannelClosed, Message
from orbitd.system.slots import Record
from orbitd.units import format_duration

TICK_SECONDS = 1.0
_CHANNEL_LOST = 71
_STOP_SIGNAL = signal.SIGRTMIN + 6


@dataclass(slots=True, eq=False)
class _InHand:
    """The run in hand. `deadline` is CLOCK_BOOTTIME, 0 for none; `wanted` is how it shall end."""

    run_id: int
    deadline: float
    interruption: Interruption
    timeout_seconds: float
    wanted: RunStopped | None = None

    def is_overdue(self, now: float) -> bool:
        """Past its deadline, and nobody has said so yet."""
        return 0 < self.deadline <= now and self.wanted is None

    def is_unheard(self) -> bool:
        """Whether an order has not reached user code.

        A signal between the interpreter's last look and a blocking system call stays unseen until the next one.
        """
        return self.wanted is not None and self.interruption.delivered is None


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _farewell(reason: str) -> RunStopped:
    """Why the run in hand must end with this child."""
    if reason == Reason.OVER_MEMORY:
        return RunOverMemory(
            "the run was stopped: its child needed far more memory than children.max_rss or children.max_own_memory allows"
        )
    return RunInterrupted("the daemon stops")


class Orders:
    """What the arbiter wants of this child, and the run that an order is about."""

    def __init__(self, channel: Channel, record: Record, bell: int) -> None:
        self.is_draining = False
        self._channel, self._record, self._bell = channel, record, bell
        self._nudge = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._in_hand: _InHand | None = None
        self._farewell: RunStopped | None = None
        self._is_dozing = False
        self._channel_identity = _identity(channel.fileno())

    def attend(self) -> None:
        """Take orders from now on. On the main thread, with signals still blocked or not."""
        signal.signal(signal.SIGTERM, lambda *_: self.drain())
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(_STOP_SIGNAL, self._on_stop_signal)
        threading.Thread(target=self._attend, name="attendant", daemon=True).start()

    def drain(self) -> None:
        """Claim nothing more."""
        self.is_draining = True
        os.eventfd_write(self._bell, 1)

    def wait(self, seconds: float) -> bool:
        """Sleep until the bell rings; False when the time is up."""
        poll = select.poll()
        poll.register(self._bell, select.POLLIN)
        if not poll.poll(seconds * 1000):
            return False
        self.hush()
        return True

    def hush(self) -> None:
        """Take note of a bell that has rung."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._bell)

    def begin(self, run_id: int, deadline: float, interruption: Interruption) -> None:
        """A run begins. `deadline` is CLOCK_BOOTTIME, 0 for none."""
        self._record.run_deadline = deadline
        self._in_hand = _InHand(run_id, deadline, interruption, max(0.0, deadline - clock.now()))
        if self._farewell:
            interruption.request(self._farewell)
        if self._is_dozing or (deadline and deadline - clock.now() < TICK_SECONDS):
            os.eventfd_write(self._nudge, 1)

    def end(self) -> None:
        """The run has ended: what arrives from now on is not about it.

        If its code has closed our descriptors (`os.closerange`), their numbers are somebody else's by now, or will be: this
        process can neither hear nor safely write any more, and ends.
        """
        if not self._is_channel_ours():
            log.fault("runtime_channel_lost", run=self._in_hand.run_id if self._in_hand else None)
            os._exit(_CHANNEL_LOST)
        self._in_hand = None
        self._record.run_deadline = 0.0

    @contextlib.contextmanager
    def clock_stopped(self) -> Iterator[None]:
        """While the run waits for the database, its time does not run: an outage is not its fault."""
        run, stopped_at = self._in_hand, clock.now()
        deadline = run.deadline if run else 0.0
        if run is None or not deadline:
            yield
            return
        self._record.run_deadline = run.deadline = 0.0
        try:
            yield
        finally:
            if run.wanted is None:
                self._record.run_deadline = run.deadline = deadline + clock.now() - stopped_at

    def _is_channel_ours(self) -> bool:
        try:
            return _identity(self._channel.fileno()) == self._channel_identity
        except OSError:
            return False

    def _stop(self, run: _InHand, why: RunStopped) -> None:
        """Have the exception raised in user code, on the main thread. What was wanted first counts."""
        run.wanted = run.wanted or why
        self._knock()

    def _knock(self) -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, _STOP_SIGNAL)

    def _on_stop_signal(self, _number: int, _frame: object) -> None:
        """On the main thread, where it is certain which run is in hand: another one may have begun since the order came."""
        if (run := self._in_hand) and run.wanted:
            run.interruption.request(run.wanted)

    def _attend(self) -> None:
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(self._nudge, select.POLLIN)
        while True:
            seconds = self._look_after_run(clock.now())
            poll.poll(None if seconds is None else seconds * 1000 + 1)
            if not self._is_channel_ours():
                return  # the run in hand has closed it, and will be told at its end
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._nudge)
            try:
                while message := self._channel.receive():
                    self._obey(message)
            except ChannelClosed:  # the arbiter is gone, or will have nothing to do with us
                os._exit(1)

    def _look_after_run(self, now: float) -> float | None:
        """Stop a run that is overdue, knock again where nobody heard; how many seconds there are until the next look.

        None when there is no run: then the next one to begin wakes us.
        """
        self._is_dozing = True  # said before we look, so that a run which begins meanwhile sees it
        if (run := self._in_hand) is None:
            return None
        self._is_dozing = False
        if run.is_overdue(now):
            self._stop(run, RunTimeout(f"the run took longer than its timeout of {format_duration(round(run.timeout_seconds, 1))}"))
        elif run.is_unheard():
            self._knock()
        return min(TICK_SECONDS, run.deadline - now) if run.deadline > now else TICK_SECONDS

    def _obey(self, message: Message) -> None:
        run = self._in_hand
        match message["type"]:
            case "drain":
                self.drain()
            case "interrupt" if message["run"] is None:
                self._farewell = _farewell(message["reason"])
                self.drain()
                if begun := self._in_hand:  # looked up only now: a run that begins later sees the farewell itself
                    self._stop(begun, self._farewell)
            case "interrupt" if run and message["run"] == run.run_id:
                self._record.run_deadline = clock.now()  # whoever swallows it is killed after its grace, as after a timeout
                self._stop(run, RunCancelled("the run was cancelled"))
            case other:
                log.event("order_ignored", order=other, run=message.get("run"))
