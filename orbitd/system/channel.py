"""A pair of SOCK_SEQPACKET sockets between the arbiter and one of its processes: one JSON object a message.

A message is a packet, or several when it is long. The arbiter's end never blocks: what the other side has no room for waits
in a bounded queue.
"""

from __future__ import annotations

import array
import json
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

Message = dict[str, Any]

LARGEST_MESSAGE_BYTES = 4 * 1024 * 1024
_PACKET_BYTES = 64 * 1024
_LONGEST_QUEUE = 1000
_MORE, _LAST = b"+", b"."
_FD_BYTES = array.array("i").itemsize


class ChannelClosed(Exception):
    """The process at the other end is gone."""


@dataclass(frozen=True, slots=True)
class ChannelEstate:
    """What a channel hands over to the program that goes on with it: packets to be sent, and a message received in part."""

    fd: int
    queue: list[bytes]
    received: bytes


class Channel:
    """One end. `receive` and `send` raise ChannelClosed when the other end is gone."""

    def __init__(self, sock: socket.socket, *, blocks: bool = False, queue: Iterable[bytes] = (), received: bytes = b"") -> None:
        self._socket = sock
        self._send_flags = socket.MSG_NOSIGNAL | (0 if blocks else socket.MSG_DONTWAIT)
        self._queue: deque[bytes] = deque(queue)
        self._received = bytearray(received)

    @classmethod
    def pair(cls) -> tuple[Channel, Channel]:
        """Both ends. Raises OSError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(ours), cls(theirs)

    @classmethod
    def inherited(cls, fd: int, *, blocks: bool = True) -> Channel:
        """The end that a process was given. It may block on the arbiter, which always reads; whoever has leases to keep may not."""
        channel = cls(socket.socket(fileno=fd), blocks=blocks)
        channel._socket.set_inheritable(False)
        return channel

    def hand_over(self, keep: Callable[[int], int]) -> ChannelEstate:
        """What `inherit` needs; each descriptor goes through `keep`."""
        return ChannelEstate(keep(self.fileno()), list(self._queue), bytes(self._received))

    @classmethod
    def inherit(cls, estate: ChannelEstate) -> Channel:
        """The arbiter's end, as it was handed over."""
        return cls(socket.socket(fileno=estate.fd), queue=estate.queue, received=estate.received)

    def fileno(self) -> int:
        """For selectors, and to hand it on; -1 once closed."""
        return self._socket.fileno()

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send or queue a message. Descriptors go with it at once or not at all: then BlockingIOError is raised.

        Raises ValueError for one that is too large, BufferError when the other side has not read for very long.
        """
        text = json.dumps(message, ensure_ascii=False).encode(errors="surrogatepass")
        if len(text) > LARGEST_MESSAGE_BYTES:
            raise ValueError(f"message of {len(text)} bytes is larger than {LARGEST_MESSAGE_BYTES}")
        if fds:
            if self._queue:
                raise BlockingIOError
            self._send_now(_LAST + text, fds)
            return
        if len(self._queue) >= _LONGEST_QUEUE:
            raise BufferError("the other side of the channel does not read")
        for at in range(0, len(text), _PACKET_BYTES):
            mark = _MORE if at + _PACKET_BYTES < len(text) else _LAST
            self._queue.append(mark + text[at : at + _PACKET_BYTES])
        self.flush()

    def flush(self) -> bool:
        """Send what is queued; True when nothing is left."""
        while self._queue:
            try:
                self._send_now(self._queue[0])
            except BlockingIOError:
                return False
            self._queue.popleft()
        return True

    def _send_now(self, packet: bytes, fds: Sequence[int] = ()) -> None:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        try:
            self._socket.sendmsg([packet], rights, self._send_flags)
        except (BrokenPipeError, ConnectionResetError) as error:
            raise ChannelClosed from error

    def receive(self, *, wait: bool = False) -> Message | None:
        """The next message; None if there is none and we do not wait."""
        return self.receive_with_fds(wait=wait, most_fds=0)[0]

    def receive_with_fds(self, *, wait: bool = False, most_fds: int = 1) -> tuple[Message | None, list[int]]:
        """The next message and the descriptors that came with it."""
        fds: list[int] = []
        while True:
            packet = self._receive_packet(fds, most_fds, socket.MSG_CMSG_CLOEXEC | (0 if wait else socket.MSG_DONTWAIT))
            if packet is None:
                return None, []
            self._received += packet[1:]
            if packet[:1] == _LAST:
                text, self._received = bytes(self._received), bytearray()
                message: Message = json.loads(text.decode(errors="surrogatepass"))
                return message, fds

    def _receive_packet(self, fds: list[int], most_fds: int, flags: int) -> bytes | None:
        room = socket.CMSG_LEN(most_fds * _FD_BYTES)
        try:
            # socket.recv_fds would do, did it not ignore its flags (Python 3.11)
            packet, rights, _, _ = self._socket.recvmsg(_PACKET_BYTES + 1, room, flags)
        except BlockingIOError:
            return None
        except ConnectionResetError as error:
            raise ChannelClosed from error
        if not packet:
            raise ChannelClosed
        for _, _, data in rights:
            fds += array.array("i", data[: len(data) - len(data) % _FD_BYTES])
        return packet

    def close(self) -> None:
        """Close this end; the other one sees ChannelClosed."""
        self._socket.close()
