"""How much somebody may say in a second; what is beyond it is counted."""

from __future__ import annotations


class Budget:
    """Lines and bytes a second. `now` is any clock's, in seconds."""

    def __init__(self, lines: int, size_bytes: int) -> None:
        self._most_lines, self._most_bytes = lines, size_bytes
        self._lines, self._bytes = 0, 0
        self._until = 0.0
        self._refused = 0

    def take(self, size_bytes: int, now: float) -> bool:
        """True when a line of that size may be said. The first of a second always may."""
        if now >= self._until:
            self._until = now + 1.0
            self._lines = self._bytes = 0
        if self._lines and (self._lines >= self._most_lines or self._bytes + size_bytes > self._most_bytes):
            self._refused += 1
            return False
        self._lines += 1
        self._bytes += size_bytes
        return True

    def refused(self) -> int:
        """How many were not, since this was last asked."""
        refused, self._refused = self._refused, 0
        return refused
