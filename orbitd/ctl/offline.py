"""The state of a daemon whose arbiter does not answer, read from the memory that it shares with its children.

The children write there themselves what they do, so it is true also when the arbiter is stopped, hangs, or is frozen. What only
the arbiter knows (its target, restarts, reloads, memory) is not there.
"""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from orbitd.config import find_state_dir
from orbitd.control import views
from orbitd.control.client import connected
from orbitd.errors import DaemonNotRunning, OrbitError, Refused, WaitTimeout, why
from orbitd.incarnation import living_arbiter
from orbitd.rules.findings import Finding, Status
from orbitd.rules.states import Activity, DaemonState, SlotState
from orbitd.system import clock, process
from orbitd.system.slots import Record, SlotMemory
from orbitd.units import rfc3339

if TYPE_CHECKING:
    from orbitd.ctl.app import Session

_CONNECT_SECONDS = 1.0
_SLOT_STATES = {
    Activity.NONE: SlotState.STARTING,
    Activity.IDLE: SlotState.IDLE,
    Activity.BUSY: SlotState.BUSY,
    Activity.WAITING: SlotState.WAITING,
}
_PROCESS_WORDS = {"T": "stopped", "t": "traced", "D": "held in the kernel", "Z": "dead"}


def status(session: Session) -> dict[str, Any]:
    """`orbit.status/1`, with `offline`. Raises DaemonNotRunning when there is none, Refused when its memory is not ours to read."""
    pid = _arbiter_pid(session)
    facts = process.stat(pid)
    memory = _memory_of(pid)
    now = clock.now()
    slots = [_slot(index, record, pid, now) for index, record in enumerate(memory.records) if record.pid]
    state = _PROCESS_WORDS.get(facts.state, "running") if facts else "dead"
    document = views.status(
        state=DaemonState.UNKNOWN,
        pid=pid,
        version="unknown",
        generation=max((slot["generation"] for slot in slots), default=0),
        config=None,
        target=len(slots),
        slots=slots,
        problems=_problems(pid, state),
        last_reload=None,
        last_beat_at=_wall(memory.header.beat_at, now),
        age_seconds=0.0,
        processes=[{"role": "arbiter", "pid": pid, "state": state, "generation": None}],
        memory=dict.fromkeys(views.MEMORY_FIELDS),
    )
    return document | {"offline": True}


def _arbiter_pid(session: Session) -> int:
    """Whoever listens on the socket; where that cannot be known, whoever the state directory names."""
    try:
        with connected(session.socket(), _CONNECT_SECONDS) as conversation:
            pid = conversation.daemon_pid
    except (DaemonNotRunning, WaitTimeout, Refused) as error:
        pid = _recorded_pid(session) or 0
        if not pid and not isinstance(error, WaitTimeout):
            raise
    if not pid:
        raise OrbitError("the arbiter's process cannot be found: it is perhaps in another pid namespace", "ask where it runs")
    return pid


def _recorded_pid(session: Session) -> int | None:
    folder = find_state_dir(session.config_file(), session.environ)
    try:
        return living_arbiter(folder)
    except OSError as error:
        raise Refused(
            f"the state directory {folder} cannot be read: {why(error)}", "ask as root, or as the user that orbitd runs as"
        ) from None


def _memory_of(pid: int) -> SlotMemory:
    try:
        memory = SlotMemory.of_process(pid)
    except PermissionError:
        hint = "ask as root, or as the user that orbitd runs as"
        raise Refused(f"the memory of process {pid} is not for user {os.geteuid()}", hint) from None
    except OSError as error:
        raise DaemonNotRunning(f"orbitd is not running: process {pid} has ended ({why(error)})", "start it with `orbitd`") from error
    if memory is None:
        raise OrbitError(f"process {pid} shares no memory that this orbitctl can read", "ask with the orbitctl of the daemon's own version")
    return memory


def _slot(index: int, record: Record, arbiter_pid: int, now: float) -> dict[str, Any]:
    facts = process.stat(record.pid)
    is_dead = facts is not None and facts.parent_pid == arbiter_pid and facts.state == "Z"
    has_run = record.run_id != 0
    return {
        "slot": index,
        "pid": record.pid,
        "state": SlotState.DYING if is_dead else _SLOT_STATES[record.read_activity()],
        "generation": record.generation,
        "run": str(record.run_id) if has_run else None,
        "pipeline": record.pipeline if has_run else None,
        "since": _wall(record.since, now),
        "runs": record.runs,
        "failed": record.failed,
        **dict.fromkeys(("rss_bytes", "own_bytes", "pss_bytes", "restarts", "last_exit")),
    }


def _problems(pid: int, state: str) -> list[Finding]:
    match state:
        case "stopped":
            words, command = "is stopped by a signal (SIGSTOP)", f"kill -CONT {pid}"
        case "traced":
            words, command = "is stopped by a debugger", f"grep TracerPid /proc/{pid}/status"
        case "held in the kernel":
            words, command = "is frozen, or waits for a disk that does not answer", f"cat /proc/{pid}/wchan"
        case _:
            return []
    return [Finding("arbiter_stopped", Status.ERROR, f"the arbiter {words}: nobody looks after the children", command)]


def _wall(at: float, now: float) -> str | None:
    return rfc3339(datetime.fromtimestamp(time.time() - (now - at), UTC)) if at else None
