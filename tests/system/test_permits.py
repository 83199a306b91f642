"""Permits are counted by the kernel, for several holders together."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from orbitd.system.permits import Permits


@pytest.fixture
def two_permits() -> Iterator[int]:
    fd = Permits.create(2)
    yield fd
    os.close(fd)


def test_no_more_are_taken_than_there_are(two_permits: int) -> None:
    holders = [Permits(two_permits) for _ in range(3)]
    assert [holder.take() for holder in holders] == [True, True, False]
    assert not holders[0].are_left


def test_one_that_is_given_back_can_be_taken_by_another(two_permits: int) -> None:
    first, second, third = (Permits(two_permits) for _ in range(3))
    assert first.take()
    assert second.take()
    first.give_back()
    assert third.take()


def test_one_that_was_used_cannot_be_given_back(two_permits: int) -> None:
    holder = Permits(two_permits)
    for _ in range(2):
        assert holder.take()
        holder.use()
        holder.give_back()
    assert not holder.take()


def test_taking_twice_for_the_same_claim_takes_one(two_permits: int) -> None:
    holder, other = Permits(two_permits), Permits(two_permits)
    assert holder.take()
    assert holder.take()
    assert other.take()


def test_without_a_limit_there_is_always_one() -> None:
    unlimited = Permits(None)
    unlimited.give_back()
    assert unlimited.take()
    assert unlimited.are_left
