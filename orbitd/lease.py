"""The host's lease, as its processes see it in shared memory: they trust it a little shorter than the database holds it.

It is counted from before the request was sent, on a clock that goes on while the machine sleeps.
"""

from __future__ import annotations

from orbitd import store
from orbitd.store import Connection
from orbitd.system import clock
from orbitd.system.slots import Header

_MARGIN = 0.1


def hold(header: Header, asked_at: float, lease_seconds: float) -> None:
    """Let all of us know that the lease holds."""
    header.lease_until = asked_at + lease_seconds * (1 - _MARGIN)


def stand_in(connection: Connection, header: Header, host_id: int, lease_seconds: float) -> None:
    """Beat for a janitor that has fallen silent, once half of the lease is over: any child may, so that none is missed.

    A host that was ended stays so; only a janitor registers a new one.
    """
    asked_at = clock.now()
    if header.host_id != host_id or asked_at < header.lease_until - lease_seconds / 2:
        return
    beat = store.beat(connection, host_id, lease_seconds, {})
    if beat.alive:
        hold(header, asked_at, beat.lease_seconds_left)
