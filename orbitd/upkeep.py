"""The upkeep of the database: a thread of the janitor's, with a connection of its own for each turn.

A turn does those duties of the fleet that are due and that no other host has taken (see `store.upkeep`); then it looks how all of them
go, who holds back vacuum, and whether the schema is still one that we know, and tells the arbiter. The next turn is when a duty is due
again: an idle host opens no connection in between. A duty that fails is told, and is due again in a minute, for any host; a turn
that fails is tried again in a minute, for ever.

None of this holds up the janitor, whose beat is the host's lease. Log and channel belong to the janitor's own thread: what is to
be said waits until that one calls `speak`.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import NoReturn

import psycopg

from orbitd import store
from orbitd.config import Settings
from orbitd.errors import OrbitError
from orbitd.rules.upkeep import pause_seconds
from orbitd.store import Connection, Retention
from orbitd.system import log
from orbitd.system.channel import Message
from orbitd.system.log.redact import masked

_CALL_TIMEOUT_SECONDS = 120.0

_DUTIES: Mapping[str, Callable[[Connection, Retention], int]] = MappingProxyType(
    {
        "partitions": lambda connection, _: store.make_partitions(connection),
        "retention": store.prune_partitions,
        "overdue": lambda connection, _: store.promote_overdue(connection),
        "leftovers": store.prune_rows,
    }
)


class Upkeep:
    """See the module's text. `tell` sends the arbiter a message; it is called in the thread that calls `speak`."""

    def __init__(self, tell: Callable[[Message], None]) -> None:
        self._tell = tell
        self._words: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="upkeep", daemon=True)
        self._settings: Settings | None = None
        self._host_id = 0
        self._broken_off: tuple[str, str] | None = None

    def attend(self, settings: Settings, host_id: int) -> None:
        """Begin, or go on with these from the next turn on."""
        self._settings, self._host_id = settings, host_id
        if not self._thread.is_alive():
            self._thread.start()

    def speak(self) -> None:
        """Say what there is to be said since the last call. Raises SchemaMismatch when the database is no longer one for us."""
        while True:
            try:
                word = self._words.get_nowait()
            except Empty:
                return
            word()

    def _work(self) -> NoReturn:
        while True:
            pause = pause_seconds((), is_amiss=True, draw=random.random())
            try:
                if self._settings is not None:
                    pause = self._turn(self._settings)
            except store.SchemaMismatch as error:
                self._words.put(partial(_throw, error))
            except Exception as error:  # noqa: BLE001  whatever it is, the next turn comes
                if not store.is_outage(error):  # that the database is gone is said by the janitor
                    self._words.put(partial(log.warn, "upkeep_failed", error=_told(error)))
            time.sleep(pause)

    def _turn(self, settings: Settings) -> float:
        """See the module's text; how many seconds to wait until the next one."""
        database = settings.database
        with store.connect(
            database.listen_address,
            connect_timeout_seconds=database.connect_timeout,
            call_timeout_seconds=_CALL_TIMEOUT_SECONDS,
            application_name=store.application_name(settings.instance.name, "upkeep"),
            pooled=database.listen_pooled,
        ) as connection:
            store.check_schema(connection)
            retention = Retention(settings.retention.succeeded, settings.retention.failed, settings.retention.logs)
            if self._broken_off:
                store.end_duty(connection, *self._broken_off)
                self._broken_off = None
            while duty := store.take_duty(connection, self._host_id, _DUTIES):
                self._do(duty, connection, retention)
            holder, duties = store.horizon(connection), store.duties(connection)
        news = {"duties": [asdict(duty) for duty in duties], "holder": holder and asdict(holder)}
        self._words.put(partial(self._tell, {"type": "upkeep", **news}))
        rules = settings.health
        is_amiss = bool(rules.horizon_age and holder and holder.is_harmful(rules.horizon_transactions, rules.horizon_age))
        return pause_seconds((duty for duty in duties if duty.name in _DUTIES), is_amiss=is_amiss, draw=random.random())

    def _do(self, duty: str, connection: Connection, retention: Retention) -> None:
        """Do one that we have taken. That a lock was not to be had is no news: it is told once the duty is late (see `rules.upkeep`).

        One that has cost us the connection, be it by taking too long, is recorded as failed by the next turn.
        """
        try:
            done, failed = _DUTIES[duty](connection, retention), None
        except psycopg.Error as error:
            done, failed = 0, _told(error)
            if not isinstance(error, psycopg.errors.LockNotAvailable):
                self._words.put(partial(log.warn, "duty_failed", duty=duty, error=failed))
            if connection.closed:
                self._broken_off = duty, failed
                raise
        store.end_duty(connection, duty, failed)
        if done:
            self._words.put(partial(log.event, "duty_done", duty=duty, number=done))


def _told(error: Exception) -> str:
    return masked(error.message if isinstance(error, OrbitError) else str(error).strip().partition("\n")[0])


def _throw(error: Exception) -> NoReturn:
    raise error
