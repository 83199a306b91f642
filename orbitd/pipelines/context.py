"""What a pipeline's code may ask of the daemon while it runs: `ctx`.

The daemon's side is a Ledger; here is what holds for every ledger: a stored step is not run again, nothing is written
for a run that is no longer ours, and an interruption tears none of it.
"""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, overload

from orbitd.pipelines.exceptions import Fenced, RunCancelled
from orbitd.pipelines.failure import clean
from orbitd.pipelines.jsontext import decode, encode
from orbitd.pipelines.runlog import RunLog, inside_step
from orbitd.system import clock
from orbitd.units import as_seconds

if TYPE_CHECKING:
    from orbitd.pipelines.interruption import Interruption

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_STEP_NAME = 200
_LONGEST_NOTE_BYTES = 500


class Ledger(Protocol):
    """What a context needs of the daemon. Each method is called from the author's thread and may block it.

    Those that write to the run raise Fenced when it is no longer ours.
    """

    @property
    def deadline(self) -> float | None:
        """When the run times out, on CLOCK_BOOTTIME; None without a timeout. It moves, and stays after the run has ended."""

    def extend(self, seconds: float) -> None:
        """Give the run at least so much time from now on."""

    def steps(self) -> Mapping[str, str]:
        """The recorded steps: key to the output's JSON text."""

    def record_step(self, key: str, output_json_text: str, seconds: float) -> str:
        """Store a step's output, and return the recorded one: the first wins."""

    def progress(self, fraction: float | None, note: str | None) -> None:
        """How far the run has come, 0 to 1, and in words."""

    def log(self, level: str, message: str) -> None:
        """A line for the run's log."""

    def transaction(self) -> AbstractContextManager[Any]:
        """A connection in a transaction that commits with the fence checked, or rolls back on an error."""


@dataclass(frozen=True)
class Attempt:
    """The facts of one attempt."""

    run_id: int
    number: int
    tenant: str | None
    max_result_bytes: int


