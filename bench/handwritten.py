"""The reference: a worker as a good engineer writes it in an afternoon, `python -m bench.handwritten DSN HOLDING`.

One table (id, state, payload), a partial index on what is pending, one job at a time, found with FOR UPDATE SKIP LOCKED; plain
psycopg, which prepares the statements by itself; an idle worker looks again after 100 ms. Two ways to hold a job:

    state   claim it (pending → running, commit), work, delete it (commit): two commits a job
    lock    lock the row, work, delete it, commit: one commit a job, and a transaction open for as long as the work takes

Neither keeps history, retries, has a timeout or tells a job that crashes its worker from one that does not. With `state` the job of
a worker that dies stays `running` for ever; with `lock` the server gives it back, again and again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import psycopg

from bench.stamps import stamp

Connection = psycopg.Connection[tuple[Any, ...]]

POLL_SECONDS = 0.1
NAP_SECONDS = 0.01
_FOR_EVER_SECONDS = 3600.0

SCHEMA = """
create table jobs (
    id      bigint generated always as identity primary key,
    state   text not null default 'pending',
    payload jsonb not null
);
create index jobs_pending on jobs (id) where state = 'pending'
"""

_CLAIM = """
update jobs set state = 'running'
 where id = (select id from jobs where state = 'pending' order by id limit 1 for update skip locked)
returning id, payload
"""
_LOCK = "select id, payload from jobs where state = 'pending' order by id limit 1 for update skip locked"
_FINISH = "delete from jobs where id = %s"


def _noop(**_args: str) -> None:
    """Do nothing."""


def _nap(**_args: str) -> None:
    """Sleep for a moment."""
    time.sleep(NAP_SECONDS)


def _hold(pipe: str) -> None:
    """Say when it began, and stay until killed."""
    stamp(pipe)
    time.sleep(_FOR_EVER_SECONDS)


_TASKS: Mapping[str, Callable[..., None]] = MappingProxyType({"noop": _noop, "nap": _nap, "stamp": stamp, "hold": _hold})


def _work(payload: dict[str, Any]) -> None:
    _TASKS[payload["task"]](**payload["args"])


def _once_by_state(connection: Connection) -> bool:
    job = connection.execute(_CLAIM).fetchone()
    if job is None:
        return False
    _work(job[1])
    connection.execute(_FINISH, [job[0]])
    return True


def _once_by_lock(connection: Connection) -> bool:
    with connection.transaction():
        job = connection.execute(_LOCK).fetchone()
        if job is None:
            return False
        _work(job[1])
        connection.execute(_FINISH, [job[0]])
    return True


WAYS: Mapping[str, Callable[[Connection], bool]] = MappingProxyType({"state": _once_by_state, "lock": _once_by_lock})


def main(dsn: str, holding: str) -> None:
    """Work until killed."""
    once = WAYS[holding]
    with psycopg.connect(dsn, autocommit=True) as connection:
        while True:
            if not once(connection):
                time.sleep(POLL_SECONDS)


if __name__ == "__main__":
    main(*sys.argv[1:])
