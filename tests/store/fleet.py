"""Hosts and children for the store's tests: each child with a connection of its own, as in life.

`Fleet.settle` ends everybody and takes back what they held; `Fleet.check` says whether the tables agree with each other.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Generic, Self, TypeVar

from orbitd import store
from orbitd.rules.states import Charge, RunState
from orbitd.store import Ask, Claimed, Connection, Failure, Fence, FinishedAndClaimed, Mode, PipelineSpec, Report, admin
from orbitd.store.admin import Enqueued
from tests.support.addresses import around

T = TypeVar("T")

FAILURE = Failure(cause="error", error="ValueError: no", traceback="Traceback ...")
OPEN_SIGNATURE = '{"required": [], "optional": [], "open": true}'
_PATIENCE_SECONDS = 20.0


@dataclass
class Child:
    """A child: its connection, its id, the lanes that it asks."""

    conn: Connection
    host_id: int
    child_id: int
    nonce: str
    lanes: list[int]

    def claim(self) -> Claimed | None:
        return store.claim(self.conn, self.child_id, Ask.of(self.lanes)).claimed

    def must_claim(self) -> Claimed:
        claimed = self.claim()
        assert claimed is not None
        return claimed

    def finish(self, report: Report) -> bool:
        return not store.finish(self.conn, [report]).fenced

    def go_on(self, report: Report, ask: Ask | None = None) -> FinishedAndClaimed:
        return store.finish_and_claim(self.conn, self.child_id, [report], ask or Ask.of(self.lanes))

    def succeed(self, fence: Fence) -> bool:
        return self.finish(Report.succeeded(fence, '{"done": true}'))


class Fleet:
    """Everybody who talks to one database."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.limits = (3, 3)  # max_attempts and max_crashes of the pipelines that hosts report from now on
        self._numbers = itertools.count(1)
        self._connections: list[Connection] = []
        self._children: list[Child] = []
        self._host_boots: dict[int, str] = {}
        self.conn = self.connect()
        self._watcher = self.session()
        self._watcher.execute("SET jit = off")  # the checks below are dear to plan, and cheap to run

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for connection in self._connections:
            connection.close()

    def connect(self, call_timeout_seconds: float = 15.0, dsn: str | None = None) -> Connection:
        connection = store.connect(
            dsn or self.dsn,
            connect_timeout_seconds=5,
            call_timeout_seconds=call_timeout_seconds,
            application_name=f"test {next(self._numbers)}",
        )
        self._connections.append(connection)
        return connection

    def session(self, call_timeout_seconds: float = 15.0) -> Connection:
        """One with a server process to itself, whose settings and pid it keeps: it goes around a pooler."""
        return self.connect(call_timeout_seconds, around(self.dsn))

    def listener(self) -> Connection:
        """One that hears the bells, which no pooler passes on."""
        connection = self.session()
        connection.listen()
        return connection

    # --- who there is ---

    def host(self, *pipelines: str, lease_seconds: float = 20.0) -> int:
        boot_id = f"boot-{next(self._numbers)}"
        host_id = store.register(self.conn, boot_id=boot_id, name=f"host-{boot_id}", pid=1, version="1", lease_seconds=lease_seconds)
        self._host_boots[host_id] = boot_id
        specs = [PipelineSpec(name, "default", 0, OPEN_SIGNATURE, *self.limits) for name in pipelines]
        store.register_pipelines(self.conn, host_id, specs)
        return host_id

    def boot_id(self, host_id: int) -> str:
        return self._host_boots[host_id]

    def child(self, host_id: int, *pipelines: str, slot: int = 0) -> Child:
        conn, nonce = self.connect(), f"nonce-{next(self._numbers)}"
        child_id = store.start_child(conn, host_id=host_id, slot=slot, nonce=nonce, pid=2)
        child = Child(conn, host_id, child_id, nonce, [lane.id for lane in store.lanes_of(conn, pipelines)])
        self._children.append(child)
        return child

    def worker(self, *pipelines: str) -> Child:
        """A child on a host of its own."""
        return self.child(self.host(*pipelines), *pipelines)

    def come_again(self, child: Child, *held: Fence, asked: tuple[int, list[int]] | None = None, conn: Connection | None = None) -> None:
        """The child has a new connection, and with it a new id."""
        child.child_id = store.start_child(
            conn or child.conn, host_id=child.host_id, slot=0, nonce=child.nonce, pid=2, held=held, asked=asked
        )

    def wipe(self) -> None:
        """Empty all tables, forget all hosts, and close their children's connections."""
        for child in self._children:
            child.conn.close()
            self._connections.remove(child.conn)
        self._children.clear()
        self._host_boots.clear()
        self.conn.execute(_WIPE)

    # --- what happens ---

    def enqueue(self, pipeline: str, key: str | None = None, in_seconds: float | None = None) -> int:
        return self.ask(pipeline, key, in_seconds).id

    def ask(self, pipeline: str, key: str | None = None, in_seconds: float | None = None) -> Enqueued:
        return admin.enqueue(self.conn, pipeline, {"n": 1}, key=key, in_seconds=in_seconds)

    def twin(self, of: int, pipeline: str, key: str | None = None) -> int:
        """A run in another lane, with the number that this one of `live` has in its own: as after a failover that lost numbers."""
        last = self.value("SELECT last_value FROM orbit.ready_numbers")
        self.conn.execute("SELECT setval('orbit.ready_numbers', seq, false) FROM orbit.live WHERE run_id = %s", [of])
        run_id = self.enqueue(pipeline, key)
        self.conn.execute("SELECT setval('orbit.ready_numbers', %s)", [last])
        return run_id

    def crash(
        self,
        child: Child,
        *held: Fence,
        begun: bool = True,
        asked: tuple[int, list[int]] | None = None,
        charge: Charge = Charge.CRASH,
        mode: Mode = "resume",
        conn: Connection | None = None,
    ) -> list[tuple[int, RunState]]:
        """The child dies, and the janitor takes back what it held."""
        return store.interrupt(
            conn or self.conn,
            child_id=child.child_id,
            held=[(fence, begun) for fence in held],
            asked=asked,
            cause="crashed:SIGSEGV",
            error="signal 11",
            stack="Current thread ...",
            charge=charge,
            mode=mode,
        )

    def settle(self, mode: Mode = "resume") -> None:
        for boot_id in self._host_boots.values():
            store.end_host(self.conn, boot_id, "stopped", mode)

    def state(self, run_id: int) -> RunState:
        return admin.place(self.conn, run_id).state

    def value(self, query: str, *parameters: object) -> object:
        return self.conn.execute(query.encode(), parameters or None).fetchall()[0][0]

    def rows(self, query: str, *parameters: object) -> list[tuple[object, ...]]:
        return self.conn.execute(query.encode(), parameters or None).fetchall()

    # --- two at once ---

    def in_background(self, conn: Connection, call: Callable[[], T]) -> Background[T]:
        return Background(self, name_of(conn), call)

    @contextmanager
    def pause_before(self, function: str, text: str) -> Iterator[None]:
        """Whoever comes to this statement of the function waits for the end of the block: only on a database of the test's own."""
        definition = str(self.value("SELECT pg_get_functiondef(%s::regproc)", f"orbit.{function}"))
        assert definition.count(text) == 1
        self.conn.execute(definition.replace(text, f"PERFORM pg_advisory_xact_lock_shared(1); {text}").encode())
        holder = self.connect()
        with holder.transaction():
            holder.execute("SELECT pg_advisory_xact_lock(1)")
            yield

    def is_blocked(self, name: str) -> bool:
        return bool(self._watcher.execute(_IS_BLOCKED, [name]).fetchall()[0][0])

    def until_not_blocked(self, name: str) -> None:
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while self.is_blocked(name):
            assert time.monotonic() < deadline, "blocked for ever"

    # --- whether it all fits together ---

    def check(self) -> None:
        """What holds after each committed transaction, whatever happened."""
        assert self._seen(_LOST_OR_DOUBLED) == []
        assert self._seen(_ENDED_TWICE) == []
        assert self._seen(_KEYS_OF_NOBODY) == []
        assert self._seen(_WRONG_PLACES) == []
        assert self._seen(_STALE_REQUESTS) == []
        assert self._seen(_REMAINS) == []

    def check_settled(self) -> None:
        """What holds besides once everything that is ended was taken back."""
        self.check()
        assert self._seen(_IN_NOBODYS_HANDS) == []

    def _seen(self, query: str) -> list[tuple[object, ...]]:
        return self._watcher.execute(query.encode()).fetchall()


