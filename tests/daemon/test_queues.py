"""app.queues: a daemon takes runs of the queues that it serves, and leaves the others to others."""

from __future__ import annotations

import pytest

from orbitd.store import admin
from tests.daemon.conftest import Begin
from tests.support.daemon import Daemon, eventually

pytestmark = pytest.mark.daemon

WORK = """
    @pipeline("send", queue="mail")
    def send(ctx: Context) -> None:
        pass

    @pipeline("fetch", queue="web.slow")
    def fetch(ctx: Context) -> None:
        pass
"""


def enqueue(daemon: Daemon, pipeline: str, queue: str | None = None) -> int:
    with daemon.database() as connection:
        return admin.enqueue(connection, pipeline, {}, queue=queue).id


def host_of(daemon: Daemon, run_id: int) -> str:
    host: str = daemon.await_run(run_id, "succeeded")["attempts"][-1]["host"]
    return host


def test_two_daemons_share_the_runs_by_their_queues(begin: Begin) -> None:
    mail = begin(WORK, **{"app.queues": ["mail"], "instance.name": "mail"})
    web = begin(WORK, **{"app.queues": ["web.*"], "instance.name": "web"})
    runs = [enqueue(mail, name) for name in ("send", "fetch") * 5]
    assert [host_of(mail, run_id) for run_id in runs] == ["mail", "web"] * 5
    assert host_of(web, enqueue(web, "send", queue="web.fast")) == "web"


def test_a_run_in_a_queue_that_nobody_serves_waits_for_a_daemon_that_does(begin: Begin) -> None:
    mail = begin(WORK, **{"app.queues": ["mail"], "instance.name": "mail", "poll.interval": "100ms", "host.beat": "100ms"})
    waiting = enqueue(mail, "send", queue="bulk")
    served = enqueue(mail, "send")
    assert host_of(mail, served) == "mail"
    beat_at = mail.status()["last_beat_at"]
    mail.await_status(lambda status: status["last_beat_at"] > beat_at)  # it has seen the new lane, and rung nobody
    assert mail.describe(waiting)["state"] == "pending"
    begin(WORK, **{"app.queues": ["bulk"], "instance.name": "bulk"})
    assert host_of(mail, waiting) == "bulk"


def test_a_reload_takes_up_other_queues(begin: Begin) -> None:
    daemon = begin(WORK, **{"app.queues": ["mail"]})
    waiting = enqueue(daemon, "fetch")
    daemon.configure(**{"app.queues": ["*"]})
    daemon.ask("reload", wait=True)
    daemon.await_run(waiting, "succeeded")
    daemon.configure(**{"app.queues": ["mail"]})
    daemon.ask("reload", wait=True)
    eventually(daemon.slots, lambda slots: {slot["generation"] for slot in slots} == {3})
    left = enqueue(daemon, "fetch")
    daemon.await_run(enqueue(daemon, "send"), "succeeded")
    assert daemon.describe(left)["state"] == "pending"
