"""Procrastinate, with the concurrency of its how-to; when tuned, with the periodic task for stalled jobs that its documents give."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from procrastinate import App, JobContext, PsycopgConnector

from bench.store.peers import shape

CONCURRENCY = 30
_TUNED_SECONDS = 1.0
_STALLED_SECONDS = 3.0


class _Producer:
    def __init__(self, app: App) -> None:
        self._tasks = app.tasks

    async def one(self, task: str, pipe: str) -> None:
        await self._tasks[task].defer_async(pipe=pipe)

    async def many(self, jobs: int) -> None:
        await self._tasks[shape.NOOP].batch_defer_async(*[{"pipe": ""}] * jobs)


class Peer:
    """What shape.py asks for."""

    async def setup(self, dsn: str) -> None:
        """Its schema."""
        async with _app(dsn).open_async() as app:
            await app.schema_manager.apply_schema_async()

    async def work(self, dsn: str, *, tuned: bool) -> None:
        """One worker."""
        app = _app(dsn)
        if tuned:
            _retry_stalled(app)
            heartbeats = {"update_heartbeat_interval": _TUNED_SECONDS, "stalled_worker_timeout": _STALLED_SECONDS}
        else:
            heartbeats = {}
        async with app.open_async():
            await app.run_worker_async(concurrency=CONCURRENCY, **heartbeats)

    @asynccontextmanager
    async def producing(self, dsn: str) -> AsyncIterator[_Producer]:
        """Its pool."""
        async with _app(dsn).open_async() as app:
            yield _Producer(app)


def _app(dsn: str) -> App:
    app = App(connector=PsycopgConnector(conninfo=dsn))

    @app.task(name=shape.NOOP)
    async def noop(pipe: str) -> None:
        pass

    for name, task in shape.TASKS.items():
        app.task(name=name)(task)
    return app


def _retry_stalled(app: App) -> None:
    """Each second, where the documents say each ten minutes."""

    @app.periodic(cron="* * * * * *")
    @app.task(queueing_lock="retry_stalled_jobs", pass_context=True)
    async def retry_stalled_jobs(_context: JobContext, **_timestamp: int) -> None:
        for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=_STALLED_SECONDS):
            await app.job_manager.retry_job(job)


if __name__ == "__main__":
    shape.main(Peer())
