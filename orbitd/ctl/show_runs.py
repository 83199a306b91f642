"""The documents about runs as lines for people: problems first, then the rest, last what to type next. Pure functions."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from orbitd.ctl.render import Cell, Column, Style, ago, between, fact, first_line, rank, section, table, until
from orbitd.rules.ids import short_id
from orbitd.rules.states import RunState
from orbitd.system.log.text import painted
from orbitd.units import counted, format_duration

if TYPE_CHECKING:
    from datetime import datetime

Document = Mapping[str, Any]

_MOST_COUNTED = 1000
_FACT_INDENT = 12
_ORDER = ("failed", "interrupted", "running", "pending", "scheduled", "cancelled", "succeeded")
_WAITING = ("pending", "scheduled")
_UNKNOWN = "no daemon has told of this pipeline"
_COUNTED = ("failed", "running", "pending", "scheduled")


def runs(document: Document, style: Style, now: datetime, older: Mapping[str, str]) -> Iterator[str]:
    """`orbit.runs/1`; `older` is what to type for the next page, if there is one."""
    items = sorted(document["items"], key=lambda run: rank(run["state"], _ORDER))
    if not items:
        yield "no such runs"
        yield from next_steps(older, style)
        return
    columns = (
        _run_column(style),
        Column("STATE", lambda run: style.state(run["state"])),
        Column("PIPELINE", lambda run: run["pipeline"], elastic=True),
        Column("TRY", lambda run: str(run["attempt"] or ""), step=3, right=True),
        Column("AGE", lambda run: ago(run["created_at"], now), right=True),
        Column("TOOK", lambda run: between(run["started_at"], run["finished_at"]), step=2, right=True),
        Column("QUEUE", lambda run: run["queue"] or "", step=5),
        Column("TENANT", lambda run: run["tenant"] or "", step=4),
        Column("HOST", _place, step=4),
        Column("ERROR", lambda run: first_line(run["error"]), step=1, elastic=True),
    )
    yield from table(columns, items, style)
    yield from next_steps({"what is known of one": f"orbitctl describe {short_id(items[0]['id'])}", **older}, style)


def run(document: Document, style: Style, now: datetime) -> Iterator[str]:
    """`orbit.run_detail/1`."""
    yield from style.joined([style.painted(style.state(document["state"])), style.plain(document["pipeline"]), f"run {document['id']}"], 0)
    attempts = document["attempts"]
    if not document["pipeline_known"] and document["state"] in _WAITING:
        yield from fact("why", [style.paint(_UNKNOWN, "red")], style)
    yield from _error(document["error"], style)
    yield from fact("cancel", _cancel_asked(document["cancel_asked"], style, now), style)
    yield from fact("times", _times(document, now), style)
    yield from fact("where", _wherein(document, style), style)
    yield from fact("short id", [short_id(document["id"])], style)
    yield from fact("progress", progress(document["progress"], style), style)
    yield from fact("arguments", [_json(document["args"], style)], style)
    if document["result"] is not None:
        yield from fact("result", [_json(document["result"], style)], style)
    yield from section("steps", _steps(document["steps"], style))
    yield from section("attempts", _attempts(attempts, style))
    yield from _evidence(attempts, style)
    yield from next_steps(_after(document["state"], short_id(document["id"]), document["group"]), style)


def pipelines(document: Document, style: Style) -> Iterator[str]:
    """`orbit.pipelines/1`: first those that nobody serves, and of them those that nobody knows; then those with dead letters."""
    if not document["items"]:
        yield "no daemon has told of a pipeline yet: start `orbitd`"
        return
    columns = (
        Column("PIPELINE", lambda pipeline: pipeline["name"], elastic=True),
        Column("QUEUE", lambda pipeline: pipeline["queue"] or "", step=4),
        *(Column(state.upper(), partial(_counted, state), right=True) for state in _COUNTED),
        Column("HOSTS", _hosts, step=1, elastic=True),
        Column("ARGUMENTS", _signature, step=3, elastic=True),
        Column("ATTEMPTS", lambda pipeline: _number(pipeline["max_attempts"]), right=True, wide_only=True),
        Column("PRIORITY", lambda pipeline: _number(pipeline["priority"]), right=True, wide_only=True),
    )
    items = sorted(document["items"], key=lambda pipeline: (_is_known(pipeline), bool(pipeline["hosts"]), not pipeline["failed"]))
    yield from table(columns, items, style)
    unknown = next((pipeline for pipeline in items if not _is_known(pipeline)), None)
    failing = next((pipeline for pipeline in items if pipeline["failed"]), None)
    steps = {}
    if unknown is not None:
        steps["who waits for it"] = f"orbitctl runs {_term('pipeline', unknown['name'])}"
    if failing is not None:
        steps["its dead letters"] = f"orbitctl dlq list {_term('pipeline', failing['name'])}"
    yield from next_steps(steps, style)


def pipeline(document: Document, style: Style, now: datetime) -> Iterator[str]:
    """`orbit.pipeline/1`."""
    name = style.plain(document["name"])
    if not _is_known(document):
        yield style.paint(f"{_UNKNOWN}: its runs wait until one does", "red")
        yield from fact("runs", _numbers(document), style)
        yield from next_steps({"its runs": f"orbitctl runs {_term('pipeline', document['name'])}"}, style)
        return
    if not document["hosts"]:
        yield style.paint("no daemon that runs now serves it: its runs wait", "red")
    yield from style.joined([style.paint(name, "bold"), f"queue {style.plain(document['queue'])}", f"priority {document['priority']}"], 0)
    yield from fact("runs", _numbers(document), style)
    yield from fact("hosts", [style.plain(host) for host in document["hosts"]], style)
    yield from fact("arguments", [style.plain(_signature(document)) or "none"], style)
    yield from fact("attempts", [f"at most {document['max_attempts']} with an error", f"{document['max_crashes']} with a crash"], style)
    yield from fact("told", [f"{ago(document['registered_at'], now)} ago"], style)
    given = " ".join(f"{argument}=…" if style.unicode else f"{argument}=..." for argument in document["arguments"]["required"])
    yield from next_steps(
        {
            "its runs": f"orbitctl runs {_term('pipeline', document['name'])}",
            "a new one": f"orbitctl enqueue {shlex.quote(document['name'])} {given}".rstrip(),
        },
        style,
    )


def interrupted(document: Document, style: Style, now: datetime) -> Iterator[str]:
    """`orbit.interrupted/1`."""
    if not document["items"]:
        yield "no run waits for recovery"
        return
    yield from _lost(document["items"], style, now)
    held = next((run for run in document["items"] if run["state"] == RunState.INTERRUPTED), None)
    one = {"one": f"orbitctl resume {short_id(held['id'])}"} if held else {}
    yield from next_steps({**one, "all": "orbitctl recover --auto-resume"}, style)


def audit(document: Document, style: Style) -> Iterator[str]:
    """`orbit.audit/1`: the findings, how many of each kind, and what was looked at."""
    looked_at = document["looked_at"]
    scope = [counted(looked_at["runs"], "run"), f"{looked_at['live']} of them pending or running"]
    if not document["items"]:
        yield from style.joined([style.paint("nothing is wrong", "green"), *scope], 0)
        return
    columns = (
        _run_column(style),
        Column("FINDING", lambda item: Cell(item["finding"].replace("_", " "), "red")),
        Column("PIPELINE", lambda item: item["pipeline"] or "", step=1, elastic=True),
        Column("DETAILS", lambda item: item["details"], elastic=True),
    )
    yield from table(columns, document["items"], style)
    yield ""
    yield from style.joined([*(f"{count} {finding.replace('_', ' ')}" for finding, count in document["counts"].items()), *scope], 0)
    yield from next_steps({"what is known of one": f"orbitctl describe {short_id(document['items'][0]['id'])}"}, style)


def recovered(document: Document, style: Style) -> Iterator[str]:
    """`orbit.recovered/1`."""
    if not document["items"]:
        yield "no run waits for recovery"
    for item in sorted(document["items"], key=lambda item: rank(item["state"], _ORDER)):
        yield from style.joined([style.painted(style.state(item["state"])), f"run {short_id(item['id'])}", _DONE[item["act"]]], 0)
    if any(item["state"] == RunState.INTERRUPTED for item in document["items"]):
        yield from next_steps({"let them go on": "orbitctl recover --auto-resume"}, style)


_DONE = {"taken_back": "was taken back", "resumed": "goes on"}


def dead_letters(document: Document, style: Style, now: datetime, older: Mapping[str, str]) -> Iterator[str]:
    """`orbit.dlq/1`: those that nobody has resolved first; `older` as for `runs`."""
    items = sorted(document["items"], key=lambda letter: letter["resolved"])
    if not items:
        yield "no such dead letters"
        yield from next_steps(older, style)
        return
    columns = (
        _run_column(style),
        Column("PIPELINE", lambda letter: letter["pipeline"], elastic=True),
        Column("FAILED", lambda letter: ago(letter["failed_at"], now), right=True),
        Column("CAUSE", lambda letter: letter["cause"], step=2),
        Column("TRIES", lambda letter: str(letter["attempts"]), step=4, right=True),
        Column("GROUP", lambda letter: letter["group"] or ""),
        Column("TENANT", lambda letter: letter["tenant"] or "", step=3),
        Column("QUEUE", lambda letter: letter["queue"], step=5),
        Column("RESOLVED", lambda letter: Cell(f"by {letter['resolved_by']}" if letter["resolved"] else "", "green"), step=2),
        Column("ERROR", lambda letter: Cell(first_line(letter["error"]), "red"), step=1, elastic=True),
    )
    yield from table(columns, items, style)
    first = items[0]
    again = {"all of a group again": f"orbitctl dlq retry --group {first['group']}"} if first["group"] and not first["resolved"] else {}
    yield from next_steps({"what is known of one": f"orbitctl dlq show {short_id(first['id'])}", **again, **older}, style)


def dead_letter(document: Document, style: Style, now: datetime) -> Iterator[str]:
    """`orbit.dead_letter/1`."""
    yield from style.joined([style.painted(style.state("failed")), style.plain(document["pipeline"]), f"run {document['id']}"], 0)
    yield from _error(document["error"], style)
    yield from fact("resolved", _resolved(document, style, now), style)
    yield from fact("cause", [style.plain(document["cause"]), f"group {style.plain(document['group'] or 'none')}"], style)
    yield from fact("times", [f"made {ago(document['created_at'], now)} ago", f"failed {ago(document['failed_at'], now)} ago"], style)
    yield from fact(
        "tries", [f"{document['attempt']} begun", f"{document['errors']} with an error", f"{document['crashes']} crashed"], style
    )
    yield from fact("where", _facts(document, style, "queue", "tenant"), style)
    yield from fact("short id", [short_id(document["id"])], style)
    yield from fact("arguments", [_json(document["args"], style)], style)
    yield from section("attempts", _attempts(document["attempts"], style))
    yield from _evidence(document["attempts"], style)
    short = short_id(document["id"])
    further = {} if document["resolved"] else {"it is dealt with": f"orbitctl dlq resolve {short} --notes TEXT"}
    again = {"try it again": f"orbitctl dlq retry {short}"}
    if document["group"]:
        again["and all like it"] = f"orbitctl dlq retry --group {document['group']}"
    yield from next_steps(again | further, style)


def chosen(items: Sequence[Document], style: Style, now: datetime, most: int | None = None) -> Iterator[str]:
    """The runs that an act means, before it is done; only the first `most` of them."""
    columns = (
        _run_column(style),
        Column("STATE", lambda run: style.state(run["state"])),
        Column("PIPELINE", lambda run: run["pipeline"], elastic=True),
        Column("TRY", lambda run: str(run["attempt"] or ""), step=2, right=True),
        Column("AGE", lambda run: ago(run["created_at"], now), step=1, right=True),
    )
    yield from table(columns, items[:most], style)
    if most is not None and len(items) > most:
        yield f"and {len(items) - most} more"


def log_line(item: Document, style: Style, *, dated: bool = True) -> Iterator[str]:
    """A line of a run's log: when, how grave, what. What it says may have many lines."""
    at = item["ts"] if dated else item["ts"].partition("T")[2]
    first, *further = item["message"].splitlines() or [""]
    when, level = at.replace("T", " "), f"{item['level']:<7}"
    yield f"{when} {painted(level, item['level']) if style.colour else level} {style.plain(first)}".rstrip()
    yield from (f"{' ' * len(f'{when} {level} ')}{style.plain(line)}".rstrip() for line in further)


