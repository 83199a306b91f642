"""The kind of option that holds the address of a database, a secret: how it is written, found, checked and masked."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orbitd.config.kinds import Kind, WrongElsewhere
from orbitd.system.files import read_text_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_REFERENCES = ("env:", "file:", "credential:")
_LARGEST_SECRET_BYTES = 64 * 1024

MASK = "********"
"""What stands for a secret."""


class Dsn(Kind):
    """`env:NAME`, `file:PATH`, `credential:NAME` (systemd's), the address itself, or "" for none; never shown in an error."""

    secret = True

    def __init__(self, unset: str = "") -> None:
        """`unset` is the one variable that need not be set."""
        self.unset = unset

    @property
    def words(self) -> str:
        """What may be written."""
        return "env:NAME, file:PATH, credential:NAME, or a Postgres address"

    def read(self, value: object) -> str:
        """The reference, or the address, as written."""
        text: str = super().read(value)
        if not is_reference(text):
            _checked(text.strip())
        return text

    def resolve(self, value: Any, environ: Mapping[str, str]) -> Any:
        """The address for libpq; "" when there is none."""
        found = self._found(value, environ)
        try:
            return _checked(found.text)
        except ValueError as error:
            raise WrongElsewhere(f"{found.where}{error}", value.partition(":")[2]) from None

    def remarks(self, value: Any, environ: Mapping[str, str]) -> Iterator[str]:
        """What had to be translated, and a file that everyone can read."""
        found = self._found(value, environ)
        yield from (f"{found.where}{remark}" for remark in _translated(found.text)[1])
        if found.path is not None and shows_password(found.text) and is_readable_by_others(found.path):
            yield f"everyone on this machine may read the password in {found.path}: chmod o-r {found.path}"

    def _found(self, value: str, environ: Mapping[str, str]) -> _Found:
        scheme, _, name = value.partition(":")
        if value in _REFERENCES:
            raise ValueError(f'"{value}" is not complete: write {self.words}')
        if scheme == "env":
            if name not in environ and name != self.unset:
                raise ValueError(f"names the environment variable {name}, which is not set")
            return _Found(environ.get(name, "").strip(), f"the environment variable {name} ")
        if scheme == "file":
            if not name.startswith("/"):
                raise ValueError(f'"file:{name}" is not an absolute path')
            return _in_file(Path(name), f"the file {name} ")
        if scheme == "credential":
            return _in_file(_credential(name, environ), f"the credential {name} ")
        return _Found(value.strip(), "")


class _Found(NamedTuple):
    """An address as somebody wrote it; `where` begins a sentence about it, `path` is the file that it comes from."""

    text: str
    where: str
    path: Path | None = None


def is_reference(text: str) -> bool:
    """Whether this only names where an address is, and may be shown."""
    return not text or text.startswith(_REFERENCES)


def shows_password(text: str) -> bool:
    """Whether a password stands in this very text."""
    from orbitd.config import libpq

    return not is_reference(text) and libpq.has_password(text)


def masked(text: str) -> str:
    """A secret as it may be shown: equal secrets look equal; "" stays as it is."""
    import hashlib  # here: it takes OpenSSL into memory, 4 MB that the arbiter has no other use for

    return f"{MASK} (sha256 {hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:8]})" if text else ""


def is_readable_by_others(path: Path) -> bool:
    """Whether those can read a file who are neither its owner nor of its group."""
    try:
        return bool(path.stat().st_mode & stat.S_IROTH)
    except OSError:
        return False


def _checked(text: str) -> str:
    """The address for libpq. Raises ValueError for one that it could not read."""
    from orbitd.config import libpq

    address, _ = _translated(text)
    libpq.check(address)
    return address


def _translated(address: str) -> tuple[str, list[str]]:
    from orbitd.config import prisma

    return prisma.translated(address)


def _in_file(path: Path, where: str) -> _Found:
    return _Found(read_text_file(path, _LARGEST_SECRET_BYTES).strip(), where, path)


def _credential(name: str, environ: Mapping[str, str]) -> Path:
    if not name or "/" in name or name in {".", ".."}:
        raise ValueError(f'"credential:{name}" is not the name of a credential')
    if not (folder := environ.get("CREDENTIALS_DIRECTORY")):
        raise ValueError(f"names the credential {name}, but $CREDENTIALS_DIRECTORY is not set: systemd does that for LoadCredential=")
    return Path(folder) / name
