"""gunicorn's configuration: the marks of its workers. What differs from one fleet to the next comes on the command line."""

from __future__ import annotations

from bench.supervision import work

worker_class = "sync"
timeout = graceful_timeout = 120


def post_fork(_server: object, _worker: object) -> None:
    """In a new worker, before it imports the application."""
    work.be_born()


def post_worker_init(_worker: object) -> None:
    """In a worker that can work."""
    work.marks().write("ready")
