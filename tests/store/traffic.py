"""Producers, hosts and children of one database, all at once, each a thread with a connection of its own: does a run get lost?

Hosts poll only: nobody listens, so that what bells would find at once is left to the watermark.
"""

from __future__ import annotations

import contextlib
import mmap
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, Self

import psycopg

from orbitd import store
from orbitd.search import Search
from orbitd.store import Ask, Connection, Failure, Fence, Offer, PipelineSpec, Report, admin
from orbitd.system.postgres import Cluster
from orbitd.system.slots import MAX_SLOTS, SlotMemory, _size
from orbitd.watermark import Watermark

PIPELINES = ("p", "q")
LEASE_SECONDS = 60.0
BEAT_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0
_GONE = (psycopg.OperationalError, psycopg.InternalError, store.LeaseLost)
"""The server, the session, or after a failover all that it knew of us; the second: a pooler says so while a COMMIT is under way."""


class NaiveSearch(Search):
    """Begins behind the last run that was claimed: the bound that everybody thinks of first, and that loses runs."""

    def end(self, offer: Offer) -> None:
        for look in self._looks:
            if offer.claimed and look.lane == offer.claimed.lane:
                self._board.raise_floor(look, offer.claimed.seq + 1)
                return
            self._board.see_empty(look)


class NoWatermark(Watermark):
    """Never looks for late runs."""

    def look(self, connection: Connection, served: Collection[int]) -> int:
        return 0


