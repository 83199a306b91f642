"""What a configuration warns of: what its loader noticed, and who else could change what this daemon runs.

Whoever may write to the configuration or to the code has the daemon's rights.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from orbitd.config import Loaded


def warnings_of(loaded: Loaded) -> list[str]:
    """A sentence each, none of them twice."""
    return list(dict.fromkeys([*loaded.warnings, *_open_to_all(loaded)]))


def _open_to_all(loaded: Loaded) -> Iterator[str]:
    """The files and directories that everyone on this machine may write to."""
    for what, path in _trusted(loaded):
        try:
            mode = path.stat().st_mode
        except OSError:
            continue
        if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
            yield f"everyone may write to {path}, {what}: whoever does runs code as this daemon; chmod o-w {path}"


def _trusted(loaded: Loaded) -> Iterator[tuple[str, Path]]:
    app = loaded.settings.app
    base = Path(app.working_directory or ".").absolute()
    for path in loaded.files:
        yield "the configuration", path
    if app.env_file:
        yield "app.env_file", Path(app.env_file)
    for folder in (base, *(base / name for name in app.path), *(base / name for name in app.pipelines if "/" in name)):
        yield "where the pipelines are imported from", folder
