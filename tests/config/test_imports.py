"""Who only looks for the socket imports next to nothing, and whoever reads the configuration no database driver."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from orbitd import config

FIND = "from orbitd.config import find_socket; find_socket({path}, {{'XDG_RUNTIME_DIR': '/run/user/1'}})"
CONF = Path(__file__).parents[2] / "conf/orbitd.toml"


def imported_by(code: str) -> set[str]:
    script = f"{code}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, check=True, timeout=20, cwd=CONF.parents[1])
    return set(done.stdout.split())


def test_the_socket_is_found_without_the_table() -> None:
    for_nothing = {"orbitd.config.model", "orbitd.config.loading", "dataclasses", "inspect", "json", "socket", "difflib", "hashlib"}
    assert not imported_by(FIND.format(path=None)) & {*for_nothing, "tomllib", "orbitd.config.libpq", "orbitd.config.document"}
    assert not imported_by(FIND.format(path=f"__import__('pathlib').Path({str(CONF)!r})")) & for_nothing


def test_reading_the_configuration_needs_no_driver() -> None:
    found = imported_by("from orbitd.config import survey; survey(None, environ={'DATABASE_URL': 'postgresql://u:p@h/d'})")
    assert "orbitd.config.libpq" in found
    assert not {name for name in found if name.startswith(("psycopg", "asyncio", "orbitd.store"))}


@pytest.mark.parametrize("name", config.__all__)
def test_every_public_name_is_found_more_than_once(name: str) -> None:
    code = f"import orbitd.config as config\nfirst = config.{name}\nassert config.{name} is first and not isinstance(first, type(config))"
    imported_by(code)


def test_there_are_no_other_names() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = config.nonsense
    assert set(config.__all__) == set(config._HOMES)
