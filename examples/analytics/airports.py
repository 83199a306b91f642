"""A survey of the world's airports: read, clean, aggregate, write a report.

    orbitctl enqueue analytics.airports country=CH --wait

Each figure of the report is a step: a run that is cut short resumes behind the last one, and reads the data again only
for the figures that are missing. The data are the table that the package `airportsdata` ships.
"""

from __future__ import annotations

import csv
import math
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from orbitd import Context, Permanent, pipeline

METRES_IN_A_FOOT = 0.3048
BAND_METRES = 500
LONGEST_LIST = 15

Figure = Sequence[tuple[str, int | str]]  # in the order of the report: pairs, because JSON objects have no order


@pipeline("analytics.airports", timeout="5m", max_attempts=3)
def airports(ctx: Context, country: str = "", out: str = "reports") -> dict[str, Any]:
    """Survey all airports, or those of one country ("CH"), and write a report into the directory `out`."""
    survey = Survey(country.upper())

    totals = ctx.step("totals", survey.totals)
    if not totals["airports"]:
        raise Permanent(f'no airports in country "{country}": give a code of two letters, such as CH')
    ctx.log.info("cleaned", extra={"kept": totals["airports"], "dropped": totals["dropped"]})
    ctx.progress(0.3, f"{totals['airports']} airports")

    figures: dict[str, Figure] = {}
    for number, figure in enumerate((survey.countries, survey.elevations, survey.time_zones, survey.extremes), start=1):
        figures[figure.__name__] = ctx.step(figure.__name__, figure)
        ctx.progress(0.3 + 0.15 * number, figure.__name__)

    report = render(country.upper() or "the world", totals, figures)
    path = ctx.step("report", write_atomically, Path(out), f"airports-{country.lower() or 'world'}.md", report)
    ctx.progress(1.0, path)
    return {"report": path, "airports": totals["airports"], "countries": len(figures["countries"])}


@dataclass(frozen=True, slots=True)
class Airport:
    """One cleaned row. Coordinates are degrees, north and east positive."""

    code: str
    name: str
    country: str
    elevation_metres: float
    latitude: float
    longitude: float
    time_zone: str

    @classmethod
    def of(cls, row: dict[str, str]) -> Self | None:
        """None for a row that cannot be used: no code, no name, no numbers, or a place that is not on Earth."""
        try:
            airport = cls(
                code=row["icao"].strip(),
                name=" ".join(row["name"].split()),
                country=row["country"].strip() or "??",
                elevation_metres=float(row["elevation"]) * METRES_IN_A_FOOT,
                latitude=float(row["lat"]),
                longitude=float(row["lon"]),
                time_zone=row["tz"].strip() or "none",
            )
        except ValueError:
            return None
        is_on_earth = abs(airport.latitude) <= 90 and abs(airport.longitude) <= 180 and -500 <= airport.elevation_metres <= 9000
        return airport if airport.code and airport.name and is_on_earth else None


class Survey:
    """The figures of one country, or of all. The data are read when a figure first needs them."""

    def __init__(self, country: str, rows: Iterable[dict[str, str]] | None = None) -> None:
        self._country = country
        self._rows = rows

    @cached_property
    def _cleaned(self) -> tuple[list[Airport], int]:
        """The airports, each code once, and how many rows were dropped."""
        kept: dict[str, Airport] = {}
        dropped = 0
        for row in self._rows if self._rows is not None else read():
            if self._country not in ("", row["country"]):
                continue
            airport = Airport.of(row)
            if airport and airport.code not in kept:
                kept[airport.code] = airport
            else:
                dropped += 1
        return list(kept.values()), dropped

    @property
    def _airports(self) -> list[Airport]:
        return self._cleaned[0]

    def totals(self) -> dict[str, int]:
        """How many airports there are, and how many rows were of no use."""
        return {"airports": len(self._airports), "dropped": self._cleaned[1]}

    def countries(self) -> Figure:
        """Airports in each country, most first."""
        return _ranked(Counter(airport.country for airport in self._airports))

    def elevations(self) -> Figure:
        """Airports in each band of elevation, lowest first."""
        bands = Counter(math.floor(airport.elevation_metres / BAND_METRES) * BAND_METRES for airport in self._airports)
        return [(f"{metres} to {metres + BAND_METRES} m", bands[metres]) for metres in sorted(bands)]

    def time_zones(self) -> Figure:
        """Airports in each time zone, most first."""
        return _ranked(Counter(airport.time_zone for airport in self._airports))

    def extremes(self) -> Figure:
        """The airports that lie outermost."""
        by_elevation = sorted(self._airports, key=lambda airport: airport.elevation_metres)
        by_latitude = sorted(self._airports, key=lambda airport: airport.latitude)
        return [
            ("highest", f"{by_elevation[-1].name}, {by_elevation[-1].elevation_metres:.0f} m"),
            ("lowest", f"{by_elevation[0].name}, {by_elevation[0].elevation_metres:.0f} m"),
            ("northernmost", f"{by_latitude[-1].name}, {by_latitude[-1].latitude:.2f}°"),
            ("southernmost", f"{by_latitude[0].name}, {by_latitude[0].latitude:.2f}°"),
        ]


def _ranked(counts: Counter[str]) -> Figure:
    """Most first; equal ones by name, so that a report written twice is the same."""
    return Counter(dict(sorted(counts.items()))).most_common()


def read() -> Iterator[dict[str, str]]:
    """The rows of the table, as text."""
    spec = find_spec("airportsdata")
    if spec is None or spec.origin is None:
        raise Permanent("the package airportsdata is not installed: pip install airportsdata")
    with Path(spec.origin).with_name("airports.csv").open(encoding="utf-8", newline="") as table:
        yield from csv.DictReader(table, restval="")


def render(place: str, totals: dict[str, int], figures: Mapping[str, Figure]) -> str:
    """The report, in Markdown."""
    lines = [f"# Airports of {place}", "", f"{totals['airports']} airports; {totals['dropped']} rows of the table were of no use."]
    for title, figure in figures.items():
        shown = figure[:LONGEST_LIST]
        lines += ["", f"## {title.replace('_', ' ').capitalize()}", "", *(f"- {name}: {value}" for name, value in shown)]
        if len(figure) > len(shown):
            lines.append(f"- and {len(figure) - len(shown)} more")
    return "\n".join(lines) + "\n"


def write_atomically(directory: Path, name: str, text: str) -> str:
    """Write a file whole or not at all, also when two runs write it at once; returns its path."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=directory, prefix=f".{name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).replace(directory / name)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
    return str(directory / name)
