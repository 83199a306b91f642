"""What the mold of the measured daemon imports. Its children are born by a fork in the mold, and one more in the process between."""

from __future__ import annotations

import os

from bench.supervision import work
from orbitd import Context, pipeline

_KEPT = work.load()
_MOLD = os.getpid()


def _born() -> None:
    if os.getppid() == _MOLD:  # the process between, which goes at once
        work.marks().write("born")
    else:
        work.wind_up()


os.register_at_fork(after_in_child=_born)


@pipeline("idle")
def idle(_ctx: Context) -> None:
    """Never enqueued."""
