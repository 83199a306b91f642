"""How many CPUs may be used is what affinity and control groups leave."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orbitd.system.cpus import usable_cpus


def membership(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "cgroup"
    path.write_text(text)
    return path


def limit(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / "fs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))


def test_without_control_groups_the_affinity_counts(tmp_path: Path) -> None:
    assert usable_cpus(tmp_path / "absent", tmp_path) == 8


def test_version_two_is_cut_by_any_group_above(tmp_path: Path) -> None:
    limit(tmp_path, "a/cpu.max", "250000 100000\n")
    limit(tmp_path, "a/b/cpu.max", "max 100000\n")
    assert usable_cpus(membership(tmp_path, "0::/a/b\n"), tmp_path / "fs") == 3


def test_version_one_has_its_own_files(tmp_path: Path) -> None:
    limit(tmp_path, "cpu/a/cpu.cfs_quota_us", "50000\n")
    limit(tmp_path, "cpu/a/cpu.cfs_period_us", "100000\n")
    limit(tmp_path, "cpu/cpu.cfs_quota_us", "-1\n")
    limit(tmp_path, "cpu/cpu.cfs_period_us", "100000\n")
    assert usable_cpus(membership(tmp_path, "4:memory:/m\n3:cpu,cpuacct:/a\n"), tmp_path / "fs") == 1


def test_this_machine_has_at_least_one() -> None:
    assert usable_cpus() >= 1
