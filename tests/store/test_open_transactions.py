"""Four connections, each with a transaction that may stay open while the others act, against a plain model of what is committed.

An act that would wait for an open transaction is called off: then nothing has happened. What an act did counts once it commits.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, ClassVar

import psycopg
import pytest
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from orbitd import store
from orbitd.rules.states import RunState
from orbitd.store import Connection, Fence, LeaseLost, Report, admin
from tests.store.fleet import Child, Fleet
from tests.support.postgres import Databases

CALLED_OFF = "called off"
CHILDREN = (0, 1, 2)
OPERATOR = 3


@dataclass
class ModelRun:
    """What is committed of a run."""

    state: RunState = RunState.PENDING
    fence: Fence | None = None
    holder: int | None = None
    is_cancel_asked: bool = False


@dataclass
class Open:
    """A transaction, and what its commit brings about."""

    stack: ExitStack
    run_ids: set[int]
    effect: Callable[[], None]


@dataclass
class Told:
    """What an act has answered, which runs it has locked, and what it brings about."""

    run_ids: set[int] = field(default_factory=set)
    effect: Callable[[], None] = lambda: None


class OpenTransactions(RuleBasedStateMachine):
    """Three children and an operator, who is the janitor too."""

    fleet: ClassVar[Fleet]
    operator: ClassVar[Connection]

    def __init__(self) -> None:
        super().__init__()
        self.runs: dict[int, ModelRun] = {}
        self.children = [self.fleet.worker("p") for _ in CHILDREN]
        self.open: dict[int, Open] = {}

    def teardown(self) -> None:
        for opened in self.open.values():
            opened.stack.close()
        self.fleet.wipe()

    def conn(self, who: int) -> Connection:
        return self.operator if who == OPERATOR else self.children[who].conn

    def act(self, who: int, call: Callable[[], Any], judge: Callable[[Any], Told], *, stays_open: bool) -> None:
        """Do it, unless somebody is in its way; its effect counts at once, or when its transaction is committed."""
        conn = self.conn(who)
        stack = ExitStack()
        if stays_open:
            transaction = conn.transaction()
            stack.enter_context(transaction)
        racing = self.fleet.in_background(conn, call)
        if racing.until_blocked_or_done():
            self.fleet.conn.execute("SELECT pg_cancel_backend(%s)", [conn.info.backend_pid])
        try:
            answer = racing.result()
        except psycopg.errors.QueryCanceled:
            self.end(stack, commit=False)
            return
        told = judge(answer)
        if stays_open:
            self.open[who] = Open(stack, told.run_ids, told.effect)
        else:
            told.effect()

    @staticmethod
    def end(stack: ExitStack, *, commit: bool) -> None:
        """Commit or roll back the transaction that the stack holds, if it holds one."""
        if commit:
            stack.close()
        else:
            stack.__exit__(psycopg.Rollback, psycopg.Rollback(), None)

    def locked(self) -> set[int]:
        return {run_id for opened in self.open.values() for run_id in opened.run_ids}

    def idle(self, *who: int) -> list[int]:
        return [one for one in who if one not in self.open]

    # --- acts ---

    @rule()
    def enqueue(self) -> None:
        self.runs[self.fleet.enqueue("p")] = ModelRun()

    @precondition(lambda self: self.idle(*CHILDREN))
    @rule(data=st.data(), stays_open=st.booleans())
    def claim(self, data: st.DataObject, stays_open: bool) -> None:  # noqa: FBT001
        who = data.draw(st.sampled_from(self.idle(*CHILDREN)))
        child = self.children[who]

        def call() -> store.Claimed | str | None:
            try:
                return child.claim()
            except LeaseLost:
                return "lease lost"

        def judge(claimed: store.Claimed | str | None) -> Told:
            free = {run_id for run_id, run in self.runs.items() if run.state is RunState.PENDING} - self.locked()
            if isinstance(claimed, str):
                assert OPERATOR in self.open
                return Told()
            if claimed is None:
                assert not free
                return Told()
            assert claimed.run_id in free

            def effect() -> None:
                self.runs[claimed.run_id].state = RunState.RUNNING
                self.runs[claimed.run_id].fence, self.runs[claimed.run_id].holder = claimed.fence, who

            return Told({claimed.run_id}, effect)

        self.act(who, call, judge, stays_open=stays_open)

    @precondition(lambda self: any(run.fence and run.holder in self.idle(*CHILDREN) for run in self.runs.values()))
    @rule(data=st.data(), stays_open=st.booleans())
    def report(self, data: st.DataObject, stays_open: bool) -> None:  # noqa: FBT001
        """By the child that claimed it last, which may have lost it since."""
        reporters = [run_id for run_id, run in self.runs.items() if run.fence and run.holder in self.idle(*CHILDREN)]
        run_id = data.draw(st.sampled_from(reporters))
        run = self.runs[run_id]
        assert run.fence is not None
        assert run.holder is not None
        report, child = Report.succeeded(run.fence, "1"), self.children[run.holder]

        def judge(is_accepted: bool) -> Told:  # noqa: FBT001
            assert is_accepted == (run.state in {RunState.RUNNING, RunState.SUCCEEDED})

            def effect() -> None:
                if is_accepted:
                    run.state = RunState.SUCCEEDED

            return Told({run_id}, effect)

        self.act(run.holder, lambda: child.finish(report), judge, stays_open=stays_open)

    @precondition(lambda self: self.runs and OPERATOR not in self.open)
    @rule(data=st.data(), stays_open=st.booleans())
    def cancel(self, data: st.DataObject, stays_open: bool) -> None:  # noqa: FBT001
        run_id = data.draw(st.sampled_from(sorted(self.runs)))
        run = self.runs[run_id]

        def judge(answer: str) -> Told:
            waits, runs = run.state is RunState.PENDING, run.state is RunState.RUNNING
            assert answer == ("cancelled" if waits else "cancelling" if runs else run.state)

            def effect() -> None:
                run.is_cancel_asked |= runs
                run.state = RunState.CANCELLED if waits else run.state

            return Told({run_id} if waits or runs else set(), effect)

        self.act(OPERATOR, lambda: admin.cancel(self.operator, run_id, "anna"), judge, stays_open=stays_open)

    @precondition(lambda self: OPERATOR not in self.open)
    @rule(who=st.sampled_from(CHILDREN), stays_open=st.booleans())
    def die(self, who: int, stays_open: bool) -> None:  # noqa: FBT001
        """The janitor ends the child, and takes back what it knows; another process takes its place once that is committed."""
        held = {run_id: run for run_id, run in self.runs.items() if run.state is RunState.RUNNING and run.holder == who}
        child = self.children[who]

        def judge(taken: list[tuple[int, RunState]]) -> Told:
            expected = {run_id: RunState.CANCELLED if run.is_cancel_asked else RunState.PENDING for run_id, run in held.items()}
            assert dict(taken) == expected

            def effect() -> None:
                for run_id, run in held.items():
                    run.state, run.fence, run.holder = expected[run_id], None, None
                self.replace(who, child)

            return Told(set(held), effect)

        fences = [run.fence for run in held.values() if run.fence]
        call = lambda: self.fleet.crash(child, *fences, begun=False, conn=self.operator)  # noqa: E731
        self.act(OPERATOR, call, judge, stays_open=stays_open)

    def replace(self, who: int, dead: Child) -> None:
        """A session of the dead may still be open, and commit."""
        if who in self.open:
            opened = self.open.pop(who)
            self.end(opened.stack, commit=True)
            opened.effect()
        for run in self.runs.values():
            if run.holder == who:
                run.fence = run.holder = None
        assert self.children[who] is dead
        self.children[who] = self.fleet.worker("p")

    @precondition(lambda self: self.open)
    @rule(data=st.data(), commit=st.booleans())
    def settle(self, data: st.DataObject, commit: bool) -> None:  # noqa: FBT001
        opened = self.open.pop(data.draw(st.sampled_from(sorted(self.open))))
        self.end(opened.stack, commit=commit)
        if commit:
            opened.effect()

    @invariant()
    def what_is_committed_is_as_in_the_model(self) -> None:
        found: dict[Any, Any] = dict(self.fleet.rows("SELECT id, state FROM orbit.runs_view"))  # type: ignore[arg-type]
        assert found == {run_id: run.state for run_id, run in self.runs.items()}
        self.fleet.check_settled()
        assert admin.audit(self.fleet.conn).counts == {}


@pytest.mark.timeout(300)
def test_any_history_with_open_transactions_leaves_what_the_model_has(databases: Databases) -> None:
    with databases.copy_of(databases.migrated) as dsn, Fleet(dsn) as fleet:
        OpenTransactions.fleet, OpenTransactions.operator = fleet, fleet.connect()
        options: dict[str, Any] = {"max_examples": 10, "stateful_step_count": 20, "database": None}
        run_state_machine_as_test(OpenTransactions, settings=settings(**options, suppress_health_check=list(HealthCheck)))
