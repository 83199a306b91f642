"""The verbs that the daemon answers, over its control socket."""

from __future__ import annotations

import math
import os
import select
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orbitd import __version__
from orbitd.control.client import Conversation, connected
from orbitd.control.commands import MOST_EVENTS
from orbitd.ctl import show
from orbitd.ctl.waiting import TICK_SECONDS, waiting
from orbitd.errors import DaemonNotRunning, ExitCode, OrbitError, UsageError, WaitTimeout
from orbitd.units import parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from orbitd.ctl.app import Session, Verb

_ANSWER_SECONDS = 10.0
_STARTING_RUNS = ("running", "degraded", "reloading")
_NAGIOS_CODES = {"healthy": 0, "warning": 1, "error": 2}
_NAGIOS_UNKNOWN = 3
_NAGIOS_WORDS = ("OK", "WARNING", "CRITICAL", "UNKNOWN")


def status(session: Session) -> int:
    """`orbitctl status`."""
    if session.args["offline"]:
        from orbitd.ctl import offline  # here: what it needs takes longer to import than a daemon takes to answer

        answer = offline.status(session)
        session.out.document(answer, show.offline(answer, session.out.style, _now()))
        return ExitCode.OK
    answer = _ask(session)
    session.out.document(answer, show.status(answer, session.out.style, _now()))
    return ExitCode.OK


def list_slots(session: Session) -> int:
    """`orbitctl list`."""
    answer = _ask(session)
    session.out.document(answer, show.slots(answer, session.out.style, _now()))
    return ExitCode.OK


def ping(session: Session) -> int:
    """`orbitctl ping`."""
    session.out.document(_ask(session), ["orbitd answers"])
    return ExitCode.OK


def version(session: Session) -> int:
    """`orbitctl version`: its own version in any case, the daemon's if there is one."""
    try:
        daemon = str(_ask(session)["daemon"])
    except DaemonNotRunning:
        daemon = None
    document = {"schema": "orbit.version/1", "client": __version__, "daemon": daemon}
    session.out.document(document, show.version(document))
    return ExitCode.OK


def health(session: Session) -> int:
    """`orbitctl health`: 0 when all is well, else 1."""
    asked = [f"--{name}" for name in ("live", "ready", "nagios") if session.args[name]]
    if len(asked) > 1:
        raise UsageError(f"{asked[0]} and {asked[1]} exclude each other", "leave one away")
    if session.args["nagios"]:
        return _nagios(session)
    if session.args["live"]:
        session.out.document(_ask_for(session, "ping"), ["orbitd answers"])
        return ExitCode.OK
    if session.args["ready"]:
        return _ready(session)
    answer = _ask(session)
    session.out.document(answer, show.health(answer, session.out.style, _now()))
    return ExitCode.OK if answer["status"] == "healthy" else ExitCode.FAILED


def stack(session: Session) -> int:
    """`orbitctl stack`."""
    answer = _ask(session)
    session.out.document(answer, show.stack(answer, session.out.style))
    return ExitCode.OK


def metrics(session: Session) -> int:
    """`orbitctl metrics`."""
    answer = _ask(session)
    session.out.document(answer, show.metrics(answer, session.out.style))
    return ExitCode.OK


def events(session: Session) -> int:
    """`orbitctl events`: with --follow, each as it comes, until Ctrl-C."""
    if session.args["follow"]:
        return _follow_events(session)
    answer = _ask(session)
    session.out.document(answer, show.events(answer, session.out.style))
    return ExitCode.OK


def order(session: Session) -> int:
    """The verbs that change something at once, or are waited for by the daemon."""
    _tell(session, _ask(session))
    return ExitCode.OK


def reload(session: Session) -> int:
    """`orbitctl reload`: with --dry-run, only what it would change."""
    if not session.args["dry-run"]:
        return order(session)
    answer = _ask(session)
    for warning in answer["warnings"]:
        session.out.note(f"warning: {warning}")
    session.out.document(answer, show.reload_plan(answer, session.out.style))
    return ExitCode.OK


def stop(session: Session) -> int:
    """`orbitctl stop`: with --wait, until the daemon's process has ended."""
    if not session.invocation.args["wait"]:
        return order(session)
    with connected(session.socket(), _ANSWER_SECONDS) as conversation:
        process = _process_of(conversation)
        try:
            answer = conversation.ask("stop", _travelling(session), _ANSWER_SECONDS)
            with waiting(session.out, "orbitd to end", "orbitd goes on stopping") as tick:
                _await_end(process, _timeout_seconds(session), tick)
        finally:
            os.close(process)
    _tell(session, answer | {"message": "orbitd has ended"})
    return ExitCode.OK


