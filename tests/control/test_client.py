"""Asking a daemon ends in its answer or in one of our errors, whatever is at the other end."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orbitd.control.client import call, connected
from orbitd.control.wire import Answer, encode_answer
from orbitd.errors import Conflict, DaemonNotRunning, OrbitError, Refused, UsageError, WaitTimeout


@contextmanager
def daemon(path: Path, behave: Callable[[socket.socket], object]) -> Iterator[None]:
    """Something that accepts one connection and behaves in its way."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.fspath(path))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                behave(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        yield
        thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "orbitd.sock"


def test_nobody_there_is_told_as_such(path: Path) -> None:
    with pytest.raises(DaemonNotRunning, match="no such file"):
        call(path, "ping", {}, 1)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))
    with pytest.raises(DaemonNotRunning, match="connection refused"):
        call(path, "ping", {}, 1)


def test_the_answer_may_come_in_pieces(path: Path) -> None:
    def in_pieces(connection: socket.socket) -> None:
        connection.recv(4096)
        for byte in encode_answer(Answer({"a": 1})):
            connection.send(bytes([byte]))

    with daemon(path, in_pieces):
        assert call(path, "ping", {}, 5) == {"a": 1}


def test_the_daemon_s_error_is_raised_here(path: Path) -> None:
    def refuse(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.send(encode_answer(Answer(error=Conflict("so", "do"))))

    with daemon(path, refuse), pytest.raises(Conflict) as caught:
        call(path, "ping", {}, 5)
    assert caught.value.hint == "do"


def test_a_refusal_that_comes_before_the_request_is_read(path: Path) -> None:
    with daemon(path, lambda it: it.send(encode_answer(Answer(error=Refused("not you"))))), pytest.raises(Refused):
        call(path, "ping", {}, 5)


def test_a_daemon_that_dies_meanwhile_is_not_running(path: Path) -> None:
    with daemon(path, lambda it: it.recv(4096)), pytest.raises(DaemonNotRunning):
        call(path, "ping", {}, 5)


def test_a_daemon_that_is_silent_is_not_waited_for(path: Path) -> None:
    hung_up = threading.Event()
    with daemon(path, lambda _: hung_up.wait(10)):
        with pytest.raises(WaitTimeout, match=r"did not answer ping within 0\.05s"):
            call(path, "ping", {}, 0.05)
        hung_up.set()


def test_a_full_backlog_is_waited_for_and_then_named(path: Path) -> None:
    def make_room() -> None:
        listener.accept()[0].close()

    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(os.fspath(path))
        listener.listen(0)
        first.connect(os.fspath(path))
        with pytest.raises(WaitTimeout, match="does not accept connections") as full:
            call(path, "ping", {}, 0.05)
        assert "orbitctl status --offline" in str(full.value.hint)
        room = threading.Timer(0.05, make_room)
        room.start()
        with connected(path, 20) as conversation:
            assert conversation.daemon_pid == os.getpid()
        room.join()


def test_the_waiting_ticks(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitd.control.client._TICK_SECONDS", 0.01)
    ticked = threading.Event()

    def late(connection: socket.socket) -> None:
        ticked.wait(10)
        connection.send(encode_answer(Answer({})))

    with daemon(path, late), connected(path, 1) as conversation:
        assert conversation.ask("ping", {}, 5, ticked.set) == {}
        assert conversation.daemon_pid == os.getpid()


def test_something_else_that_answers_is_not_taken_for_orbitd(path: Path) -> None:
    with daemon(path, lambda it: it.sendall(b"HTTP/1.1 400 Bad Request\n")), pytest.raises(UsageError):
        call(path, "ping", {}, 5)


def test_an_endless_answer_is_cut_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitd.control.client.LONGEST_ANSWER_BYTES", 1000)

    def endless(connection: socket.socket) -> None:
        connection.sendall(b"x" * 2000)

    with daemon(path, endless), pytest.raises(OrbitError, match="does not sound like orbitd"):
        call(path, "ping", {}, 5)


def test_a_request_that_is_too_long_is_not_sent(path: Path) -> None:
    with daemon(path, lambda it: it.recv(4096)), pytest.raises(UsageError, match="too long"):
        call(path, "scale", {"amount": "1" * 70_000}, 5)
