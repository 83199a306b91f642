"""Settings: one table of options, and how it is filled from file, environment and command line.

A name is imported when somebody asks for it: `orbitctl status` has no time for what it does not need.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orbitd.config.dsn import masked
    from orbitd.config.faults import Fault, Faults
    from orbitd.config.loading import Loaded, Origin, adopt, load, load_keys, survey
    from orbitd.config.model import OPTIONS, SECTIONS, Database, Settings, require_database
    from orbitd.config.options import Key
    from orbitd.config.places import find_file, find_socket, find_state_dir, socket_path, state_dir

__all__ = [
    "OPTIONS",
    "SECTIONS",
    "Database",
    "Fault",
    "Faults",
    "Key",
    "Loaded",
    "Origin",
    "Settings",
    "adopt",
    "find_file",
    "find_socket",
    "find_state_dir",
    "load",
    "load_keys",
    "masked",
    "require_database",
    "socket_path",
    "state_dir",
    "survey",
]
_HOMES = {
    "OPTIONS": "model",
    "SECTIONS": "model",
    "Database": "model",
    "Settings": "model",
    "require_database": "model",
    "Fault": "faults",
    "Faults": "faults",
    "Key": "options",
    "Loaded": "loading",
    "Origin": "loading",
    "adopt": "loading",
    "load": "loading",
    "load_keys": "loading",
    "survey": "loading",
    "masked": "dsn",
    "find_file": "places",
    "find_socket": "places",
    "find_state_dir": "places",
    "socket_path": "places",
    "state_dir": "places",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(name)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
