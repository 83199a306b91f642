"""What a child is asked while its main thread is busy with user code.

The main thread may be deep in a pipeline, asleep, or in a C call. So a second thread, the *attendant*, reads the arbiter's
messages, watches the run's deadline and shows each second that the interpreter lives. It never touches the run itself: it
sends its own process a signal, whose handler, on the main thread, raises in user code.

While nothing is in hand the attendant sleeps, and the main line shows its own turns.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from math import inf

from orbitd.pipelines.exceptions import RunCancelled, RunInterrupted, RunOverMemory, RunStopped, RunTimeout
from orbitd.pipelines.interruption import Interruption
from orbitd.rules.states import Activity, Reason
from orbitd.system import clock, log
from orbitd.system.channel import Channel, ChannelClosed, Message
from orbitd.system.slots import Header, Record
from orbitd.system.stacks import StackFile
from orbitd.units import format_duration

TICK_SECONDS = 1.0
_LATE_SECONDS = 2.0
_CHANNEL_LOST = 71
_STOP_SIGNAL = signal.SIGRTMIN + 6


@dataclass(slots=True, eq=False)
class InHand:
    """The run in hand. `deadline` is CLOCK_BOOTTIME, 0 for none; `wanted` is how it shall end.

    `is_stopped`: its time stands still. `frozen_seconds` is how much of our common frozen time its deadline has in it.
    `stack` is where all threads stood when its time was up. `leased_by`: the host without whose lease it shall not go on, 0: none.
    """

    record: Record
    run_id: int
    timeout_seconds: float
    deadline: float
    interruption: Interruption
    frozen_seconds: float
    leased_by: int = 0
    wanted: RunStopped | None = None
    is_stopped: bool = False
    has_ended: bool = False
    stack: str | None = None

    def is_overdue(self, now: float) -> bool:
        """Past its deadline, and nobody has said so yet."""
        return 0 < self.deadline <= now and self.wanted is None and not self.is_stopped

    def extend(self, seconds: float) -> None:
        """Have at least so much time from now on. Without a deadline, or told to end, it has none to move."""
        if self.deadline and self.wanted is None and not self.has_ended:
            more_seconds = max(0.0, clock.now() + seconds - self.deadline)
            self.timeout_seconds += more_seconds
            self.move_deadline(self.deadline + more_seconds)

    def move_deadline(self, deadline: float) -> None:
        """Let its time be up then, and the arbiter know."""
        self.deadline = deadline
        if not self.is_stopped:
            self.record.run_deadline = deadline

    def is_unheard(self) -> bool:
        """Whether an order has not reached user code.

        A signal between the interpreter's last look and a blocking system call stays unseen until the next one.
        """
        return self.wanted is not None and self.interruption.delivered is None


def _identity(fd: int) -> tuple[int, int]:
    status = os.fstat(fd)
    return status.st_dev, status.st_ino


def _farewell(order: Message) -> RunStopped:
    """Why the run in hand must end with this child."""
    if order["reason"] == Reason.OVER_MEMORY:
        return RunOverMemory(f"the run was stopped: {order['why']}")
    return RunInterrupted("the daemon stops")


class Orders:
    """What the arbiter wants of this child, and the run that an order is about."""

    def __init__(self, channel: Channel, header: Header, record: Record, bell: int, stack: StackFile) -> None:
        self.is_draining = False
        self.waiting: set[int] = set()  # runs of a batch that have not begun
        self.unwanted: set[int] = set()  # those of them that were cancelled
        self._channel, self._header, self._record, self._bell, self._stack = channel, header, record, bell, stack
        self._nudge = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._in_hand: InHand | None = None
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
        """Sleep until the bell rings; False when the time is up. Each turn is a sign of life."""
        self._record.tick_at = clock.now()
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

    def begin(self, run_id: int, timeout_seconds: float | None, interruption: Interruption, *, ends_with_lease: bool = False) -> InHand:
        """A run begins, and has that much time; or until the host's lease is about to lapse, if it `ends_with_lease`."""
        now = clock.now()
        deadline = now + timeout_seconds if timeout_seconds else 0.0
        self._stack.cut()
        self._record.tick_at = now
        self._record.run_deadline = deadline
        header = self._header
        leased_by = header.host_id if ends_with_lease else 0
        run = InHand(self._record, run_id, timeout_seconds or 0.0, deadline, interruption, header.frozen_seconds, leased_by)
        self._in_hand = run
        if self._farewell:
            interruption.request(self._farewell)
        if self._is_dozing or (deadline and deadline - now < TICK_SECONDS):
            os.eventfd_write(self._nudge, 1)
        return run

    def end(self) -> None:
        """The run has ended: what arrives from now on is not about it.

        If its code has closed our descriptors (`os.closerange`), their numbers are somebody else's by now, or will be: this
        process can neither hear nor safely write any more, and ends.
        """
        if not self._is_channel_ours():
            log.fault("runtime_channel_lost", run=self._in_hand.run_id if self._in_hand else None)
            os._exit(_CHANNEL_LOST)
        if self._in_hand:
            self._in_hand.has_ended = True
        self._in_hand = None
        self._record.run_deadline = 0.0

    @contextlib.contextmanager
    def clock_stopped(self) -> Iterator[None]:
        """While the run waits for the database, its time does not run: an outage is not its fault."""
        run, stopped_at = self._in_hand, clock.now()
        if run is None or not run.deadline or run.is_stopped:
            yield
            return
        run.is_stopped, self._record.run_deadline = True, 0.0
        try:
            yield
        finally:
            run.frozen_seconds = self._header.frozen_seconds  # it is a part of the time that stood still
            deadline = run.deadline + clock.now() - stopped_at
            if run.wanted is None:
                run.deadline = deadline
            run.is_stopped = False
            if run.wanted is None:
                self._record.run_deadline = deadline

    def _is_channel_ours(self) -> bool:
        try:
            return _identity(self._channel.fileno()) == self._channel_identity
        except OSError:
            return False

    def _stop(self, run: InHand, why: RunStopped) -> None:
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
        is_late = False
        while True:
            slept_at = clock.now()
            seconds = self._look_after_run(slept_at, is_late=is_late)
            poll.poll(None if seconds is None else seconds * 1000 + 1)
            is_late = seconds is not None and clock.now() > slept_at + seconds + _LATE_SECONDS
            if not self._is_channel_ours():
                return  # the run in hand has closed it, and will be told at its end
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._nudge)
            try:
                while message := self._channel.receive():
                    self._obey(message)
            except ChannelClosed:  # the arbiter is gone, or will have nothing to do with us
                os._exit(1)

    def _look_after_run(self, now: float, *, is_late: bool) -> float | None:
        """Stop a run that is overdue, knock again where nobody heard; how many seconds there are until the next look.

        None when there is nothing in hand: then the next run to begin wakes us. A run that has ended is in hand until it is
        handed in.
        """
        self._is_dozing = True  # said before we look, so that a run which begins meanwhile sees it
        run = self._in_hand
        if run is None and self._record.activity != Activity.BUSY:
            return None
        self._is_dozing = False
        self._record.tick_at = now
        if run is None:
            return TICK_SECONDS
        self._add_frozen_time(run)
        if run.is_overdue(now) and not is_late:  # if we were frozen with all others, the arbiter says so in a moment
            self._time_out(run)
        elif run.wanted is None and self._lease_end(run) <= now:
            self._stop(run, RunInterrupted("this host may lose its lease: another one may begin the run anew"))
        elif run.is_unheard():
            self._knock()
        return min(each - now for each in (now + TICK_SECONDS, run.deadline, self._lease_end(run)) if each > now)

    def _lease_end(self, run: InHand) -> float:
        """When the run must not go on any more, because nobody can say for how long it is still ours: a tenth before the lease ends."""
        if not run.leased_by:
            return inf
        return self._header.lease_until if self._header.host_id == run.leased_by else 0.0

    def _add_frozen_time(self, run: InHand) -> None:
        """The time in which the arbiter was not scheduled either is not the run's."""
        frozen_seconds = self._header.frozen_seconds
        if run.deadline and run.wanted is None and not run.is_stopped and frozen_seconds > run.frozen_seconds:
            run.move_deadline(run.deadline + frozen_seconds - run.frozen_seconds)
        run.frozen_seconds = frozen_seconds

    def _time_out(self, run: InHand) -> None:
        """Keep where all threads stand, then stop the run."""
        self._stack.dump()
        run.stack = self._stack.read()
        self._stop(run, RunTimeout(f"the run took longer than its timeout of {format_duration(round(run.timeout_seconds, 1))}"))

    def _obey(self, message: Message) -> None:
        run = self._in_hand
        match message["type"]:
            case "drain":
                self.drain()
            case "interrupt" if message["run"] is None:
                self._farewell = _farewell(message)
                self.drain()
                if begun := self._in_hand:  # looked up only now: a run that begins later sees the farewell itself
                    self._stop(begun, self._farewell)
            case "interrupt" if run and message["run"] == run.run_id:
                self._record.run_deadline = clock.now()  # whoever swallows it is killed after its grace, as after a timeout
                self._stop(run, RunCancelled("the run was cancelled"))
            case "interrupt" if message["run"] in self.waiting:
                self.unwanted.add(message["run"])
            case other:
                log.event("order_ignored", order=other, run=message.get("run"))
