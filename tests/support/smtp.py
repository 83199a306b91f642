"""A mail server for tests, on a loopback port of its own. It answers as the test says, and keeps the letters that it took."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

HANG_UP = ""
GREETING, RECIPIENT, LETTER, FAREWELL = "greeting", "recipient", "letter", "farewell"
_WELCOMES = {GREETING: "220 here", RECIPIENT: "250 known", LETTER: "250 taken", FAREWELL: "221 bye"}

Answer = Callable[[str, str, int], str | None]


@dataclass(frozen=True)
class Taken:
    """A letter that was not refused."""

    sender: str
    recipient: str
    message: bytes


class MailServer(socketserver.ThreadingTCPServer):
    """What is said at the four moments above is the test's: `answer(moment, recipient, how often it came for them)`.

    None says what a friendly server does. An answer may take its time: each conversation has its thread.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Answer) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.taken: list[Taken] = []
        self._answer = answer
        self._counts: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()

    @property
    def address(self) -> str:
        """For LEADS_SMTP."""
        host, port = self.server_address[:2]
        return f"{host!s}:{port}"

    def answer(self, moment: str, recipient: str) -> str:
        """The server's line."""
        with self._lock:
            self._counts[moment, recipient] += 1
            count = self._counts[moment, recipient]
        answer = self._answer(moment, recipient, count)
        return _WELCOMES[moment] if answer is None else answer


class _Conversation(socketserver.StreamRequestHandler):
    server: MailServer
    sender = recipient = ""

    def handle(self) -> None:
        with contextlib.suppress(OSError):  # the client was killed, or has lost patience
            if self._say(self.server.answer(GREETING, "")):
                while (line := self.rfile.readline()) and self._obey(*line.decode("ascii", "replace").strip().partition(" ")[::2]):
                    pass

    def _obey(self, command: str, rest: str) -> bool:
        """False at the end of the conversation."""
        match command.upper():
            case "MAIL":
                self.sender = _bare(rest)
            case "RCPT":
                self.recipient = _bare(rest)
                return self._say(self.server.answer(RECIPIENT, self.recipient))
            case "DATA":
                self._say("354 go on")
                message = self._letter()
                if message is None:
                    return False
                answer = self.server.answer(LETTER, self.recipient)
                if not answer.startswith(("4", "5")):
                    self.server.taken.append(Taken(self.sender, self.recipient, message))
                return self._say(answer)
            case "QUIT":
                self._say(self.server.answer(FAREWELL, self.recipient))
                return False
        return self._say("250 ok")

    def _letter(self) -> bytes | None:
        """All up to the lonely dot; None when the client is gone before."""
        lines: list[bytes] = []
        while line := self.rfile.readline():
            if line == b".\r\n":
                return b"".join(lines)
            lines.append(line)
        return None

    def _say(self, answer: str) -> bool:
        if answer != HANG_UP:
            self.wfile.write(f"{answer}\r\n".encode())
        return answer != HANG_UP


def _bare(argument: str) -> str:
    """The address of "TO:<ada@example.com> SIZE=12"."""
    return argument.partition("<")[2].partition(">")[0]


@contextlib.contextmanager
def mail_server(answer: Answer = lambda _moment, _recipient, _count: None) -> Iterator[MailServer]:
    """A server that listens, until the block's end."""
    with MailServer(answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
