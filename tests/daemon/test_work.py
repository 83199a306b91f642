"""The main job: what is enqueued is done, once, and everybody can see how."""

from __future__ import annotations

import pytest

from orbitd.errors import UsageError
from orbitd.store import admin
from tests.daemon.conftest import Begin
from tests.support.daemon import eventually

pytestmark = pytest.mark.daemon

ADD = """
    @pipeline("math.add")
    def add(ctx: Context, a: int, b: int = 1) -> int:
        return a + b
"""


def test_a_run_is_claimed_executed_and_its_result_is_there(begin: Begin) -> None:
    daemon = begin(ADD)
    run = daemon.await_run(daemon.enqueue("math.add", a=2), "succeeded")
    assert run["result"] == 3
    assert [attempt["outcome"] for attempt in run["attempts"]] == ["succeeded"]


def test_a_run_enqueued_by_another_program_in_plain_sql_is_picked_up_at_once(begin: Begin) -> None:
    daemon = begin(ADD)
    (row,) = daemon.query("""select orbit.enqueue('math.add', '{"a": 40, "b": 2}') as id""")
    assert daemon.await_run(row["id"], "succeeded", seconds=2)["result"] == 42


def test_with_all_bells_lost_a_run_waits_for_the_poll_and_no_longer(begin: Begin) -> None:
    daemon = begin(ADD, **{"poll.interval": "300ms"})
    daemon.execute("create or replace function orbit.ring(p_lane int, p_seq bigint, p_count int) returns void language sql as 'select'")
    assert daemon.await_run(daemon.enqueue("math.add", a=1), "succeeded")["result"] == 2


def test_many_runs_are_each_done_once(begin: Begin) -> None:
    daemon = begin(ADD)
    with daemon.database() as connection:
        ids = admin.enqueue_many(connection, [{"pipeline": "math.add", "args": {"a": number}} for number in range(300)])
    rows = eventually(
        lambda: daemon.query("select run_id, result::text as result from orbit.outcomes where outcome = 'succeeded'"),
        lambda rows: len(rows) == 300,
    )
    assert {row["run_id"]: int(row["result"]) for row in rows} == {run: number + 1 for number, run in enumerate(ids)}
    assert daemon.query("select count(*) as waiting from orbit.live") == [{"waiting": 0}]


def test_an_async_pipeline_works_like_any_other(begin: Begin) -> None:
    daemon = begin("""
        import asyncio

        @pipeline("later")
        async def later(ctx: Context) -> str:
            async def work() -> str:
                await asyncio.sleep(0.01)
                return "stepped"
            return await ctx.step("work", work)
    """)
    run = daemon.await_run(daemon.enqueue("later"), "succeeded")
    assert run["result"] == "stepped"
    assert [step["key"] for step in run["steps"]] == ["work"]


def test_steps_done_before_a_failure_are_not_run_again(begin: Begin) -> None:
    daemon = begin("""
        from pathlib import Path

        def count(path: str) -> int:
            with open(path, "a") as file:
                file.write("x")
            return len(Path(path).read_text())

        @pipeline("stepped", max_attempts=3)
        def stepped(ctx: Context, path: str) -> list[int]:
            first = ctx.step("count", count, path)
            second = ctx.step("count", count, path)
            if ctx.attempt < 3:
                raise Retry(after="10ms")
            return [first, second]
    """)
    path = daemon.folder / "counted"
    run = daemon.await_run(daemon.enqueue("stepped", path=str(path)), "succeeded")
    assert run["result"] == [1, 2]
    assert path.read_text() == "xx"
    assert [(attempt["attempt"], attempt["outcome"]) for attempt in run["attempts"]] == [(1, "retried"), (2, "retried"), (3, "succeeded")]


def test_a_run_that_keeps_failing_ends_in_the_dead_letter_queue_with_its_cause(begin: Begin) -> None:
    daemon = begin("""
        @pipeline("broken", max_attempts=2)
        def broken(ctx: Context, what: str) -> None:
            raise RuntimeError(f"cannot {what}")
    """)
    run = daemon.await_run(daemon.enqueue("broken", what="fly"), "failed")
    assert [(attempt["outcome"], attempt["cause"]) for attempt in run["attempts"]] == [("retried", "error"), ("failed", "error")]
    assert "cannot fly" in run["attempts"][1]["error"]
    assert "in broken" in run["attempts"][1]["traceback"]
    assert daemon.query("select run_id from orbit.failed where resolved_at is null") == [{"run_id": int(run["id"])}]


def test_permanent_ends_it_at_once_and_snooze_costs_no_attempt(begin: Begin) -> None:
    daemon = begin("""
        from pathlib import Path

        @pipeline("hopeless")
        def hopeless(ctx: Context) -> None:
            raise Permanent("never")

        @pipeline("sleepy", max_attempts=1)
        def sleepy(ctx: Context, mark: str) -> str:
            if not Path(mark).exists():
                Path(mark).touch()
                raise Snooze("10ms")
            return "awake"
    """)
    hopeless, sleepy = daemon.enqueue("hopeless"), daemon.enqueue("sleepy", mark=str(daemon.folder / "mark"))
    run = daemon.await_run(hopeless, "failed")
    assert [attempt["cause"] for attempt in run["attempts"]] == ["permanent"]
    run = daemon.await_run(sleepy, "succeeded")
    assert [attempt["outcome"] for attempt in run["attempts"]] == ["snoozed", "succeeded"]