def progress(document: Document | None, style: Style) -> list[str]:
    """How far a run has come, in facts."""
    if not document:
        return []
    fraction, note = document["fraction"], document["note"]
    return [*([f"{fraction:.0%}"] if fraction is not None else []), *([style.plain(note)] if note else [])]


def step(document: Document, style: Style) -> str:
    """A step that is done, in one line."""
    took = "" if document["seconds"] is None else f", {format_duration(document['seconds'])}"
    return f"step {style.plain(document['key'])} {document['state']}{took}"


def next_steps(commands: Mapping[str, str], style: Style) -> Iterator[str]:
    """What to type next, and what for."""
    arrow = "→" if style.unicode else "->"
    width = max(map(len, commands), default=0)
    if commands:
        yield ""
    for purpose, command in commands.items():
        yield f"{style.paint(f'{purpose:<{width}}', 'dim')}  {arrow} {style.paint(style.plain(command), 'bold')}"


def _run_column(style: Style) -> Column:
    return Column("RUN", lambda run: run["id"] if style.wide else short_id(run["id"]), right=True)


def _lost(items: Sequence[Document], style: Style, now: datetime) -> Iterator[str]:
    columns = (
        _run_column(style),
        Column("STATE", lambda run: style.state(run["state"])),
        Column("PIPELINE", lambda run: run["pipeline"], elastic=True),
        Column("TRY", lambda run: str(run["attempt"]), step=3, right=True),
        Column("SINCE", lambda run: ago(run["since"], now), right=True),
        Column("CAUSE", lambda run: run["cause"] or "", step=1),
        Column("HOST", _place, step=2),
        Column("STEPS", lambda run: str(run["steps"]), step=3, right=True),
        Column("LAST STEP", lambda run: run["last_step"] or "", step=2, elastic=True),
    )
    yield from table(columns, items, style)


