"""What the janitor says for its host: that it is there, what it serves, who of its children has come and gone.

    register -> register_pipelines -> beat, beat, … -> end_host
    start_child -> (claims) -> interrupt

A running run belongs to a child, a child to a host. Whoever ends a child or a host takes its row first; then no claim of it
can commit any more, and its runs are taken back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row, dict_row

from orbitd.rules.states import Charge, RunState
from orbitd.store import queries
from orbitd.store.faults import own_errors
from orbitd.store.outcomes import MAX_ERROR_BYTES, MAX_TRACE_BYTES, clean_text
from orbitd.store.rows import Beat, Fence, Lane, PipelineSpec, Sweep, TakenBack

Asked = tuple[int, Sequence[int]]
Mode = Literal["resume", "hold"]
"""What becomes of an interrupted run: it goes on by itself, or it waits for a person."""

Meanwhile = Callable[[], None]
"""What else has to be done while much is taken back: the next beat may be due."""

_SQL = queries.load("hosts")
_RECONCILE_BATCH = 50


def _nothing() -> None: ...


def register(conn: psycopg.Connection[Any], *, boot_id: str, name: str, pid: int, version: str, lease_seconds: float) -> int:
    """The id of this host's row; the same boot id is the same host. Raises LeaseLost when it has been ended."""
    parameters = {"boot_id": boot_id, "name": name, "pid": pid, "version": version, "lease_seconds": lease_seconds}
    with own_errors():
        return int(conn.execute(_SQL["register"], parameters).fetchall()[0][0])


def register_pipelines(conn: psycopg.Connection[Any], host_id: int, specs: Sequence[PipelineSpec]) -> list[Lane]:
    """Say what the host serves; its lanes in the order in which to ask them. Raises LeaseLost.

    Runs that were enqueued before anybody knew these names come to their lanes with the beats that follow.
    """
    parameters = {
        "host": host_id,
        "names": [spec.name for spec in specs],
        "queues": [spec.queue for spec in specs],
        "priorities": [spec.priority for spec in specs],
        "signatures": [spec.signature for spec in specs],
        "max_attempts": [spec.max_attempts for spec in specs],
        "max_crashes": [spec.max_crashes for spec in specs],
    }
    with own_errors(), conn.cursor(row_factory=class_row(Lane)) as cursor:
        return cursor.execute(_SQL["register_pipelines"], parameters).fetchall()


def lanes_of(conn: psycopg.Connection[Any], pipelines: Iterable[str]) -> list[Lane]:
    """The lanes of these pipelines, in the order in which to ask them."""
    with conn.cursor(row_factory=class_row(Lane)) as cursor:
        return cursor.execute(_SQL["lanes_of"], {"names": list(pipelines)}).fetchall()


def beat(
    conn: psycopg.Connection[Any],
    host_id: int,
    lease_seconds: float,
    floors: Mapping[int, int] | None = None,
    *,
    probes: bool = False,
) -> Beat:
    """Renew the lease, promote what has fallen due, and say what there is to do.

    `floors`: from which number on to look for work in a lane; others are looked through in full. Empty: work is not looked for.
    With `probes` the connection rings for itself, see `Connection.listen`.
    """
    parameters = {
        "host": host_id,
        "lease_seconds": lease_seconds,
        "lanes": None if floors is None else list(floors),
        "floors": None if floors is None else list(floors.values()),
        "probes": probes,
    }
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SQL["beat"], parameters).fetchall()[0]
    cancels = zip(row.pop("cancel_runs") or (), row.pop("cancel_children") or (), strict=True)
    if row["alive"]:
        return Beat(**row, cancels=list(cancels))
    return Beat(False, row["server_since"], row["last_seq"], 0.0, [], [], [], None, False, [])


def sweep(conn: psycopg.Connection[Any], bounds: Mapping[int, int]) -> Sweep:
    """The first pending run of each lane, from its bound on, and up to which number no producer is still at work."""
    with conn.cursor(row_factory=dict_row) as cursor:
        row = cursor.execute(_SQL["sweep"], {"lanes": list(bounds), "bounds": list(bounds.values())}).fetchall()[0]
    found = zip(row.pop("lanes") or (), row.pop("seqs") or (), strict=True)
    return Sweep(**row, found=dict(found))