def _ready(session: Session) -> int:
    status = _ask_for(session, "status")
    is_ready = status["state"] in _STARTING_RUNS and status["children"]["ready"] > 0
    message = f"{status['state']}, {status['children']['ready']} of {status['children']['target']} children are ready"
    document = {"schema": "orbit.ready/1", "ready": is_ready, "state": status["state"], "message": message}
    session.out.document(document, [message])
    return ExitCode.OK if is_ready else ExitCode.FAILED


def _nagios(session: Session) -> int:
    """One line and an exit code, as monitoring plugins give them: OK, WARNING, CRITICAL, UNKNOWN."""
    try:
        answer = _ask(session)
        code, message = _NAGIOS_CODES[answer["status"]], answer["message"]
    except DaemonNotRunning as error:
        code, message = _NAGIOS_CODES["error"], error.message
    except OrbitError as error:
        code, message = _NAGIOS_UNKNOWN, error.message
    print(f"ORBITD {_NAGIOS_WORDS[code]} - {session.out.style.plain(' '.join(message.split()))}")
    return code


def _follow_events(session: Session) -> int:
    args = _travelling(session)
    with connected(session.socket(), _ANSWER_SECONDS) as conversation:
        while True:
            answer = conversation.ask("events", args)
            for item in answer["items"]:
                session.out.item(item, [show.event(item, session.out.style)])
            args |= {"after": answer["next"], "limit": MOST_EVENTS}


def _ask_for(session: Session, name: str) -> dict[str, Any]:
    """The answer to another question than the verb's own, one without arguments."""
    with connected(session.socket(), _ANSWER_SECONDS) as conversation:
        return conversation.ask(name, {}, _ANSWER_SECONDS)


def _ask(session: Session) -> dict[str, Any]:
    name, args = session.invocation.command.name, _travelling(session)
    with connected(session.socket(), _ANSWER_SECONDS) as conversation:
        if not args.get("wait"):
            return conversation.ask(name, args, _ANSWER_SECONDS)
        with waiting(session.out, f"the {name}", f"the {name} goes on") as tick:
            try:
                return conversation.ask(name, args, _timeout_seconds(session), tick)
            except WaitTimeout:
                late = session.invocation.args["timeout"]
                raise WaitTimeout(f"the {name} was not done within {late}; it goes on", "see `orbitctl status`") from None


def _travelling(session: Session) -> dict[str, Any]:
    return {argument.name: session.invocation.args[argument.name] for argument in session.invocation.command.arguments}


def _timeout_seconds(session: Session) -> float | None:
    written = session.invocation.args.get("timeout")
    return None if written is None else parse_duration(written)


def _tell(session: Session, answer: Mapping[str, Any]) -> None:
    session.out.document(answer, [session.out.style.plain(str(answer["message"]))])


def _process_of(conversation: Conversation) -> int:
    """A descriptor that becomes readable when the daemon ends. Opened before it is asked to: its pid stays its own."""
    try:
        return os.pidfd_open(conversation.daemon_pid)
    except (OSError, ValueError) as error:
        raise OrbitError("cannot watch the daemon's process: it is in another pid namespace", "stop it without --wait") from error


def _await_end(process: int, timeout_seconds: float | None, tick: Callable[[], None]) -> None:
    deadline = math.inf if timeout_seconds is None else time.monotonic() + timeout_seconds
    while not select.select([process], [], [], max(0.0, min(TICK_SECONDS, deadline - time.monotonic())))[0]:
        if time.monotonic() >= deadline:
            raise WaitTimeout(f"orbitd has not ended within {timeout_seconds:g}s", "`orbitctl stop --now` interrupts its runs")
        tick()


def _now() -> datetime:
    return datetime.now(UTC)


VERBS: Mapping[str, Verb] = {
    "status": status,
    "list": list_slots,
    "ping": ping,
    "version": version,
    "scale": order,
    "reload": reload,
    "upgrade": order,
    "pause": order,
    "unpause": order,
    "stop": stop,
    "stack": stack,
    "health": health,
    "metrics": metrics,
    "events": events,
    "drain": order,
    "restart": order,
    "kill": order,
    "loglevel": order,
    "reopen": order,
}
