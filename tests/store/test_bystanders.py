"""Whatever is done to one run, host or child: all others stay as they are, to the last column.

The bystanders are of every state, another host's, and share with the one concerned what they can: its lane, the text of its key, or
its number, which a run of another lane may have after a failover that lost some.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orbitd import store
from orbitd.rules.states import Charge, RunState
from orbitd.store import Outcome, Report, admin
from tests.store.fleet import FAILURE, Fleet

_COLUMNS = {"runs": "id"} | dict.fromkeys(
    (
        *("live", "delayed", "interrupted", "requeued", "keys", "cancel_requests"),
        *("outcomes", "failed", "steps", "run_logs", "run_progress"),
    ),
    "run_id",
)
"""Where each table has the id of its run."""


class Scene:
    """A run of `p` with everything that a run can have, and the bystanders."""

    running: int
    """The bystander that runs, under the number of our run."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        fleet.host("q")  # so that its lane comes before ours in the index
        self.host = fleet.host("p", "q")
        self.other = fleet.child(fleet.host("p", "q"), "q")
        self.bystanders = self._made()
        self.child = fleet.child(self.host, "p")
        self.sibling = fleet.child(self.host, "p")
        self.run: int = fleet.twin(self.running, "p", key="k")
        fleet.conn.execute("UPDATE orbit.children SET started_at = started_at - interval '2 min'")

    def _made(self) -> list[int]:
        """Runs of `q` in every state, with keys, requests, second places and steps of their own; and two of our own lane.

        The last one comes after our run.
        """
        fleet = self.fleet
        made = [fleet.enqueue("p")]
        fleet.child(self.other.host_id, "p").must_claim()
        holder = fleet.child(self.other.host_id, "q")
        for number, state in enumerate(sorted(RunState, key=lambda state: state is RunState.PENDING)):
            run = fleet.enqueue("q", key="k" if state is RunState.RUNNING else f"k{number}")
            made.append(run)
            claimed = holder.must_claim()
            store.record_step(holder.conn, claimed.fence, "step", "1", 0.1)
            store.record_progress(holder.conn, claimed.fence, 0.5, "half")
            store.append_logs(holder.conn, claimed.fence, [("2026-01-01T00:00:00Z", "info", "x")] * 2)
            match state:
                case RunState.RUNNING:
                    self.running = run
                    admin.cancel(fleet.conn, run, "anna")
                    holder = fleet.child(self.other.host_id, "q")
                case RunState.INTERRUPTED:
                    fleet.crash(holder, claimed.fence, mode="hold")
                    holder = fleet.child(self.other.host_id, "q")
                case RunState.SCHEDULED | RunState.PENDING:
                    holder.finish(Report.retry(claimed.fence, 3600, FAILURE))
                case RunState.SUCCEEDED:
                    holder.succeed(claimed.fence)
                case RunState.FAILED:
                    holder.finish(Report.failed(claimed.fence, FAILURE))
                case RunState.CANCELLED:
                    holder.finish(Report.cancelled(claimed.fence))
            if state is RunState.PENDING:
                admin.retry(fleet.conn, run, "anna")
        return [*made, fleet.enqueue("p", key="k8", in_seconds=3600)]

    def rows(self) -> dict[str, list[object]]:
        """Everything of the bystanders and of their host."""
        rows: dict[str, list[object]] = {}
        for table, column in _COLUMNS.items():
            query = f"SELECT to_jsonb(t) FROM orbit.{table} t WHERE {column} = ANY (%s) ORDER BY t::text"
            rows[table] = [row[0] for row in self.fleet.rows(query, self.bystanders)]
        query = "SELECT to_jsonb(c) FROM orbit.children c WHERE c.host <> %s ORDER BY c.id"
        rows["children"] = [row[0] for row in self.fleet.rows(query, self.host)]
        query = "SELECT to_jsonb(h) FROM orbit.hosts h WHERE h.id <> %s ORDER BY h.id"
        rows["hosts"] = [row[0] for row in self.fleet.rows(query, self.host)]
        return rows


def claimed(scene: Scene) -> store.Claimed:
    found = scene.child.must_claim()
    assert (found.run_id, found.pipeline, found.args) == (scene.run, "p", '{"n": 1}')
    return found


def finished(report: Callable[[store.Fence], Report], *, asked_to_end: bool = False) -> Callable[[Scene], object]:
    def act(scene: Scene) -> None:
        fence = claimed(scene).fence
        if asked_to_end:
            admin.cancel(scene.fleet.conn, scene.run, "ben", "enough")
        assert scene.child.finish(report(fence))
        assert scene.child.finish(report(fence)), "the very report again"
        other = Report.cancelled if report(fence).outcome == Outcome.FAILED else lambda fence: Report.failed(fence, FAILURE)
        assert not scene.child.finish(other(fence)), "another report of the same attempt"
        assert not scene.child.finish(report(store.Fence(fence.lane, fence.seq, scene.bystanders[0], fence.token)))

    return act


def interrupted(*, begun: bool, mode: store.Mode, charge: Charge = Charge.CRASH) -> Callable[[Scene], object]:
    return lambda scene: scene.fleet.crash(scene.child, claimed(scene).fence, begun=begun, charge=charge, mode=mode)


def host_ends(scene: Scene) -> None:
    claimed(scene)
    assert store.end_host(scene.fleet.conn, scene.fleet.boot_id(scene.host), "host_lost", "hold") == 1


