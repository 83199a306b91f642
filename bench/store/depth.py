"""Rates and claims in tables that hold much: a million waiting, ten million ended, a thousand lanes, ten thousand tenants."""

from __future__ import annotations

import time

from bench.report import Goal, percentile, short
from bench.store.contenders import Contender, Orbitd, Queue, Sql
from bench.store.contest import RATE, WITHIN, Contest, Figures, Line, Results, Verdict
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

    def look(contender: Contender) -> Figures:
        with contender.queue() as queue:
            shallow = pace(contest, contender, queue)["rate"]
            _deepen(contest, queue)
            deep = pace(contest, contender, queue, fills=False)["rate"]
            figures = {"shallow": shallow, "deep": deep, "ratio": deep / shallow}
            return figures | ({"claim": _claim_p99(queue)} if contender in contest.ours[:1] else {})

    seen = contest.in_turns(look)
    what = f"{short(contest.effort.backlog)} waiting"
    yield Line(f"{RATE}, shallow queue", seen.of("shallow"))
    yield Line(f"{RATE}, {what}", seen.of("deep"))
    for own in contest.ours:
        yield Verdict(
            "B6", f"{own.name}: rate with {what} by that of a shallow queue", seen.median("ratio", own.name), Goal("≥", WITHIN), "×"
        )
    yield Verdict("B6", f"claim with {what}, ms: p99", seen.median("claim", contest.ours[0].name), Goal("≤", 5))


def _deepen(contest: Contest, queue: Queue) -> None:
    queue.fill(contest.effort.backlog - queue.waiting())
    queue.connection.execute("analyze")


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


def wide(contest: Contest) -> Results:
    """The same depth, over many lanes and tenants, against a shallow queue of as many lanes. Only ours has lanes."""
    contenders = [own.in_many_lanes(_WIDE) for own in contest.ours if isinstance(own, Orbitd)]

    def look(contender: Contender) -> Figures:
        with contender.queue() as queue:
            shallow = pace(contest, contender, queue)["rate"]
            _deepen(contest, queue)
            deep = pace(contest, contender, queue, fills=False)["rate"]
            return {"deep": deep, "ratio": deep / shallow}

    seen = contest.in_turns(look, contenders)
    what = f"{short(contest.effort.backlog)} waiting in {LANES} lanes, of {short(_TENANTS)} tenants"
    yield Line(f"{RATE}, {what}", seen.of("deep"))
    for own in contenders:
        yield Verdict(
            "B6", f"{own.name}: rate with {what} by that of a shallow queue", seen.median("ratio", own.name), Goal("≥", WITHIN), "×"
        )


def outcomes(contest: Contest) -> Results:
    """A long history, made by an insert of rows that look like ours."""
    first, *_ = contest.ours
    with first.queue() as queue:

        def look(contender: Contender) -> Figures:
            return pace(contest, contender, queue)

        fresh = contest.in_turns(look, contest.ours)
        queue.connection.execute(_HISTORY.encode(), {"rows": contest.effort.outcomes})
        queue.connection.execute("analyze orbit.outcomes")
        old = contest.in_turns(look, contest.ours)
    what = f"{short(contest.effort.outcomes)} outcomes"
    yield Line(f"{RATE}, {what} of runs that have ended", old.of("rate"))
    for own in contest.ours:
        ratio = old.median("rate", own.name) / fresh.median("rate", own.name)
        yield Verdict("B6", f"{own.name}: rate with {what} by that with few", ratio, Goal("≥", WITHIN), "×")
