"""The analytics example, without a daemon: a context that keeps the steps in a dict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from examples.analytics.airports import Airport, Survey, airports, read, render, write_atomically
from orbitd import Permanent

ZURICH = {
    "icao": "LSZH",
    "name": "Zurich  Airport",
    "country": "CH",
    "elevation": "1416",
    "lat": "47.46",
    "lon": "8.55",
    "tz": "Europe/Zurich",
}
SAMEDAN = ZURICH | {"icao": "LSZS", "name": "Samedan", "elevation": "5600", "lat": "46.53", "lon": "9.88"}
DEAD_SEA = ZURICH | {
    "icao": "LLMZ",
    "name": "Bar Yehuda",
    "country": "IL",
    "elevation": "-1266",
    "lat": "31.33",
    "lon": "35.39",
    "tz": "Asia/Jerusalem",
}


class FakeContext:
    """Steps as the daemon keeps them, as JSON; and a list of the steps that were really called."""

    def __init__(self) -> None:
        self.stored: dict[str, str] = {}
        self.called: list[str] = []
        self.fractions: list[float] = []
        self.log = SimpleNamespace(info=lambda *_args, **_options: None)

    def step(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        if name not in self.stored:
            self.called.append(name)
            self.stored[name] = json.dumps(function(*args))
        return json.loads(self.stored[name])

    def progress(self, fraction: float, note: str) -> None:
        self.fractions.append(fraction)


def test_rows_are_cleaned() -> None:
    airport = Airport.of(ZURICH)
    assert airport is not None
    assert airport.name == "Zurich Airport"
    assert airport.elevation_metres == pytest.approx(431.6, abs=0.1)


@pytest.mark.parametrize(
    "fault", [{"icao": " "}, {"name": ""}, {"lat": "91"}, {"lon": "east"}, {"elevation": "nan"}, {"elevation": "40000"}]
)
def test_rows_of_no_use_are_dropped(fault: dict[str, str]) -> None:
    assert Airport.of(ZURICH | fault) is None
    assert Survey("", [ZURICH, ZURICH | fault]).totals() == {"airports": 1, "dropped": 1}


def test_a_code_given_twice_counts_once() -> None:
    assert Survey("", [ZURICH, ZURICH]).totals() == {"airports": 1, "dropped": 1}


def test_a_country_is_picked() -> None:
    assert Survey("CH", [ZURICH, SAMEDAN, DEAD_SEA]).totals() == {"airports": 2, "dropped": 0}


def test_figures() -> None:
    survey = Survey("", [DEAD_SEA, ZURICH, SAMEDAN])
    assert list(survey.countries()) == [("CH", 2), ("IL", 1)]
    assert list(survey.elevations()) == [("-500 to 0 m", 1), ("0 to 500 m", 1), ("1500 to 2000 m", 1)]
    assert dict(survey.extremes())["highest"] == "Samedan, 1707 m"
    assert dict(survey.extremes())["southernmost"] == "Bar Yehuda, 31.33°"


def test_a_long_list_is_cut_in_the_report() -> None:
    report = render("nowhere", {"airports": 20, "dropped": 0}, {"time_zones": [(f"zone {n}", n) for n in range(20)]})
    assert "## Time zones" in report
    assert report.endswith("- zone 14: 14\n- and 5 more\n")


def test_the_whole_table_is_surveyed() -> None:
    assert Survey("").totals()["airports"] > 28_000
    assert next(read())["icao"]


def test_a_report_is_written_and_a_second_run_writes_the_same(tmp_path: Path) -> None:
    ctx = FakeContext()
    result = airports(ctx, country="ch", out=str(tmp_path / "new"))
    report = tmp_path / "new" / "airports-ch.md"
    assert result == {"report": str(report), "airports": result["airports"], "countries": 1}
    first = report.read_text()
    assert first.startswith("# Airports of CH\n")
    assert ctx.fractions == sorted(ctx.fractions)
    airports(FakeContext(), country="CH", out=str(tmp_path / "new"))
    assert report.read_text() == first


def test_a_resumed_run_calls_only_what_is_missing(tmp_path: Path) -> None:
    ctx = FakeContext()
    airports(ctx, country="IS", out=str(tmp_path))
    for step in ("extremes", "report"):
        del ctx.stored[step]
    ctx.called.clear()
    airports(ctx, country="IS", out=str(tmp_path))
    assert ctx.called == ["extremes", "report"]


def test_an_unknown_country_fails_for_good(tmp_path: Path) -> None:
    with pytest.raises(Permanent, match='no airports in country "ZZ"'):
        airports(FakeContext(), country="ZZ", out=str(tmp_path))


def test_a_report_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "report.md").mkdir()
    with pytest.raises(IsADirectoryError):
        write_atomically(tmp_path, "report.md", "text")
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]
