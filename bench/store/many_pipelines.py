"""A thousand pipelines that do nothing, each with a lane of its own."""

from __future__ import annotations

from orbitd import Context, pipeline

LANES = 1000


def noop(_ctx: Context, /, **_args: str) -> None:
    """Do nothing."""


globals().update({f"noop{number}": pipeline(f"noop{number}")(noop) for number in range(LANES)})
