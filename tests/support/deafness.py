"""A proxy before a Postgres socket that can keep its notifications to itself."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_NOTIFICATION = b"A"


class DeafProxy:
    """Passes everything on, except notifications while `is_deaf`. For plain sockets: nothing is encrypted."""

    def __init__(self, dsn: str, folder: Path) -> None:
        parts = conninfo_to_dict(dsn)
        name = f".s.PGSQL.{parts.get('port') or 5432}"
        self.is_deaf = False
        self.swallowed = 0
        self.dsn = make_conninfo(dsn, host=str(folder))
        self._server = f"{parts['host']}/{name}"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / name))
        (folder / name).chmod(0o777)
        self._listener.listen()
        self._sockets = [self._listener]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """End all connections."""
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(self._server)
                self._sockets += [client, server]
                for call, source, target in ((_pass, client, server), (self._filter, server, client)):
                    threading.Thread(target=_until_closed, args=(call, source, target), daemon=True).start()

    def _filter(self, source: socket.socket, target: socket.socket) -> None:
        with source.makefile("rb") as messages:
            while head := messages.read(5):
                body = messages.read(int.from_bytes(head[1:]) - 4)
                if self.is_deaf and head[:1] == _NOTIFICATION:
                    self.swallowed += 1
                else:
                    target.sendall(head + body)


def _pass(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65536):
        target.sendall(data)


def _until_closed(call: Callable[[socket.socket, socket.socket], None], source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        call(source, target)
    for each in (source, target):
        with contextlib.suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


@contextmanager
def deaf_proxy(dsn: str, folder: Path) -> Iterator[DeafProxy]:
    """Such a proxy, in a folder of its own."""
    folder.mkdir(mode=0o755)
    proxy = DeafProxy(dsn, folder)
    try:
        yield proxy
    finally:
        proxy.close()
