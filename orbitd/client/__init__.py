"""For programs that ask for runs, on a database connection that they have already.

    from orbitd import client

    client.enqueue(conn, "invoice.sync", tenant_id=42)
    client.enqueue(conn, client.Request("invoice.sync", {"tenant_id": 42}, key="inv-42", in_="10m"))
    await client.enqueue(async_conn, "invoice.sync", tenant_id=42)

The connection is psycopg's (3), SQLAlchemy's (a Connection or a Session, or one of its asynchronous ones) or Django's. The run is
part of the caller's transaction: it exists when that commits, and never if that is rolled back. Nothing else is needed: no
pipeline is imported, no setting of orbitd read, and no driver loaded that the connection has not loaded.

What cannot be a run raises UsageError, with a message and a hint; what else goes wrong raises what it always raises. After an
error Postgres refuses everything but a rollback, as ever.
"""

from __future__ import annotations

from collections.abc import Awaitable, Coroutine, Iterable
from typing import Any, Protocol, overload

from orbitd.client.doors import ask
from orbitd.client.requests import Enqueued, Request, enqueued, json_text
from orbitd.errors import UsageError

__all__ = ["Enqueued", "Request", "UsageError", "enqueue", "enqueue_many"]


class _Awaited(Protocol):
    """A connection whose methods are awaited."""

    def close(self) -> Awaitable[None]: ...


class _Plain(Protocol):
    """A connection of the usual kind."""

    def close(self) -> None: ...


@overload
def enqueue(conn: _Awaited, pipeline: str | Request, /, **args: Any) -> Coroutine[Any, Any, Enqueued]: ...
@overload
def enqueue(conn: _Plain, pipeline: str | Request, /, **args: Any) -> Enqueued: ...
def enqueue(conn: Any, pipeline: str | Request, /, **args: Any) -> Any:
    """Ask for a run of a pipeline with these arguments; for options, such as a key or a time, give a Request instead.

    To be awaited where the connection's own methods are. When another run has the key, that run is the answer, with `created` false.
    """
    if isinstance(pipeline, Request):
        if args:
            raise UsageError(
                f"a Request has its arguments already, and here are {', '.join(args)} besides", "give all of them in the Request"
            )
        request = pipeline
    else:
        request = Request(pipeline, args)
    return ask(conn, "enqueue", request.parameters(), enqueued)


@overload
def enqueue_many(conn: _Awaited, requests: Iterable[Request]) -> Coroutine[Any, Any, list[int]]: ...
@overload
def enqueue_many(conn: _Plain, requests: Iterable[Request]) -> list[int]: ...
def enqueue_many(conn: Any, requests: Iterable[Request]) -> Any:
    """Ask for many runs in one statement, all or none; their ids, in the same order. To be awaited as `enqueue`.

    Some thousands at a time are best: all of them go to the database as one text.
    """
    runs = json_text([request.item() for request in requests])
    return ask(conn, "enqueue_many", {"runs": runs}, lambda row: list(row[0]))
