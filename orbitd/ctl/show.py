"""The documents of orbitd as lines for people: problems first, then the rest."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orbitd.ctl.render import Cell, Column, Style, ago, between, short_id, table, until
from orbitd.rules.states import RunState
from orbitd.units import format_duration, format_size

if TYPE_CHECKING:
    from datetime import datetime

Document = Mapping[str, Any]

_INDENT = 12
_STALE_SECONDS = 2.0
_SLOT_ORDER = ("held", "backoff", "dying", "waiting", "draining", "starting", "busy", "idle", "empty")
_RUN_ORDER = ("failed", "interrupted", "running", "pending", "scheduled", "cancelled", "succeeded")


def status(document: Document, style: Style, now: datetime) -> Iterator[str]:
    """`orbit.status/1`."""
    yield from _problems(document["problems"], style)
    yield from _fact("orbitd", [style.painted(style.state(document["state"])), *_identity(document)], style)
    yield from _fact("children", _children(document["children"]), style)
    yield from _fact("processes", [_process(process) for process in document["processes"]], style)
    yield from _fact("config", [style.plain(document["config"] or "no file: defaults and environment")], style)
    yield from _fact("reload", _reload(document["last_reload"], style, now), style)
    if document["age_seconds"] > _STALE_SECONDS:
        yield f"this was so {format_duration(document['age_seconds'])} ago"


def slots(document: Document, style: Style, now: datetime) -> Iterator[str]:
    """The slots of `orbit.list/1`."""
    columns = (
        Column("SLOT", lambda slot: str(slot["slot"]), right=True),
        Column("STATE", lambda slot: style.state(slot["state"])),
        Column("SINCE", lambda slot: ago(slot["since"], now), right=True),
        Column("PID", lambda slot: str(slot["pid"] or ""), right=True),
        Column("GEN", lambda slot: str(slot["generation"] or ""), step=5, right=True),
        Column("PIPELINE", lambda slot: slot["pipeline"] or "", step=1, elastic=True),
        Column("RUN", lambda slot: short_id(slot["run"]), step=2, right=True),
        Column("MEMORY", lambda slot: format_size(slot["rss_bytes"]) if slot["rss_bytes"] else "", step=3, right=True),
        Column("RUNS", lambda slot: str(slot["runs"] or ""), step=4, right=True),
        Column("FAILED", lambda slot: Cell(str(slot["failed"] or ""), "red"), step=4, right=True),
        Column("RESTARTS", lambda slot: str(slot["restarts"] or ""), step=3, right=True),
        Column("LAST EXIT", lambda slot: slot["last_exit"] or "", step=1, elastic=True),
    )
    yield from table(columns, sorted(document["slots"], key=lambda slot: _rank(slot["state"], _SLOT_ORDER)), style)


def runs(document: Document, style: Style, now: datetime) -> Iterator[str]:
    """`orbit.runs/1`."""
    items = sorted(document["items"], key=lambda run: _rank(run["state"], _RUN_ORDER))
    if not items:
        yield "no such runs"
        return
    columns = (
        Column("RUN", lambda run: short_id(run["id"]), right=True),
        Column("STATE", lambda run: style.state(run["state"])),
        Column("PIPELINE", lambda run: run["pipeline"], elastic=True),
        Column("TRY", lambda run: str(run["attempt"] or ""), step=3, right=True),
        Column("AGE", lambda run: ago(run["created_at"], now), right=True),
        Column("TOOK", lambda run: between(run["started_at"], run["finished_at"]), step=2, right=True),
        Column("QUEUE", lambda run: run["queue"] or "", step=5),
        Column("TENANT", lambda run: run["tenant"] or "", step=4),
        Column("HOST", _place, step=4),
        Column("ERROR", lambda run: _first_line(run["error"]), step=1, elastic=True),
    )
    yield from table(columns, items, style)
    if document["next"]:
        yield f"older ones: orbitctl runs --before {document['next']}"


def run(document: Document, style: Style, now: datetime) -> Iterator[str]:
    """`orbit.run_detail/1`."""
    yield from style.joined([style.painted(style.state(document["state"])), style.plain(document["pipeline"]), f"run {document['id']}"], 0)
    attempts = document["attempts"]
    yield from _error(document["error"], style)
    yield from _fact("times", _times(document, now), style)
    yield from _fact("where", _wherein(document, style), style)
    yield from _fact("short id", [short_id(document["id"])], style)
    yield from _fact("progress", _progress(document.get("progress"), style), style)
    yield from _fact("arguments", [_json(document["args"], style)], style)
    if document["result"] is not None:
        yield from _fact("result", [_json(document["result"], style)], style)
    yield from _section("steps", _steps(document["steps"], style))
    yield from _section("attempts", _attempts(attempts, style))
    yield from _evidence(attempts, style)


def _problems(problems: Sequence[Document], style: Style) -> Iterator[str]:
    for problem in problems:
        sign, arrow = ("✗", "→") if style.unicode else ("x", "->")
        first, *further = problem["message"].splitlines() or [problem["code"]]
        yield f"{style.paint(sign, 'red')} {style.plain(first)}"
        yield from (f"  {style.plain(line)}" for line in further)
        if problem["command"]:
            yield f"  {arrow} {style.paint(style.plain(problem['command']), 'bold')}"
    if problems:
        yield ""


def _fact(name: str, facts: Sequence[str], style: Style) -> Iterator[str]:
    if facts:
        first, *further = style.joined(facts, _INDENT)
        yield f"{name:<{_INDENT}}{first}"
        yield from further


def _error(text: str | None, style: Style) -> Iterator[str]:
    names = ["error"]
    for line in (text or "").splitlines():
        yield f"{names.pop() if names else '':<{_INDENT}}{style.paint(style.plain(line), 'red')}"


def _section(title: str, lines: Iterable[str]) -> Iterator[str]:
    lines = list(lines)
    if lines:
        yield ""
        yield title
        yield from (f"  {line}".rstrip() for line in lines)


def _identity(document: Document) -> list[str]:
    return [f"pid {document['pid']}", f"generation {document['generation']}", f"version {document['version']}"]


def _children(children: Mapping[str, int]) -> list[str]:
    further = [f"{children[name]} {name}" for name in ("busy", "starting", "draining", "backoff") if children[name]]
    return [f"{children['ready']} of {children['target']} ready", *further]


def _process(process: Document) -> str:
    return f"{process['role']} {process['pid']}{'' if process['state'] in {'running', 'ready'} else ' ' + str(process['state'])}"


def _reload(reload: Document | None, style: Style, now: datetime) -> list[str]:
    if not reload:
        return []
    when = f"{ago(reload['at'], now)} ago"
    if reload["ok"] is None:
        return [f"to generation {reload['generation']} is under way", f"begun {when}"]
    if reload["ok"]:
        return [f"generation {reload['generation']}", when]
    return [style.paint("refused", "red"), when, style.plain(_first_line(reload["error"]) or "no reason is known")]


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
    facts = {"queue": document["queue"], "tenant": document["tenant"], "attempt": document["attempt"], "host": _place(document)}
    return [f"{name} {style.plain(str(value))}" for name, value in facts.items() if value]


def _progress(progress: Document | None, style: Style) -> list[str]:
    if not progress:
        return []
    fraction, note = progress.get("fraction"), progress.get("note")
    return [*([f"{fraction:.0%}"] if fraction is not None else []), *([style.plain(note)] if note else [])]


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
        Column("ERROR", lambda attempt: _first_line(attempt["error"]), step=1, elastic=True),
    )
    if attempts:
        yield from table(columns, attempts, style)


def _evidence(attempts: Sequence[Document], style: Style) -> Iterator[str]:
    """The traceback and the stack of the last attempt that has one."""
    for attempt in reversed(attempts):
        found = [(name, attempt[name]) for name in ("traceback", "stack") if attempt[name]]
        for name, text in found:
            yield from _section(f"{name} of attempt {attempt['attempt']}", map(style.plain, text.splitlines()))
        if found:
            return


def _json(value: object, style: Style) -> str:
    return style.plain(json.dumps(value, ensure_ascii=False))


def _first_line(text: str | None) -> str:
    return next(iter((text or "").splitlines()), "")


def _rank(state: str, order: Sequence[str]) -> int:
    return order.index(state) if state in order else -1
