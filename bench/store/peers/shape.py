"""The shape of a Python peer's program, `python -m bench.store.peers.NAME setup|work|produce DSN [tuned]`.

    setup    make its tables
    work     run jobs until killed; `tuned`: with its settings for the quickest recovery from a kill
    produce  obey orders from standard input, a JSON line each, and answer with how long each took

Nothing of orbitd is imported here: a peer may live in a venv of its own.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Any, Protocol, TypeAlias

from bench.stamps import now, stamp

_FOR_EVER_SECONDS = 3600


class Producer(Protocol):
    """Who asks for jobs, by the peer's own means."""

    async def one(self, task: str, pipe: str) -> None:
        """Ask for one job, in a transaction of its own."""

    async def many(self, jobs: int) -> None:
        """Ask for so many no-ops at once."""


class Peer(Protocol):
    """What a peer's program brings."""

    async def setup(self, dsn: str) -> None:
        """Make its tables."""

    async def work(self, dsn: str, *, tuned: bool) -> None:
        """Run jobs until killed."""

    def producing(self, dsn: str) -> AbstractAsyncContextManager[Producer]:
        """A producer, connected."""


async def begin(pipe: str) -> None:
    """A job that says when it began."""
    stamp(pipe)


async def hold(pipe: str) -> None:
    """A job that says when it began, and stays until its process is killed."""
    stamp(pipe)
    await asyncio.sleep(_FOR_EVER_SECONDS)


Task: TypeAlias = Callable[[str], Coroutine[Any, Any, None]]
TASKS: Mapping[str, Task] = MappingProxyType({"stamp": begin, "hold": hold})
NOOP = "noop"


def main(peer: Peer, run: Callable[[Coroutine[Any, Any, None]], None] = asyncio.run) -> None:
    """Do what the arguments say."""
    verb, dsn, *more = sys.argv[1:]
    match verb:
        case "setup":
            run(peer.setup(dsn))
        case "work":
            run(peer.work(dsn, tuned="tuned" in more))
        case "produce":
            run(_produce(peer, dsn))


async def _produce(peer: Peer, dsn: str) -> None:
    async with peer.producing(dsn) as producer:
        while line := await asyncio.to_thread(sys.stdin.readline):
            at, started = now(), time.perf_counter()
            match json.loads(line):
                case {"singly": int(jobs)}:
                    for _ in range(jobs):
                        await producer.one(NOOP, "")
                case {"at once": int(jobs)}:
                    await producer.many(jobs)
                case {"task": str(task), "pipe": str(pipe)}:
                    await producer.one(task, pipe)
            print(json.dumps({"at": at, "seconds": time.perf_counter() - started}), flush=True)
