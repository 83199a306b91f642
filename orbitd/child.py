"""A child: claim a run, execute it, report how it ended, and again. Its main thread runs the author's code.

    wait for a run --claim--> hold --begin--> user code --ended--> report and claim the next, in one statement
         ^                                                              |
         +------------------------ nothing to do -----------------------+

The shared page says at every moment what the child holds and what it has asked for, so that whoever outlives it can take its
runs back. Draining, it finishes what it holds, claims nothing more and exits with 0.
"""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
import threading
import traceback
from typing import Any, NoReturn
from weakref import WeakSet

from setproctitle import setproctitle

from orbitd import preload
from orbitd.config import Settings
from orbitd.errors import ExitCode
from orbitd.hand import KEEPER, Hand
from orbitd.ledger import COURIER, Courier, RunLedger
from orbitd.link import Drained, Link, Post
from orbitd.orders import Orders
from orbitd.pipelines.context import Attempt
from orbitd.pipelines.definition import Pipeline
from orbitd.pipelines.execution import Ended, EndKind, context_for, execute
from orbitd.pipelines.interruption import Interruption
from orbitd.pipelines.registry import Registry
from orbitd.pipelines.runlog import hearing
from orbitd.rules import retry
from orbitd.rules.ids import short_id
from orbitd.rules.states import Activity
from orbitd.store import Claimed, Failure, Outcome, Report
from orbitd.system import clock, log, process
from orbitd.system.channel import Channel, ChannelClosed
from orbitd.system.stacks import DUMP_SIGNAL

_IGNORED = frozenset({signal.SIGPIPE, signal.SIGXFSZ})  # as in every Python: a log that nobody reads is an error of the write, no death
_OUR_THREADS = frozenset({COURIER, KEEPER})
_COUNTED = (Outcome.SUCCEEDED, Outcome.FAILED, Outcome.RETRIED)


def main(channel_fd: int) -> NoReturn:
    """A child that the arbiter has exec'd: import the pipelines, then live like one that a mold has forked."""
    signal.signal(DUMP_SIGNAL, signal.SIG_IGN)  # who asks for our stacks before we can answer must not kill us
    channel = Channel.inherited(channel_fd)
    configuration = channel.receive(wait=True) or {}
    setproctitle(f"orbitd: child {configuration['slot']} g{configuration['generation']} importing")
    settings, slots = preload.begin("child", configuration)
    log.always(slot=configuration["slot"])
    try:
        preload.confine(settings, configuration["arbiter_pid"])
        pipelines = preload.load(settings)
    except BaseException as error:  # noqa: BLE001 - whatever the user's import raises is told
        log.fault("import_failed", **preload.failure(error))
        process.leave(ExitCode.FAILED)
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    post = Post(
        slot=configuration["slot"],
        generation=configuration["generation"],
        nonce=configuration["nonce"],
        max_runs=configuration["max_runs"],
        arbiter_pid=configuration["arbiter_pid"],
        channel=channel,
        slots=slots,
    )
    live(post, settings, pipelines)


def live(post: Post, settings: Settings, pipelines: Registry) -> NoReturn:
    """The whole life of a child's process, with all signals blocked; it ends here."""
    try:
        os._exit(run_child(post, settings, pipelines))
    except ChannelClosed:  # the arbiter is gone, or has no use for us any more
        os._exit(ExitCode.FAILED)
    except BaseException:  # noqa: BLE001 - the last line of a process: say what happened, and end
        sys.stderr.write(traceback.format_exc())
        os._exit(ExitCode.FAILED)


