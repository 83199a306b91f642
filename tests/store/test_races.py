"""Each pair of acts on one run, in both orders: one in a transaction that stays open while the other begins, and then commits
or rolls back. Whatever the two were, afterwards the tables agree with each other and with what the two were told.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import psycopg
import pytest

from orbitd import store
from orbitd.errors import Conflict, NoSuchObject
from orbitd.rules.states import RunState
from orbitd.store import Ask, Claimed, Connection, Fence, Fenced, LeaseLost, Report, admin
from orbitd.store.admin import Pinned
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
    chosen: Pinned | None = None

    @property
    def held(self) -> list[Fence]:
        return [self.fence] if self.fence else []

    @property
    def stale_or_own(self) -> Fence:
        return self.fence or Fence(self.owner.lanes[0], 1, self.run_id, 1)


Act = Callable[[Scene, Connection], object]


def claim(scene: Scene, conn: Connection) -> Claimed | str | None:
    try:
        return store.claim(conn, scene.owner.child_id, Ask.of(scene.owner.lanes)).claimed
    except LeaseLost:
        return "lease lost"


def finish(scene: Scene, conn: Connection) -> bool:
    return not store.finish(conn, [Report.succeeded(scene.stale_or_own, "1")]).fenced


def retry(scene: Scene, conn: Connection) -> bool:
    return not store.finish(conn, [Report.retry(scene.stale_or_own, 3600, FAILURE)]).fenced


def finish_and_claim(scene: Scene, conn: Connection) -> bool:
    report = Report.succeeded(scene.stale_or_own, "1")
    return not store.finish_and_claim(conn, scene.owner.child_id, [report], Ask.of(scene.owner.lanes)).finished.fenced


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
    return admin.cancel(conn, scene.run_id, "anna")


def enqueue(scene: Scene, conn: Connection) -> admin.Enqueued:
    return admin.enqueue(conn, "p", {"n": 1}, key="k")


def step(scene: Scene, conn: Connection) -> str:
    try:
        return store.record_step(conn, scene.stale_or_own, "step", "1", 0.1)
    except Fenced:
        return "fenced"


def promote(scene: Scene, conn: Connection) -> object:
    return conn.execute("SELECT orbit.promote(10)").fetchall()[0][0]


def pinned(act: Callable[[Connection, int, Pinned | None], object]) -> Act:
    """An act of a person who has seen the run as it is when the scene begins: refused, or done."""

    def done(scene: Scene, conn: Connection) -> object:
        try:
            return act(conn, scene.run_id, scene.chosen)
        except Conflict as error:
            return "tried again" if "moved too often" in error.message else "refused"
        except NoSuchObject:
            return "refused"

    return done


def named(name: str, act: Act) -> Act:
    act.__name__ = name
    return act


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
                play(*stage, first, second, start=RunState.RUNNING if is_running else RunState.PENDING, ending=ending)
            finally:
                stage[0].wipe()


PEOPLE: dict[Act, set[RunState]] = {
    named("pinned_cancel", pinned(lambda conn, run_id, chosen: admin.cancel(conn, run_id, "anna", expect=chosen))): {
        RunState.PENDING,
        RunState.INTERRUPTED,
        RunState.SCHEDULED,
    },
    named("retry_run", pinned(lambda conn, run_id, chosen: admin.retry(conn, run_id, "anna", expect=chosen))): {
        RunState.FAILED,
        RunState.INTERRUPTED,
        RunState.SCHEDULED,
    },
    named("resume", pinned(lambda conn, run_id, chosen: admin.resume(conn, run_id, "anna", expect=chosen))): {RunState.INTERRUPTED},
    named("recover", lambda _, conn: admin.recover(conn, auto_resume=True, by="anna").resumed): {RunState.INTERRUPTED},
    named("rerun", pinned(lambda conn, run_id, chosen: admin.rerun(conn, run_id, "anna", expect=chosen))): {RunState.FAILED},
    named("resolve", pinned(lambda conn, run_id, chosen: admin.dlq_resolve(conn, run_id, "anna", expect=chosen))): {RunState.FAILED},
    named("delete", pinned(lambda conn, run_id, chosen: admin.dlq_delete(conn, run_id, expect=chosen))): {RunState.FAILED},
}
"""What a person does, and the states in which it does something."""

MOVERS = {"pinned_cancel", "retry_run", "resume", "delete"}
PAIRS = [(first, second) for first in [*ACTS, *PEOPLE] for second in [*ACTS, *PEOPLE] if first in PEOPLE or second in PEOPLE]


@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_what_a_person_does_to_a_run_and_any_other_act_on_it(stage: tuple[Fleet, Connection, Connection], first: Act, second: Act) -> None:
    anything = set(RunState)
    for start in PEOPLE.get(first, anything) & PEOPLE.get(second, anything):
        for ending in ("commit", "rollback"):
            try:
                play(*stage, first, second, start=start, ending=ending)
            finally:
                stage[0].wipe()


STEPS = [(step, other) for other in (step, finish, interrupt, rescue, cancel, come_again)]


@pytest.mark.parametrize(("first", "second"), [*STEPS, *((other, one) for one, other in STEPS[1:])])
def test_a_step_and_any_other_act_on_its_run(stage: tuple[Fleet, Connection, Connection], first: Act, second: Act) -> None:
    for ending in ("commit", "rollback"):
        try:
            play(*stage, first, second, start=RunState.RUNNING, ending=ending)
        finally:
            stage[0].wipe()


PROMOTIONS = [(promote, other) for other in (promote, cancel, claim, enqueue)]


@pytest.mark.parametrize(("first", "second"), [*PROMOTIONS, *((other, one) for one, other in PROMOTIONS[1:])])
def test_a_promotion_and_any_other_act_on_its_run(stage: tuple[Fleet, Connection, Connection], first: Act, second: Act) -> None:
    for ending in ("commit", "rollback"):
        try:
            play(*stage, first, second, start=RunState.SCHEDULED, ending=ending, delay_seconds=0)
        finally:
            stage[0].wipe()


def begin(fleet: Fleet, start: RunState, delay_seconds: float = 3600) -> Scene:
    """The scene: the run in the given state, with an attempt behind it unless it is pending."""
    owner = fleet.worker("p")
    run_id = fleet.enqueue("p", key="k")
    fence = owner.must_claim().fence if start is not RunState.PENDING else None
    if fence:
        match start:
            case RunState.FAILED:
                owner.finish(Report.failed(fence, FAILURE))
            case RunState.SCHEDULED:
                owner.finish(Report.retry(fence, delay_seconds, FAILURE))
            case RunState.INTERRUPTED:
                fleet.crash(owner, fence, mode="hold")
                owner = fleet.worker("p")
    (chosen,) = admin.pins_of(fleet.conn, [run_id])
    return Scene(fleet, run_id, owner, fence, chosen)


def play(
    fleet: Fleet, one: Connection, other: Connection, first: Act, second: Act, *, start: RunState, ending: str, delay_seconds: float = 3600
) -> None:
    scene = begin(fleet, start, delay_seconds)
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
    check_what_people_were_told(scene, told)
    fleet.settle()
    fleet.check_settled()
    assert where(scene) is not RunState.RUNNING


def where(scene: Scene) -> RunState | None:
    """None: the run was deleted."""
    try:
        return scene.fleet.state(scene.run_id)
    except NoSuchObject:
        return None


def check_what_was_told(scene: Scene, told: dict[str, object]) -> None:
    state = where(scene)
    if told.get("finish") or told.get("finish_and_claim"):
        assert state is RunState.SUCCEEDED
    if told.get("cancel") == "cancelled":
        assert state is RunState.CANCELLED
    if told.get("cancel") == "cancelling":
        assert state not in {RunState.PENDING, RunState.SCHEDULED}
    if isinstance(claimed := told.get("claim"), Claimed) and claimed.run_id == scene.run_id:
        assert state is not RunState.PENDING or {"interrupt", "rescue"} & told.keys()
        assert told.get("cancel") != "cancelled" or {"interrupt", "rescue"} & told.keys()
    if isinstance(enqueued := told.get("enqueue"), admin.Enqueued):
        ended = state in {RunState.SUCCEEDED, RunState.CANCELLED, RunState.FAILED, None}
        assert (enqueued.id == scene.run_id) != enqueued.created
        assert not enqueued.created or ended


def check_what_people_were_told(scene: Scene, told: dict[str, object]) -> None:
    """Of two who saw the run in one state, and would both move it, one is refused."""
    state = where(scene)
    moved = [name for name in MOVERS & told.keys() if told[name] not in {"refused", scene.chosen and scene.chosen.state}]
    assert len(moved) <= 1
    assert (state is None) == ("delete" in moved)
    if moved == ["pinned_cancel"] and told["pinned_cancel"] == "cancelled":
        assert state is RunState.CANCELLED
    if {"retry_run", "resume"} & set(moved):
        assert state is not RunState.FAILED