def _after(state: str, short: str, group: str | None) -> dict[str, str]:
    """What to type about a run in that state."""
    match state:
        case RunState.FAILED:
            like_it = {"all like it": f"orbitctl dlq list group:{group}"} if group else {}
            return {"its log": f"orbitctl logs {short}", "try it again": f"orbitctl retry {short}", **like_it}
        case RunState.INTERRUPTED:
            return {"let it go on": f"orbitctl resume {short}"}
        case RunState.RUNNING:
            return {"look on": f"orbitctl logs {short} -f", "end it": f"orbitctl cancel {short}"}
    return {}


def _error(text: str | None, style: Style) -> Iterator[str]:
    names = ["error"]
    for line in (text or "").splitlines():
        yield f"{names.pop() if names else '':<{_FACT_INDENT}}{style.paint(style.plain(line), 'red')}"


def _cancel_asked(asked: Document | None, style: Style, now: datetime) -> list[str]:
    if not asked:
        return []
    return [
        f"asked by {style.plain(asked['by'])} {ago(asked['at'], now)} ago",
        *([style.plain(asked["reason"])] if asked["reason"] else []),
    ]


def _resolved(letter: Document, style: Style, now: datetime) -> list[str]:
    if not letter["resolved"]:
        return []
    notes = [style.plain(letter["notes"])] if letter["notes"] else []
    return [f"by {style.plain(letter['resolved_by'])} {ago(letter['resolved_at'], now)} ago", *notes]