def run_child(post: Post, settings: Settings, pipelines: Registry) -> int:
    """Live as a child: in the process that the mold has just forked, or that the arbiter has exec'd, with all signals blocked."""
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN if number in _IGNORED else signal.SIG_DFL)
    post.slots.keep_only(post.slot)
    if os.getsid(0) != os.getpid():  # one that was exec'd leads its session already
        os.setsid()
    process.become_subreaper()
    if not process.wait_for_parent(post.arbiter_pid):
        return ExitCode.FAILED
    process.die_with_parent(post.arbiter_pid)
    post.record.pid, post.record.generation = os.getpid(), post.generation
    os.environ[process.CHILD_MARK] = post.nonce
    post.slots.stack(post.slot).arm()
    gc.enable()
    log.always(role="child", slot=post.slot, pid=os.getpid())
    orders = Orders(post.channel, post.header, post.record, post.slots.bells[post.slot], post.slots.stack(post.slot))
    orders.attend()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
    return Child(post, settings, pipelines, orders).work()


class Child:
    """One child's working life."""

    def __init__(self, post: Post, settings: Settings, pipelines: Registry, orders: Orders) -> None:
        self._post, self._settings, self._pipelines, self._orders = post, settings, pipelines, orders
        batches = {name: pipeline.batch or settings.poll.batch for name, pipeline in pipelines.served.items()}
        self._link = Link(post, settings, orders, batches)
        self._hand = Hand(self._link, orders)
        self._first_threads, self._told_threads = WeakSet(threading.enumerate()), WeakSet[threading.Thread]()
        self._thread_count = threading.active_count()
        self._shown = ""

    def work(self) -> int:
        """Work until drained."""
        self._title("starting")
        self._post.channel.send({"type": "hello", "pid": os.getpid()})
        self._post.record.set_activity(Activity.WAITING, clock.now())
        self._post.channel.send({"type": "booted"})
        try:
            self._link.connect()
            self._post.record.set_activity(Activity.IDLE, clock.now())
            self._post.channel.send({"type": "ready"})
            claimed = self._wait_for_run()
            while claimed:
                self._hand.done(claimed, self._attempt(claimed))
                claimed = self._hand.next() or self._hand.hand_in() or self._wait_for_run()
        except Drained:
            pass
        return ExitCode.OK

    # --- claiming ---

    def _wait_for_run(self) -> Claimed | None:
        """The next run; None when drained.

        The order matters: say that we are idle, *then* look once more, *then* sleep. A run that arrives after the look finds
        us idle and rings.
        """
        has_said_idle = False
        while not self._orders.is_draining:
            self._orders.hush()
            if claimed := self._hand.claim():
                return claimed
            if has_said_idle and self._post.record.read_activity() is Activity.IDLE:
                self._sleep()
            else:
                self._say_idle()
                has_said_idle = True
        return None

    def _say_idle(self) -> None:
        record = self._post.record
        record.run_id, record.pipeline = 0, ""
        record.set_activity(Activity.IDLE, clock.now())
        self._post.slots.tell_idle()
        self._title("idle")

    def _sleep(self) -> None:
        """Until the bell rings. The janitor looks for work for all of us; only if it falls silent do we look ourselves.

        The arbiter is woken first if somebody waits for us to have nothing in hand: after each look, also one that found nothing.
        """
        if self._post.header.is_awaited:
            self._post.channel.send({"type": "idle"})
        while not self._orders.wait(self._settings.poll.interval):
            if not self._link.has_fresh_beat or self._orders.is_draining:
                return

    # --- one attempt ---

    def _attempt(self, claimed: Claimed) -> Report | None:
        """Execute the run; None when it is no longer ours."""
        pipeline = self._pipelines.served[claimed.pipeline]
        record, fence, interruption = self._post.record, claimed.fence, Interruption()
        if record.runs + 1 == self._post.max_runs:
            self._post.channel.send({"type": "worn"})
        courier = Courier(self._link, fence, self._settings.runs.max_log)
        started = clock.now()
        timeout_seconds = self._settings.runs.timeout if pipeline.timeout_seconds is None else pipeline.timeout_seconds
        ends_with_lease = pipeline.on_lease_lost == "interrupt"
        run = self._orders.begin(fence.run_id, timeout_seconds, interruption, ends_with_lease=ends_with_lease)
        attempt = Attempt(fence.run_id, claimed.attempt, claimed.tenant, self._settings.runs.max_result)
        about: dict[str, Any] = {"run": fence.run_id, "pipeline": pipeline.name, "attempt": claimed.attempt}
        ledger = RunLedger(self._link, fence, courier, run, about, keeps_log=self._settings.logging.per_run)
        context = context_for(pipeline, attempt, ledger, interruption)
        self._title(pipeline.name if self._hand.is_batch else f"{pipeline.name} {short_id(fence.run_id)}")
        record.pipeline, record.run_id = pipeline.name, fence.run_id  # after its deadline: whoever sees the run can rely on that
        record.set_activity(Activity.BUSY, started)
        with hearing(context.log):
            ended = execute(pipeline, claimed.args, context)
        self._orders.end()
        courier.finish()
        log.tell_unsaid(**about)
        self._warn_of_leftovers(fence.run_id, pipeline.name)
        ended_at = clock.now()
        seconds = ended_at - started
        log.event("run_ended", **about, outcome=ended.kind, seconds=round(seconds, 3), error=ended.error or None)
        self._link.note_run(claimed.lane, seconds)
        shown_seconds = seconds if self._hand.is_batch else None
        report = report_of(ended, claimed, pipeline, self._settings, seconds=shown_seconds, stack=run.stack)
        record.runs += 1
        if report and report.outcome in _COUNTED:
            record.count(ended_at, seconds, has_failed=report.outcome is not Outcome.SUCCEEDED)
        return report

    def _warn_of_leftovers(self, run_id: int, pipeline: str) -> None:
        """A thread that a run has left behind goes on beside the next one: say so once, of the run that did it."""
        if threading.active_count() == self._thread_count:  # a look at each would cost every run
            return
        threads = threading.enumerate()
        theirs = [thread for thread in threads if thread.name not in _OUR_THREADS and thread not in self._first_threads]
        self._thread_count = 0 if theirs else len(threads)  # while one of them lives, another may take its place
        if left := [thread for thread in theirs if thread not in self._told_threads]:
            self._told_threads.update(left)
            log.warn("threads_left", run=run_id, pipeline=pipeline, threads=",".join(thread.name for thread in left))

    def _title(self, what: str) -> None:
        """Say what we do, to those who list processes; nothing is written when it is the same as before."""
        if what != self._shown:
            self._shown = what
            setproctitle(f"orbitd: child {self._post.slot} g{self._post.generation} {what}")