class Background(Generic[T]):
    """A call on another connection, in a thread: it ends, or it waits for somebody's lock."""

    def __init__(self, fleet: Fleet, name: str, call: Callable[[], T]) -> None:
        self._fleet, self._name, self._call = fleet, name, call
        self._value: list[T] = []
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value.append(self._call())
        except Exception as error:  # noqa: BLE001  raised again in the test's own thread
            self._error = error

    def until_blocked_or_done(self) -> bool:
        """Whether it is blocked."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while time.monotonic() < deadline:
            if not self._thread.is_alive():
                return False
            if self._fleet.is_blocked(self._name):
                return True
        raise AssertionError("neither blocked nor done")

    def until_blocked(self) -> None:
        assert self.until_blocked_or_done(), f"not blocked: {self._value or self._error}"

    def result(self) -> T:
        self._thread.join(_PATIENCE_SECONDS)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        return self._value[0]


def name_of(connection: Connection) -> str:
    """By which to find its session, whichever server process has it just now."""
    return connection.info.parameter_status("application_name") or ""


_IS_BLOCKED = """
    SELECT bool_or(cardinality(pg_blocking_pids(pid)) > 0)
      FROM pg_stat_activity
     WHERE application_name = %s AND state = 'active'
"""

_WIPE = "".join(
    f"DELETE FROM orbit.{table};"
    for table in (
        *("live", "returned", "delayed", "interrupted", "requeued", "keys", "cancel_requests", "failed"),
        *("runs", "outcomes", "steps", "run_progress", "run_logs", "children", "hosts", "pipelines", "lanes WHERE id > 1"),
    )
).encode()

_PLACES = """
    SELECT run_id, 'live' AS place FROM orbit.live
     UNION ALL SELECT run_id, 'delayed' FROM orbit.delayed
     UNION ALL SELECT run_id, 'interrupted' FROM orbit.interrupted
     UNION ALL SELECT run_id, 'ended' FROM orbit.failed
     UNION ALL SELECT run_id, 'ended' FROM orbit.outcomes WHERE outcome IN ('succeeded', 'cancelled')