def comes_again_with_what_it_holds(scene: Scene) -> None:
    scene.fleet.come_again(scene.child, claimed(scene).fence)


def comes_again_without_its_claim(scene: Scene) -> None:
    scene.fleet.come_again(scene.child, asked=(claimed(scene).fence.token, []))


def is_in(state: RunState, act: Callable[[Scene], object]) -> Callable[[Scene], object]:
    def done(scene: Scene) -> None:
        match state:
            case RunState.SCHEDULED:
                scene.child.finish(Report.retry(claimed(scene).fence, 3600, FAILURE))
            case RunState.INTERRUPTED:
                scene.fleet.crash(scene.child, claimed(scene).fence, mode="hold")
            case RunState.FAILED:
                scene.child.finish(Report.failed(claimed(scene).fence, FAILURE))
            case RunState.RUNNING:
                claimed(scene)
        act(scene)

    return done


def cancel(scene: Scene) -> None:
    if admin.cancel(scene.fleet.conn, scene.run, "ben") == "cancelled":
        error = "SELECT error FROM orbit.outcomes WHERE run_id = %s AND outcome = 'cancelled'"
        assert scene.fleet.value(error, scene.run) == "cancelled by ben"


def retry(scene: Scene) -> None:
    assert admin.retry(scene.fleet.conn, scene.run, "ben") == "pending"


def resume(scene: Scene) -> None:
    admin.resume(scene.fleet.conn, scene.run, "ben")


def steps(scene: Scene) -> None:
    fence = claimed(scene).fence
    assert store.record_step(scene.child.conn, fence, "step", "2", 0.1) == "2"
    assert store.record_step(scene.child.conn, fence, "next", "4", 0.1) == "4"
    assert store.record_step(scene.child.conn, fence, "step", "3", 0.1) == "2"
    store.record_progress(scene.child.conn, fence, 0.9, "nearly")
    store.append_logs(scene.child.conn, fence, [("2026-01-01T00:00:00Z", "info", "y")])


def falls_due(scene: Scene) -> None:
    scene.child.finish(Report.retry(claimed(scene).fence, 0, FAILURE))
    store.beat(scene.fleet.conn, scene.host, 20)
    assert scene.fleet.state(scene.run) is RunState.PENDING
    assert scene.child.succeed(claimed(scene).fence)


def child_is_missing(scene: Scene) -> None:
    assert store.end_missing_children(scene.fleet.conn, scene.host, [scene.sibling.child_id]) == 1


def ask_again(scene: Scene) -> None:
    for _ in range(2):
        assert scene.fleet.enqueue("p", key="k") == scene.run
        assert scene.fleet.enqueue("q", key="k") == scene.running
    new = scene.fleet.enqueue("q", key="new")
    lane = "SELECT pipeline FROM orbit.live JOIN orbit.lanes ON lanes.id = live.lane WHERE run_id = %s"
    assert scene.fleet.value(lane, new) == "q"


def one_child_dies(scene: Scene) -> None:
    scene.fleet.crash(scene.child)
    assert scene.sibling.claim() is not None


ACTS: dict[str, Callable[[Scene], object]] = {
    "ask again": ask_again,
    "claim": claimed,
    "succeed": finished(lambda fence: Report.succeeded(fence, "1")),
    "retry": finished(lambda fence: Report.retry(fence, 3600, FAILURE)),
    "snooze": finished(lambda fence: Report.snoozed(fence, 3600)),
    "interrupt": finished(lambda fence: Report.interrupted(fence, FAILURE)),
    "fail": finished(lambda fence: Report.failed(fence, FAILURE)),
    "obey": finished(lambda fence: Report.retry(fence, 3600, FAILURE), asked_to_end=True),
    "die": interrupted(begun=True, mode="resume"),
    "die and be held": interrupted(begun=True, mode="hold"),
    "die before": interrupted(begun=False, mode="resume"),
    "die of its limit": interrupted(begun=True, mode="resume", charge=Charge.ERROR),
    "one child dies": one_child_dies,
    "a child is missing": child_is_missing,
    "its host ends": host_ends,
    "come again": comes_again_with_what_it_holds,
    "come again without": comes_again_without_its_claim,
    "steps": steps,
    "fall due": falls_due,
    **{f"cancel {state}": is_in(state, cancel) for state in (RunState.PENDING, RunState.RUNNING, RunState.SCHEDULED, RunState.INTERRUPTED)},
    **{f"retry {state}": is_in(state, retry) for state in (RunState.SCHEDULED, RunState.INTERRUPTED, RunState.FAILED)},
    "resume": is_in(RunState.INTERRUPTED, resume),
    "resolve": is_in(RunState.FAILED, lambda scene: admin.dlq_resolve(scene.fleet.conn, scene.run, "ben")),
    "delete": is_in(RunState.FAILED, lambda scene: admin.dlq_delete(scene.fleet.conn, scene.run)),
}


@pytest.mark.parametrize("name", ACTS)
def test_all_others_stay_as_they_are(fleet: Fleet, name: str) -> None:
    fleet.limits = (3, 3)
    scene = Scene(fleet)
    before = scene.rows()
    assert before["live"]
    assert before["requeued"]
    assert before["cancel_requests"]
    ACTS[name](scene)
    assert scene.rows() == before
    lines = [line for (line,) in fleet.rows("SELECT line FROM orbit.run_logs WHERE run_id = %s ORDER BY line", scene.run)]
    assert lines == list(range(1, len(lines) + 1))
    fleet.check()
