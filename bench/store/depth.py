"""Rates and claims in tables that hold much: a million waiting, ten million ended, a thousand lanes, ten thousand tenants."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from bench.report import Goal, percentile, short
from bench.store.contenders import Contender, Orbitd, Queue, Sql
from bench.store.contest import RATE, WITHIN, Contest, Line, Results, Seen, Verdict
from bench.store.many_pipelines import LANES
from bench.store.pace import pace
from orbitd import store

_TENANTS = 10_000
_CLAIMS = 300

# The ids of one day, beyond those that its counter will reach.
_HISTORY = """
insert into orbit.outcomes (run_id, token, started_at, child, attempt, reported, outcome)
select (orbit.next_run_id() >> 39 << 39) + (1::bigint << 38) + each, each, clock_timestamp(), 1, 1, true, 'succeeded'
  from generate_series(1::bigint, %(rows)s) as each
"""

_WIDE = Sql(
    fill=f"""select orbit.enqueue_many(jsonb_agg(jsonb_build_object(
                        'pipeline', %(task)s || each %% {LANES}, 'tenant', 't' || (random() * {_TENANTS})::int, 'args', %(args)s::jsonb)))
               from generate_series(1, %(jobs)s) as each""",
    waiting=Orbitd.sql.waiting,
    unfinished=Orbitd.sql.unfinished,
)


def backlog(contest: Contest) -> Results:
    """A deep queue against a shallow one, which has as much as a look needs."""
    claims: list[float] = []

    def deepen(queue: Queue) -> None:
        _deepen(contest, queue)
        if contest.ours and not claims:  # ours are the first
            claims.append(_claim_p99(queue))

    what = f"{short(contest.effort.backlog)} waiting"
    seen = _against_plain(contest, contest.contenders.values(), deepen)
    yield Line(f"{RATE}, shallow queue", seen.of("plain"))
    yield from _results(contest.ours, seen, what, "that of a shallow queue")
    yield from (Verdict("B6", f"claim with {what}, ms: p99", each, Goal("≤", 5)) for each in claims)


def wide(contest: Contest) -> Results:
    """The same depth over many lanes and tenants, against a shallow queue of as many lanes. Only ours has lanes."""
    many = [own.in_many_lanes(_WIDE) for own in contest.ours if isinstance(own, Orbitd) and own.name == contest.best]
    seen = _against_plain(contest, many, lambda queue: _deepen(contest, queue))
    what = f"{short(contest.effort.backlog)} waiting in {LANES} lanes, of {short(_TENANTS)} tenants"
    yield from _results(many, seen, what, "that of a shallow queue")


def outcomes(contest: Contest) -> Results:
    """A long history, made by an insert of rows that look like ours."""

    def insert(queue: Queue) -> None:
        queue.connection.execute(_HISTORY.encode(), {"rows": contest.effort.outcomes})
        queue.analyze()

    best = [own for own in contest.ours if own.name == contest.best]
    seen = _against_plain(contest, best, insert)
    yield from _results(best, seen, f"{short(contest.effort.outcomes)} outcomes of runs that have ended", "that with few")


def _against_plain(contest: Contest, contenders: Iterable[Contender], burden: Callable[[Queue], None]) -> Seen:
    """Looks at a plain queue and at one with a burden, in turns."""
    seen = Seen()
    for contender in contenders:
        with contest.forgiving(contender.name), contender.queue() as plain, contender.queue() as laden:
            burden(laden)
            for _ in range(contest.effort.pairs):
                for name, queue in (("plain", plain), ("laden", laden)):
                    seen.add(contender.name, {name: pace(contest, contender, queue)["rate"]})
    return seen


def _results(ours: Iterable[Contender], seen: Seen, what: str, plain: str) -> Results:
    yield Line(f"{RATE}, {what}", seen.of("laden"))
    for own in ours:
        ratio = seen.median("laden", own.name) / seen.median("plain", own.name)
        yield Verdict("B6", f"{own.name}: rate with {what}, by {plain}", ratio, Goal("≥", WITHIN), "×")


def _deepen(contest: Contest, queue: Queue) -> None:
    queue.fill(contest.effort.backlog - queue.waiting())
    queue.analyze()


def _claim_p99(queue: Queue) -> float:
    """Milliseconds of a claim by itself: its commit is not waited for."""
    connection = queue.connection
    connection.execute("set synchronous_commit = off")
    host = store.register(connection, boot_id="bench", name="bench", pid=1, version="bench", lease_seconds=600)
    child = store.start_child(connection, host_id=host, slot=0, nonce="bench", pid=1)
    lanes = [lane.id for lane in store.lanes_of(connection, ["noop"])]
    taken = []
    for _ in range(_CLAIMS):
        ask = store.Ask.of(lanes)
        started = time.perf_counter()
        store.claim(connection, child, ask)
        taken.append((time.perf_counter() - started) * 1000)
    return percentile(taken, 99)
