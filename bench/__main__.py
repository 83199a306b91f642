"""Measure orbitd: `python -m bench [--only NAME]... [--rounds N] [--quick]` prints a Markdown table for docs/benchmarks.md.

Wall-clock figures of a shared machine move by a factor of three. So everything is compared within one run, in turns, as medians
of rounds and as ratios, and CPU time is told beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from bench import idle, kills, latency, reload, report, status, throughput
from bench.report import Row
from bench.rig import QUICK, Effort, Rig, rigged
from orbitd.errors import OrbitError

MEASUREMENTS: Mapping[str, Callable[[Rig], list[Row]]] = MappingProxyType(
    {
        "throughput": throughput.measure,
        "latency": latency.measure,
        "idle": idle.measure,
        "kills": kills.measure,
        "reload": reload.measure,
        "status": status.measure,
    }
)


def main() -> int:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure orbitd, beside hand-written workers.")
    parser.add_argument("--only", action="append", choices=MEASUREMENTS, metavar="NAME", help=f"one of: {', '.join(MEASUREMENTS)}")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"how often each contender has its turn (default {Effort().rounds})")
    parser.add_argument("--quick", action="store_true", help="one short round: to see whether it works, not for figures")
    options = parser.parse_args()
    effort = QUICK if options.quick else Effort()
    if options.rounds is not None:
        if options.rounds < 1:
            parser.error(f"--rounds {options.rounds}: give 1 or more")
        effort = replace(effort, rounds=options.rounds)
    try:
        measure(effort, options.only or list(MEASUREMENTS))
    except OrbitError as error:
        print(f"bench: {error}", file=sys.stderr)
        return error.exit_code
    return 0


def measure(effort: Effort, names: Sequence[str]) -> None:
    """Print the table of these measurements."""
    load = report.load()
    rows: list[Row] = []
    with rigged(effort) as rig:
        for name in names:
            print(f"measuring {name}", file=sys.stderr)
            rows += MEASUREMENTS[name](rig)
        heading = report.heading(rig.server_version(), load)
    print(f"{heading}\n\n{report.table(rows)}\n\n{report.LEGEND}")


if __name__ == "__main__":
    sys.exit(main())
