"""The server under bad company: each test is a loop turned by hand, with a clock of its own and real sockets."""

from __future__ import annotations

import array
import contextlib
import gc
import json
import os
import selectors
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orbitd.control import listener as listener_module, server as server_module
from orbitd.control.commands import Role
from orbitd.control.peer import Access, Peer, peer_of
from orbitd.control.server import MOST_CONNECTIONS, MOST_CONNECTIONS_OF_A_USER, MOST_CONNECTIONS_OF_OTHERS, Pending, Server, ServerEstate
from orbitd.control.wire import Answer, Request, encode_request
from orbitd.errors import ConfigError, Conflict, OrbitError

PING = encode_request("ping", {})
UPGRADE = encode_request("upgrade", {"wait": True})
RELOAD = encode_request("reload", {"wait": True})


class Loop:
    """A daemon's loop, reduced to the control socket: `turn` is one turn of it."""

    def __init__(self, path: Path, estate: ServerEstate | None = None) -> None:
        self.now = 1000.0
        self.handled: list[Request] = []
        self.reloaded: Answer | None = None
        self.result: dict[str, Any] = {"pong": True}
        self.selector = selectors.DefaultSelector()
        self.server = Server(path, self.selector, self.handle, clock=lambda: self.now, estate=estate)

    def handle(self, request: Request) -> Answer | Pending:
        self.handled.append(request)
        match request.command.name:
            case "reload":
                return Pending(lambda _: self.reloaded)
            case "upgrade":
                return Pending(lambda _: self.reloaded, is_repeatable=True)
            case "pause":
                raise ZeroDivisionError("oh")
            case "unpause":
                raise Conflict("it is so", "do that")
            case "version":
                return Answer({"not JSON": b"bytes"})
        return Answer(self.result)

    def turn(self, times: int = 1) -> None:
        for _ in range(times):
            for key, _ in self.selector.select(0):
                key.data()
            self.server.expire(self.now)
            self.server.settle(self.now)

    def connections(self) -> int:
        return len(self.server._connections)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run/orbitd.sock"


@pytest.fixture
def loop(path: Path) -> Iterator[Loop]:
    loop = Loop(path)
    yield loop
    loop.server.close()
    assert not loop.selector.get_map()
    loop.selector.close()


@pytest.fixture
def client(loop: Loop, path: Path) -> Iterator[socket.socket]:
    with connect(path) as client:
        loop.turn()
        yield client


def connect(path: Path) -> socket.socket:
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(os.fspath(path))
    client.settimeout(0)
    return client


def answer(client: socket.socket) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(client.recv(1 << 20))
    return document


def is_empty(client: socket.socket) -> bool:
    try:
        return not client.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return True


