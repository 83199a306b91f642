"""The child's connection to the database: made anew whenever it is lost, for as long as the child lives.

Each connection is a new *child incarnation* in the database. Registering it ends the one before, under a row lock, so that a
claim still under way on the lost connection cannot commit behind our back; what it may have claimed is given back, and the
run in hand moves over. So a lost reply is never guessed about.
"""

from __future__ import annotations

import contextlib
import os
import random
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import psycopg

from orbitd import lease, store
from orbitd.config import Settings
from orbitd.orders import Orders
from orbitd.rules.backoff import reconnect_seconds
from orbitd.rules.batching import Batch
from orbitd.rules.queues import is_served
from orbitd.rules.states import Activity
from orbitd.search import Search
from orbitd.store import Ask, Claimed, Connection, Fence, Lane, Offer
from orbitd.system import clock, log
from orbitd.system.channel import Channel
from orbitd.system.permits import Permits
from orbitd.system.slots import ClaimsPage, Header, Record, SharedSlots

T = TypeVar("T")

_LEAST_WAIT_SECONDS = 0.01
_COMPLAINT_SECONDS = 60.0
_CONNECTION_EVERY_SECONDS = 0.03  # of all children of a host that connect anew
_PREPARED_AFTER = 5  # executions of a statement on one connection

_NEEDS_ANOTHER_CONNECTION = (
    psycopg.errors.ReadOnlySqlTransaction,  # the server has become a standby: the primary is elsewhere
    psycopg.errors.InvalidSqlStatementName,  # what was prepared is gone (a pooler that we do not know of),
    psycopg.errors.FeatureNotSupported,  # or was prepared for another schema (an upgrade)
)


class _NotNow(Exception):
    """The database cannot do it now; another attempt may succeed."""


class Drained(Exception):
    """The child holds nothing and is asked to leave: there is no reason to wait for the database."""


@dataclass(frozen=True, slots=True)
class Post:
    """What a child is given at its fork. When it begins its `max_runs`-th run it says so (0: never); it goes on until it is drained."""

    slot: int
    generation: int
    nonce: str
    max_runs: int
    arbiter_pid: int
    channel: Channel
    slots: SharedSlots

    @property
    def header(self) -> Header:
        """What all processes of this host know."""
        return self.slots.header

    @property
    def record(self) -> Record:
        """This child's word to the arbiter."""
        return self.slots.records[self.slot]

    @property
    def page(self) -> ClaimsPage:
        """This child's will."""
        return self.slots.claims[self.slot]


