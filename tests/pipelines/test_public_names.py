"""`import orbitd` is free, and gives authors their names."""

from __future__ import annotations

import subprocess
import sys

import pytest

import orbitd


def test_importing_orbitd_pulls_in_nothing() -> None:
    code = "import sys; before = set(sys.modules); import orbitd; print(*sorted(set(sys.modules) - before))"
    loaded = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.split()
    assert [name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names] == ["orbitd"]


def test_the_names_for_authors_need_no_database_driver() -> None:
    code = "import sys; from orbitd import pipeline, Context; print('psycopg' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("name", orbitd.__all__)
def test_each_public_name_exists_and_is_listed(name: str) -> None:
    assert getattr(orbitd, name).__name__ == name
    assert name in dir(orbitd)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'piplines'"):
        _ = orbitd.piplines