def open_descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def is_closed(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_request_is_answered_and_the_connection_stays(loop: Loop, client: socket.socket) -> None:
    for _ in range(3):
        client.send(PING)
        loop.turn()
        assert answer(client) == {"ok": True, "result": {"pong": True}}
    assert loop.handled[0].uid == os.geteuid()


def test_a_request_may_come_in_single_bytes(loop: Loop, client: socket.socket) -> None:
    for byte in PING:
        loop.turn()
        client.send(bytes([byte]))
    loop.turn()
    assert answer(client)["ok"]


def test_whoever_sends_half_a_line_and_then_nothing_is_dropped(loop: Loop, client: socket.socket) -> None:
    client.send(PING[:-1])
    loop.turn()
    assert loop.server.next_deadline() == loop.now + 30
    for _ in range(3):
        loop.now += 9
        client.send(b" ")
        loop.turn()
    assert loop.connections() == 1
    loop.now += 3
    loop.turn()
    assert is_closed(client)
    assert loop.server.next_deadline() is None


def test_a_garbled_line_is_told_and_ends_the_connection(loop: Loop, client: socket.socket) -> None:
    client.send(b"GET / HTTP/1.1\r\n" + PING)
    loop.turn()
    assert answer(client)["error"]["code"] == "garbled"
    assert is_closed(client)
    assert not loop.handled


def test_a_line_without_end_is_told_and_ends_the_connection(loop: Loop, client: socket.socket) -> None:
    for _ in range(3):
        client.send(b"x" * 30_000)
        loop.turn()
    assert "at most 65536 bytes" in answer(client)["error"]["message"]
    assert is_closed(client)


@pytest.mark.parametrize(
    ("command", "error"),
    [
        ("pause", {"code": "failed", "message": "internal error: ZeroDivisionError: oh", "exit_code": 1}),
        ("unpause", {"code": "conflict", "message": "it is so", "hint": "do that", "exit_code": 6}),
        ("nonsense", {"code": "usage", "exit_code": 2}),
        ("version", {"code": "failed", "exit_code": 1}),
    ],
)
def test_an_error_is_an_answer_and_the_connection_stays(loop: Loop, client: socket.socket, command: str, error: dict[str, Any]) -> None:
    client.send(encode_request(command, {}))
    loop.turn()
    assert answer(client)["error"].items() >= error.items()
    client.send(PING)
    loop.turn()
    assert answer(client)["ok"]


def test_ten_thousand_pipelined_requests_take_one_turn_each(loop: Loop, client: socket.socket) -> None:
    backlog, answers = PING * 10_000, b""
    while answers.count(b"\n") < 10_000:
        handled = len(loop.handled)
        with contextlib.suppress(BlockingIOError):
            backlog = backlog[client.send(backlog) :] if backlog else b""
        loop.turn()
        assert len(loop.handled) <= handled + 2
        with contextlib.suppress(BlockingIOError):
            answers += client.recv(1 << 20)
    assert len(loop.handled) == 10_000


def test_a_buffered_request_makes_the_loop_turn_at_once(loop: Loop, client: socket.socket) -> None:
    client.send(PING * 5)
    for key, _ in loop.selector.select(0):
        key.data()
    assert loop.server.next_deadline() == loop.now
    assert len(loop.handled) == 1


def test_a_pending_request_is_answered_when_its_check_says_so(loop: Loop, client: socket.socket) -> None:
    client.send(RELOAD)
    loop.turn(3)
    assert loop.server.next_deadline() is None
    loop.now += 1000
    loop.turn()
    loop.reloaded = Answer(error=ConfigError("a fault"))
    loop.turn()
    assert answer(client)["error"]["exit_code"] == 78


def test_a_check_that_raises_is_an_answer_too(loop: Loop, client: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: float) -> Answer | None:
        raise OrbitError("the reload failed")

    monkeypatch.setattr(loop, "handle", lambda _: Pending(fail))
    loop.server._handler = loop.handle
    client.send(RELOAD)
    loop.turn(2)
    assert answer(client)["error"]["message"] == "the reload failed"


def test_whoever_hangs_up_is_waited_for_no_longer(loop: Loop, client: socket.socket) -> None:
    client.send(RELOAD)
    loop.turn()
    client.close()
    loop.turn()
    assert loop.connections() == 0


def test_whoever_only_stopped_sending_still_gets_the_answer(loop: Loop, client: socket.socket) -> None:
    client.send(RELOAD)
    client.shutdown(socket.SHUT_WR)
    loop.turn(3)
    loop.reloaded = Answer({"generation": 8})
    loop.turn()
    assert answer(client)["result"] == {"generation": 8}
    assert is_closed(client)


def test_requests_ahead_of_a_pending_one_wait_in_the_kernel(loop: Loop, client: socket.socket) -> None:
    client.send(RELOAD)
    for _ in range(5):
        client.send(PING * 1000)
        loop.turn(2)
    [connection] = loop.server._connections
    assert len(connection.inbound) <= 2 * 65536
    loop.reloaded = Answer({"generation": 8})
    loop.turn(3)
    assert client.recv(1 << 20).count(b"\n") >= 2


def test_whoever_does_not_read_is_dropped_after_a_second(loop: Loop, client: socket.socket) -> None:
    loop.result = {"long": "x" * 2_000_000}
    client.send(PING)
    loop.turn()
    assert loop.server.next_deadline() == loop.now + 1
    loop.now += 0.9
    # The kernel lets the server go on only when a good part has been read.
    while not is_empty(client):
        client.recv(1 << 20)
    loop.turn()
    loop.now += 0.9
    loop.turn()
    assert loop.connections() == 1
    loop.now += 0.2
    loop.turn()
    assert loop.connections() == 0


def test_an_answer_beyond_all_bounds_is_an_error(loop: Loop, client: socket.socket) -> None:
    loop.result = {"long": "x" * 5_000_000}
    client.send(PING)
    loop.turn()
    assert "too long" in answer(client)["error"]["message"]


def test_closing_in_mid_answer_harms_nobody(loop: Loop, client: socket.socket) -> None:
    loop.result = {"long": "x" * 2_000_000}
    client.send(PING)
    loop.turn()
    client.close()
    loop.turn()
    assert loop.connections() == 0


def test_the_sixty_fifth_is_told_to_come_again(loop: Loop, path: Path) -> None:
    clients = [connect(path) for _ in range(MOST_CONNECTIONS)]
    loop.turn(MOST_CONNECTIONS)
    with connect(path) as late:
        loop.turn()
        assert answer(late)["error"]["code"] == "refused"
        assert is_closed(late)
    clients.pop().close()
    loop.turn()
    with connect(path) as later:
        later.send(PING)
        loop.turn(2)
        assert answer(later)["ok"]
    for client in clients:
        client.close()
    loop.turn()
    assert loop.connections() == 0


@pytest.fixture
def viewers(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Users whom the next connections belong to; when it is empty, they are our own. Everyone may look."""
    users: list[int] = []
    ours = peer_of
    monkeypatch.setattr(server_module, "peer_of", lambda asker: Peer(users.pop(0), frozenset()) if users else ours(asker))
    loop.server._access = Access(viewers="everyone")
    return users


def test_one_user_cannot_use_up_the_connections_of_the_others(loop: Loop, path: Path, viewers: list[int]) -> None:
    with contextlib.ExitStack() as open_clients:
        viewers += [7000] * (MOST_CONNECTIONS_OF_A_USER + 1) + [7001]
        clients = [open_clients.enter_context(connect(path)) for _ in range(MOST_CONNECTIONS_OF_A_USER + 2)]
        loop.turn(len(clients))
        assert answer(clients[-2])["error"]["message"] == "user 7000 has 16 connections already"
        clients[-1].send(PING)
        loop.turn()
        assert answer(clients[-1])["ok"]


def test_root_and_the_daemons_own_user_get_through_however_many_others_there_are(loop: Loop, path: Path, viewers: list[int]) -> None:
    with contextlib.ExitStack() as open_clients:
        viewers += [7000 + number // MOST_CONNECTIONS_OF_A_USER for number in range(MOST_CONNECTIONS)]
        clients = [open_clients.enter_context(connect(path)) for _ in range(MOST_CONNECTIONS)]
        loop.turn(len(clients))
        assert loop.connections() == MOST_CONNECTIONS_OF_OTHERS
        assert answer(clients[-1])["error"]["code"] == "refused"
        ours = open_clients.enter_context(connect(path))
        ours.send(PING)
        loop.turn(2)
        assert answer(ours)["ok"]


def test_a_command_beyond_ones_role_is_refused_before_it_is_carried_out(loop: Loop, path: Path, viewers: list[int]) -> None:
    viewers.append(7000)
    with connect(path) as viewer:
        viewer.send(RELOAD + PING)
        loop.turn(3)
        refused, answered = (json.loads(line) for line in viewer.recv(1 << 20).splitlines())
    assert (refused["error"]["exit_code"], answered["ok"]) == (5, True)
    assert [request.command.role for request in loop.handled] == [Role.VIEW]


HOSTILE = {
    "ten thousand brackets": b"[" * 10_000 + b"\n",
    "a number of a million digits": b'{"command": "scale", "args": {"amount": 1' + b"0" * 60_000 + b"}}\n",
    "no UTF-8": b"\xff\xfe\x00\n",
    "zeros": b"\0" * 60_000 + b"\n",
    "an attribute": b'{"command": "__class__"}\n',
    "keys without end": b'{"command": "ping", "args": {' + b",".join(b'"%d": 1' % n for n in range(5000)) + b"}}\n",
}


@pytest.mark.parametrize("line", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_line_is_an_error_in_one_turn_and_the_next_asker_is_answered(
    loop: Loop, path: Path, client: socket.socket, line: bytes
) -> None:
    client.setblocking(True)
    client.sendall(line)
    loop.turn()
    assert answer(client)["error"]["exit_code"] == 2
    assert not loop.handled
    with connect(path) as other:
        other.send(PING)
        loop.turn(2)
        assert answer(other)["ok"]


def test_a_thousand_that_come_and_go_leave_nothing(loop: Loop, path: Path) -> None:
    gc.collect()  # what earlier tests have left
    before = open_descriptors()
    for _ in range(1000):
        with connect(path) as client:
            client.send(PING)
            loop.turn()
    loop.turn(2)
    assert loop.connections() == 0
    assert open_descriptors() == before


def test_attached_descriptors_do_not_leak(loop: Loop, client: socket.socket) -> None:
    before = open_descriptors()
    attached = array.array("i", [client.fileno()] * 250)
    client.sendmsg([PING], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, attached)])
    loop.turn()
    assert answer(client)["ok"]
    assert open_descriptors() == before


def test_a_stranger_is_refused(loop: Loop, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "peer_of", lambda _: Peer(65534, frozenset({65534})))
    with connect(path) as stranger:
        stranger.send(PING)
        loop.turn()
        assert answer(stranger)["error"]["exit_code"] == 5
        assert is_closed(stranger)
    assert not loop.handled


def test_without_descriptors_the_loop_pauses_instead_of_spinning(loop: Loop, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Exhausted:
        def accept(self) -> None:
            raise OSError(24, "too many open files")

    listener = loop.server._listener.socket
    with connect(path) as client:
        client.send(PING)
        loop.selector.modify(listener, selectors.EVENT_READ, data=lambda: None)
        monkeypatch.setattr(Exhausted, "fileno", listener.fileno, raising=False)
        monkeypatch.setattr(loop.server._listener, "socket", Exhausted())
        loop.server._accept()
        assert not loop.selector.select(0)
        assert loop.server.next_deadline() == loop.now + 1
        monkeypatch.setattr(loop.server._listener, "socket", listener)
        loop.now += 1
        loop.turn(3)
        assert answer(client)["ok"]


class TestTheFile:
    def test_is_for_its_owner_alone_and_so_is_its_directory(self, loop: Loop, path: Path) -> None:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700

    def test_of_a_dead_daemon_is_replaced(self, path: Path) -> None:
        path.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(os.fspath(path))
        loop = Loop(path)
        with connect(path) as client:
            client.send(PING)
            loop.turn(2)
            assert answer(client)["ok"]
        loop.server.close()

    def test_of_a_living_daemon_is_left_alone(self, loop: Loop, path: Path) -> None:
        inode = path.stat().st_ino
        with pytest.raises(Conflict, match="already running"):
            Loop(path)
        assert path.stat().st_ino == inode

    def test_of_a_daemon_with_a_full_backlog_is_left_alone(self, path: Path) -> None:
        path.parent.mkdir()
        with socket.socket(socket.AF_UNIX) as busy, socket.socket(socket.AF_UNIX) as waiting:
            busy.bind(os.fspath(path))
            busy.listen(0)
            waiting.connect(os.fspath(path))
            with pytest.raises(Conflict):
                Loop(path)

    def test_is_made_by_one_of_two_that_start_at_once(self, path: Path) -> None:
        path.parent.mkdir()
        with listener_module._sole_binder(path.parent), pytest.raises(Conflict, match="just starting"):
            Loop(path)

    def test_that_is_something_else_is_not_removed(self, path: Path) -> None:
        path.parent.mkdir()
        path.write_text("precious")
        with pytest.raises(ConfigError, match="not a socket"):
            Loop(path)
        assert path.read_text() == "precious"

    def test_is_removed_at_the_end(self, path: Path) -> None:
        Loop(path).server.close()
        assert not path.exists()

    def test_of_another_is_not_removed_at_the_end(self, loop: Loop, path: Path) -> None:
        path.unlink()
        other = Loop(path)
        loop.server.close()
        assert path.exists()
        other.server.close()

    def test_is_made_anew_when_somebody_removed_it(self, loop: Loop, client: socket.socket, path: Path) -> None:
        loop.server.ensure_bound()
        path.unlink()
        loop.server.ensure_bound()
        with connect(path) as another:
            for one in (client, another):
                one.send(PING)
            loop.turn(2)
            assert answer(client)["ok"]
            assert answer(another)["ok"]

    def test_is_tried_again_when_it_could_not_be_made_anew(self, loop: Loop, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path.unlink()
        with monkeypatch.context() as broken:
            broken.setattr(listener_module, "_make_way", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            for _ in range(2):
                with pytest.raises(ConfigError, match="no space left on device"):
                    loop.server.ensure_bound()
        loop.server.ensure_bound()
        assert path.exists()

    def test_has_a_path_that_fits(self, tmp_path: Path) -> None:
        longest = tmp_path / ("x" * (107 - len(os.fspath(tmp_path)) - 1))
        Loop(longest).server.close()
        with pytest.raises(ConfigError, match="more than 107 bytes"):
            Loop(tmp_path / (longest.name + "x"))

    def test_in_a_place_that_cannot_be_is_an_error_in_words(self) -> None:
        with pytest.raises(ConfigError, match=r"the control socket /proc/nowhere/x cannot be made: "):
            Loop(Path("/proc/nowhere/x"))


# --- over an upgrade: the descriptors live on, here as copies ---


@pytest.fixture
def successor(loop: Loop, path: Path) -> Iterator[Callable[[], Loop]]:
    """The next program's server, which is given what ours hands over just then. The socket's file is its own from then on."""
    made: list[Loop] = []

    def successor() -> Loop:
        made.append(Loop(path, loop.server.hand_over(os.dup)))
        return made[-1]

    yield successor
    for each in made:
        each.server.close()
        each.selector.close()


def test_whoever_connects_while_the_program_changes_is_answered_by_the_next_one(
    loop: Loop, path: Path, successor: Callable[[], Loop]
) -> None:
    with connect(path) as late:
        late.send(PING)
        successor().turn(2)
        assert answer(late)["ok"]
    assert not loop.handled


def test_a_request_that_may_be_asked_again_is_answered_by_the_next_program(
    loop: Loop, client: socket.socket, successor: Callable[[], Loop]
) -> None:
    client.send(UPGRADE + PING[:5])
    loop.turn()
    following = successor()
    following.turn()
    assert [request.command.name for request in following.handled] == ["upgrade"]
    following.reloaded = Answer({"generation": 2})
    following.turn()
    assert answer(client)["result"] == {"generation": 2}
    client.send(PING[5:])
    following.turn(2)
    assert answer(client)["ok"], "what was sent of the next request is not lost"


def test_a_request_that_would_do_its_work_twice_is_not_handed_over(
    loop: Loop, client: socket.socket, successor: Callable[[], Loop]
) -> None:
    client.send(RELOAD)
    loop.turn()
    following = successor()
    loop.server.dismiss(Conflict("it goes on"))
    assert answer(client)["error"]["message"] == "it goes on"
    following.turn(2)
    assert (following.connections(), following.handled) == (0, [])
