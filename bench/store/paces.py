"""Rates of no-ops and of short sleeps: with two workers, and with more."""

from __future__ import annotations

from collections.abc import Callable

from bench.handwritten import NAP_SECONDS
from bench.report import Goal
from bench.store.contenders import Contender
from bench.store.contest import GRAPHILE, ORBITD, PYTHON_PEERS, RATE, Contest, Figures, Line, Results, Verdict
from bench.store.pace import pace

THROUGHPUT = f"{RATE}, 2 worker processes"


def throughput(contest: Contest) -> Results:
    """No-ops, two worker processes."""
    with contest.queues() as queues:
        seen = contest.in_turns(lambda each: pace(contest, each, queues[each.name]), rounds=contest.effort.rounds)
    yield Line(THROUGHPUT, seen.of("rate"))
    yield Line("CPU µs a run: Postgres", seen.of("server"))
    yield Line("CPU µs a run: workers, and all else of orbitd", seen.of("workers"))
    yield Line("CPU µs a run: together", seen.of("cpu"))
    own = seen.median("rate", contest.best)
    yield Verdict("B1", f"{contest.best}: runs/s by graphile-worker's", own / seen.median("rate", GRAPHILE), Goal("≥", 1), "×")
    for peer in PYTHON_PEERS:
        yield Verdict("B1", f"{contest.best}: runs/s by {peer}'s", own / seen.median("rate", peer), Goal("≥", 2), "×")
    yield Verdict("B1", f"{contest.best}: CPU µs a run, Postgres + children", seen.median("cpu", contest.best), Goal("≤", 28))


def naps(contest: Contest) -> Results:
    """Runs of ten milliseconds, sixteen processes. The peers that sleep in coroutines have none to compare."""

    def look(contender: Contender) -> Figures:
        with contender.queue() as queue:
            return pace(contest, contender, queue, count=most, task="nap")

    most = contest.effort.children[-1]
    ideal = most / NAP_SECONDS
    seen = contest.in_turns(look, contest.with_processes())
    what = f"runs of {NAP_SECONDS * 1000:g} ms, {most} processes"
    yield Line(f"{what}: runs/s", seen.of("rate"))
    yield Line(f"{what}: CPU µs a run, together", seen.of("cpu"))
    yield Verdict("B2", f"{what}: rate by the ideal {ideal:g}", seen.median("rate", ORBITD) / ideal, Goal("≥", 0.95), "×")
    yield Verdict("B2", f"{what}: CPU ms a run, in all", seen.median("cpu", ORBITD) / 1000, Goal("≤", 1))


def children(contest: Contest) -> Results:
    """No-ops with one process and with ever more: on few cores the rate must go flat, and not fall."""
    rates: dict[str, list[float]] = {each.name: [] for each in contest.with_processes()}
    for count in contest.effort.children:
        seen = contest.in_turns(_with_children(contest, count), contest.with_processes())
        yield Line(f"{RATE}, {count} {'process' if count == 1 else 'processes'}", seen.of("rate"))
        for name, found in rates.items():
            found.append(seen.median("rate", name))
    for own in contest.ours:
        most = f"{own.name}: rate of {contest.effort.children[-1]} children by the best of fewer"
        yield Verdict("B14", most, rates[own.name][-1] / max(rates[own.name][:-1]), Goal("≥", 0.9), "×")


def _with_children(contest: Contest, count: int) -> Callable[[Contender], Figures]:
    def look(contender: Contender) -> Figures:
        with contender.queue() as queue:
            return pace(contest, contender, queue, count=count)

    return look
