"""Measure supervision: `python -m bench.supervision [--only NAME]... [--quick]` prints a Markdown table for docs/benchmarks.md."""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from bench import report
from bench.report import Goal, percentile
from bench.rig import Rig, rigged
from bench.supervision import measures
from bench.supervision.fleets import Contender, Gunicorn, Orbitd, Pm2
from bench.supervision.measures import Figures
from bench.supervision.table import LEGEND, Line, table
from bench.supervision.work import IMPORT_CPU_SECONDS, SCIENCE, Work
from orbitd.errors import OrbitError

_FATES = MappingProxyType({"at boot": Work(dies_after=0), "after 1.3 s": Work(dies_after=1.3)})


@dataclass(frozen=True)
class Effort:
    """How much is measured; the first figure is for all but the kills and the spawns."""

    rounds: int = 3
    children: int = 16
    few_children: int = 4
    kills: int = 12
    idle_seconds: float = 10.0
    crash_seconds: float = 60.0


_QUICK = Effort(rounds=1, children=4, few_children=2, kills=4, idle_seconds=3.0, crash_seconds=6.0)


class Contest:
    """Those that can be measured here, and why the others cannot."""

    def __init__(self, rig: Rig, effort: Effort) -> None:
        self.effort = effort
        self._numbers, self._folder = itertools.count(1), rig.folder
        everybody: list[Contender] = [Orbitd(rig, self.new_folder), Gunicorn(self.new_folder), Pm2(self.new_folder)]
        self._orbitd_without_backoff = Orbitd(rig, self.new_folder, **{"restart.min_uptime": "0"})
        self.missing = {each.name: f"not measured: {each.missing}" for each in everybody if each.missing}
        self.contenders = {each.name: each for each in everybody if not each.missing}

    def new_folder(self) -> Path:
        """An empty one, with a short path: sockets are made in it."""
        folder = self._folder / f"s{next(self._numbers)}"
        folder.mkdir()
        return folder

    def without_backoff(self) -> Mapping[str, Contender]:
        """The same, for kills one after the other: orbitd would take a second one for a sign of trouble, and wait."""
        return self.contenders | {Orbitd.name: self._orbitd_without_backoff}

    def versions(self) -> str:
        """Who takes part."""
        return ", ".join(f"{each.name} {each.version}" for each in self.contenders.values() if each.version)

    def in_turns(self, look: Callable[[Contender], Figures], contenders: Mapping[str, Contender]) -> _Seen:
        """A look at each, one after the other, in each round."""
        seen = _Seen()
        for _ in range(self.effort.rounds):
            for name, contender in contenders.items():
                seen.add(name, look(contender))
        return seen


@dataclass
class _Seen:
    """The figures of all rounds."""

    figures: dict[str, dict[str, list[float]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))

    def add(self, name: str, figures: Figures) -> None:
        for figure, value in figures.items():
            self.figures[figure][name].append(value)

    def of(self, figure: str) -> Mapping[str, Sequence[float]]:
        return self.figures[figure]


def reload(contest: Contest) -> Iterator[Line]:
    """HUP, or what the contender has for it."""
    count = contest.effort.children
    seen = contest.in_turns(lambda contender: measures.reload(contender, count), contest.contenders)
    what = f"reload of {count} workers, {IMPORT_CPU_SECONDS:g} s and 40 MB of import"
    yield Line("B9", f"{what}: wall s", seen.of("wall"), Goal("≤", 1.2))
    yield Line("B9", f"{what}: wall s, by ratio", seen.of("wall"), Goal("≥", 10, of="ratio"))
    yield Line("B9", f"{what}: CPU s in all", seen.of("cpu"), Goal("≥", 10, of="ratio"))
    yield Line("B9", f"{what}: fewest able to work", seen.of("fewest"), Goal("≥", count))
    for when in ("before", "peak", "after"):
        yield Line("", f"{what}: PSS MB, {when}", seen.of(f"pss {when}"))


