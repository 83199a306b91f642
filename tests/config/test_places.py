"""The file, the socket and the state directory are where every caller looks for them, and never where a stranger was first."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orbitd.config import find_file, find_socket, find_state_dir, load, places, socket_path, state_dir
from orbitd.errors import ConfigError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "_SYSTEM_FILE", tmp_path / "etc.toml")
    monkeypatch.setattr(places, "_SYSTEM_RUNTIME_DIRECTORY", tmp_path / "run/orbitd")


@pytest.fixture
def ordinary_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)


def development_file() -> Path:
    path = Path(".orbitd/orbitd.toml").absolute()
    path.parent.mkdir()
    path.touch()
    return path


def test_the_variable_names_the_file_even_if_it_is_not_there() -> None:
    assert find_file({"ORBITD_CONFIG": "/no/such"}) == Path("/no/such")
    assert find_file({"ORBITD_CONFIG": ""}) is None


def test_the_file_of_development_goes_before_the_system_s(tmp_path: Path) -> None:
    (tmp_path / "etc.toml").touch()
    assert find_file({}) == tmp_path / "etc.toml"
    assert find_file({}) != development_file()
    assert find_file({}) == tmp_path / ".orbitd/orbitd.toml"


def test_drop_ins_of_the_system_s_file_count_without_it_too(tmp_path: Path) -> None:
    (tmp_path / "etc.toml.d").mkdir()
    assert find_file({}) == tmp_path / "etc.toml"
    (tmp_path / "etc.toml.d/10-first.toml").write_text("[children]\ncount = 1\n")
    (tmp_path / "etc.toml.d/20-second.toml").write_text("[children]\ncount = 2\n")
    assert load(find_file({}), environ={}).children.count == 2


def test_a_stranger_s_file_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    development_file()
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert find_file({}) is None


def test_root_has_the_system_s_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    settings = load(None, environ={})
    assert socket_path(settings, {"XDG_RUNTIME_DIR": "/x"}) == tmp_path / "run/orbitd/orbitd.sock"
    assert state_dir(settings, {}) == tmp_path / "run/orbitd"


def test_systemd_names_the_directories() -> None:
    environ = {"RUNTIME_DIRECTORY": "/run/one:/run/two", "STATE_DIRECTORY": "/var/lib/one"}
    settings = load(None, environ=environ)
    assert socket_path(settings, environ) == Path("/run/one/orbitd.sock")
    assert state_dir(settings, environ) == Path("/var/lib/one")


@pytest.mark.usefixtures("ordinary_user")
def test_an_ordinary_user_has_private_directories() -> None:
    settings = load(None, environ={})
    assert socket_path(settings, {"XDG_RUNTIME_DIR": "/run/user/1", "HOME": "/h"}) == Path("/run/user/1/orbitd/orbitd.sock")
    assert socket_path(settings, {"HOME": "/h"}) == Path("/h/.local/state/orbitd/orbitd.sock")
    assert socket_path(settings, {"HOME": "/h", "STATE_DIRECTORY": "/s"}) == Path("/s/orbitd.sock")
    with pytest.raises(ConfigError, match="no private place"):
        socket_path(settings, {})


def test_what_is_written_counts_before_everything() -> None:
    settings = load(None, overrides=["control.socket=/a/b.sock", "instance.state_dir=/s"], environ={})
    assert socket_path(settings, {"RUNTIME_DIRECTORY": "/r"}) == Path("/a/b.sock")
    assert state_dir(settings, {"STATE_DIRECTORY": "/t"}) == Path("/s")


def test_the_socket_is_found_in_a_drop_in_and_in_a_file_of_variables(tmp_path: Path) -> None:
    path, variables = tmp_path / "orbitd.toml", tmp_path / ".env"
    path.write_text('[control]\nsocket = "/a/b.sock"\n')
    (tmp_path / "orbitd.toml.d").mkdir()
    (tmp_path / "orbitd.toml.d/1.toml").write_text(f'[control]\nsocket = "/a/c.sock"\n[app]\nenv_file = "{variables}"\n')
    variables.touch()
    assert find_socket(path, {}) == Path("/a/c.sock")
    variables.write_text("no variable\nORBITD_CONTROL__SOCKET=/a/d.sock\n")
    assert find_socket(path, {}) == Path("/a/d.sock")
    assert find_socket(path, {"ORBITD_CONTROL__SOCKET": "/a/e.sock"}) == Path("/a/e.sock")


def test_the_state_directory_is_found_as_the_daemon_would_have_it(tmp_path: Path) -> None:
    file = tmp_path / "orbitd.toml"
    for text, environ, found in (
        ('[instance]\nstate_dir = "/var/lib/x"\n[poll]\ninterval = "wrong"\n', {}, "/var/lib/x"),
        ('[control]\nsocket = "/run/y/orbitd.sock"\n', {}, "/run/y"),
        ("", {"STATE_DIRECTORY": "/var/lib/z"}, "/var/lib/z"),
    ):
        file.write_text(text)
        assert find_state_dir(file, environ) == Path(found)


def test_the_socket_is_found_in_a_file_with_other_faults(tmp_path: Path) -> None:
    path = tmp_path / "orbitd.toml"
    path.write_text('[control]\nsocket = "/a/b.sock"\n[poll]\ninterval = 5\n')
    assert find_socket(path, {}) == Path("/a/b.sock")
