"""The verbs that look at runs, pipelines and dead letters, and `recover`; what is done to runs is in `acts`."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from orbitd import store
from orbitd.control.client import call
from orbitd.ctl import show, show_runs
from orbitd.ctl.database import caller, connected
from orbitd.ctl.guard import confirm
from orbitd.ctl.output import Format
from orbitd.errors import ExitCode, NoSuchObject, UsageError
from orbitd.rules.ids import short_id
from orbitd.rules.states import RunState
from orbitd.store import admin
from orbitd.units import counted, parse_duration, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orbitd.ctl.app import Session, Verb

_MOST_LISTED = 1000
_LIMIT = 50
_SHORTEST_FULL_ID = 13
_ANSWER_SECONDS = 10.0
_SLOTS = ("slot:", "slot/")


def list_runs(session: Session) -> int:
    """`orbitctl runs`."""
    check_between("limit", session.args["limit"], _MOST_LISTED)
    wanted = admin.parse_filter(" ".join(session.args["filter"]))
    with connected(session) as conn:
        page = admin.list_runs(conn, wanted, limit=session.args["limit"], before=_before(conn, session))
    document = {"schema": "orbit.runs/1", "items": page.items, "next": page.next}
    session.out.document(document, show_runs.runs(document, session.out.style, datetime.now(UTC), _older(session, page)))
    return ExitCode.OK


def list_dead_letters(session: Session) -> int:
    """`orbitctl dlq list`."""
    args = session.args
    check_between("limit", args["limit"], _MOST_LISTED)
    wanted = admin.parse_filter(" ".join(args["filter"]))
    with connected(session) as conn:
        page = admin.dlq_list(conn, wanted, include_resolved=args["resolved"], limit=args["limit"], before=_before(conn, session))
    document = {"schema": "orbit.dlq/1", "items": page.items, "next": page.next}
    session.out.document(document, show_runs.dead_letters(document, session.out.style, datetime.now(UTC), _older(session, page)))
    return ExitCode.OK


def show_dead_letter(session: Session) -> int:
    """`orbitctl dlq show RUN`."""
    with connected(session) as conn:
        document = admin.dlq_show(conn, admin.resolve(conn, session.args["run"]))
    session.out.document(document, show_runs.dead_letter(document, session.out.style, datetime.now(UTC)))
    return ExitCode.OK


def describe(session: Session) -> int:
    """`orbitctl describe OBJECT`."""
    name = session.args["object"]
    if name.startswith(_SLOTS):
        return _describe_slot(session, name[len(_SLOTS[0]) :])
    now = datetime.now(UTC)
    with connected(session) as conn:
        if name.isdecimal():
            document = admin.describe(conn, admin.resolve(conn, name))
            lines = show_runs.run(document, session.out.style, now)
        else:
            document = {"schema": "orbit.pipeline/1", **_pipeline(conn, name)}
            lines = show_runs.pipeline(document, session.out.style, now)
    session.out.document(document, lines)
    return ExitCode.OK


def list_pipelines(session: Session) -> int:
    """`orbitctl pipelines`."""
    with connected(session) as conn:
        document = {"schema": "orbit.pipelines/1", "items": admin.list_pipelines(conn)}
    session.out.document(document, show_runs.pipelines(document, session.out.style))
    return ExitCode.OK


def check_interrupted(session: Session) -> int:
    """`orbitctl check-interrupted`."""
    with connected(session) as conn:
        document = {"schema": "orbit.interrupted/1", "items": admin.check_interrupted(conn)}
    session.out.document(document, show_runs.interrupted(document, session.out.style, datetime.now(UTC)))
    return ExitCode.OK


def audit(session: Session) -> int:
    """`orbitctl audit`."""
    since = None if session.args["since"] is None else datetime.now(UTC) - timedelta(seconds=parse_duration(session.args["since"]))
    with connected(session) as conn:
        found = admin.audit(conn, since)
    document = {
        "schema": "orbit.audit/1",
        "since": since and rfc3339(since),
        "looked_at": found.looked_at,
        "counts": found.counts,
        "items": found.items,
    }
    session.out.document(document, show_runs.audit(document, session.out.style))
    return ExitCode.FAILED if found.counts else ExitCode.OK


def recover(session: Session) -> int:
    """`orbitctl recover`: asks before more than one run is touched."""
    args = session.args
    older_than_seconds = 0.0 if args["older-than"] is None else parse_duration(args["older-than"])
    with connected(session) as conn:
        waiting = admin.check_interrupted(conn, older_than_seconds)
        concerned = [run for run in waiting if args["auto-resume"] or run["state"] == RunState.RUNNING]
        if args["dry-run"]:
            return _dry_recovery(session, concerned)
        count = counted(len(concerned), "run")
        what = f"take back and resume {count}" if args["auto-resume"] else f"take back {count}"
        confirm(session, what, len(concerned), undoable=True)
        done = admin.recover(conn, older_than_seconds=older_than_seconds, auto_resume=args["auto-resume"], by=caller(session.environ))
    items = [
        *({"id": str(taken.run_id), "state": taken.state, "act": "taken_back"} for taken in done.taken_back),
        *({"id": str(run_id), "state": RunState.PENDING, "act": "resumed"} for run_id in done.resumed),
    ]
    document = {"schema": "orbit.recovered/1", "dry_run": False, "auto_resume": args["auto-resume"], "items": items}
    session.out.document(document, show_runs.recovered(document, session.out.style))
    return ExitCode.OK


def _before(conn: store.Connection, session: Session) -> int | None:
    """Where a page begins: --before takes either form of an id, and the `next` of a page whose run is gone. Raises NoSuchObject."""
    written = session.args["before"]
    if written is None or (written.isdecimal() and len(written) >= _SHORTEST_FULL_ID):
        return written and int(written)
    return admin.resolve(conn, written)


def _older(session: Session, page: admin.Page) -> Mapping[str, str]:
    """What to type for the next page, if there is one; told beside the answer where that has no place for it."""
    if page.next is None:
        return {}
    flags = ["--limit", str(session.args["limit"])] if session.args["limit"] != _LIMIT else []
    resolved = ["--resolved"] if session.args.get("resolved") else []
    verb = session.invocation.command.name.split()
    words = [session.program, *verb, *session.args["filter"], *resolved, *flags, "--before", short_id(page.next)]
    command = shlex.join(words)
    if page.stopped_at is not None:
        session.out.note("the search was stopped after 2 s: there may be more")
    if session.out.form in {Format.JSONL, Format.CSV}:
        session.out.note(f"older ones: {command}")
    return {"older ones": command}


def check_between(name: str, value: int, most: int) -> None:
    """Raise UsageError unless the number given by `--name` is from 1 to `most`."""
    if not 1 <= value <= most:
        raise UsageError(f"--{name} {value} is not between 1 and {most}")


def _describe_slot(session: Session, number: str) -> int:
    """A slot is the daemon's: the database knows nothing of it."""
    answer = call(session.socket(), "list", {"exits": True}, _ANSWER_SECONDS)
    slot = next((slot for slot in answer["slots"] if str(slot["slot"]) == number), None)
    if slot is None:
        raise NoSuchObject(f'no slot "{number}"', "see `orbitctl list`")
    lines = show.slots(answer | {"slots": [slot]}, session.out.style, datetime.now(UTC))
    session.out.document({"schema": "orbit.slot/1", **slot}, lines)
    return ExitCode.OK


def _pipeline(conn: store.Connection, name: str) -> dict[str, Any]:
    found = next((pipeline for pipeline in admin.list_pipelines(conn) if pipeline["name"] == name), None)
    if found is None:
        raise NoSuchObject(f'no run or pipeline "{name}"', "see `orbitctl runs` and `orbitctl pipelines`")
    return found


def _dry_recovery(session: Session, concerned: list[dict[str, Any]]) -> int:
    items = [{"id": run["id"], "state": run["state"], "act": _ACTS[run["state"]]} for run in concerned]
    document = {"schema": "orbit.recovered/1", "dry_run": True, "auto_resume": session.args["auto-resume"], "items": items}
    session.out.document(document, show_runs.interrupted({"items": concerned}, session.out.style, datetime.now(UTC)))
    return ExitCode.OK


_ACTS = {RunState.RUNNING: "taken_back", RunState.INTERRUPTED: "resumed"}

VERBS: Mapping[str, Verb] = {
    "runs": list_runs,
    "describe": describe,
    "pipelines": list_pipelines,
    "check-interrupted": check_interrupted,
    "audit": audit,
    "recover": recover,
    "dlq list": list_dead_letters,
    "dlq show": show_dead_letter,
}
