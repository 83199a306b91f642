"""Waiting for the ends of runs, and looking on meanwhile. The database is asked soon at first, then each second."""

from __future__ import annotations

import itertools
import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from orbitd import store
from orbitd.ctl import show_runs
from orbitd.ctl.output import say
from orbitd.ctl.render import Style
from orbitd.ctl.waiting import waiting
from orbitd.errors import ExitCode, WaitTimeout
from orbitd.rules.ids import short_id
from orbitd.rules.states import RunState
from orbitd.store import admin
from orbitd.units import counted, parse_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from orbitd.ctl.app import Session

EXIT_CODES: Mapping[RunState, ExitCode] = {
    RunState.SUCCEEDED: ExitCode.OK,
    RunState.FAILED: ExitCode.RUN_FAILED,
    RunState.CANCELLED: ExitCode.RUN_CANCELLED,
}
"""How one awaited run makes the call end; a state that is not here is no end."""

_LINES_AT_ONCE = 1000
_OVER_PROGRESS = "\r\033[K"
_FIRST_LOOK_SECONDS = 0.05
_LATER_LOOK_SECONDS = 1.0


class Onlooker:
    """Tells on standard error what is new about a run: its log, its steps, its progress."""

    def __init__(self, session: Session, run_id: int) -> None:
        self._out = session.out
        self._run_id = run_id
        self._line = 0
        self._steps = 0
        self._progress: list[str] = []

    def look(self, conn: store.Connection) -> None:
        """Tell what has come since the last look. To a program nothing is told: its document says at the end how it went."""
        if not self._out.as_json:
            for line in self._news(conn):
                say(f"{_OVER_PROGRESS if self._out.notes_redraw else ''}{self._out.told(line)}")

    def _news(self, conn: store.Connection) -> Iterator[str]:
        style = Style()
        for item in new_lines(conn, self._run_id, self._line):
            yield from show_runs.log_line(item, style, dated=False)
            self._line = item["line"]
        run = admin.describe(conn, self._run_id)
        yield from (show_runs.step(step, style) for step in run["steps"][self._steps :])
        self._steps = len(run["steps"])
        progress = show_runs.progress(run["progress"], style)
        if progress and progress != self._progress:
            yield f"progress {' '.join(progress)}"
        self._progress = progress


def new_lines(conn: store.Connection, run_id: int, after_line: int = 0) -> Iterator[dict[str, Any]]:
    """What stands after a line of the run's log at this moment, as items of orbit.logs/1."""
    while True:
        lines = admin.read_logs(conn, run_id, after_line=after_line, limit=_LINES_AT_ONCE)
        yield from lines
        if len(lines) < _LINES_AT_ONCE:
            return
        after_line = lines[-1]["line"]


def await_ends(
    session: Session, conn: store.Connection, run_ids: Collection[int], look: Callable[[store.Connection], None] = lambda _: None
) -> dict[int, RunState]:
    """The states in which the runs have ended; `look` is called after each look at them, the last time after their ends.

    Raises WaitTimeout after --timeout, StoppedWaiting on Ctrl-C, NoSuchObject when one was deleted meanwhile.
    """
    written = session.args["timeout"]
    deadline = math.inf if written is None else time.monotonic() + parse_duration(written)
    goes_on = f"{_named(run_ids)} {'goes' if len(run_ids) == 1 else 'go'} on"
    ended: dict[int, RunState] = {}
    unfinished: dict[int, RunState] = {}
    with waiting(session.out, _named(run_ids), goes_on) as tick:
        for _ in looks(deadline):
            states = _states(conn, [run_id for run_id in run_ids if run_id not in ended])
            ended |= {run_id: state for run_id, state in states.items() if state in EXIT_CODES}
            look(conn)
            if len(ended) == len(run_ids):
                return ended
            unfinished = {run_id: state for run_id, state in states.items() if run_id not in ended}
            tick(_summary(len(run_ids), unfinished.values()))
    raise _late(len(run_ids), unfinished, written)


def looks(deadline: float = math.inf) -> Iterator[None]:
    """When to look: at once, then after longer and longer waits, the last time at the deadline."""
    for number in itertools.count():
        yield
        left_seconds = deadline - time.monotonic()
        if left_seconds <= 0:
            return
        time.sleep(min(_FIRST_LOOK_SECONDS * 1.5 ** min(number, 20), _LATER_LOOK_SECONDS, left_seconds))


def told_end(conn: store.Connection, run_id: int, state: RunState) -> str:
    """How a run has ended, and why it failed."""
    error = admin.describe(conn, run_id)["error"] if state is RunState.FAILED else None
    return f"run {short_id(run_id)} {state}{f': {error}' if error else ''}"


def told_ends(states: Mapping[int, RunState]) -> str:
    """How many runs have ended, and how."""
    return f"{len(states)} runs ended: {_counted(states.values())}"


def _states(conn: store.Connection, run_ids: Collection[int]) -> dict[int, RunState]:
    states = {pin.run_id: pin.state for pin in admin.pins_of(conn, list(run_ids))}
    for gone in set(run_ids) - states.keys():
        states[gone] = admin.place(conn, gone).state
    return states


def _summary(count: int, unfinished: Collection[RunState]) -> str:
    return _counted(unfinished) if count == 1 else f"{count - len(unfinished)} of {count} ended; {_counted(unfinished)}"


def _counted(states: Collection[RunState]) -> str:
    counts = Counter(states)
    return next(iter(states)) if len(states) == 1 else ", ".join(f"{counts[state]} {state}" for state in RunState if counts[state])


def _named(run_ids: Collection[int]) -> str:
    return f"run {short_id(next(iter(run_ids)))}" if len(run_ids) == 1 else counted(len(run_ids), "run")


def _late(count: int, unfinished: Mapping[int, RunState], timeout: str) -> WaitTimeout:
    run_id, state = next(iter(unfinished.items()))
    short = short_id(run_id)
    if count == 1:
        return WaitTimeout(f"run {short} is still {state} after {timeout}; it goes on", f"see `orbitctl describe {short}`")
    still = f"{len(unfinished)} of {count} runs have not ended after {timeout}: {_counted(unfinished.values())}; they go on"
    return WaitTimeout(still, f"see `orbitctl describe {short}`")
