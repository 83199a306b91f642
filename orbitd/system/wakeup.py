"""What the arbiter sleeps on: descriptors, signals and the nearest deadline, in one selector.

Signal handlers do nothing. The interpreter writes each signal's number to a socket pair (`signal.set_wakeup_fd`), the
selector sees it, and all work is done in the loop. A callback is registered with each descriptor.
"""

from __future__ import annotations

import contextlib
import selectors
import signal
import socket
from collections.abc import Callable, Iterable, Iterator

from orbitd.system import clock

LONGEST_SLEEP_SECONDS = 3600.0


class Wakeup:
    """A selector whose keys carry the function to call, and the signals."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._resting: list[tuple[float, selectors.SelectorKey]] = []
        self._caught: list[int] = []
        self._on_signal: Callable[[int], None] = lambda _number: None

    def catch(self, numbers: Iterable[int], on_signal: Callable[[int], None]) -> None:
        """From now on these signals call `on_signal` from within `wait`, held back ones too. Only in the main thread."""
        self._caught, self._on_signal = list(numbers), on_signal
        self.selector.register(self._reader, selectors.EVENT_READ, self._tell_signals)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in self._caught:
            signal.signal(number, _do_nothing)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._caught)

    @contextlib.contextmanager
    def deaf(self) -> Iterator[None]:
        """With the signals told that have come, and the later ones held back by the kernel: also beyond an exec."""
        signal.pthread_sigmask(signal.SIG_BLOCK, self._caught)
        try:
            self._tell_signals()
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, self._caught)

    def _tell_signals(self) -> None:
        with contextlib.suppress(BlockingIOError):
            for number in self._reader.recv(4096):
                self._on_signal(number)

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call `callback` when the descriptor is readable."""
        self.selector.register(fd, selectors.EVENT_READ, callback)

    def forget(self, fd: int) -> None:
        """Stop watching it, if we do. Call it before the descriptor is closed."""
        self._resting = [(until, key) for until, key in self._resting if key.fd != fd]
        with contextlib.suppress(KeyError, ValueError):
            self.selector.unregister(fd)

    def wait(self, until: float) -> list[selectors.SelectorKey]:
        """Sleep until something happens or CLOCK_BOOTTIME `until`; the keys whose `data` is to be called now."""
        self._wake(clock.now())
        until = min([until, *(rested for rested, _ in self._resting)])
        seconds = min(max(0.0, until - clock.now()), LONGEST_SLEEP_SECONDS)
        return [key for key, _ in self.selector.select(seconds)]

    def rest(self, key: selectors.SelectorKey, until: float) -> None:
        """Leave a descriptor alone for a while: its function has failed, and is likely to fail again at once."""
        if self.selector.get_map().get(key.fd) == key:
            self.selector.unregister(key.fd)
            self._resting.append((until, key))

    def _wake(self, now: float) -> None:
        due = [key for until, key in self._resting if until <= now]
        self._resting = [(until, key) for until, key in self._resting if until > now]
        for key in due:
            with contextlib.suppress(KeyError, ValueError, OSError):  # closed meanwhile, or watched for something else
                self.selector.register(key.fileobj, key.events, key.data)


def _do_nothing(_number: int, _frame: object) -> None:
    """The wake-up descriptor has the signal already."""
