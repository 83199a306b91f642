"""Every verb's document from a real daemon and a real database, from the first run to the stop: `Called.document` checks its schema."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ctl.conftest import Orbitctl
from tests.support.daemon import Daemon, eventually

pytestmark = pytest.mark.daemon

PIPELINES = """
@pipeline("invoice.sync")
def sync(ctx: Context, tenant_id: int) -> dict[str, int]:
    ctx.log.info("syncing")
    ctx.step("fetch", lambda: {"pages": 3})
    ctx.progress(0.5, "half way")
    return {"pages": 3}

@pipeline("invoice.fail")
def fail(ctx: Context) -> None:
    raise Permanent("no such invoice")
"""


@pytest.fixture
def real(environ: pytest.MonkeyPatch, dsn: str) -> Iterator[Daemon]:
    """A daemon that `orbitctl` finds; its folder's name is short, for a socket's has at most 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="orbitd-"))
    daemon = Daemon(folder, dsn, PIPELINES)
    environ.setenv("DATABASE_URL", dsn)
    environ.setenv("ORBITD_SOCKET", str(daemon.socket))
    yield daemon.start()
    daemon.destroy()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.timeout(120)
def test_every_document_fits_its_schema(orbitctl: Orbitctl, real: Daemon) -> None:
    def document(*words: str) -> str:
        return str(orbitctl(*words, "--json").document["schema"])

    looking = ("status", "list", "health", "health --live", "health --ready", "metrics", "events", "version", "ping", "stack 0")
    listing = ("describe slot:0", "runs", "pipelines", "check-interrupted", "audit", "dlq list", "describe invoice.sync")
    first = [document(*words.split()) for words in (*looking, *listing)]
    good = orbitctl("enqueue", "invoice.sync", "tenant_id=42", "--wait", "--json").document
    bad = orbitctl("enqueue", "invoice.fail", "--wait", "--json")
    assert (good["state"], bad.document["state"], bad.code) == ("succeeded", "failed", 20)
    eventually(lambda: orbitctl("metrics", "--json").document["totalRuns"], lambda total: total == 2)
    assert [document(*words.split()) for words in (*looking, *listing)] == first

    failed = bad.document["id"]
    for words in (f"describe {good['id']}", f"describe {failed}", f"logs {good['id']}", f"dlq show {failed}", "runs state:failed"):
        document(*words.split())
    for words in ("retry", "rerun", "dlq resolve", "dlq delete"):
        assert document(*words.split(), failed, "--dry-run") == "orbit.acts/1"
    for words in ("rerun", "dlq resolve", "dlq delete"):
        assert document(*words.split(), failed, "--yes") == "orbit.acts/1"
    assert document("enqueue", "invoice.sync", "tenant_id={n}", "--count", "3") == "orbit.enqueued/1"
    assert document("recover") == "orbit.recovered/1"

    assert document("status", "--offline") == "orbit.status/1"
    assert document("reload", "--dry-run") == "orbit.reload_plan/1"
    orders = (
        "pause",
        "unpause",
        "drain --wait",
        "unpause",
        "scale 1 --wait",
        "loglevel debug",
        "reopen",
        "restart 0 --wait",
        "reload --wait",
    )
    for words in (*orders, "kill 0 --wait", "stop --wait"):
        assert document(*words.split()) == "orbit.done/1"
    assert orbitctl("status", "--json").error["code"] == "not_running"


def test_csv_and_lines_of_json_hold_what_the_document_holds(orbitctl: Orbitctl, real: Daemon) -> None:
    orbitctl("enqueue", "invoice.sync", "tenant_id=42", "--wait")
    items = orbitctl("runs", "--json").document["items"]
    assert [json.loads(line) for line in orbitctl("runs", "-o", "jsonl").out.splitlines()] == items
    assert orbitctl("runs", "-o", "csv").out.splitlines()[0] == ",".join(items[0])
