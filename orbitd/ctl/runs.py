"""The verbs that ask the database: they work whether a daemon runs or not."""

from __future__ import annotations

import json
import math
import os
import pwd
import sys
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from orbitd.config import load_keys
from orbitd.config.files import read_text_file
from orbitd.control.client import call
from orbitd.ctl import show
from orbitd.ctl.output import stderr_is_terminal
from orbitd.ctl.waiting import waiting
from orbitd.errors import ConfigError, DatabaseUnavailable, ExitCode, NoSuchObject, OrbitError, UsageError, WaitTimeout
from orbitd.rules.states import RunState
from orbitd.store import runs as store
from orbitd.store.connection import Connection, connect
from orbitd.store.faults import is_outage
from orbitd.store.migrate import check_schema
from orbitd.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from orbitd.ctl.app import Session, Verb

_URL, _CONNECT_TIMEOUT, _CALL_TIMEOUT = ("database", "url"), ("database", "connect_timeout"), ("database", "call_timeout")
_MOST_LISTED = 1000
_MOST_ENQUEUED = 1_000_000
_ENQUEUED_AT_ONCE = 1000
_LARGEST_ARGS_BYTES = 1024 * 1024
_PING_SECONDS = 1.0
_FIRST_LOOK_SECONDS = 0.05
_LATER_LOOK_SECONDS = 1.0
_EXIT_CODES = {
    RunState.SUCCEEDED: ExitCode.OK,
    RunState.FAILED: ExitCode.RUN_FAILED,
    RunState.CANCELLED: ExitCode.RUN_CANCELLED,
}


def list_runs(session: Session) -> int:
    """`orbitctl runs`."""
    args = session.invocation.args
    _check_between("limit", args["limit"], _MOST_LISTED)
    states = _states(args["state"])
    with _connected(session) as conn:
        before = None if args["before"] is None else str(store.resolve(conn, args["before"]))
        items, following = store.list_runs(conn, states=states, pipeline_glob=args["pipeline"], limit=args["limit"], before=before)
    document = {"schema": "orbit.runs/1", "items": items, "next": following}
    session.out.document(document, show.runs(document, session.out.style, datetime.now(UTC)))
    return ExitCode.OK


def describe(session: Session) -> int:
    """`orbitctl describe RUN`."""
    with _connected(session) as conn:
        document = store.describe(conn, store.resolve(conn, session.invocation.args["run"]))
    session.out.document(document, show.run(document, session.out.style, datetime.now(UTC)))
    return ExitCode.OK


def enqueue(session: Session) -> int:
    """`orbitctl enqueue PIPELINE`: prints the id alone; with --wait, ends as the run ends."""
    args = session.invocation.args
    _check_between("count", args["count"], _MOST_ENQUEUED)
    pairs = _pairs(args["pairs"])
    arguments = _arguments(args["args"], pairs)
    how = {name: args[name] for name in ("priority", "queue", "tenant") if args[name] is not None}
    with _connected(session) as conn:
        text_names = store.text_arguments(conn, args["pipeline"])
        if text_names is None and stderr_is_terminal():
            session.out.note(f'no daemon has told of a pipeline "{args["pipeline"]}": the run waits until one does')
        arguments |= {key: text for key, text in pairs.items() if key in (text_names or ())}
        if args["count"] > 1:
            return _enqueue_many(session, conn, {"pipeline": args["pipeline"], "args": arguments, **how})
        in_seconds = None if args["in"] is None else parse_duration(args["in"])
        made = store.enqueue(conn, args["pipeline"], arguments, key=args["key"], in_seconds=in_seconds, **how)
        if not made.created:
            session.out.note(f'the key "{args["key"]}" belongs to this run already, which is {made.state}')
        _say_if_nobody_works_here(session)
        document: dict[str, Any] = {"schema": "orbit.run/1", "id": str(made.id), "created": made.created, "state": made.state}
        if args["wait"]:
            return _wait(session, conn, document)
    session.out.document(document, [document["id"]])
    return ExitCode.OK


def cancel(session: Session) -> int:
    """`orbitctl cancel RUN...`: exit 1 when only some could be cancelled."""
    args = session.invocation.args
    items = []
    refusals: list[OrbitError] = []
    with _connected(session) as conn:
        for text in dict.fromkeys(args["runs"]):
            try:
                run_id = store.resolve(conn, text)
                items.append({"id": str(run_id), "state": store.cancel(conn, run_id, _caller(session.environ), args["reason"])})
            except NoSuchObject as error:
                refusals.append(error)
    if not items:
        raise refusals[0]
    session.out.document({"schema": "orbit.cancel/1", "items": items}, (f"{item['id']} {_cancelled(item['state'])}" for item in items))
    for refusal in refusals:
        session.out.error(refusal)
    return ExitCode.FAILED if refusals else ExitCode.OK


def _cancelled(state: str) -> str:
    """`cancel` finds a run that has ended as it has ended."""
    words = {"cancelled": "is cancelled", "cancelling": "is being cancelled"}
    return words.get(state, f"had {state} already")


def _enqueue_many(session: Session, conn: Connection, request: Mapping[str, Any]) -> int:
    args = session.invocation.args
    if args["key"] is not None or args["in"] is not None or args["wait"]:
        raise UsageError("--count goes with neither --key, --in nor --wait", "enqueue them one by one")
    ids: list[str] = []
    for made in range(0, args["count"], _ENQUEUED_AT_ONCE):
        chunk = [request] * min(_ENQUEUED_AT_ONCE, args["count"] - made)
        ids += map(str, store.enqueue_many(conn, chunk))
    session.out.document({"schema": "orbit.enqueued/1", "ids": ids}, ids)
    return ExitCode.OK


