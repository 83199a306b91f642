"""What orbitd runs in the bench."""

from __future__ import annotations

import time

from bench.stamps import stamp as say
from orbitd import Context, pipeline

_FOR_EVER_SECONDS = 3600


@pipeline("noop")
def noop(_ctx: Context) -> None:
    """Do nothing."""


@pipeline("stamp")
def stamp(_ctx: Context, pipe: str) -> None:
    """Say when it began."""
    say(pipe)


@pipeline("hold")
def hold(_ctx: Context, pipe: str) -> None:
    """Say when it began, and stay until killed."""
    say(pipe)
    time.sleep(_FOR_EVER_SECONDS)
