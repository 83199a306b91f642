"""Which address of the database is whose."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orbitd.errors import ConfigError

if TYPE_CHECKING:
    from orbitd.config.model import Settings


def require_database(settings: Settings) -> str:
    """The address for the daemon's own work. Raises ConfigError when none is configured."""
    if not settings.database.url:
        raise ConfigError(
            "no database is configured: neither database.url nor DATABASE_URL is set", "set DATABASE_URL=postgresql://user@host/database"
        )
    return settings.database.url


def admin_address(settings: Settings) -> str:
    """The address for what an operator does; "" when none is configured."""
    return settings.database.admin_url or settings.database.direct_url or settings.database.url
