"""A child's link to a database that cuts it off."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orbitd.link import Link, Post
from orbitd.store import Connection
from orbitd.system import clock
from orbitd.system.slots import SharedSlots
from tests.store.fleet import Fleet
from tests.support.daemon import eventually


@pytest.fixture
def link(fleet: Fleet, slots: SharedSlots) -> Iterator[Link]:
    slots.header.host_id, slots.header.lease_until = fleet.host("p"), clock.now() + 60
    post = Post(slot=0, generation=1, nonce="n", max_runs=0, arbiter_pid=os.getpid(), channel=cast("Any", None), slots=slots)
    database = SimpleNamespace(url=fleet.dsn, connect_timeout=5.0, call_timeout=15.0, pooled="auto")
    settings = SimpleNamespace(database=database, instance=SimpleNamespace(name="test"))
    orders = SimpleNamespace(is_draining=False, clock_stopped=nullcontext)
    link = Link(post, cast("Any", settings), cast("Any", orders), {})
    yield link
    link.call(lambda connection, _: connection.close())


def be_cut_off(connection: Connection, _child_id: int) -> None:
    connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")


def may_begin(link: Link) -> bool:
    return link.may_begin


def own_id(_connection: Connection, child_id: int) -> int:
    return child_id


def test_who_can_wait_gets_nothing_from_a_lost_connection_and_later_a_new_one(link: Link) -> None:
    link.connect()
    before = link.try_call(own_id)
    assert link.try_call(be_cut_off) is None
    after = eventually(lambda: link.try_call(own_id))
    assert before != after


def test_what_a_lost_connection_has_brought_is_not_begun_over_the_next_one(link: Link) -> None:
    link.connect()
    link.take(None)
    assert may_begin(link)
    link.try_call(be_cut_off)
    assert not may_begin(link)
    eventually(lambda: link.try_call(own_id))
    assert not may_begin(link)
    link.take(None)
    assert may_begin(link)


def test_nothing_is_begun_when_the_lease_may_be_over(link: Link, slots: SharedSlots) -> None:
    link.connect()
    link.take(None)
    slots.header.lease_until = clock.now()
    assert not may_begin(link)
