"""How many more runs may be begun, counted by the kernel for all children together: `orbitd once --max N`.

One permit a run, taken before a claim is sent and given back when it brought none. So never more than N are begun, however
many children claim at the same time; a child that dies with a permit in hand takes it along.
"""

from __future__ import annotations

import os
import select


class Permits:
    """The permits as one process sees them. `fd` is a semaphore eventfd; None: there is no limit, and nothing is counted."""

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self._is_held = False

    @staticmethod
    def create(count: int) -> int:
        """The descriptor of so many permits."""
        return os.eventfd(count, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    @property
    def are_counted(self) -> bool:
        """Whether there is a limit."""
        return self._fd is not None

    @property
    def are_left(self) -> bool:
        """Whether somebody could take one just now."""
        if self._fd is None:
            return True
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        return bool(poll.poll(0))

    def take(self) -> bool:
        """Take one, unless the last one taken is still unused; False when there is none."""
        if self._fd is None or self._is_held:
            return True
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return False
        self._is_held = True
        return True

    def use(self) -> None:
        """A run came for it."""
        self._is_held = False

    def give_back(self) -> None:
        """No run came for it."""
        if self._fd is not None and self._is_held:
            self._is_held = False
            os.eventfd_write(self._fd, 1)
