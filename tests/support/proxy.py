"""A proxy before a Postgres socket, which can do what a network does: keep something back, or cut.

For plain Unix sockets: nothing is encrypted.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_NOTIFICATION = b"A"


class Proxy:
    """Passes everything on, except answers while `loses_answers`. `dsn` leads through it."""

    def __init__(self, dsn: str, folder: Path) -> None:
        parts = conninfo_to_dict(dsn)
        name = f".s.PGSQL.{parts.get('port') or 5432}"
        self.loses_answers = False
        self.dsn = make_conninfo(dsn, host=str(folder))
        self._server = f"{parts['host']}/{name}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / name))
        (folder / name).chmod(0o777)
        self._listener.listen()
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        threading.Thread(target=self._accept, daemon=True).start()

    @classmethod
    @contextmanager
    def before(cls, dsn: str, folder: Path) -> Iterator[Self]:
        """Such a proxy, in a folder of its own."""
        folder.mkdir(mode=0o755)
        proxy = cls(dsn, folder)
        try:
            yield proxy
        finally:
            _end(proxy._listener)
            proxy.cut()

    def cut(self) -> None:
        """End all connections."""
        pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _end(*pair)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                try:
                    server.connect(self._server)
                except OSError:
                    _end(client, server)
                    continue
                self._pairs.append((client, server))
                for call in (self._ask, self._answer):
                    threading.Thread(target=_until_closed, args=(call, client, server), daemon=True).start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        while data := client.recv(65536):
            server.sendall(data)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        while data := server.recv(65536):
            if not self.loses_answers:
                client.sendall(data)


class NotingProxy(Proxy):
    """Notes what clients say: each element is what one of them has sent at once, a statement with its parameters."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.said: list[bytes] = []
        super().__init__(dsn, folder)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        while data := client.recv(65536):
            self.said.append(data)
            server.sendall(data)


class DeafProxy(Proxy):
    """Keeps notifications to itself while `is_deaf`."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.is_deaf = False
        self.swallowed = 0
        super().__init__(dsn, folder)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        with server.makefile("rb") as messages:
            while head := messages.read(5):
                body = messages.read(int.from_bytes(head[1:]) - 4)
                if self.is_deaf and head[:1] == _NOTIFICATION:
                    self.swallowed += 1
                else:
                    client.sendall(head + body)


class CuttingProxy(Proxy):
    """Cuts a connection when its client sends a COMMIT, once for each order: "before" the server hears it, or "after" it has answered."""

    def __init__(self, dsn: str, folder: Path) -> None:
        self.orders: list[str] = []
        self._doomed: socket.socket | None = None
        super().__init__(dsn, folder)

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        while data := client.recv(65536):
            if self.orders and b"COMMIT" in data:
                if self.orders.pop(0) == "before":
                    return
                self._doomed = server
            server.sendall(data)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        while data := server.recv(65536):
            if server is self._doomed:
                return
            client.sendall(data)


def _until_closed(call: Callable[[socket.socket, socket.socket], None], client: socket.socket, server: socket.socket) -> None:
    with contextlib.suppress(OSError):
        call(client, server)
    _end(client, server)


def _end(*sockets: socket.socket) -> None:
    for each in sockets:
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