class Traffic:
    """Everybody at work. Used as a context, whose end stops everybody, and raises what went wrong in a thread."""

    def __init__(self, dsn: str, *, search: type[Search] = Search, watermark: type[Watermark] = Watermark, seed: int = 0) -> None:
        self.dsn, self.search, self.watermark, self.seed = dsn, search, watermark, seed
        self.finished: Counter[int] = Counter()
        self.late = 0
        self.overlooked = 0
        self.are_producing = True
        self.is_over = False
        self._errors: list[BaseException] = []
        self._threads: list[threading.Thread] = []
        self._producers: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._conn = self.connect("watcher")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.are_producing, self.is_over = False, True
        for thread in self._threads:
            thread.join(_PATIENCE_SECONDS)
        self._conn.close()
        if self._errors:
            raise self._errors[0]

    def connect(self, name: str) -> Connection:
        return store.connect(self.dsn, connect_timeout_seconds=5, call_timeout_seconds=15, application_name=name)

    def start(self, target: Callable[..., None], *args: Any, produces: bool = False) -> None:
        """In a thread, with dice of its own; again for as long as the server is away."""
        dice = random.Random(self.seed * 1000 + len(self._threads))

        def live() -> None:
            while True:
                try:
                    return target(*args, dice)
                except _GONE:
                    time.sleep(0.02)
                except BaseException as error:  # noqa: BLE001  raised again in the test's own thread
                    return self._errors.append(error)

        thread = threading.Thread(target=live, daemon=True)
        self._threads.append(thread)
        if produces:
            self._producers.append(thread)
        thread.start()

    # --- the end ---

    def stop_producing(self) -> None:
        self.are_producing = False
        for thread in self._producers:
            thread.join(_PATIENCE_SECONDS)

    def left(self) -> int:
        """How many committed runs have not ended."""
        row = self._watch("SELECT count(*) FROM orbit.live")
        return int(row[0][0])

    def wait_until_done(self, seconds: float) -> None:
        """Until nothing is left, or for so long nothing has been finished."""
        finished, deadline = 0, time.monotonic() + seconds
        while self.left() and time.monotonic() < deadline and not self._errors:
            if len(self.finished) > finished:
                finished, deadline = len(self.finished), time.monotonic() + seconds
            time.sleep(0.05)

    def lost(self) -> set[int]:
        """Runs that were committed and have not been finished."""
        return {run_id for (run_id,) in self._watch("SELECT id FROM orbit.runs")} - set(self.finished)

    def doubled(self) -> set[int]:
        return {run_id for run_id, times in self.finished.items() if times > 1}

    def _watch(self, query: str) -> list[tuple[Any, ...]]:
        try:
            return self._conn.execute(query.encode()).fetchall()
        except psycopg.OperationalError:  # the server was restarted
            self._conn = self.connect("watcher")
            return self._conn.execute(query.encode()).fetchall()

    def cut_a_connection(self, cluster: Cluster) -> None:
        """Somebody ends the session of a janitor, a child or a producer."""
        query = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() ORDER BY random() LIMIT 1"
        for (pid,) in self._watch(query):
            assert cluster.is_ours(pid)
            self._watch(f"SELECT pg_terminate_backend({pid})")

    # --- producers ---

    def quick(self, dice: random.Random) -> None:
        """Commits each run at once."""
        self._produce(dice, lambda: (1, 0.0))

    def slow(self, dice: random.Random) -> None:
        """Business transactions, every fifth of which is given up."""
        self._produce(dice, lambda: (dice.choice([1, 1, 5]), dice.uniform(0.3, 1.2)), gives_up=0.2)

    def bulk(self, dice: random.Random) -> None:
        """Many runs in one statement."""
        self._produce(dice, lambda: (100, dice.uniform(0.1, 0.3)), gives_up=0.1)

    def held(self, dice: random.Random) -> None:
        """Draws its numbers first of all, and commits last of all."""
        with self.connect("held") as conn, conn.transaction():
            self._enqueue(conn, dice, 5)
            while self.are_producing:
                time.sleep(0.02)

    def prepared(self, dice: random.Random) -> None:
        """The same, prepared for a commit in two phases, which outlives its session and the server."""
        with self.connect("prepared") as conn:
            name = f"of {conn.info.dbname}"
            if not conn.execute("SELECT FROM pg_prepared_xacts WHERE gid = %s", [name]).fetchall():
                conn.execute("BEGIN")
                self._enqueue(conn, dice, 5)
                conn.execute(f"PREPARE TRANSACTION '{name}'".encode())
        while self.are_producing:
            time.sleep(0.02)
        with self.connect("prepared") as conn, contextlib.suppress(psycopg.errors.UndefinedObject):  # lost in a failover
            conn.execute(f"COMMIT PREPARED '{name}'".encode())

    def fickle(self, dice: random.Random) -> None:
        """Rolls back to a savepoint between two runs."""
        with self.connect("fickle") as conn:
            while self.are_producing:
                with conn.transaction():
                    self._enqueue(conn, dice, 1)
                    with conn.transaction(force_rollback=True):
                        self._enqueue(conn, dice, 2)
                    time.sleep(dice.uniform(0, 0.3))
                    self._enqueue(conn, dice, 1)

    def _produce(self, dice: random.Random, choose: Callable[[], tuple[int, float]], gives_up: float = 0.0) -> None:
        with self.connect("producer") as conn:
            while self.are_producing:
                count, seconds = choose()
                with conn.transaction(force_rollback=dice.random() < gives_up):
                    self._enqueue(conn, dice, count)
                    time.sleep(seconds)
                time.sleep(dice.uniform(0, 0.004))

    @staticmethod
    def _enqueue(conn: Connection, dice: random.Random, count: int) -> None:
        if count == 1:
            conn.execute("SELECT orbit.enqueue(%s)", [dice.choice(PIPELINES)])
        else:
            admin.enqueue_many(conn, [{"pipeline": dice.choice(PIPELINES)} for _ in range(count)])

    # --- hosts ---

    def host(self, name: str, children: int) -> None:
        """A janitor and its children."""
        slots = SlotMemory(mmap.mmap(-1, _size(MAX_SLOTS)))
        self.start(self._janitor, name, slots)
        for slot in range(children):
            self.start(self._child, name, slot, slots)

    def _janitor(self, name: str, slots: SlotMemory, dice: random.Random) -> None:
        watermark, next_beat = self.watermark(slots), 0.0
        with self.connect(f"janitor {name}") as conn:
            host_id = store.register(conn, boot_id=name, name=name, pid=1, version="1", lease_seconds=LEASE_SECONDS)
            specs = [PipelineSpec(name, "default", 0, "{}", 1000, 1000) for name in PIPELINES]
            slots.board.enter(lane.id for lane in store.register_pipelines(conn, host_id, specs))
            watermark.reset()
            slots.header.host_id = host_id
            while not self.is_over:
                if time.monotonic() >= next_beat:
                    watermark.beat(conn, host_id, LEASE_SECONDS)
                    store.reconcile(conn, "resume")
                    next_beat = time.monotonic() + BEAT_SECONDS
                self.late += watermark.look(conn, slots.board.lanes)
                self.overlooked += slots.header.found_by_sweep
                time.sleep(dice.uniform(0, 0.02))

    def _child(self, name: str, slot: int, slots: SlotMemory, dice: random.Random) -> None:
        while not slots.header.host_id:
            time.sleep(0.01)
        search, nonce = self.search(slots.board), f"{name} {slot}"
        will = _Will()
        while not self.is_over:
            with contextlib.suppress(*_GONE), self.connect(nonce) as conn:
                child_id = store.start_child(
                    conn, host_id=slots.header.host_id, slot=slot, nonce=nonce, pid=2, held=will.held, asked=will.asked
                )
                search.forget()
                will.asked = None
                lanes = [lane.id for lane in store.lanes_of(conn, PIPELINES)]
                while not self.is_over:
                    if not will.held:
                        ask = search.begin(lanes, {}, is_board_fresh=True)
                        will.asked = (ask.token, list(ask.floors))
                        will.held = self._claim(conn, child_id, search, ask, dice)
                        will.asked = None
                    for fence in will.held:
                        self._end(conn, fence, dice)
                    will.held = []

    @staticmethod
    def _claim(conn: Connection, child_id: int, search: Search, ask: Ask, dice: random.Random) -> list[Fence]:
        """A claim; one in fifty is made and then rolled back, as when its child is killed."""
        if not ask.floors:
            time.sleep(0.005)
            return []
        if dice.random() < 0.02:
            with conn.transaction(force_rollback=True):
                store.claim(conn, child_id, ask)
                time.sleep(dice.uniform(0, 0.3))
            return []
        offer = store.claim(conn, child_id, ask)
        search.end(offer)
        return [claimed.fence for claimed in offer.runs]

    def _end(self, conn: Connection, fence: Fence, dice: random.Random) -> None:
        """The run succeeds, some after a while; or it goes back into its old place."""
        luck = dice.random()
        if luck < 0.02:
            time.sleep(dice.uniform(0, 0.5))
        if luck < 0.01:
            store.finish(conn, [Report.interrupted(fence, Failure(cause="interrupted", error="by somebody"))])
        elif not store.finish(conn, [Report.succeeded(fence, "1")]).fenced:
            with self._lock:
                self.finished[fence.run_id] += 1


class _Will:
    """What a child holds or has asked for: a new connection must know."""

    def __init__(self) -> None:
        self.held: list[Fence] = []
        self.asked: tuple[int, list[int]] | None = None
