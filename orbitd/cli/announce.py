"""What runs here, told once at the start: six lines for a person at a terminal, else one event in the log."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from orbitd import __version__
from orbitd.cli.call import Call
from orbitd.cli.safety import warnings_of
from orbitd.config import Loaded, Settings
from orbitd.ctl.output import stderr_is_terminal
from orbitd.system import log

_PAIR = re.compile(r"""(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)+)""")


def announce(call: Call, loaded: Loaded, socket: Path | None) -> None:
    """Tell what is about to run, then what the configuration warns of. `socket` None: there is none."""
    facts = _facts(loaded, socket)
    is_seen = stderr_is_terminal() and not call.args.get("quiet")
    if is_seen:
        call.out.note(f"orbitd {__version__}, process {os.getpid()}")
        for name, fact in facts.items():
            call.out.note(f"{name}: {fact}")
        for warning in warnings_of(loaded):
            call.out.note(f"warning: {warning}")
    if not is_seen or loaded.settings.logging.dir:
        named: dict[str, Any] = {name.replace(" ", "_"): fact for name, fact in facts.items()}
        log.event("started", version=__version__, **named)
        log_warnings(loaded)


def log_warnings(loaded: Loaded) -> None:
    """What the configuration warns of, for whoever reads the log."""
    for warning in warnings_of(loaded):
        log.warn("config_warning", message=warning)


def database_named(address: str) -> str:
    """Where the address of a database leads, without user and secrets: "db.example:5432/app"."""
    if not address.startswith(("postgres://", "postgresql://")):
        return _named({name: value.strip("'") for name, value in _PAIR.findall(address)})
    try:
        url = urlsplit(address)
        query = {name: values[-1] for name, values in parse_qs(url.query).items()}
    except ValueError:
        return "as configured"
    given = {"host": url.netloc.rpartition("@")[2], "dbname": unquote(url.path.strip("/"))}
    return _named({name: value for name, value in given.items() if value} | query)


def _named(parameters: Mapping[str, str]) -> str:
    if "service" in parameters:
        return f"the service {parameters['service']}"
    host = parameters.get("host") or parameters.get("hostaddr") or "the local socket"
    port = f":{parameters['port']}" if "port" in parameters else ""
    database = parameters.get("dbname")
    return f"{host}{port}/{database}" if database else f"{host}{port}"


def _facts(loaded: Loaded, socket: Path | None) -> dict[str, str]:
    settings = loaded.settings
    return {
        "config": ", ".join(str(path.absolute()) for path in loaded.files) or "no file",
        "database": database_named(settings.database.url),
        "pipelines": _pipelines(settings),
        "children": str(settings.children.count),
        "control socket": str(socket) if socket else "none",
    }


def _pipelines(settings: Settings) -> str:
    app = settings.app
    limits = [f"{name} {', '.join(globs)}" for name, globs in (("filter", app.filter), ("queues", app.queues)) if globs != ("*",)]
    return "; ".join([", ".join(app.pipelines) or "none", *limits])
