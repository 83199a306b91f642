"""How a run is stopped from outside: a timeout, a cancellation, the daemon's own stop.

The daemon asks from a signal handler on the main thread, at any instant. It repeats the signal until `delivered` says
that it came through: Python may have looked for signals just before it blocks in a syscall. What is on the stack decides:

    closed ──exposed()──► exposed ──shielded()──► shielded        request() while exposed: raised at once
       ▲                   │    ▲                    │            while closed or shielded: kept, and raised
       └───────leaving─────┘    └──────leaving───────┘            on the next way into exposed

Exposed is the author's code; shielded is code of ours that it called, whose work must not be torn. An async pipeline is
never exposed: its task is cancelled by its own loop, between two steps of the task.

One request counts, the first, and it is delivered once: a clean-up in `finally` is not torn by a second one, and a race
in the few instructions around a change of state can raise once at most. Code that swallows what was raised is stopped
by the kill that follows; but what Python itself swallows, because a finalizer ran just then, is delivered again. A
request that comes after the author's code has ended is kept, and never delivered.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType

from orbitd.pipelines.exceptions import RunStopped


class Interruption:
    """The way into one run for those who want to stop it. Made on the thread that executes the run."""

    def __init__(self) -> None:
        self._thread_id = threading.get_ident()
        self._exposed = False
        self._task: asyncio.Task[object] | None = None
        self._requested: RunStopped | None = None
        self._delivered = False

    @property
    def requested(self) -> RunStopped | None:
        """What was asked for, whether or not the author's code ever saw it."""
        return self._requested

    @property
    def delivered(self) -> RunStopped | None:
        """What was raised in the author's code, or cancelled its task."""
        return self._requested if self._delivered else None

    def request(self, stop: RunStopped) -> None:
        """Stop the run; to be called from a signal handler, on the thread that executes it.

        Raises `stop` itself when the author's code is on the stack.
        """
        if self._requested is None:
            self._requested = stop
        if self._task is not None:
            self._task.get_loop().call_soon_threadsafe(self._cancel_task)
        elif self._exposed:
            self._deliver()

    def exposed(self) -> _Region:
        """Around the author's code. Raises a request that waited for it."""
        return _Region(self, exposed=True)

    def shielded(self) -> _Region:
        """Around code of ours that the author's code called. Raises, on leaving, what was requested meanwhile."""
        return _Region(self, exposed=False)

    @contextmanager
    def cancelling(self) -> Iterator[None]:
        """Around the author's coroutine, inside its task. Raises a request that waited for it."""
        self._task = asyncio.current_task()
        try:
            self._deliver()
            yield
        finally:
            self._task = None

    def surviving_finalizers(self) -> _Finalizers:
        """Take a delivery back when it was raised in a `__del__` or a generator's close, where Python drops exceptions."""
        return _Finalizers(self)

    def refuse_new_work(self) -> None:
        """Raise again what was delivered already: code that goes on regardless shall not begin anything."""
        if self.delivered is not None:
            raise self.delivered

    def _enter(self, *, exposed: bool) -> bool:
        """Change the state and return the former one. The order matters: a request between the two lines is raised once."""
        before, self._exposed = self._exposed, exposed
        if exposed:
            self._deliver()
        return before

    def _take_back(self, dropped: BaseException | None) -> bool:
        """Whether it is what was delivered, which is to be delivered again."""
        is_ours = dropped is not None and dropped is self._requested
        self._delivered = self._delivered and not is_ours
        return is_ours

    def _deliver(self) -> None:
        if self._requested is not None and not self._delivered:
            self._delivered = True
            raise self._requested

    def _cancel_task(self) -> None:
        if self._task is not None and not self._task.done() and not self._delivered:
            self._delivered = True
            self._task.cancel(str(self._requested))


class _Finalizers:
    """The stretch of code in which what Python drops is looked at."""

    def __init__(self, interruption: Interruption) -> None:
        self._interruption = interruption
        self._former: Callable[[sys.UnraisableHookArgs], object] = sys.unraisablehook

    def __enter__(self) -> None:
        sys.unraisablehook = self._hook

    def __exit__(self, *_: object) -> None:
        sys.unraisablehook = self._former

    def _hook(self, dropped: sys.UnraisableHookArgs) -> None:
        if not self._interruption._take_back(dropped.exc_value):  # noqa: SLF001 - it is a part of it
            self._former(dropped)


class _Region:
    """A stretch of code that is exposed or shielded. On other threads it is nothing: no handler raises there."""

    def __init__(self, interruption: Interruption, *, exposed: bool) -> None:
        self._interruption = interruption
        self._exposed = exposed
        self._applies = threading.get_ident() == interruption._thread_id  # noqa: SLF001 - the region is a part of it
        self._before = False

    def __enter__(self) -> None:
        if self._applies:
            self._before = self._interruption._enter(exposed=self._exposed)  # noqa: SLF001

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._applies:
            self._interruption._enter(exposed=self._before)  # noqa: SLF001
