"""The two ways for a letter to leave: a mail server, or a folder of letters that stands in for one.

Both are used like this, and what happens in between is for `delivery` to decide:

    with post_office() as post:
        post.offer(recipient)       the last moment at which nothing has happened
        post.hand_over(letter)      returns once the letter has been taken

A clear refusal is Retry (the server's code 4xx: try later) or Permanent (5xx: never). Anything else that goes wrong is an
OSError; from `hand_over` it means that nobody knows whether the letter was taken.
"""

from __future__ import annotations

import contextlib
import mailbox
import os
import smtplib
from pathlib import Path
from typing import Self

from orbitd import Permanent, Retry

from . import files
from .letter import domain, sender_address

_TIMEOUT_SECONDS = 20.0


def post_office() -> MailServer | MailFolder:
    """The server that LEADS_SMTP names ("host:port"), else the maildir `mail` in the example's folder."""
    server = os.environ.get("LEADS_SMTP")
    return MailServer(server) if server else MailFolder(files.folder() / "mail")


class MailServer:
    """One conversation by SMTP."""

    knows_its_letters = False

    def __init__(self, address: str, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self._address, self._timeout_seconds = address, timeout_seconds

    def __enter__(self) -> Self:
        self._smtp = smtplib.SMTP(self._address, local_hostname=domain(), timeout=self._timeout_seconds)
        return self

    def __exit__(self, *_: object) -> None:
        """Take leave. An answer to that changes nothing."""
        with contextlib.suppress(OSError):
            self._smtp.quit()
        self._smtp.close()

    def offer(self, recipient: str) -> None:
        """Say from whom and for whom the letter is."""
        self._smtp.ehlo_or_helo_if_needed()
        _judge(*self._smtp.mail(sender_address()))
        _judge(*self._smtp.rcpt(recipient))

    def hand_over(self, letter: bytes) -> None:
        """Send the letter itself, and hear whether it was taken."""
        try:
            answer = self._smtp.data(letter)
        except smtplib.SMTPDataError as refusal:  # before the letter was sent
            answer = (refusal.smtp_code, _octets(refusal.smtp_error))
        _judge(*answer)


class MailFolder:
    """A maildir, to be read by any mail program; it never holds a letter twice."""

    knows_its_letters = True

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Self:
        for part in ("cur", "new", "tmp"):
            (self._path / part).mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to take leave of."""

    def offer(self, recipient: str) -> None:
        """Everybody lives here."""

    def hand_over(self, letter: bytes) -> None:
        """Put the letter there unless it is there already, read or unread."""
        name = files.name_of(letter)
        if name not in mailbox.Maildir(self._path, create=False):
            files.write_whole(self._path / "new" / name, letter.replace(b"\r\n", b"\n"))


def _judge(code: int, text: bytes) -> None:
    answer = f"the mail server answered {code} {text.decode(errors='replace')}"
    if 400 <= code < 500:
        raise Retry(message=answer)
    if 500 <= code < 600:
        raise Permanent(answer)
    if not 200 <= code < 300:
        raise ConnectionError(answer)


def _octets(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text
