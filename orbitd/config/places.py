"""Where things are: the config file, the control socket, the state directory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from orbitd.config import early
from orbitd.config.sources import read_few
from orbitd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from orbitd.config.model import Settings

_SYSTEM_FILE = Path("/etc/orbitd.toml")
_DEVELOPMENT_FILE = Path(".orbitd/orbitd.toml")
_SYSTEM_RUNTIME_DIRECTORY = Path("/run/orbitd")
_SOCKET_NAME = "orbitd.sock"


def find_file(environ: Mapping[str, str]) -> Path | None:
    """The config file when none is named: $ORBITD_CONFIG, ./.orbitd/orbitd.toml if it is the caller's own, /etc/orbitd.toml."""
    if named := environ.get("ORBITD_CONFIG"):
        return Path(named)
    if _is_our_own(_DEVELOPMENT_FILE.parent) and _is_our_own(_DEVELOPMENT_FILE):
        return _DEVELOPMENT_FILE.absolute()
    return _SYSTEM_FILE if _SYSTEM_FILE.exists() or Path(f"{_SYSTEM_FILE}.d").exists() else None


def socket_path(settings: Settings, environ: Mapping[str, str]) -> Path:
    """The control socket of these settings. Raises ConfigError when there is no private place for one."""
    return _socket_path(settings.control.socket, settings.instance.state_dir, environ)


def find_socket(path: Path | None, environ: Mapping[str, str]) -> Path:
    """The control socket that a config file means, whatever else is wrong in that file.

    Raises ConfigError when that cannot be known.
    """
    values = read_few(early.OPTIONS, path, environ)
    return _socket_path(values["control", "socket"], values["instance", "state_dir"], environ)


def find_state_dir(path: Path | None, environ: Mapping[str, str]) -> Path:
    """The state directory that a config file means, whatever else is wrong in that file.

    Raises ConfigError when that cannot be known.
    """
    values = read_few(early.OPTIONS, path, environ)
    written = _written_state_dir(values["instance", "state_dir"], environ)
    return written or _socket_path(values["control", "socket"], values["instance", "state_dir"], environ).parent


def state_dir(settings: Settings, environ: Mapping[str, str]) -> Path:
    """The directory for the daemon's state; it may not exist yet. Raises ConfigError when there is no private place."""
    written = _written_state_dir(settings.instance.state_dir, environ)
    return written if written is not None else socket_path(settings, environ).parent


def _socket_path(socket: str, state: str, environ: Mapping[str, str]) -> Path:
    if socket != "auto":
        return Path(socket)
    return (_runtime_directory(environ) or _written_state_dir(state, environ) or _home_state_dir(environ)) / _SOCKET_NAME


def _runtime_directory(environ: Mapping[str, str]) -> Path | None:
    if given := environ.get("RUNTIME_DIRECTORY"):
        return Path(given.split(":")[0])
    if os.geteuid() == 0 or os.access(_SYSTEM_RUNTIME_DIRECTORY, os.W_OK):
        return _SYSTEM_RUNTIME_DIRECTORY
    return Path(given) / "orbitd" if (given := environ.get("XDG_RUNTIME_DIR")) else None


def _written_state_dir(state: str, environ: Mapping[str, str]) -> Path | None:
    if state != "auto":
        return Path(state)
    return Path(given.split(":")[0]) if (given := environ.get("STATE_DIRECTORY")) else None


def _home_state_dir(environ: Mapping[str, str]) -> Path:
    # Never /tmp: whoever is first there could pretend to be the daemon.
    home = environ.get("HOME", "")
    if not home.startswith("/"):
        raise ConfigError(
            "no private place for the control socket: neither $XDG_RUNTIME_DIR nor $HOME is set", "set control.socket to an absolute path"
        )
    return Path(environ.get("XDG_STATE_HOME") or f"{home}/.local/state") / "orbitd"


def _is_our_own(path: Path) -> bool:
    """A link counts as its own owner's, so that nobody else's choice of target is followed."""
    try:
        return path.lstat().st_uid == os.geteuid()
    except OSError:
        return False