def _place(run: Document) -> str:
    if not run["host"]:
        return ""
    return run["host"] if run["slot"] is None else f"{run['host']}/{run['slot']}"


def _times(document: Document, now: datetime) -> list[str]:
    facts = [f"made {ago(document['created_at'], now)} ago"]
    if document["due_at"] and document["state"] == RunState.SCHEDULED:
        facts.append(f"due in {until(document['due_at'], now)}")
    if document["started_at"]:
        facts.append(f"started {ago(document['started_at'], now)} ago")
    if document["finished_at"]:
        facts.append(f"ended {ago(document['finished_at'], now)} ago")
        if took := between(document["started_at"], document["finished_at"]):
            facts.append(f"took {took}")
    return facts


def _wherein(document: Document, style: Style) -> list[str]:
    place = _place(document)
    return [*_facts(document, style, "queue", "tenant", "key", "attempt"), *([f"host {style.plain(place)}"] if place else [])]


def _facts(document: Document, style: Style, *names: str) -> list[str]:
    return [f"{name} {style.plain(str(document[name]))}" for name in names if document[name]]


def _steps(steps: Sequence[Document], style: Style) -> Iterator[str]:
    columns = (
        Column("STEP", lambda step: step["key"], elastic=True),
        Column("STATE", lambda step: style.state(step["state"])),
        Column("TOOK", lambda step: "" if step["seconds"] is None else format_duration(step["seconds"]), right=True),
    )
    if steps:
        yield from table(columns, steps, style)