def report_of(  # noqa: PLR0911 - one way out for each way to end
    ended: Ended,
    claimed: Claimed,
    pipeline: Pipeline[..., object],
    settings: Settings,
    *,
    seconds: float | None = None,
    stack: str | None = None,
) -> Report | None:
    """What the store is told of an attempt; None when there is nothing to tell.

    `seconds`: how long it took, if it waited for its turn after the claim; `stack`: where it stood when its time was up.
    """
    fence = claimed.fence
    if ended.kind is EndKind.SUCCEEDED:
        return Report.succeeded(fence, ended.result_text or "null", seconds)
    cause = EndKind.ERROR if ended.kind is EndKind.RETRY else ended.kind
    failure = Failure(cause=cause.value, error=ended.error, traceback=ended.traceback, stack=stack)
    match ended.kind:
        case EndKind.FENCED:
            return None
        case EndKind.SNOOZE:
            return Report.snoozed(fence, ended.delay_seconds or 0.0)
        case EndKind.CANCELLED:
            return Report.cancelled(fence, failure)
        case EndKind.INTERRUPTED:
            return Report.interrupted(fence, failure)
        case EndKind.PERMANENT | EndKind.BAD_ARGS:
            return Report.failed(fence, failure)
    errors = claimed.errors + 1
    if not retry.attempts_left(errors, pipeline.max_attempts or settings.runs.max_attempts):
        return Report.failed(fence, failure)
    if ended.delay_seconds is not None:
        return Report.retry(fence, ended.delay_seconds, failure)
    backoff = settings.runs.backoff if pipeline.backoff is None else pipeline.backoff
    return Report.retry(fence, retry.delay_seconds(backoff, errors, random.random()), failure)
