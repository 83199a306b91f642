"""The service manager's socket: in the file system and abstract, dead, full, and absent."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orbitd.system import log
from orbitd.system.notify import Notifier, without_service


@pytest.fixture(params=["file", "abstract"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"@orbitd-test-{os.getpid()}" if request.param == "abstract" else str(tmp_path / "notify")


@pytest.fixture
def warnings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the warnings that were logged."""
    names: list[str] = []
    monkeypatch.setattr(log, "warn", lambda name, **_: names.append(name))
    return names


@pytest.fixture
def manager(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
        manager.bind(address.replace("@", "\0"))
        yield manager


def test_what_is_said_is_heard(address: str, manager: socket.socket) -> None:
    assert Notifier({"NOTIFY_SOCKET": address}).send("READY=1\nSTATUS=bær\udcff")
    assert manager.recv(4096).decode() == "READY=1\nSTATUS=bær?"


def test_without_a_manager_nobody_listens() -> None:
    assert not Notifier({"WATCHDOG_USEC": "1000000"}).has_listener
    assert Notifier({"WATCHDOG_USEC": "1000000"}).watchdog_seconds == 0


def test_a_manager_that_does_not_read_never_keeps_us_and_is_one_warning(address: str, manager: socket.socket, warnings: list[str]) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": address})
    while notifier.send("STATUS=again"):
        pass
    assert not notifier.send("STATUS=again")
    assert warnings == ["service_manager_unreachable"]
    while not notifier.send("STATUS=at last"):
        manager.recv(100)


@pytest.mark.parametrize("nobody", ["/nowhere/at/all", "@nobody", "vsock:2:1234", "/" + "x" * 200])
def test_one_that_is_not_there_is_one_warning(nobody: str, warnings: list[str]) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": nobody})
    assert [notifier.send("READY=1") for _ in range(3)] == [False] * 3
    assert warnings == ["service_manager_unreachable"]


@pytest.mark.parametrize(
    ("usec", "pid", "seconds"),
    [("30000000", None, 30.0), ("500000", "ours", 0.5), ("30000000", "1", 0.0), ("soon", None, 0.0), ("-5", None, 0.0)],
)
def test_the_watchdog_is_heeded_when_it_means_us(usec: str, pid: str | None, seconds: float) -> None:
    environ = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": usec} | ({"WATCHDOG_PID": pid.replace("ours", str(os.getpid()))} if pid else {})
    assert Notifier(environ).watchdog_seconds == seconds


def test_what_we_start_does_not_speak_in_our_name() -> None:
    ours = {"NOTIFY_SOCKET": "@x", "WATCHDOG_USEC": "1", "WATCHDOG_PID": "2"}
    assert without_service({**ours, "PATH": "/bin"}) == {"PATH": "/bin"}