def _attempts(attempts: Sequence[Document], style: Style) -> Iterator[str]:
    columns = (
        Column("TRY", lambda attempt: str(attempt["attempt"]), right=True),
        Column("OUTCOME", lambda attempt: style.state(attempt["outcome"])),
        Column("CAUSE", lambda attempt: attempt["cause"] or "", step=1),
        Column("HOST", _place, step=2),
        Column("ERROR", lambda attempt: first_line(attempt["error"]), step=1, elastic=True),
    )
    if attempts:
        yield from table(columns, attempts, style)


def _evidence(attempts: Sequence[Document], style: Style) -> Iterator[str]:
    """The traceback and the stack of the last attempt that has one."""
    for attempt in reversed(attempts):
        found = [(name, attempt[name]) for name in ("traceback", "stack") if attempt[name]]
        for name, text in found:
            yield from section(f"{name} of attempt {attempt['attempt']}", map(style.plain, text.splitlines()))
        if found:
            return


def _counted(state: str, pipeline: Document) -> Cell:
    """How many of its runs are in that state. Counts stop somewhere: counting all would be slow."""
    number = pipeline[state]
    text = f"{number}+" if number >= _MOST_COUNTED else str(number or "")
    return Cell(text, "red" if state == RunState.FAILED else "")


def _numbers(pipeline: Document) -> list[str]:
    return [f"{_counted(state, pipeline).text or '0'} {state}" for state in _COUNTED]


def _number(value: int | None) -> str:
    return "" if value is None else str(value)


def _is_known(pipeline: Document) -> bool:
    """Whether any daemon has ever told of it."""
    return pipeline["registered_at"] is not None


def _hosts(pipeline: Document) -> Cell:
    if pipeline["hosts"]:
        return Cell(", ".join(pipeline["hosts"]))
    return Cell("nobody" if _is_known(pipeline) else "unknown to all", "red")


def _signature(pipeline: Document) -> str:
    """The arguments as a person would say them: those in brackets may be left out."""
    arguments = pipeline["arguments"]
    more = ["..."] if arguments["open"] else []
    return " ".join([*arguments["required"], *(f"[{name}]" for name in arguments["optional"]), *more])


def _term(name: str, value: str) -> str:
    """A term of a filter, as it is typed in a shell."""
    quote = "'" if '"' in value else '"'
    return shlex.quote(f"{name}:{value}" if re.fullmatch(r"[\w.-]+", value) else f"{name}:{quote}{value}{quote}")


def _json(value: object, style: Style) -> str:
    return style.plain(json.dumps(value, ensure_ascii=False))
