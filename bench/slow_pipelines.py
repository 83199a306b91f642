"""An application whose import takes half a second of CPU."""

from __future__ import annotations

import time

from orbitd import Context, pipeline

IMPORT_CPU_SECONDS = 0.5

_until = time.process_time() + IMPORT_CPU_SECONDS
while time.process_time() < _until:
    sum(range(1000))


@pipeline("idle")
def idle(_ctx: Context) -> None:
    """Never enqueued."""
