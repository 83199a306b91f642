"""The documents of the daemon as lines for people: problems first, each with what to type, then the rest. Pure functions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orbitd.ctl.render import Cell, Column, Style, ago, fact, first_line, rank, section, table
from orbitd.rules.ids import short_id
from orbitd.units import counted, format_duration, format_size

if TYPE_CHECKING:
    from datetime import datetime

Document = Mapping[str, Any]

_STALE_SECONDS = 120.0
"""Nothing is that old while all goes well: memory is weighed each half minute, one child a look."""
_SLOT_ORDER = ("held", "backoff", "dying", "waiting", "draining", "starting", "busy", "idle", "empty")
_HEALTH_COLOURS = {"healthy": "green", "warning": "yellow", "error": "red"}


def status(document: Document, style: Style, now: datetime) -> Iterator[str]:
    """`orbit.status/1`."""
    yield from problems(document["problems"], style)
    if document["problems"]:
        yield ""
    yield from fact("orbitd", [style.painted(style.state(document["state"])), *_identity(document)], style)
    yield from fact("children", _children(document["children"]), style)
    yield from fact("processes", [_process(process) for process in document["processes"]], style)
    yield from fact("memory", _memory(document.get("memory")), style)
    yield from fact("poll", _poll(document["last_beat_at"], now), style)
    yield from fact("config", [style.plain(document["config"] or "no file: defaults and environment")], style)
    yield from fact("reload", _reload(document["last_reload"], style, now), style)
    yield from _age(document)


def offline(document: Document, style: Style, now: datetime) -> Iterator[str]:
    """`orbit.status/1` of an arbiter that was not asked."""
    yield from problems(document["problems"], style)
    if document["problems"]:
        yield ""
    yield from fact("processes", [_process(process) for process in document["processes"]], style)
    yield from fact("poll", _poll(document["last_beat_at"], now), style)
    yield from slots(document, style, now)
    yield "read from shared memory: the arbiter was not asked"


def slots(document: Document, style: Style, now: datetime) -> Iterator[str]:
    """The slots of `orbit.list/1`."""
    columns = (
        Column("SLOT", lambda slot: str(slot["slot"]), right=True),
        Column("STATE", lambda slot: style.state(slot["state"])),
        Column("SINCE", lambda slot: ago(slot["since"], now), right=True),
        Column("PID", lambda slot: str(slot["pid"] or ""), right=True),
        Column("GEN", lambda slot: str(slot["generation"] or ""), step=5, right=True),
        Column("PIPELINE", lambda slot: slot["pipeline"] or "", step=1, elastic=True),
        Column("RUN", lambda slot: _run(slot["run"], style), step=2, right=True),
        Column("MEMORY", lambda slot: _size(slot["rss_bytes"]), step=3, right=True),
        Column("OWN", lambda slot: _size(slot["own_bytes"]), right=True, wide_only=True),
        Column("PSS", lambda slot: _size(slot.get("pss_bytes")), right=True, wide_only=True),
        Column("RUNS", lambda slot: str(slot["runs"] or ""), step=4, right=True),
        Column("FAILED", lambda slot: Cell(str(slot["failed"] or ""), "red"), step=4, right=True),
        Column("RESTARTS", lambda slot: str(slot["restarts"] or ""), step=3, right=True),
        Column("LAST EXIT", lambda slot: slot["last_exit"] or "", step=1, elastic=True),
    )
    if not document["slots"]:
        yield "no slots: this daemon has no children"
        return
    there = sorted(document["slots"], key=lambda slot: rank(slot["state"], _SLOT_ORDER))
    yield from table(columns, there, style)
    yield from section(
        "how the last ones ended", _exits([{"slot": slot["slot"], **each} for slot in there for each in slot.get("exits", ())], style, now)
    )
    yield from _age(document)


def _exits(ended: Sequence[Document], style: Style, now: datetime) -> Iterator[str]:
    columns = (
        Column("SLOT", lambda each: str(each["slot"]), right=True),
        Column("AGO", lambda each: ago(each["at"], now), right=True),
        Column("CAUSE", lambda each: Cell(each["cause"], "" if each["by"] == "orbitd" else "red")),
        Column("BY", lambda each: each["by"]),
        Column("REASON", lambda each: each["reason"] or "", step=1),
        Column("LIVED", lambda each: format_duration(int(each["uptime_seconds"])), step=3, right=True),
        Column("PEAK", lambda each: _size(each["peak_bytes"]), step=4, right=True),
        Column("OWN PEAK", lambda each: _size(each["own_peak_bytes"]), step=4, right=True),
        Column("PIPELINE", lambda each: each["pipeline"] or "", step=2, elastic=True),
        Column("RUN", lambda each: _run(each["run"], style), step=2, right=True),
        Column("PID", lambda each: str(each["pid"] or ""), right=True, wide_only=True),
        Column("GEN", lambda each: str(each["generation"] or ""), right=True, wide_only=True),
    )
    if ended:
        yield from table(columns, ended, style)


def health(document: Document, style: Style, now: datetime) -> Iterator[str]:
    """`orbit.health/1`."""
    yield from problems(document["reasons"], style)
    if document["reasons"]:
        yield ""
    yield from fact(
        "health", [style.paint(document["status"], _HEALTH_COLOURS.get(document["status"], "")), *_activity(document, now)], style
    )


def stack(document: Document, style: Style) -> Iterator[str]:
    """`orbit.stack/1`."""
    yield from fact(f"slot {document['slot']}", [style.painted(style.state(document["state"])), f"pid {document['pid']}"], style)
    if document["run"]:
        yield from fact("run", [short_id(document["run"]), style.plain(document["pipeline"])], style)
    yield from fact("process", [style.plain(document["message"])], style)
    yield ""
    yield from map(style.plain, document["stack"].splitlines())


def metrics(document: Document, style: Style) -> Iterator[str]:
    """`orbit.metrics/1`."""
    yield from fact("up", [document["uptime"], f"since {document['workerStartTime']}"], style)
    yield from fact("attempts", _ended(document, style), style)
    if document["totalRuns"]:
        yield from fact("rate", [f"{document['runsPerHour']:g} an hour", f"{document['successRate']:g}% succeeded"], style)
        yield from fact("took", [f"{_milliseconds(document[f'{which}ExecutionTime'])} {words}" for which, words in _TOOK.items()], style)
        yield from fact("last ended", [document["lastRunTime"] or "never"], style)
    exits = document.get("childExits", {})
    yield from fact("exits", [f"{count} {style.plain(cause)}" for cause, count in exits.items()], style)
    ages = document.get("dutyAgeSeconds", {})
    yield from fact("done last", [f"{style.plain(duty)} {format_duration(int(age))} ago" for duty, age in ages.items()], style)


_TOOK = {"avg": "on average", "min": "at least", "max": "at most"}


def events(document: Document, style: Style) -> Iterator[str]:
    """`orbit.events/1`."""
    for item in document["items"]:
        yield event(item, style)


def event(item: Document, style: Style) -> str:
    """One item of `orbit.events/1`, as it stands in the log."""
    from orbitd.system.log.text import text_of  # here: `orbitctl status` need not wait for its import

    entry = {name: value for name, value in item.items() if name != "number"}
    return style.encodable(text_of(entry, colour=style.colour, dated=True))


def reload_plan(document: Document, style: Style) -> Iterator[str]:
    """`orbit.reload_plan/1`."""
    for change in document["items"]:
        yield f"{style.paint(change['key'], 'bold')}  {change['reload']}: the new value counts {change['reload_words']}"
        yield f"  now   {style.plain(_option_value(change, 'old'))}"
        yield f"  then  {style.plain(_option_value(change, 'new'))}  {style.paint(style.plain(change['origin']), 'dim')}"
    if document["variables"]:
        yield style.plain(f"of the environment would change: {', '.join(document['variables'])}")
    if not document["items"] and not document["variables"]:
        yield "no option would change"
    yield "the code would be imported anew, whether it has changed or not"


def version(document: Document) -> Iterator[str]:
    """`orbit.version/1`."""
    yield f"orbitctl {document['client']}"
    yield f"orbitd   {document['daemon'] or 'is not running'}"


def problems(found: Sequence[Document], style: Style) -> Iterator[str]:
    """What is wrong, each with what to type."""
    for problem in found:
        sign, arrow = ("✗", "→") if style.unicode else ("x", "->")
        first, *further = problem["message"].splitlines() or [problem["code"]]
        yield f"{style.paint(sign, 'red')} {style.plain(first)}"
        yield from (f"  {style.plain(line)}" for line in further)
        if problem["command"]:
            yield f"  {arrow} {style.paint(style.plain(problem['command']), 'bold')}"


def _option_value(change: Document, which: str) -> str:
    from orbitd.config.manual import toml  # here: `orbitctl status` need not wait for its import

    meaning = change[f"{which}_meaning"]
    return f"{toml(change[which])}{f' ({meaning})' if meaning else ''}"


def _age(document: Document) -> Iterator[str]:
    if document["age_seconds"] > _STALE_SECONDS:
        yield f"some of this was seen {format_duration(round(document['age_seconds']))} ago"


def _identity(document: Document) -> list[str]:
    return [f"pid {document['pid']}", f"generation {document['generation']}", f"version {document['version']}"]


def _children(children: Mapping[str, int]) -> list[str]:
    further = [f"{children[name]} {name}" for name in ("busy", "starting", "draining", "backoff") if children[name]]
    return [f"{children['ready']} of {children['target']} ready", *further]


def _process(process: Document) -> str:
    return f"{process['role']} {process['pid']}{'' if process['state'] in {'running', 'ready'} else ' ' + str(process['state'])}"


def _memory(memory: Document | None) -> list[str]:
    """What the children have, shared pages counted once; and what the control group has of how much, if it is limited."""
    if not memory:
        return []
    children = [f"{_size(memory['children_pss_bytes'])} of the children"] if memory["children_pss_bytes"] else []
    group = [f"{format_size(memory['used_bytes'])} of {_size(memory['limit_bytes'])} of the control group"] if memory["limit_bytes"] else []
    return [*children, *group]


def _poll(last_beat_at: str | None, now: datetime) -> list[str]:
    return [f"last {ago(last_beat_at, now)} ago"] if last_beat_at else []


def _reload(reload: Document | None, style: Style, now: datetime) -> list[str]:
    if not reload:
        return []
    when = f"{ago(reload['at'], now)} ago"
    if reload["ok"] is None:
        return [f"to generation {reload['generation']} is under way", f"begun {when}"]
    if reload["ok"]:
        kept = reload.get("restart_needed")
        return [f"generation {reload['generation']}", when, *([style.plain(f"restart orbitd for: {', '.join(kept)}")] if kept else [])]
    return [style.paint("refused", "red"), when, style.plain(first_line(reload["error"]) or "no reason is known")]


def _activity(document: Document, now: datetime) -> list[str]:
    last = document["last_activity"]
    stuck = document["stuck_runs"]
    return [
        f"last activity {ago(last, now)} ago" if last else "no attempt has ended yet",
        *([counted(stuck, "stuck run")] if stuck else []),
    ]


def _ended(document: Document, style: Style) -> list[str]:
    if not document["totalRuns"]:
        return ["none has ended yet"]
    failed = f"{document['failed']} failed"
    return [
        f"{document['totalRuns']} ended",
        f"{document['succeeded']} succeeded",
        style.paint(failed, "red") if document["failed"] else failed,
    ]


def _run(run_id: str | None, style: Style) -> str:
    if run_id is None:
        return ""
    return run_id if style.wide else short_id(run_id)


def _milliseconds(milliseconds: float) -> str:
    return format_duration(milliseconds / 1000)


def _size(size_bytes: int | None) -> str:
    return format_size(size_bytes) if size_bytes else ""
