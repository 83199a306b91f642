"""`orbitctl enqueue`: one run or many, at once or later; waited for and looked on, if wanted."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orbitd import store
from orbitd.ctl.awaiting import EXIT_CODES, Onlooker, await_ends, told_end, told_ends
from orbitd.ctl.bulk import in_turn
from orbitd.ctl.database import connected
from orbitd.ctl.runs import check_between
from orbitd.errors import ExitCode, NoSuchObject, UsageError, nearest
from orbitd.rules.ids import short_id
from orbitd.rules.states import RunState
from orbitd.store import admin
from orbitd.system.files import read_text_file
from orbitd.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orbitd.ctl.app import Session, Verb

_MOST_AT_ALL = 1_000_000
_AT_ONCE = 1000
_LARGEST_ARGS_BYTES = 1024 * 1024
_NUMBER = "{n}"
_IF_LOST = "it may have been made all the same: look with orbitctl runs before you repeat it"
_IF_LOST_WITH_KEY = "repeat it: its key keeps a run from being made twice"


class Wanted(NamedTuple):
    """The runs that a command line asks for. The given arguments are JSON values; the pairs are texts, those over them."""

    args: Mapping[str, Any]
    given: Mapping[str, Any]
    pairs: Mapping[str, str]
    at: datetime | None

    def arguments(self, text_names: Sequence[str], number: int | None = None) -> dict[str, Any]:
        """Of a run: a pair's text is JSON where it can be, but stays text where the pipeline takes nothing else."""
        texts = {key: _numbered(text, number) for key, text in self.pairs.items()}
        return {**self.given, **{key: text if key in text_names else _value(text) for key, text in texts.items()}}

    def request(self, text_names: Sequence[str], number: int) -> dict[str, Any]:
        """What `admin.enqueue_many` takes of the run of that number."""
        args = self.args
        request = {"pipeline": args["pipeline"], "args": self.arguments(text_names, number)}
        request |= {name: args[name] for name in ("priority", "queue") if args[name] is not None}
        request |= {name: _numbered(args[name], number) for name in ("key", "tenant") if args[name] is not None}
        times = {"run_in": args["in"], "key_for": args["key-for"]}
        request |= {name: f"{parse_duration(time)!r} s" for name, time in times.items() if time is not None}
        return request if self.at is None else request | {"run_at": self.at.isoformat()}


def enqueue(session: Session) -> int:
    """`orbitctl enqueue PIPELINE`: prints the id alone; with --wait or --follow it ends as the run ends."""
    args = session.args
    _check(args)
    given = {} if args["args"] is None else _object(_source(args["args"]))
    wanted = Wanted(args, given, _pairs(args["pairs"]), _asked_time(args))
    with connected(session, _IF_LOST if args["key"] is None else _IF_LOST_WITH_KEY) as conn:
        text_names = admin.text_arguments(conn, args["pipeline"])
        if text_names is None:
            session.out.note(_told_unknown(conn, args["pipeline"]))
        enqueue_them = _enqueue_one if args["count"] is None else _enqueue_many
        return enqueue_them(session, conn, wanted, text_names or ())


def _told_unknown(conn: store.Connection, pipeline: str) -> str:
    meant = nearest(pipeline, admin.pipeline_names(conn))
    suggestion = f"; did you mean {meant}?" if meant else ""
    return f'no daemon has told of a pipeline "{pipeline[:60]}": its runs wait until one does{suggestion}'


def _check(args: Mapping[str, Any]) -> None:
    """Raise UsageError for options that contradict each other."""
    if args["in"] is not None and args["at"] is not None:
        raise UsageError("--in and --at exclude each other", "leave one away")
    if args["key-for"] is not None and args["key"] is None:
        raise UsageError("--key-for says for how long a key counts, and there is no --key", "add --key, or leave it away")
    if args["count"] is None:
        return
    check_between("count", args["count"], _MOST_AT_ALL)
    if args["follow"]:
        raise UsageError("--follow is for one run, not for --count", "`--count N --wait` waits for all of them")
    if args["key"] is not None and _NUMBER not in args["key"] and args["count"] > 1:
        raise UsageError("with --count, --key needs {n}: while a run has a key, no second one gets it", "write --key 'batch-{n}'")


