"""What dead children have left running: programs and forks in sessions of their own, which come to us when their parent ends.

A living child is a subreaper, so an orphan that reaches us has no living owner. It is told from strangers, whom we inherit as
process 1 or had before we began (from whoever exec'd us):

    our mold's mark in its environment   a program that a child or an import has started
    a title of ours                      forked without an exec (the title is written over the environment): by a child, or by a mold:
                                         then it may be a newborn child on its way to its hello
    neither                              a stranger's; or, where there are no strangers, a program with an environment of its own
"""

from __future__ import annotations

import os
import signal
from collections.abc import Collection
from dataclasses import dataclass, field

from orbitd.system import process
from orbitd.system.process import Process

MOST_AT_ONCE = 64
"""So many are killed in one turn; the end of each is the occasion to look again."""
_MOLDS_TITLE, _CHILDS_TITLE = b"orbitd: mold ", b"orbitd: child "
_NEWBORN = b" starting"


@dataclass(slots=True)
class Orphans:
    """Kills them, and remembers who was there before us."""

    strangers: set[int] = field(default_factory=lambda: set(process.own_children()))
    """What an upgrade hands over: the new program has children already that are none."""

    def sweep(self, known: Collection[int], mark: str, *, is_arriving: bool) -> list[int]:
        """Kill those that are ours and not `known`; who was killed.

        `mark` is our molds'. `is_arriving`: a newborn child may be among them.
        """
        children = process.own_children()
        self.strangers &= set(children)  # the number of one that is gone may be anybody's
        swept: list[int] = []
        for pid in children:
            if len(swept) == MOST_AT_ONCE:
                break
            if pid not in known and pid not in self.strangers and self._is_left(pid, mark, is_arriving=is_arriving) and _kill(pid):
                swept.append(pid)
        return swept

    def _is_left(self, pid: int, mark: str, *, is_arriving: bool) -> bool:
        if f"{process.MOLD_MARK}={mark}".encode() in process.environment_of(pid).split(b"\0"):
            return True
        title = process.title_of(pid)
        if is_arriving and (title.startswith(_MOLDS_TITLE) or (title.startswith(_CHILDS_TITLE) and title.endswith(_NEWBORN))):
            return False
        return title.startswith((_MOLDS_TITLE, _CHILDS_TITLE)) or (os.getpid() != 1 and not self.strangers)


def _kill(pid: int) -> bool:
    """False when it has ended already, or belongs to a user whom we may not signal."""
    facts = process.stat(pid)
    orphan = Process.adopt(pid) if facts and facts.state != "Z" else None
    if orphan is None:
        return False
    try:
        orphan.send_signal(signal.SIGKILL)
    except PermissionError:
        return False
    finally:
        orphan.close()
    return True
