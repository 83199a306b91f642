"""The upkeep of the database, as far as it is judged: duties that are not done, and who keeps dead rows from being cleared away."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from orbitd.rules.findings import Finding, Status
from orbitd.units import format_duration

LOOK_SECONDS = 600.0
"""So long a host leaves the fleet's duties alone at most: hence how often its look after them is due, a duty of its own."""

_SHORTEST_PAUSE_SECONDS = 60.0
_JITTER = 0.5
_LATE_FACTOR = 3
_LATE_MARGIN_SECONDS = 900.0
_GRAVE_TRANSACTIONS = 500_000_000
"""A quarter of those after which Postgres takes no more writes."""


@dataclass(frozen=True, slots=True)
class Duty:
    """What is to be done again and again, by this host or by any one of the fleet. `error`: why it failed since it was done last."""

    name: str
    every_seconds: float
    age_seconds: float
    error: str | None

    @property
    def is_late(self) -> bool:
        """Whether it must have failed more than once."""
        return self.age_seconds > _LATE_FACTOR * self.every_seconds + _LATE_MARGIN_SECONDS

    @property
    def due_seconds(self) -> float:
        """Until it is due again; one that fails is due all the time."""
        return self.every_seconds - self.age_seconds


def pause_seconds(duties: Iterable[Duty], *, is_amiss: bool, draw: float) -> float:
    """How long a host waits until it looks again: until one of these duties is due, or for a minute while something is amiss.

    Half a minute of jitter beyond that: whoever comes first does the duty, and the others find it done. `draw` is uniform in [0, 1).
    """
    longest = _SHORTEST_PAUSE_SECONDS if is_amiss else LOOK_SECONDS
    due_seconds = min((duty.due_seconds for duty in duties), default=longest)
    return max(_SHORTEST_PAUSE_SECONDS, min(due_seconds, longest)) + draw * _JITTER * _SHORTEST_PAUSE_SECONDS


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds back vacuum most: a session (`name` is its pid), a prepared transaction or a replication slot.

    `transactions`: how many have begun since what it may still see. `seconds`: for how long, None when nobody can tell.
    """

    kind: str
    name: str
    application: str | None
    user: str | None
    state: str | None
    seconds: float | None
    transactions: int

    def is_harmful(self, most_transactions: int, most_seconds: float) -> bool:
        """Whether it is worth a word: long enough, and with enough happening meanwhile."""
        return self.transactions >= most_transactions and (self.seconds is None or self.seconds >= most_seconds)


def late(duties: Sequence[Duty]) -> Iterator[Finding]:
    """Duties that nobody has done for long."""
    for duty in duties:
        if duty.is_late:
            why = f": {duty.error}" if duty.error else ""
            message = f"the duty {duty.name} was last done {format_duration(int(duty.age_seconds))} ago{why}"
            yield Finding("duty_late", Status.WARNING, message, "orbitctl events")


def held(holder: Holder) -> Finding:
    """The word about a harmful one, with the command that ends it."""
    status = Status.ERROR if holder.transactions >= _GRAVE_TRANSACTIONS else Status.WARNING
    since = f" for {format_duration(int(holder.seconds))}" if holder.seconds is not None else ""
    known = [holder.application, holder.user and f"user {holder.user}", holder.state and holder.state + since]
    who = ", ".join(filter(None, known))
    literal = "'" + holder.name.replace("'", "''") + "'"
    name, ending = {
        "session": (f"pid {holder.name}", f"select pg_terminate_backend({holder.name})"),
        "prepared": (f'prepared transaction "{holder.name}"', f"rollback prepared {literal}"),
        "slot": (f'replication slot "{holder.name}"', f"select pg_drop_replication_slot({literal})"),
    }[holder.kind]
    message = f"{name}{f' ({who})' if who else ''} keeps vacuum from clearing the dead rows of {holder.transactions} transactions"
    return Finding("horizon_held", status, message, f"psql -c {shlex.quote(ending)}")
