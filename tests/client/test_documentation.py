"""What docs/producers.md shows works as it stands there."""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session

from orbitd import store
from orbitd.store import PipelineSpec
from tests.client.test_client import by_django
from tests.support.postgres import Databases
from tests.support.rigs import missing_rig

PAGE = (Path(__file__).parents[2] / "docs/producers.md").read_text()
SNIPPETS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SIGNATURE = '{"required": ["tenant_id"], "optional": [], "open": false}'


def snippets(language: str) -> list[str]:
    return [text for written, text in SNIPPETS if written == language]


@pytest.fixture
def dsn(databases: Databases) -> Iterator[str]:
    """A store that knows the page's pipeline, and a program's own table beside it."""
    with databases.copy_of(databases.migrated) as dsn:
        with store.connect(dsn, connect_timeout_seconds=5, call_timeout_seconds=15, application_name="test") as conn:
            host_id = store.register(conn, boot_id="boot", name="host", pid=1, version="1", lease_seconds=20)
            store.register_pipelines(conn, host_id, [PipelineSpec("invoice.sync", "default", 0, SIGNATURE, 3, 3)])
            conn.execute("CREATE TABLE invoices (tenant_id int)")
        yield dsn


def number_of_runs(dsn: str) -> int:
    with psycopg.connect(dsn) as conn:
        count: int = conn.execute("SELECT count(*) FROM orbit.runs").fetchall()[0][0]
    return count


def test_sql(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        for statement in snippets("sql")[0].strip().splitlines():
            conn.execute(statement.encode())
    assert number_of_runs(dsn) == 4


def test_python(dsn: str) -> None:
    engine = sqlalchemy.create_engine(dsn.replace("postgresql:", "postgresql+psycopg:"))
    asked = snippets("python")
    with psycopg.connect(dsn) as conn, by_django(dsn):
        names: dict[str, Any] = {"conn": conn, "engine": engine, "Session": Session, "text": sqlalchemy.text, "AsyncSession": AsyncSession}
        for snippet in asked:
            code = compile(snippet, "producers.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            if code.co_flags & inspect.CO_COROUTINE:
                asyncio.run(awaited(code, names, dsn))
            else:
                eval(code, names)
    engine.dispose()
    assert len(asked) == 5
    assert number_of_runs(dsn) == 1 + 1001 + 1 + 1 + 1


async def awaited(code: CodeType, names: dict[str, Any], dsn: str) -> None:
    engine = create_async_engine(dsn.replace("postgresql:", "postgresql+asyncpg:"))
    try:
        await eval(code, {**names, "async_engine": engine})
    finally:
        await engine.dispose()


def test_prisma(dsn: str) -> None:
    """Its statement, with parameters that have no type, as Prisma sends it."""
    (statement,) = re.findall(r"\$queryRaw`(.*?)`", snippets("ts")[0])
    written = re.sub(r"\$\{.*?\}(?=::)", "%s", statement)
    assert written.count("%s") == 3
    with psycopg.connect(dsn) as conn:
        conn.execute(written.encode(), ["invoice.sync", json.dumps({"tenant_id": 42}), "prisma-42"])
    assert number_of_runs(dsn) == 1


@pytest.mark.timeout(120)
def test_node(dsn: str, tmp_path: Path) -> None:
    if not (shutil.which("npm") and shutil.which("node")):
        missing_rig("node and npm are not installed: apt-get install nodejs npm")
    here = {**os.environ, "npm_config_cache": str(tmp_path / "cache")}
    fetch = [
        "npm",
        "install",
        "--silent",
        "--no-fund",
        "--no-audit",
        "--no-package-lock",
        "--ignore-scripts",
        "--prefix",
        str(tmp_path),
        "pg@8",
    ]
    if subprocess.run(fetch, env=here, check=False, timeout=100).returncode:
        missing_rig("npm could not fetch pg")
    (script,) = snippets("js")
    (tmp_path / "producer.mjs").write_text(script)
    told = subprocess.run(
        ["node", "producer.mjs"], cwd=tmp_path, env={**here, "DATABASE_URL": dsn}, check=True, capture_output=True, text=True, timeout=20
    )
    ids, refusal = told.stdout.splitlines()
    assert refusal == 'OR003 "invoice.sync" needs the argument "tenant_id"'
    with psycopg.connect(dsn) as conn:
        rows = conn.execute("SELECT id::text, args FROM orbit.runs ORDER BY id DESC LIMIT 3").fetchall()
    assert sorted(rows) == list(zip(ids.split(), [{"tenant_id": number} for number in (42, 43, 44)], strict=True))
    assert number_of_runs(dsn) == 3
