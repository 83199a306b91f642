"""What runs here, told once at the start: six lines for a person at a terminal, else one event in the log."""

from __future__ import annotations

import grp
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from orbitd import __version__
from orbitd.cli.call import Call
from orbitd.config import Loaded, Settings
from orbitd.config.libpq import named
from orbitd.ctl.output import stderr_is_terminal
from orbitd.system import log


def announce(call: Call, loaded: Loaded, socket: Path | None) -> None:
    """Tell what is about to run, then what the configuration warns of. `socket` None: there is none."""
    facts = _facts(loaded, socket)
    warnings = warnings_at_start(loaded) if socket else warnings_of(loaded)
    is_seen = stderr_is_terminal() and not call.args.get("quiet")
    if is_seen:
        call.out.note(f"orbitd {__version__}, process {os.getpid()}")
        for name, fact in facts.items():
            call.out.note(f"{name}: {fact}")
        for warning in warnings:
            call.out.note(f"warning: {warning}")
    if not is_seen or loaded.settings.logging.dir:
        fields: dict[str, Any] = {name.replace(" ", "_"): fact for name, fact in facts.items()}
        log.event("started", version=__version__, **fields)
        _log(warnings)


def log_warnings(loaded: Loaded) -> None:
    """What the configuration warns of after a reload, for whoever reads the log."""
    _log(warnings_of(loaded))


def warnings_at_start(loaded: Loaded) -> list[str]:
    """The same with what may have to ask a server, for which a daemon at work has no time."""
    return [*warnings_of(loaded), *_unknown_group(loaded)]


def warnings_of(loaded: Loaded) -> list[str]:
    """A sentence each, none of them twice: what the loader noticed, and who else could change what this daemon runs."""
    return list(dict.fromkeys([*loaded.warnings, *_open_to_all(loaded)]))


def _log(warnings: Iterable[str]) -> None:
    for warning in warnings:
        log.warn("config_warning", message=warning)


def _unknown_group(loaded: Loaded) -> Iterator[str]:
    """A group that is meant and not there would lock its operators out."""
    group, where = loaded.settings.control.group, loaded.origins["control", "group"].where
    if not group or where == "default":
        return
    try:
        grp.getgrnam(group)
    except KeyError:
        yield f"{where}: control.group: there is no group {group}: only root and the daemon's own user may use the control socket"


def _facts(loaded: Loaded, socket: Path | None) -> dict[str, str]:
    settings = loaded.settings
    return {
        "config": ", ".join(str(path.absolute()) for path in loaded.files) or "no file",
        "database": named(settings.database.url),
        "pipelines": _pipelines(settings),
        "children": str(settings.children.count),
        "control socket": str(socket) if socket else "none",
    }


def _pipelines(settings: Settings) -> str:
    app = settings.app
    limits = [f"{name} {', '.join(globs)}" for name, globs in (("filter", app.filter), ("queues", app.queues)) if globs != ("*",)]
    return "; ".join([", ".join(app.pipelines) or "none", *limits])


def _open_to_all(loaded: Loaded) -> Iterator[str]:
    """The files and directories that everyone on this machine may write to, and so has the daemon's rights."""
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
