"""Measure the store: `python -m bench.store [--only NAME]... [--quick] [--plots FOLDER]` prints tables for docs/benchmarks.md."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from bench import report
from bench.rig import rigged
from bench.store import costs, depth, horizon, paces, plots, table, waits
from bench.store.contest import QUICK, RATE, Contest, Effort, Line, Results, Verdict
from orbitd.errors import OrbitError

MEASUREMENTS: Mapping[str, Callable[[Contest], Results]] = MappingProxyType(
    {
        "throughput": paces.throughput,
        "latency": waits.latency,
        "enqueue": waits.enqueue,
        "idle": costs.idle,
        "wal": costs.wal,
        "naps": paces.naps,
        "children": paces.children,
        "kills": waits.kills,
        "held": horizon.held,
        "backlog": depth.backlog,
        "wide": depth.wide,
        "outcomes": depth.outcomes,
    }
)


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.store", description="Measure orbitd's store beside its peers.")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, metavar="NAME", help=f"one of: {', '.join(MEASUREMENTS)}")
    parser.add_argument("--contender", action="append", metavar="NAME", help="only this one; may be repeated")
    parser.add_argument("--quick", action="store_true", help="few jobs, one short round: to see whether it works, not for figures")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"how often each contender has its turn (default {Effort().rounds})")
    parser.add_argument("--scale", type=float, default=1.0, metavar="X", help="so many times the rows of backlog, history and WAL")
    parser.add_argument("--plots", type=Path, metavar="FOLDER", help="draw throughput.svg and held-reader.svg there")
    options = parser.parse_args()
    effort = QUICK if options.quick else Effort()
    if options.rounds is not None:
        if options.rounds < 1:
            parser.error(f"--rounds {options.rounds}: give 1 or more")
        effort = effort.with_rounds(options.rounds)
    try:
        measure(effort.scaled(options.scale), options.only or list(MEASUREMENTS), options.contender or [], options.plots)
    except OrbitError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def measure(effort: Effort, names: Sequence[str], only: Sequence[str], folder: Path | None) -> None:
    """Print the tables of these measurements, and draw the pictures if there is a folder for them."""
    load = report.load()
    lines: list[Line] = []
    verdicts: list[Verdict] = []
    with rigged() as rig:
        contest = Contest(rig, effort, only)
        for name in names:
            began = time.monotonic()
            with contest.forgiving(name):
                for result in MEASUREMENTS[name](contest):
                    if isinstance(result, Line):
                        lines.append(result)
                    else:
                        verdicts.append(result)
            print(f"measured {name} in {time.monotonic() - began:.0f} s", file=sys.stderr)
        heading = report.heading(rig.server_version(), load)
    print(heading, table.verdicts(verdicts), table.figures(lines, contest), table.LEGEND, table.notes(contest), sep="\n\n")
    if folder:
        draw(folder, lines, contest)


def draw(folder: Path, lines: Sequence[Line], contest: Contest) -> None:
    """The pictures of what was measured."""
    throughput = next((line for line in lines if line.what == paces.THROUGHPUT), None)
    if throughput:
        (folder / "throughput.svg").write_text(plots.bars(throughput.what, throughput.values))
    if contest.series:
        picture = plots.lines(f"{RATE} while a snapshot is held", contest.series, "snapshot taken")
        (folder / "held-reader.svg").write_text(picture)


if __name__ == "__main__":
    sys.exit(main())