"""

_LOST_OR_DOUBLED = f"""
    SELECT r.id, count(p.place), min(p.place), max(p.place)
      FROM orbit.runs r
      LEFT JOIN ({_PLACES}) p ON p.run_id = r.id
     GROUP BY r.id
    HAVING count(p.place) <> 1
"""

_ENDED_TWICE = """
    SELECT run_id FROM orbit.outcomes WHERE outcome IN ('succeeded', 'cancelled') GROUP BY run_id HAVING count(*) > 1
"""

_KEYS_OF_NOBODY = f"""
    SELECT r.id, r.key, k.run_id
      FROM orbit.runs r
      JOIN ({_PLACES}) p ON p.run_id = r.id
      LEFT JOIN orbit.keys k ON k.pipeline = r.pipeline AND k.key = r.key AND k.run_id = r.id
     WHERE r.key IS NOT NULL AND (k.run_id IS NULL OR k.outcome IS NOT NULL) <> (p.place = 'ended')
"""

_WRONG_PLACES = f"""
    SELECT v.id, v.state
      FROM orbit.runs_view v
      JOIN ({_PLACES}) p ON p.run_id = v.id
     WHERE v.state IS NULL
        OR (p.place = 'live') <> (v.state IN ('pending', 'running'))
        OR (p.place = 'ended') <> (v.state IN ('succeeded', 'failed', 'cancelled'))
     UNION ALL
    SELECT q.run_id, 'requeued'
      FROM orbit.requeued q
      JOIN ({_PLACES}) p ON p.run_id = q.run_id
     WHERE p.place = 'ended'
     UNION ALL
    SELECT v.id, 'failed' FROM orbit.runs_view v FULL JOIN orbit.failed f ON f.run_id = v.id
     WHERE (v.state = 'failed') IS DISTINCT FROM (f.run_id IS NOT NULL)
"""

_STALE_REQUESTS = """
    SELECT c.run_id, v.state
      FROM orbit.cancel_requests c
      JOIN orbit.runs_view v ON v.id = c.run_id
     WHERE v.state <> 'running'
"""

_REMAINS = f"""
    SELECT kept.run_id, kept.place
      FROM (
           {_PLACES}
            UNION ALL SELECT run_id, 'outcomes' FROM orbit.outcomes
            UNION ALL SELECT run_id, 'steps' FROM orbit.steps
            UNION ALL SELECT run_id, 'logs' FROM orbit.run_logs
            UNION ALL SELECT run_id, 'progress' FROM orbit.run_progress
            UNION ALL SELECT run_id, 'keys' FROM orbit.keys WHERE outcome IS NULL
           ) AS kept
      LEFT JOIN orbit.runs r ON r.id = kept.run_id
     WHERE r.id IS NULL
"""

_IN_NOBODYS_HANDS = """
    SELECT l.run_id FROM orbit.live l JOIN orbit.children c ON c.id = l.child WHERE c.ended_at IS NOT NULL
"""
