"""Where the example keeps its files, and how it writes them."""

from __future__ import annotations

import os
import tempfile
from hashlib import sha256
from pathlib import Path


def folder() -> Path:
    """The folder of all that is written: LEADS_DIR, or `reports/leads` where the daemon works."""
    return Path(os.environ.get("LEADS_DIR") or "reports/leads")


def name_of(content: bytes) -> str:
    """The name that only this content has: who writes it again writes the same file."""
    return sha256(content).hexdigest()[:32]


def write_whole(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, whoever else writes it and whenever the power fails."""
    workshop = folder() / "unfinished"
    for needed in (workshop, path.parent):
        needed.mkdir(parents=True, exist_ok=True)
    descriptor, unfinished = tempfile.mkstemp(dir=workshop)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(unfinished).chmod(0o644)
        Path(unfinished).replace(path)
    except BaseException:
        Path(unfinished).unlink(missing_ok=True)
        raise
