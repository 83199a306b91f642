"""The store against a plain model of it: any history of acts leaves each run where the model has it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from orbitd import store
from orbitd.errors import Conflict
from orbitd.rules.states import Charge, RunState
from orbitd.store import Fence, Mode, Report, admin
from tests.store.fleet import FAILURE, Child, Fleet
from tests.support.postgres import Databases

ENDED = {RunState.SUCCEEDED, RunState.FAILED, RunState.CANCELLED}


@dataclass
class ModelRun:
    """What a run ought to be."""

    key: str | None
    place: int  # the order in which it is claimed
    state: RunState = RunState.PENDING
    attempt: int = 0
    errors: int = 0
    crashes: int = 0
    fence: Fence | None = None
    is_cancel_asked: bool = False


class StoreMachine(RuleBasedStateMachine):
    """Two children of two hosts, and everything that can happen to their runs, one after the other."""

    fleet: ClassVar[Fleet]

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[int, ModelRun] = {}
        self.places = 0
        self.children = [self.fleet.worker("p"), self.fleet.worker("p")]
        self.held: dict[int, list[int]] = {0: [], 1: []}  # by child: the runs that it believes to hold
        self.fences: list[tuple[int, Fence]] = []  # all there ever were

    def teardown(self) -> None:
        self.fleet.wipe()

    def next_place(self) -> int:
        self.places += 1
        return self.places

    def replace(self, which: int) -> None:
        self.children[which] = self.fleet.worker("p")
        self.held[which] = []

    # --- producers and operators ---

    @rule(key=st.sampled_from([None, "a", "b"]), is_delayed=st.booleans())
    def enqueue(self, key: str | None, is_delayed: bool) -> None:  # noqa: FBT001
        answer = self.fleet.ask("p", key, 3600 if is_delayed else None)
        holder = self.holder_of(key)
        assert answer.created == (holder is None)
        if holder is not None:
            assert answer.id == holder
            return
        state = RunState.SCHEDULED if is_delayed else RunState.PENDING
        self.runs[answer.id] = ModelRun(key, self.next_place(), state)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.runs)))
        run = self.runs[run_id]
        answer = admin.cancel(self.fleet.conn, run_id, "anna")
        if run.state is RunState.RUNNING:
            assert answer == "cancelling"
            run.is_cancel_asked = True
        elif run.state in ENDED:
            assert answer == run.state
        else:
            assert answer == "cancelled"
            run.state = RunState.CANCELLED

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def resume(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.runs)))
        run = self.runs[run_id]
        if run.state in ENDED:
            with pytest.raises(Conflict):
                admin.resume(self.fleet.conn, run_id, "anna")
            return
        if run.state is RunState.INTERRUPTED:
            run.state, run.place = RunState.PENDING, self.next_place()
        assert admin.resume(self.fleet.conn, run_id, "anna") == run.state

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.runs)))
        run = self.runs[run_id]
        has_rival = run.state in ENDED and self.holder_of(run.key)
        is_hopeless = run.state in {RunState.SUCCEEDED, RunState.CANCELLED}
        if has_rival or is_hopeless or (run.state is RunState.SCHEDULED and run.attempt == 0):
            with pytest.raises(Conflict):
                admin.retry(self.fleet.conn, run_id, "anna")
            return
        if run.state is RunState.FAILED:
            run.errors = run.crashes = 0
        if run.state in {RunState.FAILED, RunState.INTERRUPTED, RunState.SCHEDULED}:
            run.state, run.place = RunState.PENDING, self.next_place()
        assert admin.retry(self.fleet.conn, run_id, "anna") == run.state

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def rerun(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.runs)))
        if self.runs[run_id].state not in ENDED:
            with pytest.raises(Conflict):
                admin.rerun(self.fleet.conn, run_id, "anna")
            return
        self.runs[admin.rerun(self.fleet.conn, run_id, "anna")] = ModelRun(None, self.next_place())

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def delete(self, data: st.DataObject) -> None:
        run_id = data.draw(st.sampled_from(sorted(self.runs)))
        if self.runs[run_id].state is not RunState.FAILED:
            with pytest.raises(Conflict):
                admin.dlq_delete(self.fleet.conn, run_id)
            return
        admin.dlq_delete(self.fleet.conn, run_id)
        del self.runs[run_id]
        self.fences = [(child, fence) for child, fence in self.fences if fence.run_id != run_id]
        self.held = {child: [held for held in runs if held != run_id] for child, runs in self.held.items()}

    def holder_of(self, key: str | None) -> int | None:
        holders = [run_id for run_id, run in self.runs.items() if key and run.key == key and run.state not in ENDED]
        return holders[0] if holders else None

    @rule()
    def time_passes(self) -> None:
        """Everything delayed falls due, in the order of its run's age."""
        self.fleet.conn.execute("UPDATE orbit.delayed SET due_at = clock_timestamp() - interval '1 hour'")
        store.beat(self.fleet.conn, self.children[0].host_id, 20)
        for run_id in sorted(self.runs):
            run = self.runs[run_id]
            if run.state is RunState.SCHEDULED:
                run.state, run.place = RunState.PENDING, self.next_place()

    # --- children ---

    @rule(which=st.integers(0, 1))
    def claim(self, which: int) -> None:
        claimed = self.children[which].claim()
        pending = [(run.place, run_id) for run_id, run in self.runs.items() if run.state is RunState.PENDING]
        if not pending:
            assert claimed is None
            return
        assert claimed is not None
        _, run_id = min(pending)
        run = self.runs[run_id]
        run.state, run.attempt, run.fence = RunState.RUNNING, run.attempt + 1, claimed.fence
        assert (claimed.run_id, claimed.attempt, claimed.errors, claimed.crashes) == (run_id, run.attempt, run.errors, run.crashes)
        self.held[which].append(run_id)
        self.fences.append((which, claimed.fence))

    @precondition(lambda self: self.fences)
    @rule(data=st.data(), outcome=st.sampled_from(list(store.Outcome)))
    def report(self, data: st.DataObject, outcome: store.Outcome) -> None:
        """By the child that claimed it, however long ago."""
        which, fence = data.draw(st.sampled_from(self.fences))
        report = {
            store.Outcome.SUCCEEDED: Report.succeeded(fence, "1"),
            store.Outcome.RETRIED: Report.retry(fence, 3600, FAILURE),
            store.Outcome.SNOOZED: Report.snoozed(fence, 3600),
            store.Outcome.INTERRUPTED: Report.interrupted(fence, FAILURE),
            store.Outcome.FAILED: Report.failed(fence, FAILURE),
            store.Outcome.CANCELLED: Report.cancelled(fence),
        }[outcome]
        run = self.runs[fence.run_id]
        is_ours = run.state is RunState.RUNNING and run.fence == fence
        is_accepted = self.children[which].finish(report)
        if is_ours:
            assert is_accepted
            assert self.children[which].finish(report)
            run.errors += outcome in {store.Outcome.RETRIED, store.Outcome.FAILED}
            run.state = {
                store.Outcome.RETRIED: RunState.SCHEDULED,
                store.Outcome.SNOOZED: RunState.SCHEDULED,
                store.Outcome.INTERRUPTED: RunState.PENDING,
            }.get(outcome) or RunState(outcome)
            if run.is_cancel_asked and run.state not in ENDED:
                run.state = RunState.CANCELLED

    @precondition(lambda self: self.fences)
    @rule(data=st.data())
    def come_again(self, data: st.DataObject) -> None:
        """One of a child's claims was one whose answer never came; all others go on under its new id."""
        which, lost = data.draw(st.sampled_from(self.fences))
        held = [fence for child, fence in self.fences if child == which and fence.run_id in self.held[which] and fence != lost]
        is_held = self.is_held(lost)
        self.fleet.come_again(self.children[which], *held, asked=(lost.token, self.children[which].lanes))
        if is_held:
            run = self.runs[lost.run_id]
            run.attempt -= 1
            run.state = RunState.CANCELLED if run.is_cancel_asked else RunState.PENDING

    # --- deaths ---

    @rule(which=st.integers(0, 1), begun=st.booleans(), charge=st.sampled_from(Charge), mode=st.sampled_from(["resume", "hold"]))
    def child_dies(self, which: int, begun: bool, charge: Charge, mode: Mode) -> None:  # noqa: FBT001
        held = [fence for child, fence in self.fences if child == which and fence.run_id in self.held[which]]
        taken = self.fleet.crash(self.children[which], *held, begun=begun, charge=charge, mode=mode)
        expected = {fence.run_id for fence in held if self.is_held(fence)}
        for fence in held:
            if self.is_held(fence):
                self.take_back(self.runs[fence.run_id], begun, charge, mode)
        assert {run_id for run_id, _ in taken} == expected
        assert all(self.runs[run_id].state is state for run_id, state in taken)
        self.replace(which)

    @rule(which=st.integers(0, 1), cause=st.sampled_from(["stopped", "host_lost"]), mode=st.sampled_from(["resume", "hold"]))
    def host_dies(self, which: int, cause: str, mode: Mode) -> None:
        child = self.children[which]
        lost = {run.fence for _, run in self.held_by(child)}
        assert store.end_host(self.fleet.conn, self.fleet.boot_id(child.host_id), cause, mode) == len(lost)
        for run in self.runs.values():
            if run.state is RunState.RUNNING and run.fence in lost:
                self.take_back(run, True, Charge.CRASH if cause == "host_lost" else Charge.NONE, mode)
        self.replace(which)

    def is_held(self, fence: Fence) -> bool:
        run = self.runs[fence.run_id]
        return run.state is RunState.RUNNING and run.fence == fence

    def held_by(self, child: Child) -> Iterator[tuple[int, ModelRun]]:
        which = self.children.index(child)
        for owner, fence in self.fences:
            if owner == which and fence.run_id in self.held[which] and self.is_held(fence):
                yield fence.run_id, self.runs[fence.run_id]

    @staticmethod
    def take_back(run: ModelRun, begun: bool, charge: Charge, mode: Mode) -> None:  # noqa: FBT001
        run.state = RunState.PENDING
        if begun:
            run.errors += charge is Charge.ERROR
            run.crashes += charge is Charge.CRASH
            over = (charge is Charge.ERROR and run.errors >= 2) or (charge is Charge.CRASH and run.crashes >= 2)
            run.state = RunState.FAILED if over else RunState.INTERRUPTED if mode == "hold" else RunState.PENDING
        else:
            run.attempt -= 1
        if run.is_cancel_asked:
            run.state = RunState.CANCELLED

    # --- what must hold ---

    @invariant()
    def each_run_is_where_the_model_has_it(self) -> None:
        found = {run_id: (state, attempt) for run_id, state, attempt in self.fleet.rows("SELECT id, state, attempt FROM orbit.runs_view")}
        assert found == {run_id: (run.state, run.attempt) for run_id, run in self.runs.items()}
        self.fleet.check_settled()


@pytest.mark.timeout(120)
def test_any_history_leaves_each_run_where_the_model_has_it(databases: Databases) -> None:
    with databases.copy_of(databases.migrated) as dsn, Fleet(dsn) as fleet:
        StoreMachine.fleet = fleet
        fleet.limits = (2, 2)
        options: dict[str, Any] = {"max_examples": 20, "stateful_step_count": 30, "database": None}
        run_state_machine_as_test(StoreMachine, settings=settings(**options, suppress_health_check=list(HealthCheck)))
