"""The transactions that pipelines open for themselves, when the connection is cut while they commit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.conftest import Begin
from tests.support.proxy import CuttingProxy

pytestmark = pytest.mark.daemon

WORK = """
    @pipeline("paying")
    def paying(ctx: Context) -> int:
        with ctx.transaction() as conn:
            conn.execute("insert into paid values (%s)", [ctx.attempt])
        return ctx.attempt
"""


def test_a_transaction_whose_reply_is_lost_has_happened_once_and_one_that_was_cut_before_it_has_not(begin: Begin, folder: Path) -> None:
    daemon = begin(WORK, start=False, **{"children.count": 1})
    daemon.execute("create table paid (attempt int)")
    with CuttingProxy.before(daemon.dsn, folder / "p") as proxy:
        daemon.configure(**{"database.url": proxy.dsn})
        daemon.start()
        for order, outcomes in (("after", ["succeeded"]), ("before", ["retried", "succeeded"])):
            daemon.execute("delete from paid")
            proxy.orders.append(order)
            run = daemon.await_run(daemon.enqueue("paying"), "succeeded")
            assert proxy.orders == []
            assert [attempt["outcome"] for attempt in run["attempts"]] == outcomes
            assert daemon.query("select attempt from paid") == [{"attempt": len(outcomes)}]