def _asked_time(args: Mapping[str, Any]) -> datetime | None:
    """What --at says. Raises UsageError."""
    if args["at"] is None:
        return None
    try:
        at = datetime.fromisoformat(args["at"])
    except ValueError:
        raise UsageError(f'--at: "{args["at"][:60]}" is not a time', "write it as 2030-01-31T08:00:00Z") from None
    if at.tzinfo is None:
        raise UsageError(f'--at: "{args["at"]}" has no zone', f"add one: {args['at']}Z is UTC, {args['at']}+02:00 two hours before it")
    return at


def _enqueue_one(session: Session, conn: store.Connection, wanted: Wanted, text_names: Sequence[str]) -> int:
    args = session.args
    how = {name: args[name] for name in ("key", "priority", "queue", "tenant")}
    how |= {"in_seconds": _duration(args["in"]), "key_for_seconds": _duration(args["key-for"]), "at": wanted.at}
    made = admin.enqueue(conn, args["pipeline"], wanted.arguments(text_names), **how)
    if not made.created:
        session.out.note(f'the key "{args["key"]}" belongs to this run already, which {_in_words(made.state)}')
    document: dict[str, Any] = {"schema": "orbit.run/1", "id": str(made.id), "created": made.created, "state": made.state}
    if args["wait"] or args["follow"]:
        return _wait(session, conn, made, document)
    session.out.document(document, [document["id"]])
    return ExitCode.OK


def _in_words(state: RunState) -> str:
    auxiliary = {RunState.SUCCEEDED: "has", RunState.FAILED: "has", RunState.CANCELLED: "was"}.get(state, "is")
    return f"{auxiliary} {state}"


def _wait(session: Session, conn: store.Connection, made: admin.Enqueued, document: Mapping[str, Any]) -> int:
    """A person has the id at once; the document has the state in which the run ended, be it long ago."""
    if not session.out.as_json:
        session.out.document(document, [document["id"]])
        sys.stdout.flush()
    look = Onlooker(session, made.id).look if session.args["follow"] else _look_away
    try:
        state = await_ends(session, conn, [made.id], look)[made.id]
        told = told_end(conn, made.id, state)
    except NoSuchObject:
        state = made.state
        if state not in EXIT_CODES:
            raise
        told = f"run {short_id(made.id)} {state}, and is kept no longer"
    if session.out.as_json:
        session.out.document({**document, "state": state}, [])
    else:
        session.out.note(told)
    return EXIT_CODES[state]


def _look_away(_conn: store.Connection) -> None:
    pass


def _enqueue_many(session: Session, conn: store.Connection, wanted: Wanted, text_names: Sequence[str]) -> int:
    """In batches, each of which is made or not made as a whole. The ids of those that were made are told in any case."""
    count: int = session.args["count"]
    ids: list[int] = []

    def reached() -> str:
        return f"{len(ids)} of {count} runs were made"

    try:
        for begun in in_turn(session, range(0, count, _AT_ONCE), f"{count} runs to be made", reached):
            numbers = range(begun + 1, min(begun + _AT_ONCE, count) + 1)
            ids.extend(admin.enqueue_many(conn, [wanted.request(text_names, number) for number in numbers]))
    finally:
        if ids:
            items = [{"id": str(run_id)} for run_id in ids]
            session.out.document({"schema": "orbit.enqueued/1", "items": items}, (item["id"] for item in items))
            sys.stdout.flush()
    if not session.args["wait"]:
        return ExitCode.OK
    states = await_ends(session, conn, list(dict.fromkeys(ids)))
    session.out.note(told_ends(states))
    return ExitCode.OK if set(states.values()) == {RunState.SUCCEEDED} else ExitCode.FAILED


def _duration(text: str | None) -> float | None:
    """Seconds."""
    return None if text is None else parse_duration(text)


def _numbered(text: str, number: int | None) -> str:
    return text if number is None else text.replace(_NUMBER, str(number))


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


VERBS: Mapping[str, Verb] = {"enqueue": enqueue}