class Link:
    """One child's way to the database. Used by the main thread, its courier and the keeper, one at a time."""

    def __init__(self, post: Post, settings: Settings, orders: Orders, sizes: Mapping[str, Batch]) -> None:
        """`sizes`: the pipelines that the child can run, each with how many runs of it a claim may bring."""
        self._post, self._settings, self._orders, self._sizes = post, settings, orders, sizes
        self._connection: Connection | None = None
        self._lock = threading.RLock()
        self._host_id = 0
        self._child_id = self._taken_by = 0
        self._not_before, self._attempts_in_vain = 0.0, 0
        self._lanes_version = -1
        self._lanes: dict[int, Lane] = {}
        self._batches: dict[int, Batch] = {}
        self._more_urgent: dict[int, Sequence[int]] = {}  # than each lane
        self._permits = Permits(post.slots.permits)
        self._search = Search(post.slots.board)
        self._complained_of, self._complained_at = "", 0.0
        self._held: dict[int, tuple[int, Fence]] = {}  # by run, each with its place on the claims page

    @property
    def may_claim(self) -> bool:
        """Whether this host's lease holds, as far as we know without asking."""
        header = self._post.header
        return header.host_id == self._host_id and clock.now() < header.lease_until and not header.is_paused

    @property
    def may_begin(self) -> bool:
        """Whether what the last claim has brought may be begun: it is ours for certain only while the lease and that connection last."""
        return self.may_claim and self._connection is not None and self._child_id == self._taken_by

    @property
    def has_fresh_beat(self) -> bool:
        """Whether the janitor looks for work on our behalf."""
        return clock.now() < self._post.header.beat_at + 2 * self._settings.host.beat

    def connect(self) -> None:
        """Wait for the database. Raises Drained."""
        self.call(lambda _connection, _child_id: None)

    def call(self, operation: Callable[[Connection, int], T]) -> T:
        """Carry out an operation, again and again until the database has answered; it must bear repetition.

        A database that is down, or lacks a function, or refuses us, is a state that somebody will mend: the child waits, and
        the time of the run in hand stands still. Raises Drained when the child is to leave and holds no run, DataError for a
        value that cannot be stored, and whatever the operation raises that is not the database's.
        """
        with self._orders.clock_stopped():
            try:
                return self._try(operation)
            except _NotNow:
                return self._keep_trying(operation)

    def _keep_trying(self, operation: Callable[[Connection, int], T]) -> T:
        attempts = 0
        while True:
            self._rest(attempts)
            attempts += 1
            with contextlib.suppress(_NotNow):
                return self._try(operation)

    def _try(self, operation: Callable[[Connection, int], T]) -> T:
        """One attempt, registering first where that is needed. Raises _NotNow where another may succeed."""
        if self._orders.is_draining and not self._held:
            raise Drained
        with self._lock:
            try:
                answer = operation(self._registered(), self._child_id)
            except store.LeaseLost as error:  # the host was ended, or this child was: it must come back under another id
                self._host_id = 0
                why = str(error)
            except psycopg.DataError:
                raise
            except psycopg.Error as error:
                why = str(error).strip()
                if isinstance(error, _NEEDS_ANOTHER_CONNECTION) and self._connection is not None:
                    self._connection.close()
            else:
                self._not_before, self._attempts_in_vain = 0.0, 0
                return answer
            if self._connection is not None and self._connection.closed:
                self._connection = None
        self._complain(why)
        raise _NotNow

    def _complain(self, why: str) -> None:
        """One line a minute about the same trouble."""
        now = clock.now()
        if why != self._complained_of or now >= self._complained_at + _COMPLAINT_SECONDS:
            self._complained_of, self._complained_at = why, now
            log.warn("database_call_failed", error=" ".join(why.split()))

    def try_call(self, operation: Callable[[Connection, int], T]) -> T | None:
        """Carry out an operation if the database can do it now; None if not, and for a growing while after that. For what can wait."""
        if clock.now() < self._not_before:
            return None
        try:
            return self._try(operation)
        except (_NotNow, Drained):
            pass
        except psycopg.DataError as error:
            self._complain(str(error))
        self._attempts_in_vain += 1
        self._not_before = clock.now() + reconnect_seconds(self._attempts_in_vain, random.random())
        return None

    def forget_registration(self) -> None:
        """Somebody has ended this child, or its host: the next call registers anew."""
        self._host_id = 0

    def ask(self) -> Ask | None:
        """Write down, before a claim is sent, what it asks for: a fresh token, and the lanes where there may be work.

        None when there is no such lane, or nothing may be claimed. The latter is looked up last: whoever forbids it, and then
        sees nothing asked, can be sure.
        """
        if self._connection is not None and not self.has_fresh_beat:
            lease.stand_in(self._connection, self._post.header, self._host_id, self._settings.host.lease)
        self._learn_lanes()
        ask = self._search.begin(list(self._lanes), self._batches, is_board_fresh=self.has_fresh_beat)
        self._post.page.ask(ask.token, list(ask.floors))
        if not ask.floors or self._orders.is_draining or not self.may_claim or not self._permits.take():
            self._permits.give_back()
            self._post.page.settle()
            return None
        return ask

    def take(self, offer: Offer | None) -> Sequence[Claimed]:
        """Write down what the claim has brought, in place of what was held and is reported by now; then that it was answered."""
        runs = offer.runs if offer else ()
        if offer:
            self._search.end(offer)
        self._held, self._taken_by = {run.run_id: (index, run.fence) for index, run in enumerate(runs)}, self._child_id
        self._post.page.hold([(run.lane, run.seq, run.run_id, run.token) for run in runs])
        if runs:
            self._permits.use()
        else:
            self._permits.give_back()
        self._post.page.settle()
        return runs

    def begin(self, run_id: int) -> None:
        """Write down that from now on a death is charged to this one of the runs held."""
        self._post.page.begin(self._held[run_id][0])

    def let_go(self, run_ids: Collection[int]) -> None:
        """Write down that these are no longer ours, while others may be."""
        for run_id in run_ids:
            index, _ = self._held.pop(run_id)
            self._post.page.let_go(index)
        if not self._held:
            self._post.page.let_all_go()

    def note_run(self, lane: int, seconds: float) -> None:
        """A run of the lane took so long: what the size of batches goes by."""
        if lane in self._batches:
            self._search.note_run(lane, seconds)

    def is_called_away(self, lane: int) -> bool:
        """Whether there may be work of a higher priority than the lane has."""
        more_urgent = self._more_urgent.get(lane, ())
        return bool(more_urgent) and self._search.is_rung(more_urgent)

    @contextlib.contextmanager
    def second_connection(self) -> Iterator[Connection]:
        """A connection for the author's own statements, discarded afterwards: nobody knows in what state it is left."""
        with self._open() as connection:
            yield connection

    def _rest(self, attempts: int) -> None:
        """A growing, jittered wait, which the bell cuts short; then our turn among all children, whom the same bell has woken."""
        if not self._held:
            self._post.record.set_activity(Activity.WAITING, clock.now())
        self._orders.wait(reconnect_seconds(attempts + 1, random.random()) + _LEAST_WAIT_SECONDS)
        if self._connection is None and not self._orders.is_draining:
            children = sum(1 for record in self._post.slots.records if record.activity)
            self._orders.wait(random.random() * children * _CONNECTION_EVERY_SECONDS)

    def _registered(self) -> Connection:
        """The connection, registered with the host's present incarnation."""
        host_id, page = self._post.header.host_id, self._post.page
        if not host_id:
            raise _NotNow  # the janitor has not joined yet, and rings when it has
        if self._connection is None:
            self._connection, self._host_id = self._open(), 0
            self._connection.prepare_threshold = None if self._connection.is_pooled else _PREPARED_AFTER
        if self._host_id != host_id:
            will = page.read()
            self._child_id = store.start_child(
                self._connection,
                host_id=host_id,
                slot=self._post.slot,
                nonce=self._post.nonce,
                pid=os.getpid(),
                held=[fence for _, fence in list(self._held.values())],  # a copy: the hand lets go of some meanwhile
                asked=(will.asked_token, list(will.asked_lanes)) if will.asked_token else None,
            )
            self._host_id, self._post.record.child_id = host_id, self._child_id
            self._lanes_version = -1
            self._search.forget()
            page.settle()
        return self._connection

    def _open(self) -> Connection:
        database = self._settings.database
        return store.connect(
            database.url,
            connect_timeout_seconds=database.connect_timeout,
            call_timeout_seconds=database.call_timeout,
            application_name=store.name_of_child(self._settings.instance.name, self._post.slot, self._post.nonce),
            pooled=database.pooled,
        )

    def _learn_lanes(self) -> None:
        """Know the lanes of our pipelines in the queues that we serve; read again when the janitor has made new ones."""
        version = self._post.header.lanes_version
        if version != self._lanes_version and self._connection is not None:
            lanes = store.lanes_of(self._connection, list(self._sizes))
            self._lanes = {lane.id: lane for lane in lanes if is_served(lane.queue, self._settings.app.queues)}
            sizes = {lane.id: self._sizes[lane.pipeline] for lane in self._lanes.values()}
            self._batches = {} if self._permits.are_counted else {lane: size for lane, size in sizes.items() if size != 1}
            above = {
                priority: [lane.id for lane in self._lanes.values() if lane.priority > priority]
                for priority in {lane.priority for lane in self._lanes.values()}
            }
            self._more_urgent = {lane.id: above[lane.priority] for lane in self._lanes.values()}
            self._lanes_version = version
