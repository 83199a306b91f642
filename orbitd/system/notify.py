"""The service manager's socket: datagrams to $NOTIFY_SOCKET, never waited for (sd_notify(3), sd_watchdog_enabled(3)).

Whoever is started by systemd finds three variables, which are meant for that process alone: what it starts must not have them,
and would speak in its name.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping

from orbitd.errors import why
from orbitd.system import log

_VARIABLES = frozenset({"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"})


class Notifier:
    """Speaks to the service manager that has started us, if there is one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._has_warned = False
        self.watchdog_seconds = _watchdog_seconds(environ) if self._address else 0.0

    @property
    def has_listener(self) -> bool:
        """Whether somebody listens, as far as the environment tells."""
        return bool(self._address)

    def send(self, message: str) -> bool:
        """Say it; False if it could not be said just now. A socket that is dead, full or no use is one warning, the first time."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as ours:
                ours.sendto(message.encode(errors="replace"), socket.MSG_NOSIGNAL, _real(self._address))
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                log.warn("service_manager_unreachable", socket=self._address, error=why(error))
            return False
        return True


def without_service(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment without what the service manager says to us alone."""
    return {name: value for name, value in environ.items() if name not in _VARIABLES}


def _real(address: str) -> str:
    """An abstract address is written with an @ for its zero byte."""
    return f"\0{address[1:]}" if address.startswith("@") else address


def _watchdog_seconds(environ: Mapping[str, str]) -> float:
    """How long the service manager waits for a sign of life; 0 when it does not, or means another process."""
    usec, pid = environ.get("WATCHDOG_USEC", ""), environ.get("WATCHDOG_PID", str(os.getpid()))
    if not usec.isdecimal() or pid != str(os.getpid()):
        return 0.0
    return int(usec) / 1e6
