"""The real `orbitd`, as a person types it, in a directory of its own and with a clean environment."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Orbitd = Callable[..., subprocess.CompletedProcess[str]]

PIPELINES = """
    from orbitd import Context, pipeline

    @pipeline("mail.send", queue="mail", timeout="15m")
    def send(ctx: Context, to: str) -> str:
        return to

    @pipeline("mail.fail", max_attempts=1)
    def fail(ctx: Context) -> None:
        raise ValueError("no such address")

    @pipeline("mail.where")
    def where(ctx: Context, name: str) -> str | None:
        import os

        return os.environ.get(name)
"""


def clean_environment() -> dict[str, str]:
    """Ours without what configures an orbitd or a Postgres."""
    kept = {"PATH", "LANG", "LC_ALL", "PYTHONPATH", "VIRTUAL_ENV", "TMPDIR"}
    return {name: value for name, value in os.environ.items() if name in kept}


@pytest.fixture
def folder() -> Iterator[Path]:
    """A short path: a socket's name has at most 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="orbitd-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def orbitd(folder: Path) -> Orbitd:
    """Run `orbitd ARGUMENTS` to its end, in the folder and with the configuration there. Keywords are environment variables."""
    usual = folder / "orbitd.toml"

    def orbitd(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "orbitd", *map(str, arguments)],
            cwd=folder,
            env=clean_environment() | {"HOME": str(folder), "ORBITD_CONFIG": str(usual) if usual.exists() else ""} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return orbitd


@pytest.fixture
def configure(folder: Path) -> Callable[[str], Path]:
    """Write the configuration, and one module of pipelines beside it."""

    def configure(text: str, pipelines: str = PIPELINES) -> Path:
        code = folder / "code"
        code.mkdir(exist_ok=True)
        (code / "work.py").write_text(textwrap.dedent(pipelines))
        path = folder / "orbitd.toml"
        path.write_text(textwrap.dedent(text))
        path.chmod(0o600)
        return path

    return configure
