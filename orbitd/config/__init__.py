"""Settings: one table of options, and how it is filled from file, environment and command line."""

from __future__ import annotations

from orbitd.config.load import load, load_keys
from orbitd.config.model import OPTIONS, SECTIONS, Settings
from orbitd.config.places import find_file, find_socket, socket_path, state_dir
from orbitd.config.reload import adopt
from orbitd.errors import ConfigError

__all__ = [
    "OPTIONS",
    "SECTIONS",
    "Settings",
    "adopt",
    "find_file",
    "find_socket",
    "load",
    "load_keys",
    "require_database",
    "socket_path",
    "state_dir",
]


def require_database(settings: Settings) -> str:
    """The address of the database. Raises ConfigError when none is configured."""
    if not settings.database.url:
        raise ConfigError(
            "no database is configured: neither database.url nor DATABASE_URL is set", "set DATABASE_URL=postgresql://user@host/database"
        )
    return settings.database.url
