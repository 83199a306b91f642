"""Each pair of acts on one run, in both orders: one in a transaction that stays open while the other begins, and then commits
or rolls back. Whatever the two were, afterwards the tables agree with each other and with what the two were told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest

from orbitd import store
from orbitd.rules.states import RunState
from orbitd.store import Claimed, Connection, Fence, LeaseLost, Report
from tests.store.fleet import FAILURE, Child, Fleet
from tests.support.postgres import Databases

# Told to wait for too long, or that the row has moved under its feet: the caller tries again, and nothing was done.
TRY_AGAIN = (psycopg.errors.LockNotAvailable, psycopg.errors.SerializationFailure)


@dataclass
class Scene:
    """One keyed run, and everybody who may do something about it."""

    fleet: Fleet
    run_id: int
    owner: Child
    fence: Fence | None

    @property
    def held(self) -> list[Fence]:
        return [self.fence] if self.fence else []

    @property
    def stale_or_own(self) -> Fence:
        return self.fence or Fence(self.owner.lanes[0], 1, self.run_id, 1)


Act = Callable[[Scene, Connection], object]


def claim(scene: Scene, conn: Connection) -> Claimed | str | None:
    try:
        return store.claim(conn, scene.owner.child_id, store.new_token(), scene.owner.lanes)
    except LeaseLost:
        return "lease lost"


def finish(scene: Scene, conn: Connection) -> bool:
    return store.finish(conn, Report.succeeded(scene.stale_or_own, "1"))


def retry(scene: Scene, conn: Connection) -> bool:
    return store.finish(conn, Report.retry(scene.stale_or_own, 3600, FAILURE))


def finish_and_claim(scene: Scene, conn: Connection) -> bool:
    report = Report.succeeded(scene.stale_or_own, "1")
    return store.finish_and_claim(conn, scene.owner.child_id, report, store.new_token(), scene.owner.lanes).accepted


def come_again(scene: Scene, conn: Connection) -> str | None:
    try:
        scene.fleet.come_again(scene.owner, asked=(scene.stale_or_own.token, scene.owner.lanes), conn=conn)
    except LeaseLost:
        return "lease lost"
    return None


def interrupt(scene: Scene, conn: Connection) -> object:
    return scene.fleet.crash(scene.owner, *scene.held, conn=conn)


def rescue(scene: Scene, conn: Connection) -> int:
    return store.end_host(conn, scene.fleet.boot_id(scene.owner.host_id), "host_lost", "resume")


def cancel(scene: Scene, conn: Connection) -> str:
    return store.cancel(conn, scene.run_id, "anna")


def enqueue(scene: Scene, conn: Connection) -> store.Enqueued:
    return store.enqueue(conn, "p", {"n": 1}, key="k")


ACTS: list[Act] = [claim, finish, retry, finish_and_claim, come_again, interrupt, rescue, cancel, enqueue]


@pytest.fixture(scope="module")
def stage(databases: Databases) -> Iterator[tuple[Fleet, Connection, Connection]]:
    """One database for all scenes: each ends what it began."""
    with databases.copy_of(databases.migrated) as dsn, Fleet(dsn) as fleet:
        yield fleet, fleet.connect(), fleet.connect()


@pytest.mark.parametrize("second", ACTS)
@pytest.mark.parametrize("first", ACTS)
def test_any_two_acts_on_one_run(stage: tuple[Fleet, Connection, Connection], first: Act, second: Act) -> None:
    for is_running in (True, False):
        for ending in ("commit", "rollback"):
            try:
                play(*stage, first, second, is_running=is_running, ending=ending)
            finally:
                stage[0].wipe()


def play(fleet: Fleet, one: Connection, other: Connection, first: Act, second: Act, *, is_running: bool, ending: str) -> None:
    owner = fleet.worker("p")
    run_id = fleet.enqueue("p", key="k")
    scene = Scene(fleet, run_id, owner, owner.must_claim().fence if is_running else None)

    with one.transaction(force_rollback=ending == "rollback"):
        told_first = first(scene, one)
        racing = fleet.in_background(other, lambda: second(scene, other))
        racing.until_blocked_or_done()
    try:
        told_second = racing.result()
    except TRY_AGAIN:
        told_second = second(scene, other)
    told = {second.__name__: told_second} | ({first.__name__: told_first} if ending == "commit" else {})

    fleet.check()
    check_what_was_told(scene, told)
    fleet.settle()
    fleet.check_settled()
    assert fleet.state(run_id) is not RunState.RUNNING


def check_what_was_told(scene: Scene, told: dict[str, object]) -> None:
    state = scene.fleet.state(scene.run_id)
    if told.get("finish") or told.get("finish_and_claim"):
        assert state is RunState.SUCCEEDED
    if told.get("cancel") == "cancelled":
        assert state is RunState.CANCELLED
    if told.get("cancel") == "cancelling":
        assert state not in {RunState.PENDING, RunState.SCHEDULED}
    if isinstance(claimed := told.get("claim"), Claimed) and claimed.run_id == scene.run_id:
        assert state is not RunState.PENDING or {"interrupt", "rescue"} & told.keys()
        assert told.get("cancel") != "cancelled" or {"interrupt", "rescue"} & told.keys()
    if isinstance(enqueued := told.get("enqueue"), store.Enqueued):
        ended = state in {RunState.SUCCEEDED, RunState.CANCELLED}
        assert (enqueued.id == scene.run_id) != enqueued.created
        assert not enqueued.created or ended
