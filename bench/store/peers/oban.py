"""Oban for Python, as its CLI runs it, with the queue limit of 100 that its page on production speaks of."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvloop
from oban import Oban, job
from oban.schema import install

from bench.store.peers import shape

LIMIT = 100
# rescues whatever has run for so long, the living too
_TUNED: dict[str, Any] = {"lifeline": {"interval": 1.0, "rescue_after": 3.0}}


@job(name="noop")
async def noop(pipe: str) -> None:
    """Do nothing."""


@job(name="stamp")
async def begin(pipe: str) -> None:
    """Say when it began."""
    await shape.begin(pipe)


@job(name="hold")
async def hold(pipe: str) -> None:
    """Say when it began, and stay."""
    await shape.hold(pipe)


_JOBS: dict[str, Any] = {"noop": noop, "stamp": begin, "hold": hold}


class _Producer:
    def __init__(self, oban: Oban) -> None:
        self._oban = oban

    async def one(self, task: str, pipe: str) -> None:
        await self._oban.enqueue(_JOBS[task].new(pipe))

    async def many(self, jobs: int) -> None:
        await self._oban.enqueue_many([noop.new("") for _ in range(jobs)])


class Peer:
    """What shape.py asks for."""

    async def setup(self, dsn: str) -> None:
        """Its schema."""
        pool = await Oban.create_pool(dsn)
        await install(pool)
        await pool.close()

    async def work(self, dsn: str, *, tuned: bool) -> None:
        """One node with one queue."""
        pool = await Oban.create_pool(dsn)
        async with Oban(pool=pool, queues={"default": LIMIT}, **_TUNED if tuned else {}):
            await asyncio.Event().wait()

    @asynccontextmanager
    async def producing(self, dsn: str) -> AsyncIterator[_Producer]:
        """A client: no queues."""
        pool = await Oban.create_pool(dsn)
        async with Oban(pool=pool) as oban:
            yield _Producer(oban)
        await pool.close()


if __name__ == "__main__":
    shape.main(Peer(), uvloop.run)