class _AnyContext:
    """What sync and async contexts share."""

    def __init__(self, attempt: Attempt, ledger: Ledger, interruption: Interruption) -> None:
        self._attempt = attempt
        self._ledger = ledger
        self._interruption = interruption
        self._pid = os.getpid()
        self._fenced = False
        self._uses: dict[str, itertools.count[int]] = {}
        self._has_ended = False
        self._recorded: Mapping[str, str] | None = None
        self.log = RunLog(self._write_log)

    @property
    def run_id(self) -> int:
        """The run's id, the same in every attempt."""
        return self._attempt.run_id

    @property
    def attempt(self) -> int:
        """1 for the first try of the run."""
        return self._attempt.number

    @property
    def tenant(self) -> str | None:
        """For whom the run works, as given when it was enqueued."""
        return self._attempt.tenant

    @property
    def deadline(self) -> float | None:
        """When the run times out, on CLOCK_BOOTTIME; None without a timeout.

        `extend` moves it, and so does time that is not the run's: an outage of the database, a machine that was suspended.
        """
        return self._ledger.deadline

    def remaining(self) -> float:
        """Seconds until the run times out; infinite without a timeout."""
        deadline = self.deadline
        return math.inf if deadline is None else max(0.0, deadline - clock.now())

    def extend(self, duration: str | float) -> None:
        """Have at least so much time from now on: "5m", or a number of seconds. It never takes time away.

        For a run that comes on, but whose length nobody can tell beforehand. Raises ValueError for what is no duration.
        """
        seconds = as_seconds(duration)
        with self._interruption.shielded(), self._writing():
            self._ledger.extend(seconds)

    @property
    def cancelled(self) -> bool:
        """True when somebody cancelled the run: for clean-up code and for threads, which nothing interrupts."""
        return isinstance(self._interruption.requested, RunCancelled)

    def idempotency_key(self, step: str) -> str:
        """A key for the outside world, the same in every attempt of this run."""
        return f"{self.run_id}:{step}"

    def progress(self, fraction: float | None = None, note: str | None = None) -> None:
        """Tell how far the run has come: a fraction from 0 to 1, a few words, or both."""
        bounded = None if fraction is None else min(1.0, max(0.0, float(fraction)))
        words = None if note is None else clean(str(note), _LONGEST_NOTE_BYTES)
        with self._interruption.shielded(), self._writing():
            self._ledger.progress(bounded, words)

    @contextmanager
    def transaction(self) -> Iterator[Any]:
        """A psycopg connection whose changes commit together on leaving, if the run is still ours, and else not at all.

        A role taken inside ends with the block: what is checked only at the commit is checked in the connection's own.
        """
        with self._interruption.shielded(), self._writing(), self._ledger.transaction() as connection, self._authors_code():
            yield connection

    # For the daemon

    @property
    def is_fenced(self) -> bool:
        """True once a write was refused because the run is no longer ours."""
        return self._fenced

    @property
    def interruption(self) -> Interruption:
        """The way to stop this run."""
        return self._interruption

    @property
    def max_result_bytes(self) -> int:
        """The largest result, or output of a step, in bytes of JSON."""
        return self._attempt.max_result_bytes

    def end(self) -> None:
        """The attempt is over: what a thread that it left behind still writes is refused."""
        self._has_ended = True

    def _authors_code(self) -> AbstractContextManager[None]:
        """Around code of the author's that code of ours calls."""
        raise NotImplementedError

    def _begin_step(self, name: str) -> tuple[str, str | None]:
        """The key of this use of the name ("fetch", then "fetch#2"), and the recorded output if there is one."""
        self._interruption.refuse_new_work()
        self._refuse_if_fenced()
        if not name or len(name) > LONGEST_STEP_NAME or "#" in name or not name.isprintable():
            raise ValueError(f'step name {name!r} must be 1 to {LONGEST_STEP_NAME} printable characters without "#"')
        use = next(self._uses.setdefault(name, itertools.count(1)))  # atomic: two threads never share a key
        key = name if use == 1 else f"{name}#{use}"
        if self._recorded is None:
            self._recorded = self._ledger.steps()
        return key, self._recorded.get(key)

    def _end_step(self, key: str, output: Any, begun: float) -> Any:
        """Record a step's output and return what a resumed run would get: the same types, however often it runs."""
        text = encode(output, f'the output of step "{key}"', self.max_result_bytes)
        with self._writing():
            return decode(self._ledger.record_step(key, text, clock.now() - begun))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Around each write. Code that catches Fenced and goes on meets it again at the next one."""
        self._refuse_if_fenced()
        try:
            yield
        except Fenced:
            self._fenced = True
            raise

    def _refuse_if_fenced(self) -> None:
        if self._fenced:
            raise Fenced("the run is no longer ours")
        if os.getpid() != self._pid:
            raise Fenced("this process is a copy of the one that executes the run")
        if self._has_ended:
            raise Fenced("the attempt has ended")

    def _write_log(self, level: str, line: str) -> None:
        # A log that fails is no reason for a run to fail, and a fenced run meets the fence at its next real write.
        with self._interruption.shielded(), suppress(Exception, Fenced), self._writing():
            self._ledger.log(level, line)


class Context(_AnyContext):
    """The context of a sync pipeline."""

    def step(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function once for this run: its output is stored, and a resumed run gets the stored one.

        The output is returned as JSON gives it back, so that the first run and a resumed one see the same.
        A name used again counts up: the order of its uses must not change between attempts.
        Raises BadResult for an output that is not JSON.
        """
        with self._interruption.shielded():
            key, stored = self._begin_step(name)
            if stored is not None:
                return decode(stored)  # type: ignore[no-any-return]
            begun = clock.now()
            with inside_step(key), self._authors_code():
                output = function(*args, **kwargs)
            return self._end_step(key, output, begun)  # type: ignore[no-any-return]

    def _authors_code(self) -> AbstractContextManager[None]:
        return self._interruption.exposed()


class AsyncContext(_AnyContext):
    """The context of an async pipeline. Writes hold up the loop until the database has answered."""

    @overload
    async def step(self, name: str, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    async def step(self, name: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def step(self, name: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call the function, and await what it returns, once for this run: see `Context.step`."""
        key, stored = self._begin_step(name)
        if stored is not None:
            return decode(stored)
        begun = clock.now()
        with inside_step(key):
            output = function(*args, **kwargs)
            output = await output if isawaitable(output) else output
        return self._end_step(key, output, begun)

    def _authors_code(self) -> AbstractContextManager[None]:
        return nullcontext()
