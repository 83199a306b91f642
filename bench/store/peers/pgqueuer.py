"""PgQueuer, as its page on tuning says: autovacuum settings applied, one asyncpg connection a worker, larger batches for short jobs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import uvloop
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries

from bench.store.peers import shape

BATCH_SIZE = 100
_TUNED_HEARTBEAT = timedelta(seconds=2)


class _Producer:
    def __init__(self, queries: Queries) -> None:
        self._queries = queries

    async def one(self, task: str, pipe: str) -> None:
        await self._queries.enqueue(task, json.dumps(pipe).encode())

    async def many(self, jobs: int) -> None:
        await self._queries.enqueue([shape.NOOP] * jobs, [b"{}"] * jobs, [0] * jobs)


class Peer:
    """What shape.py asks for."""

    async def setup(self, dsn: str) -> None:
        """Its tables, and the autovacuum settings that it recommends."""
        queries = Queries(AsyncpgDriver(await asyncpg.connect(dsn)))
        await queries.install()
        await queries.optimize_autovacuum()

    async def work(self, dsn: str, *, tuned: bool) -> None:
        """Its queue manager, as `pgq run` runs it."""
        manager = PgQueuer(AsyncpgDriver(await asyncpg.connect(dsn)))

        @manager.entrypoint(shape.NOOP)
        async def noop(_job: Job) -> None:
            pass

        for name, task in shape.TASKS.items():

            @manager.entrypoint(name)
            async def run(job: Job, task: shape.Task = task) -> None:
                await task(json.loads(job.payload or b'""'))

        if tuned:
            await manager.run(batch_size=BATCH_SIZE, heartbeat_timeout=_TUNED_HEARTBEAT, dequeue_timeout=_TUNED_HEARTBEAT / 2)
        else:
            await manager.run(batch_size=BATCH_SIZE)

    @asynccontextmanager
    async def producing(self, dsn: str) -> AsyncIterator[_Producer]:
        """One connection."""
        connection = await asyncpg.connect(dsn)
        yield _Producer(Queries(AsyncpgDriver(connection)))
        await connection.close()


if __name__ == "__main__":
    shape.main(Peer(), uvloop.run)
