"""What the arbiter sleeps on: descriptors, signals and the nearest deadline, in one selector.

Signal handlers do nothing. The interpreter writes each signal's number to a socket pair (`signal.set_wakeup_fd`), the
selector sees it, and all work is done in the loop. A callback is registered with each descriptor.
"""

from __future__ import annotations

import selectors
import signal
import socket
from collections.abc import Callable, Iterable

from orbitd.system import clock

LONGEST_SLEEP_SECONDS = 3600.0


class Wakeup:
    """A selector whose keys carry the function to call, and the signals."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)

    def catch(self, numbers: Iterable[int], on_signal: Callable[[int], None]) -> None:
        """From now on these signals call `on_signal` from within `wait`. Only in the main thread."""

        def on_readable() -> None:
            for number in self._reader.recv(4096):
                on_signal(number)

        self.selector.register(self._reader, selectors.EVENT_READ, on_readable)
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, _do_nothing)

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call `callback` when the descriptor is readable."""
        self.selector.register(fd, selectors.EVENT_READ, callback)

    def forget(self, fd: int) -> None:
        """Stop watching it. Call it before the descriptor is closed."""
        self.selector.unregister(fd)

    def wait(self, until: float) -> list[Callable[[], None]]:
        """Sleep until something happens or CLOCK_BOOTTIME `until`; the functions to call now."""
        seconds = min(max(0.0, until - clock.now()), LONGEST_SLEEP_SECONDS)
        return [key.data for key, _ in self.selector.select(seconds)]


def _do_nothing(_number: int, _frame: object) -> None:
    """The wake-up descriptor has the signal already."""
