"""What orbitd runs in the bench."""

from __future__ import annotations

import time

from bench.handwritten import NAP_SECONDS
from bench.stamps import stamp as say
from orbitd import Context, pipeline

_FOR_EVER_SECONDS = 3600


@pipeline("noop")
def noop(_ctx: Context, /, **_args: str) -> None:
    """Do nothing."""


@pipeline("nap")
def nap(_ctx: Context, /, **_args: str) -> None:
    """Sleep for a moment."""
    time.sleep(NAP_SECONDS)


@pipeline("stamp")
def stamp(_ctx: Context, pipe: str) -> None:
    """Say when it began."""
    say(pipe)


@pipeline("hold")
def hold(_ctx: Context, pipe: str) -> None:
    """Say when it began, and stay until killed."""
    say(pipe)
    time.sleep(_FOR_EVER_SECONDS)
