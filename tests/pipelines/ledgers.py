"""A ledger in memory, and the few lines that every test of contexts and execution needs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from orbitd.pipelines.context import Attempt
from orbitd.pipelines.definition import Pipeline, pipeline
from orbitd.pipelines.exceptions import Fenced, RunStopped
from orbitd.pipelines.execution import Ended, context_for, execute
from orbitd.pipelines.interruption import Interruption
from orbitd.system import clock


class MemoryLedger:
    """What a run has written. `taken` makes it the ledger of a run that somebody else has by now.

    `before_write` runs in the middle of each write: the place to strike from.
    """

    def __init__(self, steps: Mapping[str, str] | None = None, *, deadline: float | None = None) -> None:
        self.recorded = dict(steps or {})
        self.deadline = deadline
        self.lines: list[tuple[str, str]] = []
        self.told: list[tuple[float | None, str | None]] = []
        self.transactions: list[str] = []
        self.taken = False
        self.begun = 0
        self.finished = 0
        self.before_write: Callable[[], None] = lambda: None

    def steps(self) -> Mapping[str, str]:
        return dict(self.recorded)

    def record_step(self, key: str, output_json_text: str, seconds: float) -> str:
        assert seconds >= 0
        with self._write():
            return self.recorded.setdefault(key, output_json_text)

    def extend(self, seconds: float) -> None:
        with self._write():
            if self.deadline is not None:
                self.deadline = max(self.deadline, clock.now() + seconds)

    def progress(self, fraction: float | None, note: str | None) -> None:
        with self._write():
            self.told.append((fraction, note))

    def log(self, level: str, message: str) -> None:
        with self._write():
            self.lines.append((level, message))

    @contextmanager
    def transaction(self) -> Iterator[str]:
        with self._write():
            self.transactions.append("open")
        try:
            yield "connection"
        except BaseException:
            self.transactions[-1] = "rolled back"
            raise
        with self._write():
            self.transactions[-1] = "committed"

    @contextmanager
    def _write(self) -> Iterator[None]:
        if self.taken:
            raise Fenced("taken by somebody else")
        self.begun += 1
        self.before_write()
        yield
        self.finished += 1


def attempt_facts(*, max_result_bytes: int = 2**20) -> Attempt:
    return Attempt(run_id=42, number=1, tenant="7", max_result_bytes=max_result_bytes)


def run(
    function: Callable[..., Any] | Pipeline[..., Any],
    args_text: str | None = "{}",
    *,
    ledger: MemoryLedger | None = None,
    interruption: Interruption | None = None,
    max_result_bytes: int = 2**20,
) -> Ended:
    """One attempt of a pipeline made of the function."""
    made = function if isinstance(function, Pipeline) else pipeline("under.test")(function)
    facts = attempt_facts(max_result_bytes=max_result_bytes)
    context = context_for(made, facts, ledger or MemoryLedger(), interruption or Interruption())
    return execute(made, args_text, context)


@contextmanager
def striking(interruption: Interruption, stop: RunStopped) -> Iterator[threading.Event]:
    """A thread that waits for the event, then requests the stop as the daemon does: by signals to the main thread.

    One signal is not enough: it may come when Python has looked for signals already and is about to block in a syscall.
    """
    event, over = threading.Event(), threading.Event()
    main_thread_id = threading.get_ident()

    def strike() -> None:
        event.wait()
        while not over.wait(0.005):
            signal.pthread_kill(main_thread_id, signal.SIGUSR1)

    thread = threading.Thread(target=strike)
    former = signal.signal(signal.SIGUSR1, lambda _signal, _frame: interruption.request(stop))
    thread.start()
    try:
        yield event
    finally:
        over.set()
        event.set()
        thread.join()
        signal.signal(signal.SIGUSR1, former)