def _wait(session: Session, conn: Connection, document: dict[str, Any]) -> int:
    """The id is told at once, the document of `--json` when the run has ended."""
    run_id = int(document["id"])
    if not session.out.as_json:
        session.out.document(document, [document["id"]])
        sys.stdout.flush()
    state = _await_end(conn, run_id, session.invocation.args["timeout"])
    if session.out.as_json:
        session.out.document(document | {"state": state}, [])
    else:
        error = store.describe(conn, run_id)["error"] if state is RunState.FAILED else None
        session.out.note(f"run {document['id']} {state}{f': {error}' if error else ''}")
    return _EXIT_CODES[state]


def _await_end(conn: Connection, run_id: int, timeout: str | None) -> RunState:
    deadline = math.inf if timeout is None else time.monotonic() + parse_duration(timeout)
    look_seconds = _FIRST_LOOK_SECONDS
    with waiting(f"run {run_id}", f"run {run_id} goes on") as tick:
        while (state := store.place(conn, run_id).state) not in _EXIT_CODES:
            left_seconds = deadline - time.monotonic()
            if left_seconds <= 0:
                raise WaitTimeout(f"run {run_id} is still {state} after {timeout}; it goes on", f"see `orbitctl describe {run_id}`")
            time.sleep(min(look_seconds, left_seconds))
            look_seconds = min(look_seconds * 1.5, _LATER_LOOK_SECONDS)
            tick()
    return state


@contextmanager
def _connected(session: Session) -> Iterator[Connection]:
    """A connection to the configured database, whose errors are told in words."""
    configured = load_keys(session.config_file(), [_URL, _CONNECT_TIMEOUT, _CALL_TIMEOUT], session.environ)
    if not configured[_URL]:
        raise ConfigError("no database is configured", "set database.url, or DATABASE_URL=postgresql://user@host/database")
    try:
        with connect(
            configured[_URL],
            connect_timeout_seconds=configured[_CONNECT_TIMEOUT],
            call_timeout_seconds=configured[_CALL_TIMEOUT],
            application_name="orbitctl",
        ) as conn:
            check_schema(conn)
            yield conn
    except psycopg.Error as error:
        message = (error.diag.message_primary or str(error)).strip().partition("\n")[0]
        if is_outage(error):
            raise DatabaseUnavailable(
                f"the database does not answer: {message}", "check database.url, and whether Postgres runs"
            ) from error
        raise OrbitError(f"the database refuses: {message}", error.diag.message_hint) from error


def _states(written: str | None) -> list[RunState]:
    words = [] if written is None else written.split(",")
    unknown = [word for word in words if word not in set(RunState)]
    if unknown:
        raise UsageError(f'unknown state "{unknown[0][:60]}"', f"there are {', '.join(RunState)}")
    return [RunState(word) for word in words]


def _arguments(written: str | None, pairs: Mapping[str, str]) -> dict[str, Any]:
    """The arguments of a run: the JSON object of --args, and the pairs over it, each a JSON value where it is one."""
    arguments: dict[str, Any] = {} if written is None else _object(_source(written))
    return arguments | {key: _value(text) for key, text in pairs.items()}


def _pairs(words: Sequence[str]) -> dict[str, str]:
    """The words KEY=VALUE."""
    pairs = {}
    for pair in words:
        key, equals, text = pair.partition("=")
        if not equals or not key:
            raise UsageError(
                f'"{pair[:60]}" is not of the form KEY=VALUE',
                "an argument is written tenant_id=42, or several --args '{\"tenant_id\": 42}'",
            )
        pairs[key] = text
    return pairs


def _source(written: str) -> str:
    """JSON as it stands, @FILE, or - for standard input."""
    if written == "-":
        text = sys.stdin.read(_LARGEST_ARGS_BYTES + 1) if sys.stdin else ""
        if len(text) > _LARGEST_ARGS_BYTES:
            raise UsageError(f"--args -: standard input has more than {_LARGEST_ARGS_BYTES} characters")
        return text
    if not written.startswith("@"):
        return written
    try:
        return read_text_file(Path(written[1:]), _LARGEST_ARGS_BYTES)
    except ValueError as error:
        raise UsageError(f"--args: {error}") from error


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text, parse_constant=_refused_constant)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--args is not JSON: {str(error).lower()}", "write an object, such as '{\"tenant_id\": 42}'") from error
    if not isinstance(value, dict):
        raise UsageError("--args is JSON, but no object", "write '{\"name\": …}'")
    return value


def _value(text: str) -> Any:
    """JSON if it is that, else text."""
    try:
        return json.loads(text, parse_constant=_refused_constant)
    except (ValueError, RecursionError):
        return text


def _refused_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _say_if_nobody_works_here(session: Session) -> None:
    """To a person only: a program that makes runs on another host than the daemon's need not hear it each time."""
    if not stderr_is_terminal():
        return
    try:
        call(session.socket(), "ping", {}, _PING_SECONDS)
    except OrbitError as error:
        session.out.note(f"{error.message}; the run waits until one runs, here or elsewhere")


def _check_between(name: str, value: int, most: int) -> None:
    if not 1 <= value <= most:
        raise UsageError(f"--{name} {value} is not between 1 and {most}")


def _caller(environ: Mapping[str, str]) -> str:
    """Who asks: the person behind sudo, if there is one."""
    try:
        return environ.get("SUDO_USER") or pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"user {os.getuid()}"


VERBS: Mapping[str, Verb] = {"runs": list_runs, "describe": describe, "enqueue": enqueue, "cancel": cancel}