def start_child(
    conn: psycopg.Connection[Any],
    *,
    host_id: int,
    slot: int,
    nonce: str,
    pid: int,
    held: Sequence[Fence] = (),
    asked: Asked | None = None,
) -> int:
    """The id with which a child claims over a new connection. Raises LeaseLost when the host has been ended.

    The same process coming again (nonce) ends its former id: a claim still in flight there cannot commit any more, what it may
    have brought (`asked`: token and lanes) is handed back untouched, and the runs `held` go on under the new id.
    """
    parameters = _claims(held, asked) | {"host": host_id, "slot": slot, "nonce": nonce, "pid": pid}
    with own_errors():
        return int(conn.execute(_SQL["start_child"], parameters).fetchall()[0][0])


def interrupt(
    conn: psycopg.Connection[Any],
    *,
    child_id: int,
    held: Sequence[tuple[Fence, bool]],
    asked: Asked | None,
    cause: str,
    error: str,
    stack: str | None,
    charge: Charge,
    mode: Mode,
) -> list[tuple[int, RunState]]:
    """A child has died: end it, and take back what it held (fence, begun) or had asked for. Returns (run id, state now).

    Repeating it is harmless. A child that never connected (0) held nothing.
    """
    parameters = _claims([fence for fence, _ in held], asked) | {
        "child": child_id,
        "begun": [begun for _, begun in held],
        "charge": charge,
        "cause": cause,
        "error": clean_text(error, MAX_ERROR_BYTES),
        "stack": None if stack is None else clean_text(stack, MAX_TRACE_BYTES),
        "hold": mode == "hold",
    }
    return [(run_id, RunState(state)) for run_id, state in conn.execute(_SQL["interrupt"], parameters).fetchall()]


def end_sessions(conn: psycopg.Connection[Any], application_name: str) -> int:
    """End the server's sessions that are at work for this client, which has died; how many there were.

    Behind a pooler a session is known by who has it just now. Without the right to end them there are none.
    """
    try:
        return int(conn.execute(_SQL["end_sessions"], {"application_name": application_name}).fetchall()[0][0])
    except psycopg.errors.InsufficientPrivilege:
        return 0


def end_host(conn: psycopg.Connection[Any], boot_id: str, cause: str, mode: Mode) -> int:
    """End a host by its boot id, at a clean stop or as its next incarnation; how many runs were taken back."""
    conn.execute(_SQL["end_host"], {"boot_id": boot_id, "cause": cause})
    return reconcile(conn, mode)


def rescue(conn: psycopg.Connection[Any], host_id: int, mode: Mode, between: Meanwhile = _nothing) -> int:
    """End hosts whose lease has lapsed, if this one has long been steady; how many runs were taken back."""
    ended = conn.execute(_SQL["rescue"], {"host": host_id}).fetchall()[0][0]
    return reconcile(conn, mode, between) if ended else 0


def end_missing_children(conn: psycopg.Connection[Any], host_id: int, living: Sequence[int]) -> int:
    """End the children of this host that are not among the living ids; how many. Their runs come back with reconcile.

    The backstop for a death that nobody saw. A child younger than a minute may not have told its id yet, and is spared.
    """
    return int(conn.execute(_SQL["end_missing_children"], {"host": host_id, "living": list(living)}).fetchall()[0][0])


def reconcile(conn: psycopg.Connection[Any], mode: Mode, between: Meanwhile = _nothing) -> int:
    """Take back the running runs of children that have been ended; how many. `between` is called between two batches."""
    return len(take_back_ended(conn, mode, between=between))


def take_back_ended(
    conn: psycopg.Connection[Any], mode: Mode, older_than_seconds: float = 0, between: Meanwhile = _nothing
) -> list[TakenBack]:
    """The same, for those whose child ended or whose host fell silent so long ago."""
    taken: list[TakenBack] = []
    lost = conn.execute(_SQL["lost_runs"], {"older_than": older_than_seconds}).fetchall()
    for first in range(0, len(lost), _RECONCILE_BATCH):
        if first:
            between()
        columns = zip(*lost[first : first + _RECONCILE_BATCH], strict=True)
        batch = dict(zip(("lanes", "seqs", "runs", "tokens", "children", "begun"), map(list, columns), strict=True))
        rows = conn.execute(_SQL["reconcile"], batch | {"hold": mode == "hold"}).fetchall()
        taken += [TakenBack(run_id, RunState(state)) for run_id, state in rows]
    return taken


def _claims(held: Sequence[Fence], asked: Asked | None) -> dict[str, Any]:
    """A claims page as the statements take it."""
    asked_token, asked_lanes = asked or (None, ())
    return {
        "lanes": [fence.lane for fence in held],
        "seqs": [fence.seq for fence in held],
        "runs": [fence.run_id for fence in held],
        "tokens": [fence.token for fence in held],
        "asked_token": asked_token,
        "asked_lanes": list(asked_lanes),
    }