def test_arguments_that_do_not_fit_are_refused_at_enqueue_and_by_the_child(begin: Begin) -> None:
    daemon = begin(ADD)
    with daemon.database() as connection, pytest.raises(UsageError, match="c"):
        admin.enqueue(connection, "math.add", {"a": 1, "c": 2})
    daemon.execute("""update orbit.pipelines set signature = '{"required": [], "optional": [], "open": true}'""")
    run = daemon.await_run(daemon.enqueue("math.add", a="two"), "failed")
    assert [attempt["cause"] for attempt in run["attempts"]] == ["bad_args"]


def test_what_a_run_says_is_kept_with_it(begin: Begin) -> None:
    daemon = begin("""
        @pipeline("chatty")
        def chatty(ctx: Context) -> None:
            ctx.progress(0.5, "half way")
            ctx.log.info("hello %s", "world")
            ctx.log.warning("a NUL \\0 and a lone \\ud800")
    """)
    run = daemon.await_run(daemon.enqueue("chatty"), "succeeded")
    lines = daemon.query("select level, message from orbit.run_logs where run_id = %s order by 1, 2", [int(run["id"])])
    assert lines[0] == {"level": "info", "message": "hello world"}
    assert lines[1]["message"].startswith("a NUL")
    assert (run["progress"]["fraction"], run["progress"]["note"]) == (0.5, "half way")


def test_a_transaction_of_a_run_commits_with_it_or_not_at_all(begin: Begin) -> None:
    daemon = begin("""
        @pipeline("paying", max_attempts=1)
        def paying(ctx: Context, fail: bool) -> None:
            with ctx.transaction() as conn:
                conn.execute("insert into paid values (1)")
                if fail:
                    raise Permanent("no money")
    """)
    daemon.execute("create table paid (amount int)")
    daemon.await_run(daemon.enqueue("paying", fail=True), "failed")
    assert daemon.query("select * from paid") == []
    daemon.await_run(daemon.enqueue("paying", fail=False), "succeeded")
    assert daemon.query("select * from paid") == [{"amount": 1}]


def test_a_running_run_is_cancelled_and_its_finally_runs(begin: Begin) -> None:
    daemon = begin("""
        import time
        from pathlib import Path

        @pipeline("endless")
        def endless(ctx: Context, mark: str) -> None:
            try:
                time.sleep(60)
            finally:
                Path(mark).touch()
    """)
    mark = daemon.folder / "cleaned"
    run_id = daemon.enqueue("endless", mark=str(mark))
    daemon.slot_running(run_id)
    with daemon.database() as connection:
        assert admin.cancel(connection, run_id, "a test", "enough") == "cancelling"
    run = daemon.await_run(run_id, "cancelled")
    assert mark.exists()
    assert run["attempts"][0]["cause"] == "cancelled"


def test_a_pending_run_is_cancelled_on_the_spot(begin: Begin) -> None:
    daemon = begin(ADD, **{"children.count": 0})
    run_id = daemon.enqueue("math.add", a=1)
    with daemon.database() as connection:
        assert admin.cancel(connection, run_id, "a test") == "cancelled"
    assert daemon.describe(run_id)["state"] == "cancelled"


def test_only_pipelines_that_pass_the_filter_are_served(begin: Begin) -> None:
    daemon = begin(
        """
        @pipeline("analytics.daily")
        def daily(ctx: Context) -> None: ...

        @pipeline("billing.sync")
        def sync(ctx: Context) -> None: ...
        """,
        **{"app.filter": ["analytics.*"]},
    )
    other, ours = daemon.enqueue("billing.sync"), daemon.enqueue("analytics.daily")
    daemon.await_run(ours, "succeeded")
    assert daemon.describe(other)["state"] == "pending"
    assert [event["pipeline"] for event in daemon.events("pipeline_loaded")] == ["analytics.daily"]


def test_runs_enqueued_before_any_daemon_knew_the_pipeline_are_done(begin: Begin) -> None:
    daemon = begin(ADD, start=False)
    run_id = daemon.enqueue("math.add", a=1)
    daemon.start()
    assert daemon.await_run(run_id, "succeeded")["result"] == 2


def test_partitions_for_the_coming_days_are_there_whoever_migrated_when(begin: Begin) -> None:
    daemon = begin(ADD, start=False)
    count = "select count(*) as n from pg_inherits where inhparent = 'orbit.runs'::regclass"
    made = daemon.query(count)
    daemon.execute(
        "do $$ declare t text; begin for t in select inhrelid::regclass from pg_inherits where inhparent = 'orbit.runs'::regclass"
        " and inhrelid::regclass::text not like '%default' loop execute 'drop table ' || t; end loop; end $$"
    )
    assert daemon.query(count) == [{"n": 1}]
    daemon.start()
    eventually(lambda: daemon.query(count), lambda rows: rows == made)
