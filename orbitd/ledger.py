"""What a run says about itself while it runs, on its way to the database: steps at once, log lines and progress in batches."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Any

import psycopg

from orbitd import store
from orbitd.link import Link
from orbitd.orders import InHand
from orbitd.pipelines.exceptions import BadResult, Fenced
from orbitd.pipelines.runlog import step_in_hand
from orbitd.store import Connection, Fence
from orbitd.system import log
from orbitd.units import rfc3339

COURIER = "courier"


class Courier:
    """Carries what a run says about itself (log lines, progress) to the database, at most once a second, in one batch.

    What cannot be delivered waits, within a bound, for the next time. A thread, because a pipeline may say something and then
    compute for an hour.
    """

    _MOST_LINES = 1000
    _INTERVAL_SECONDS = 1.0

    def __init__(self, link: Link, fence: Fence, max_log_bytes: int) -> None:
        self._link, self._fence, self._max_log_bytes = link, fence, max_log_bytes
        self._lines: list[tuple[str, str, str]] = []
        self._progress: tuple[float | None, str | None] | None = None
        self._dropped = 0
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def say(self, at: str, level: str, message: str) -> None:
        """A line for the run's log."""
        with self._lock:
            if len(self._lines) >= self._MOST_LINES:
                self._dropped += 1
            else:
                self._lines.append((at, level, message))
        self._wake()

    def report_progress(self, fraction: float | None, note: str | None) -> None:
        """How far the run is; only the last report of a second is carried."""
        with self._lock:
            self._progress = (fraction, note)
        self._wake()

    def deliver(self) -> None:
        """Carry what there is, if the database is there."""
        with self._lock:
            lines, self._lines = self._lines, []
            progress, self._progress = self._progress, None
            dropped, self._dropped = self._dropped, 0
        if dropped and lines:
            lines.append((lines[-1][0], "warning", f"{dropped} lines were dropped here: more than {self._MOST_LINES} a second"))
        if lines and self._link.try_call(partial(self._append, lines=lines)) is None:
            with self._lock:
                self._lines[:0] = lines[: self._MOST_LINES - len(self._lines)]
            self._has_something.set()
        if progress and self._link.try_call(lambda connection, _: store.record_progress(connection, self._fence, *progress)) is None:
            with self._lock:
                if self._progress is None:  # else there is newer
                    self._progress = progress
            self._has_something.set()

    def finish(self) -> None:
        """Deliver the rest; the run has ended."""
        if self._thread:  # else nothing was said
            self._is_done.set()
            self._has_something.set()
            self._thread.join()
            self.deliver()

    def _append(self, connection: Connection, _child_id: int, *, lines: list[tuple[str, str, str]]) -> int:
        return store.append_logs(connection, self._fence, lines, self._max_log_bytes) or 0

    def _wake(self) -> None:
        with self._lock:
            if self._thread is None:  # most runs say nothing, and need none of this
                self._is_done, self._has_something = threading.Event(), threading.Event()
                self._thread = threading.Thread(target=self._carry, name=COURIER, daemon=True)
                self._thread.start()
        self._has_something.set()

    def _carry(self) -> None:
        while not self._is_done.wait(self._INTERVAL_SECONDS):
            self._has_something.wait()
            self._has_something.clear()
            self.deliver()


class RunLedger:
    """What a context asks of the daemon (`pipelines.context.Ledger`), for one run, over the link."""

    def __init__(self, link: Link, fence: Fence, courier: Courier, run: InHand, about: Mapping[str, object], *, keeps_log: bool) -> None:
        """`about` are the fields by which the daemon's log knows the run; `keeps_log`: its lines go to the database as well."""
        self._link, self._fence, self._courier, self._run = link, fence, courier, run
        self._about, self._keeps_log = about, keeps_log
        self._is_committing = threading.Lock()  # held until the end is certain: the next one counts on

    def steps(self) -> dict[str, str]:
        """The recorded steps."""
        return self._link.call(lambda connection, _: store.load_steps(connection, self._fence.run_id))

    def record_step(self, key: str, output_json_text: str, seconds: float) -> str:
        """Store a step's output; the first one wins. Repeating it is harmless."""
        try:
            with _told_to_authors():
                return self._link.call(lambda connection, _: store.record_step(connection, self._fence, key, output_json_text, seconds))
        except psycopg.DataError as error:
            raise BadResult(f'the database cannot store the output of step "{key}": {error}') from error

    @property
    def deadline(self) -> float | None:
        """When the run times out."""
        return self._run.deadline or None

    def extend(self, seconds: float) -> None:
        """Give the run at least so much time from now on."""
        self._run.extend(seconds)

    def progress(self, fraction: float | None, note: str | None) -> None:
        """How far the run has come."""
        self._courier.report_progress(fraction, note)

    def log(self, level: str, message: str) -> None:
        """A line for the run's log, and for the daemon's."""
        if self._keeps_log:
            self._courier.say(rfc3339(datetime.now(UTC)), level, message)
        log.said(message, log.number(level), step=step_in_hand.get(), **self._about)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Any]:
        """A connection in a transaction that holds the run: nobody can take it away before the commit.

        Whether it has committed is certain in any case: when the reply to the COMMIT is lost, the run's row tells.
        """
        number = None
        with _told_to_authors(), self._link.second_connection() as connection, contextlib.ExitStack() as committing:
            try:
                with connection.transaction():
                    store.hold_run(connection, self._fence)
                    yield connection
                    committing.enter_context(self._is_committing)
                    number = store.count_commit(connection, self._fence)
            except psycopg.Error:  # whichever: what a pooler says of a server that is gone is taken for an answer too many
                if number is None or not connection.closed or number != self._last_commit():
                    raise

    def _last_commit(self) -> int:
        return self._link.call(lambda connection, _: store.last_commit(connection, self._fence))


@contextlib.contextmanager
def _told_to_authors() -> Iterator[None]:
    """Turn the store's Fenced into that which no `except Exception` of an author's catches."""
    try:
        yield
    except store.Fenced as error:
        raise Fenced(str(error)) from error
