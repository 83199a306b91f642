"""`orbitctl` called in this process, and a daemon to call."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orbitd.ctl.main import main
from tests.ctl.schemas import check

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Called:
    """How a call ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output, which is one JSON document that fits its schema."""
        document = json.loads(self.out)
        check(document)
        return document

    @property
    def error(self) -> dict[str, Any]:
        """Standard error, whose last line is the document of an error."""
        document = json.loads(self.err.splitlines()[-1])
        check(document, "error")
        error: dict[str, Any] = document["error"]
        return error


Orbitctl = Callable[..., Called]


@pytest.fixture
def environ(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment without anything that speaks of orbitd or of the terminal."""
    for name in list(os.environ):
        if name.startswith("ORBITD_") or name in {"DATABASE_URL", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "RUNTIME_DIRECTORY"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("ORBITD_SOCKET", str(tmp_path / "absent.sock"))
    monkeypatch.chdir(tmp_path)
    return monkeypatch


@pytest.fixture
def orbitctl(environ: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Orbitctl:
    """Call `orbitctl` with these words."""

    def call(*words: str) -> Called:
        code = main(list(words))
        captured = capfd.readouterr()
        return Called(code, captured.out, captured.err)

    return call


@pytest.fixture
def daemon(environ: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A daemon on $ORBITD_SOCKET."""
    socket = tmp_path / "run/orbitd.sock"
    command = [sys.executable, str(ROOT / "tests/ctl/fake_daemon.py"), str(socket)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        environ.setenv("ORBITD_SOCKET", str(socket))
        yield process
        process.kill()