def kills(contest: Contest) -> Iterator[Line]:
    """SIGKILL of one worker."""
    taken: dict[str, list[float]] = defaultdict(list)
    for _ in range(contest.effort.rounds):
        for name, contender in contest.without_backoff().items():
            taken[name] += measures.kills(contender, contest.effort.few_children, contest.effort.kills)
    for percent, goal in ((50, None), (99, Goal("≤", 150))):
        figures = {name: [percentile(each, percent)] for name, each in taken.items()}
        yield Line("B8", f"kill -9 of a worker → its place able to work, ms: p{percent}", figures, goal)


def crashes(contest: Contest) -> Iterator[Line]:
    """Workers that die and die: how often they are started."""
    effort = contest.effort
    seen = measures.spawns(contest.contenders, _FATES, effort.few_children, effort.crash_seconds)
    for fate in _FATES:
        figures = {name: [float(seen[name, fate])] for name in contest.contenders}
        yield Line("", f"{effort.few_children} workers that die {fate}: spawns in the first {effort.crash_seconds:g} s", figures)


def idle(contest: Contest) -> Iterator[Line]:
    """The supervisor alone, with nothing to do."""
    seen = _Seen()
    looks = measures.idle(contest.contenders, contest.effort.few_children, contest.effort.rounds, contest.effort.idle_seconds)
    for name, figures in looks.items():
        for each in figures:
            seen.add(name, each)
    yield Line("B10", "supervisor, idle: % of a CPU", seen.of("cpu"), Goal("≤", 0.05))
    yield Line("B10", "supervisor, idle: wake-ups/s", seen.of("wake-ups"), Goal("≤", 1))
    yield Line("B10", "supervisor, idle: RSS MB", seen.of("rss"), Goal("≤", 20))
    yield Line("", "supervisor, idle: PSS MB", seen.of("pss"))


def memory(contest: Contest) -> Iterator[Line]:
    """Everything, with workers of a large import. PM2 runs no Python in its cluster: there is nothing to compare."""
    if lacking := [name for name in SCIENCE if importlib.util.find_spec(name.partition(".")[0]) is None]:
        print(f"not measured: memory, for there is no {lacking[0]}", file=sys.stderr)
        return
    contenders = {name: each for name, each in contest.contenders.items() if name != Pm2.name}
    preloading = "gunicorn, preloading"
    if Gunicorn.name in contenders:
        contenders[preloading] = Gunicorn(contest.new_folder, preloads=True)
    pss = contest.in_turns(lambda contender: measures.memory(contender, contest.effort.children), contenders).of("pss")
    what = f"{contest.effort.children} workers that import numpy, scipy, pandas: PSS MB of all"
    yield Line("", what, {name: each for name, each in pss.items() if name != preloading})
    if preloading in pss:
        yield Line("", f"{what}, gunicorn with preload_app", {"orbitd": pss["orbitd"], "gunicorn": pss[preloading]})


MEASUREMENTS: Mapping[str, Callable[[Contest], Iterator[Line]]] = MappingProxyType(
    {"reload": reload, "kills": kills, "crashes": crashes, "idle": idle, "memory": memory}
)


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.supervision", description="Measure orbitd's supervision beside its peers.")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, metavar="NAME", help=f"one of: {', '.join(MEASUREMENTS)}")
    parser.add_argument("--quick", action="store_true", help="a few workers, one short round: to see whether it works, not for figures")
    options = parser.parse_args()
    try:
        measure(_QUICK if options.quick else Effort(), options.only or list(MEASUREMENTS))
    except OrbitError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def measure(effort: Effort, names: Sequence[str]) -> None:
    """Print the table of these measurements."""
    load = report.load()
    lines: list[Line] = []
    with rigged() as rig:
        contest = Contest(rig, effort)
        for name in names:
            print(f"measuring {name}", file=sys.stderr)
            lines += MEASUREMENTS[name](contest)
        heading = report.heading(rig.server_version(), load)
    print(f"{heading}; {contest.versions()}\n\n{table(lines, contest.missing)}\n\n{LEGEND}")


if __name__ == "__main__":
    sys.exit(main())
