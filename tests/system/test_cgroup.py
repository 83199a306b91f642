"""What control groups say of memory, from made-up folder trees of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbitd.system.cgroup import MemoryGroup, Usage

NO_LIMIT = "9223372036854771712\n"


def group(tmp_path: Path, membership: str, files: dict[str, str]) -> MemoryGroup:
    (tmp_path / "cgroup").write_text(membership)
    for name, text in files.items():
        path = tmp_path / "fs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return MemoryGroup(tmp_path / "cgroup", tmp_path / "fs")


def v1(folder: str, used: int, limit: str, *, inactive: int = 0, kills: int = 0) -> dict[str, str]:
    return {
        f"memory/{folder}memory.usage_in_bytes": f"{used}\n",
        f"memory/{folder}memory.limit_in_bytes": limit,
        f"memory/{folder}memory.stat": f"cache 1\ninactive_file 1\ntotal_inactive_file {inactive}\n",
        f"memory/{folder}memory.oom_control": f"oom_kill_disable 0\nunder_oom 0\noom_kill {kills}\n",
    }


def v2(folder: str, used: int, limit: str, *, inactive: int = 0, kills: int = 0) -> dict[str, str]:
    return {
        f"{folder}memory.current": f"{used}\n",
        f"{folder}memory.max": limit,
        f"{folder}memory.stat": f"anon 1\ninactive_file {inactive}\n",
        f"{folder}memory.events": f"low 0\nhigh 0\nmax 7\noom 5\noom_kill {kills}\noom_group_kill 0\n",
    }


def test_version_two_without_what_can_be_given_back(tmp_path: Path) -> None:
    found = group(tmp_path, "0::/a/b\n", v2("a/b/", 900, "1000\n", inactive=300, kills=4))
    assert found.usage() == Usage(600, 1000)
    assert found.oom_kills() == 4


def test_version_one(tmp_path: Path) -> None:
    found = group(tmp_path, "4:memory:/a\n3:cpu,cpuacct:/b\n0::/\n", v1("a/", 900, "1000\n", inactive=300, kills=4))
    assert found.usage() == Usage(600, 1000)
    assert found.oom_kills() == 4


def test_the_group_nearest_to_its_limit_counts_and_the_kills_of_our_own(tmp_path: Path) -> None:
    files = v2("a/b/", 100, "1000\n", kills=2) | v2("a/", 1900, "2000\n", kills=9)
    found = group(tmp_path, "0::/a/b\n", files)
    assert found.usage() == Usage(1900, 2000)
    assert found.oom_kills() == 2


@pytest.mark.parametrize(
    ("membership", "files"), [("0::/a\n", v2("a/", 5, "max\n", kills=1)), ("4:memory:/a\n", v1("a/", 5, NO_LIMIT, kills=1))]
)
def test_without_a_limit_there_is_no_usage_but_a_count(tmp_path: Path, membership: str, files: dict[str, str]) -> None:
    found = group(tmp_path, membership, files)
    assert found.usage() is None
    assert found.oom_kills() == 1


def test_version_two_beside_version_one(tmp_path: Path) -> None:
    found = group(tmp_path, "0::/a\n", v2("unified/a/", 5, "10\n", kills=3))
    assert (found.usage(), found.oom_kills()) == (Usage(5, 10), 3)


def test_in_a_container_that_sees_the_hosts_path_but_its_own_files(tmp_path: Path) -> None:
    found = group(tmp_path, "4:memory:/docker/abc\n", v1("", 5, "10\n", kills=3))
    assert (found.usage(), found.oom_kills()) == (Usage(5, 10), 3)


def test_without_groups_nothing_is_known(tmp_path: Path) -> None:
    found = MemoryGroup(tmp_path / "absent", tmp_path)
    assert (found.usage(), found.oom_kills()) == (None, None)


def test_this_machines_own_group_can_be_asked() -> None:
    usage = MemoryGroup().usage()
    assert usage is None or usage.limit_bytes > 0
