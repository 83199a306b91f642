"""The host's lease, as its processes see it in shared memory: they trust it a little shorter than the database holds it.

It is counted from before the request was sent, on a clock that goes on while the machine sleeps.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from orbitd import store
from orbitd.store import Beat, Connection
from orbitd.system import clock
from orbitd.system.slots import Header

_MARGIN = 0.1


def hold(header: Header, asked_at: float, lease_seconds: float) -> None:
    """Let all of us know that the lease holds."""
    header.lease_until = asked_at + lease_seconds * (1 - _MARGIN)


def beat(
    connection: Connection, header: Header, host_id: int, lease_seconds: float, floors: Mapping[int, int] | None, *, probes: bool = False
) -> Beat:
    """Renew the lease, in the database and for all of us; the rest as `store.beat`. Raises LeaseLost when the host was ended."""
    asked_at = clock.now()
    answer = store.beat(connection, host_id, lease_seconds, floors, probes=probes)
    if not answer.alive:
        raise store.LeaseLost(f"host {host_id} was ended")
    hold(header, asked_at, answer.lease_seconds_left)
    return answer


def stand_in(connection: Connection, header: Header, host_id: int, lease_seconds: float) -> None:
    """Beat for a janitor that has fallen silent, once half of the lease is over: any child may, so that none is missed.

    A host that was ended stays so; only a janitor registers a new one.
    """
    if header.host_id == host_id and clock.now() >= header.lease_until - lease_seconds / 2:
        with suppress(store.LeaseLost):
            beat(connection, header, host_id, lease_seconds, {})
