"""How long something takes: from asking to the start, to ask at all, and from a kill until the job runs again."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

from bench.report import Goal, percentile, short
from bench.stamps import Stamp, Stamps, listening, now
from bench.store.contenders import Contender, Pids, Producer
from bench.store.contest import HANDWRITTEN, OURS, Contest, Figures, Line, Results, Seen, Verdict
from tests.support.daemon import eventually

_PAUSE_SECONDS = (0.02, 0.06)
_FIRST_SECONDS = 30.0
_SETTLE_SECONDS = 1.0
_OURS_PATIENCE_SECONDS = 10.0


def latency(contest: Contest) -> Results:
    """From before the producer's call to the first line of the job, everybody idle, one at a time."""
    found: dict[str, list[float]] = {name: [] for name in contest.contenders}
    for _ in range(contest.effort.rounds):
        for name, contender in contest.contenders.items():
            with contest.forgiving(name):
                found[name] += _starts(contest, contender)
    for percent in (50, 95, 99):
        yield Line(f"enqueue → start, idle, ms: p{percent}", {name: [percentile(each, percent)] for name, each in found.items() if each})
    for own in contest.ours:
        for percent, most in ((50, 2), (99, 8)):
            taken = percentile(found[own.name], percent) if found[own.name] else float("nan")
            yield Verdict("B3", f"{own.name}: enqueue → start, idle, ms: p{percent}", taken, Goal("≤", most))


def _starts(contest: Contest, contender: Contender) -> list[float]:
    with contender.queue() as queue, listening() as stamps, contender.at_work(queue, 2), contender.producing(queue) as producer:
        _await_first(producer, stamps)
        return [_milliseconds(producer, stamps) for _ in range(contest.effort.starts)]


def _await_first(producer: Producer, stamps: Stamps) -> None:
    """One job through everything: all are up, and connected; then the others are given a moment too."""
    producer.start("stamp", stamps.path)
    stamps.next(_FIRST_SECONDS)
    time.sleep(_SETTLE_SECONDS)


def _milliseconds(producer: Producer, stamps: Stamps) -> float:
    time.sleep(random.uniform(*_PAUSE_SECONDS))  # the workers go to sleep again
    at = producer.start("stamp", stamps.path)
    return (stamps.next().at - at) * 1000


def enqueue(contest: Contest) -> Results:
    """One transaction each, and many at once, by each contender's own means, with nobody at work."""

    def look(contender: Contender) -> Figures:
        with contender.queue() as queue, contender.producing(queue) as producer:
            producer.singly(_WARM)
            singly = contest.effort.singly / producer.singly(contest.effort.singly)
            producer.at_once(_WARM)
            return {"singly": singly, "at once": contest.effort.at_once / producer.at_once(contest.effort.at_once)}

    seen = contest.in_turns(look, rounds=contest.effort.rounds)
    yield Line("enqueue, one commit each: jobs/s", seen.of("singly"))
    yield Line(f"enqueue, {short(contest.effort.at_once)} at once: jobs/s", seen.of("at once"))
    ratio = seen.median("singly", OURS[0]) / seen.median("singly", HANDWRITTEN)
    yield Verdict("B4", "enqueue, one commit each: by the raw insert's rate (hand-written)", ratio, Goal("≥", 0.85), "×")
    yield Verdict("B4", "enqueue, many at once: jobs/s", seen.median("at once", OURS[0]), Goal("≥", 80_000))


_WARM = 20


# -------------------------------------------------------------------------------------------------------------------- kills


def kills(contest: Contest) -> Results:
    """How a job fares whose process is killed: SIGKILL that has a job in hand, until it begins again; once by default, once tuned."""
    seen = Seen()
    for tuned in (False, True):
        for name, seconds in _one_kill_each(contest, tuned=tuned).items():
            seen.add(name, {"tuned" if tuned else "default": seconds})
    patience = contest.effort.patience_seconds
    yield Line(f"kill -9 → runs again, s, by default (∞: not within {patience:g} s)", seen.of("default"))
    yield Line("kill -9 → runs again, s, tuned", seen.of("tuned"))
    own = contest.ours[0]
    with contest.forgiving(own.name):
        taken = _many_kills(contest, own)
        yield Line("kill -9 → runs again, ms: p50 of many", {own.name: [percentile(taken, 50)]})
        yield Verdict("B8", "kill -9 → runs again, ms: p99", percentile(taken, 99), Goal("≤", 100))


def _one_kill_each(contest: Contest, *, tuned: bool) -> dict[str, float]:
    waits: dict[str, tuple[float, Future[Stamp]]] = {}
    with ExitStack() as stack, ThreadPoolExecutor(len(contest.contenders)) as pool:
        for name, contender in contest.contenders.items():
            with contest.forgiving(name):
                queue, stamps = stack.enter_context(contender.queue()), stack.enter_context(listening())
                pids = stack.enter_context(contender.at_work(queue, 2, tuned=tuned))
                producer = stack.enter_context(contender.producing(queue))
                _await_first(producer, stamps)
                at = _kill_one(producer, stamps, pids)
                waits[name] = at, pool.submit(stamps.next, contest.effort.patience_seconds)
        return {name: _seconds_until(at, again) for name, (at, again) in waits.items()}


def _kill_one(producer: Producer, stamps: Stamps, pids: Pids) -> float:
    producer.start("hold", stamps.path)
    return _kill(stamps.next().pid, pids)


def _kill(holder: int, pids: Pids) -> float:
    """When it was done. Only a process of the contender's is killed."""
    if holder not in pids():
        raise RuntimeError(f"process {holder} is none of the contender's")
    at = now()
    os.kill(holder, signal.SIGKILL)
    return at


def _seconds_until(at: float, again: Future[Stamp]) -> float:
    try:
        return again.result().at - at
    except TimeoutError:
        return float("inf")


def _many_kills(contest: Contest, contender: Contender) -> list[float]:
    """The same run, killed again and again; another child is idle each time."""
    taken = []
    with contender.queue() as queue, listening() as stamps, contender.at_work(queue, 2, tuned=True) as pids:
        everybody = len(pids())
        with contender.producing(queue) as producer:
            at = _kill_one(producer, stamps, pids)
        for _ in range(contest.effort.kills):
            again = stamps.next(_OURS_PATIENCE_SECONDS)
            taken.append((again.at - at) * 1000)
            eventually(pids, _complete(everybody))
            time.sleep(_SETTLE_SECONDS / 4)
            at = _kill(again.pid, pids)
    return taken


def _complete(count: int) -> Callable[[Sequence[int]], bool]:
    return lambda pids: len(pids) == count
