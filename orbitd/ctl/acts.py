"""The verbs that do something to runs: cancel, retry, rerun, resume, and what is done to dead letters.

Each is a row: which runs it means, what it does to one of them, how that is said. All go the same way: choose the runs, by ids
or by a filter; show them and ask; do it to one after the other; tell what became of each; wait, if wanted. What a filter chose
is pinned: a run that has changed since is left alone and reported, and one that arrives meanwhile is not touched.
"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from orbitd import store
from orbitd.ctl import show_runs
from orbitd.ctl.awaiting import EXIT_CODES, await_ends, told_end, told_ends
from orbitd.ctl.bulk import in_turn
from orbitd.ctl.database import caller, connected
from orbitd.ctl.guard import confirm
from orbitd.ctl.output import say, stderr_is_terminal
from orbitd.ctl.render import Style
from orbitd.errors import Conflict, ExitCode, NoSuchObject, OrbitError, UsageError
from orbitd.rules.ids import short_id
from orbitd.rules.states import RunState
from orbitd.store import admin
from orbitd.store.documents import document
from orbitd.units import counted

if TYPE_CHECKING:
    from orbitd.ctl.app import Session, Verb

_MOST = 100_000
_MOST_SHOWN = 20
_IF_LOST = "it may have been done all the same: look with orbitctl describe before you repeat it"
_REFUSALS = (NoSuchObject, Conflict, UsageError)


class Asked(NamedTuple):
    """What is to be done to one run: as it was when it was chosen, and as it must still be (None: never mind)."""

    pin: admin.Pinned
    expect: admin.Pinned | None
    args: Mapping[str, Any]
    by: str


class Done(NamedTuple):
    """What was done to a run: where it is now, the word for it, and the end of the sentence "run 12 …"."""

    state: str
    outcome: str
    said: str
    is_changed: bool = True
    new_id: int | None = None


@dataclass(frozen=True)
class Act:
    """One row."""

    name: str
    perform: Callable[[store.Connection, Asked], Done]
    choose: Callable[[store.Connection, admin.Filter | None, Mapping[str, Any]], list[admin.Pinned]]
    is_undoable: bool = True
    starts_runs: bool = False
    """Whether --wait is content only with success, else with any end."""
    thing: str = "run"


@dataclass
class Result:
    """A run that was named or found, or a word that names none, and what became of it."""

    id: str
    pin: admin.Pinned | None = None
    done: Done | None = None
    error: OrbitError | None = None
    ended: RunState | None = None

    def document(self) -> dict[str, Any]:
        """An item of orbit.acts/1."""
        return {
            "id": self.id,
            "pipeline": self.pin and self.pin.pipeline,
            "state": self.done.state if self.done else self.pin and self.pin.state,
            "outcome": self.done and self.done.outcome,
            "changed": self.done is not None and self.done.is_changed,
            "error": self.error and {"code": self.error.code, "message": self.error.message, "hint": self.error.hint},
            **({"new_id": str(self.done.new_id)} if self.done and self.done.new_id else {}),
            **({"ended": self.ended} if self.ended else {}),
        }

    def awaited(self) -> int:
        """The run whose end is waited for."""
        return (self.done and self.done.new_id) or int(self.id)


def carry_out(act: Act, session: Session) -> int:
    """The verb of an act. It ends with 0 when it was done to all, with 1 when to some; then as the runs end that it waited for."""
    args = session.args
    _check_choice(session, act)
    with connected(session, _IF_LOST) as conn:
        results = _chosen(conn, session, act)
        if args["dry-run"]:
            return _tell_dry(session, act, results)
        _ask(session, act, results)
        waits = args.get("wait", False)
        try:
            _perform(conn, session, act, results)
            if waits and session.out.as_json:
                _await(conn, session, results)
        finally:
            _tell(session, act, results)
        if waits and not session.out.as_json:
            _await(conn, session, results)
    return _exit_code(act, results)


# --- which runs ---


def _check_choice(session: Session, act: Act) -> None:
    """Raise UsageError unless exactly one way to say which is used."""
    args = session.args
    has_filter = args["where"] is not None or args.get("group") is not None
    ways = [bool(args["runs"]), has_filter, args["all"]]
    if sum(ways) > 1:
        raise UsageError("ids, a filter and --all exclude each other", "leave all but one away")
    if not any(ways):
        raise UsageError(f"which {act.thing}s?", "name their ids, or --where FILTER; --all means all that this can be done to")
    if args["where"] is not None and not args["where"].strip():
        raise UsageError("--where is empty", "--all means all that this can be done to")


def _chosen(conn: store.Connection, session: Session, act: Act) -> list[Result]:
    args = session.args
    if args["runs"]:
        return _named(conn, args["runs"])
    terms = [args["where"] or ""]
    if args.get("group") is not None:
        terms.append(f"group:{admin.resolve_group(conn, args['group'])}")
    wanted = None if args["all"] else admin.parse_filter(" ".join(terms))
    return [Result(str(pin.run_id), pin) for pin in act.choose(conn, wanted, args)]


def _named(conn: store.Connection, words: Sequence[str]) -> list[Result]:
    """The runs that were named, each once, then the words that name none."""
    ids: dict[int, None] = {}
    unknown = []
    for word in dict.fromkeys(words):
        try:
            ids[admin.resolve(conn, word)] = None
        except NoSuchObject as error:
            unknown.append(Result(word, error=_with_hint(error, word)))
    return [*(Result(str(pin.run_id), pin) for pin in admin.pins_of(conn, list(ids))), *unknown]


def _with_hint(error: NoSuchObject, word: str) -> NoSuchObject:
    """A filter stands behind an option here, unlike where runs are only listed."""
    return NoSuchObject(error.message, f"a filter is given as --where {shlex.quote(word)}") if ":" in word else error


# --- the act ---


def _ask(session: Session, act: Act, results: Sequence[Result]) -> None:
    """Ask before many, or what cannot be undone; a person sees which. Raises Refused."""
    count = len(_found(results))
    if not session.args["yes"] and (count > 1 or not act.is_undoable) and stderr_is_terminal():
        for line in show_runs.chosen(_rows(results), Style(), datetime.now(UTC), _MOST_SHOWN):
            say(session.out.told(line))
    confirm(session, f"{act.name} {counted(count, act.thing)}", count, undoable=act.is_undoable)


def _perform(conn: store.Connection, session: Session, act: Act, results: Sequence[Result]) -> None:
    """One run after the other, each in a transaction of its own."""
    found = _found(results)
    is_pinned = not session.args["runs"] or not act.is_undoable
    by = session.args.get("by") or caller(session.environ)

    def reached() -> str:
        return f"{sum(result.done is not None for result, _ in found)} of {counted(len(found), act.thing)} done"

    for result, pin in in_turn(session, found, f"{act.name} of {counted(len(found), act.thing)}", reached):
        try:
            result.done = act.perform(conn, Asked(pin, pin if is_pinned else None, session.args, by))
        except _REFUSALS as error:
            result.error = error


def _await(conn: store.Connection, session: Session, results: Sequence[Result]) -> None:
    """Wait for the ends of the runs that something was done to."""
    awaited = {result.awaited(): result for result in results if result.done}
    if not awaited:
        return
    states = await_ends(session, conn, awaited)
    for run_id, state in states.items():
        awaited[run_id].ended = state
    if not session.out.as_json:
        session.out.note(told_ends(states) if len(states) > 1 else told_end(conn, *next(iter(states.items()))))


# --- what is told ---


def _tell_dry(session: Session, act: Act, results: Sequence[Result]) -> int:
    rows = _rows(results)
    lines = [*show_runs.chosen(rows, session.out.style, datetime.now(UTC))] if rows else [f"no such {act.thing}s"]
    _tell_document(session, act, results, lines)
    return _exit_code(act, results)


def _tell(session: Session, act: Act, results: Sequence[Result]) -> None:
    lines = [f"run {short_id(result.id)} {result.done.said}" for result in results if result.done]
    _tell_document(session, act, results, lines if results else [f"no such {act.thing}s"])


def _tell_document(session: Session, act: Act, results: Sequence[Result], lines: Sequence[str]) -> None:
    """The document, and beside it the errors; an error that is all there is stands alone."""
    errors = [result.error for result in results if result.error]
    if len(errors) < len(results) or len(results) != 1:
        session.out.document(_document(session, act, results), lines)
        sys.stdout.flush()
    if not session.out.as_json or len(results) == 1:
        for error in errors[:_MOST_SHOWN]:
            session.out.error(error)
        if len(errors) > _MOST_SHOWN:
            session.out.note(f"and {len(errors) - _MOST_SHOWN} more errors: -o json has all")


def _document(session: Session, act: Act, results: Sequence[Result]) -> dict[str, Any]:
    items = [result.document() for result in results]
    return {
        "schema": "orbit.acts/1",
        "act": act.name,
        "dry_run": session.args["dry-run"],
        "changed": sum(item["changed"] for item in items),
        "failed": sum(item["error"] is not None for item in items),
        "items": items,
    }


def _exit_code(act: Act, results: Sequence[Result]) -> int:
    codes = {result.error.exit_code if result.error else ExitCode.OK for result in results}
    if codes - {ExitCode.OK}:
        return codes.pop() if len(codes) == 1 else ExitCode.FAILED
    ended = [result.ended for result in results if result.ended]
    if not act.starts_runs or not ended:
        return ExitCode.OK
    if len(ended) == 1:
        return EXIT_CODES[ended[0]]
    return ExitCode.OK if set(ended) == {RunState.SUCCEEDED} else ExitCode.FAILED


def _found(results: Sequence[Result]) -> list[tuple[Result, admin.Pinned]]:
    return [(result, result.pin) for result in results if result.pin]


def _rows(results: Sequence[Result]) -> list[dict[str, Any]]:
    return [
        document({"id": pin.run_id, "pipeline": pin.pipeline, "state": pin.state, "attempt": pin.attempt, "created_at": pin.created_at})
        for _, pin in _found(results)
    ]


# --- the rows ---


def _cancel(conn: store.Connection, asked: Asked) -> Done:
    outcome = admin.cancel(conn, asked.pin.run_id, asked.by, asked.args["reason"], asked.expect)
    if outcome == "cancelling":
        return Done(RunState.RUNNING, outcome, "is being cancelled")
    if outcome == RunState.CANCELLED and asked.pin.state != RunState.CANCELLED:
        return Done(outcome, outcome, "is cancelled")
    return Done(outcome, outcome, f"{'was' if outcome == RunState.CANCELLED else 'had'} {outcome} already", is_changed=False)


def _retry(conn: store.Connection, asked: Asked) -> Done:
    return _started(admin.retry(conn, asked.pin.run_id, asked.by, asked.args["reason"], asked.expect), asked.pin)


def _resume(conn: store.Connection, asked: Asked) -> Done:
    return _started(admin.resume(conn, asked.pin.run_id, asked.by, asked.expect), asked.pin)


def _started(state: str, pin: admin.Pinned) -> Done:
    """A run that was waiting or running has been left as it was, unless it waited for a later time."""
    is_changed = state == RunState.PENDING and pin.state != RunState.PENDING
    return Done(state, state, f"is {state} again" if is_changed else f"is {state} already", is_changed)


def _rerun(conn: store.Connection, asked: Asked) -> Done:
    new_id = admin.rerun(conn, asked.pin.run_id, asked.by, asked.args["reason"], asked.expect)
    return Done(asked.pin.state, "rerun", f"is made again as run {short_id(new_id)}", new_id=new_id)


def _resolve(conn: store.Connection, asked: Asked) -> Done:
    is_new = admin.dlq_resolve(conn, asked.pin.run_id, asked.by, asked.args["notes"], asked.expect)
    return Done(RunState.FAILED, "resolved", "is resolved" if is_new else "was resolved already", is_new)


def _delete(conn: store.Connection, asked: Asked) -> Done:
    admin.dlq_delete(conn, asked.pin.run_id, asked.expect)
    return Done("deleted", "deleted", "is deleted")


def _runs_for(act: admin.Act) -> Callable[[store.Connection, admin.Filter | None, Mapping[str, Any]], list[admin.Pinned]]:
    return lambda conn, wanted, _: admin.pinned(conn, wanted, most=_MOST, act=act)


def _dead_letters(conn: store.Connection, wanted: admin.Filter | None, args: Mapping[str, Any]) -> list[admin.Pinned]:
    return admin.dlq_pinned(conn, wanted, most=_MOST, include_resolved=args.get("resolved", False))


_ACTS = {
    "cancel": Act("cancel", _cancel, _runs_for("cancel")),
    "retry": Act("retry", _retry, _runs_for("retry"), starts_runs=True),
    "rerun": Act("rerun", _rerun, _runs_for("rerun"), starts_runs=True),
    "resume": Act("resume", _resume, _runs_for("resume"), starts_runs=True),
    "dlq retry": Act("retry", _retry, _dead_letters, starts_runs=True, thing="dead letter"),
    "dlq resolve": Act("resolve", _resolve, _dead_letters, thing="dead letter"),
    "dlq delete": Act("delete", _delete, _dead_letters, is_undoable=False, thing="dead letter"),
}
VERBS: Mapping[str, Verb] = {name: partial(carry_out, act) for name, act in _ACTS.items()}
