"""What people see, to the letter, at three widths, with and without Unicode and colours.

`ORBITD_WRITE_GOLDEN=1 pytest tests/ctl/test_golden.py` writes the files anew; read the difference before you commit it.
"""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from orbitd.ctl import show, show_runs
from orbitd.ctl.render import Style, display_width
from orbitd.system.log.text import as_text
from tests.ctl import documents
from tests.ctl.documents import NOW

GOLDEN = Path(__file__).with_name("golden")
WIDTHS = (60, 80, 120)
WIDE = Style(wide=True)
FILE = Style()
OLDER = {"older ones": "orbitctl runs --before 4708"}
TABLES = {"list", "runs", "pipelines", "dlq-list", "check-interrupted", "audit"}

Shown = Callable[[Style], Iterable[str]]

CASES: dict[str, Shown] = {
    "status": lambda style: show.status(documents.STATUS, style, NOW),
    "status-well": lambda style: show.status(documents.STATUS_WELL, style, NOW),
    "status-first": lambda style: show.status(documents.STATUS_FIRST, style, NOW),
    "status-offline": lambda style: show.offline(documents.STATUS_OFFLINE, style, NOW),
    "list": lambda style: show.slots(documents.LIST, style, NOW),
    "list-exits": lambda style: show.slots(documents.LIST_EXITS, style, NOW),
    "list-empty": lambda style: show.slots(documents.LIST_EMPTY, style, NOW),
    "health": lambda style: show.health(documents.HEALTH, style, NOW),
    "health-well": lambda style: show.health(documents.HEALTH_WELL, style, NOW),
    "health-first": lambda style: show.health(documents.HEALTH_FIRST, style, NOW),
    "stack": lambda style: show.stack(documents.STACK, style),
    "stack-idle": lambda style: show.stack(documents.STACK_IDLE, style),
    "metrics": lambda style: show.metrics(documents.METRICS, style),
    "metrics-first": lambda style: show.metrics(documents.METRICS_FIRST, style),
    "reload-plan": lambda style: show.reload_plan(documents.RELOAD_PLAN, style),
    "reload-plan-empty": lambda style: show.reload_plan(documents.RELOAD_PLAN_EMPTY, style),
    "events": lambda style: show.events(documents.EVENTS, style),
    "events-empty": lambda style: show.events(documents.EVENTS_EMPTY, style),
    "runs": lambda style: show_runs.runs(documents.RUNS, style, NOW, OLDER),
    "runs-empty": lambda style: show_runs.runs(documents.RUNS_EMPTY, style, NOW, {}),
    "describe-run": lambda style: show_runs.run(documents.RUN_DETAIL, style, NOW),
    "describe-run-first": lambda style: show_runs.run(documents.RUN_DETAIL_FIRST, style, NOW),
    "describe-pipeline": lambda style: show_runs.pipeline(documents.PIPELINE, style, NOW),
    "describe-pipeline-unknown": lambda style: show_runs.pipeline(documents.PIPELINE_UNKNOWN, style, NOW),
    "pipelines": lambda style: show_runs.pipelines(documents.PIPELINES, style),
    "pipelines-first": lambda style: show_runs.pipelines(documents.PIPELINES_EMPTY, style),
    "dlq-list": lambda style: show_runs.dead_letters(documents.DLQ, style, NOW, {}),
    "dlq-list-empty": lambda style: show_runs.dead_letters(documents.DLQ_EMPTY, style, NOW, {}),
    "dlq-show": lambda style: show_runs.dead_letter(documents.DEAD_LETTER, style, NOW),
    "check-interrupted": lambda style: show_runs.interrupted(documents.INTERRUPTED, style, NOW),
    "check-interrupted-lost": lambda style: show_runs.interrupted(documents.INTERRUPTED_LOST, style, NOW),
    "check-interrupted-empty": lambda style: show_runs.interrupted(documents.INTERRUPTED_EMPTY, style, NOW),
    "audit": lambda style: show_runs.audit(documents.AUDIT, style),
    "audit-well": lambda style: show_runs.audit(documents.AUDIT_WELL, style),
    "logs": lambda style: (line for item in documents.LOGS["items"] for line in show_runs.log_line(item, style)),
    "version": lambda _: show.version({"client": "0.1.0", "daemon": "0.1.0"}),
    "version-alone": lambda _: show.version({"client": "0.1.0", "daemon": None}),
}


def styles() -> Iterator[tuple[str, Style]]:
    for width, unicode, colour in itertools.product(WIDTHS, (True, False), (False, True)):
        name = f"{width} columns, {'UTF-8' if unicode else 'ASCII'}{', colour' if colour else ''}"
        yield name, Style(colour=colour, unicode=unicode, width=width)
    yield "a file", FILE
    yield "-o wide", WIDE


def drawn(show_it: Shown) -> str:
    """All variants, those that look alike under one heading; escape characters are written as ␛."""
    variants: dict[str, list[str]] = {}
    for name, style in styles():
        variants.setdefault("\n".join(show_it(style)).replace("\x1b", "␛"), []).append(name)
    return "".join(f"--- {'; '.join(names)}\n{text}\n\n" for text, names in variants.items())


@pytest.mark.parametrize("name", CASES)
def test_people_see_what_they_saw(name: str) -> None:
    path = GOLDEN / f"{name}.txt"
    text = drawn(CASES[name])
    if os.environ.get("ORBITD_WRITE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), "if it is meant so: ORBITD_WRITE_GOLDEN=1 pytest tests/ctl/test_golden.py"


@pytest.mark.parametrize("style", [FILE, Style(colour=True)])
def test_an_event_looks_as_it_does_in_the_log(style: Style) -> None:
    lines = [json.dumps({name: value for name, value in item.items() if name != "number"}) for item in documents.EVENTS["items"]]
    assert list(show.events(documents.EVENTS, style)) == [as_text(line, colour=style.colour) for line in lines]


def test_every_golden_file_has_its_case() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_tables_fit_and_ascii_is_ascii(name: str) -> None:
    for _, style in styles():
        lines = list(CASES[name](style))
        assert all("\t" not in line and (style.unicode or line.isascii()) for line in lines)
        if style.width is not None and name in TABLES:
            assert max(map(display_width, itertools.takewhile(bool, lines))) <= style.width
