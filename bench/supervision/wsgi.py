"""What gunicorn's workers serve; nobody asks."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from bench.supervision import work

_KEPT = work.load()


def application(_environ: dict[str, object], start_response: Callable[[str, list[tuple[str, str]]], object]) -> Iterable[bytes]:
    """Say that it works."""
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]
