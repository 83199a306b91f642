"""The rows of the table that `orbitctl` needs to find a daemon. To make the whole table takes longer than to ask the daemon."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from orbitd.config.kinds import AbsolutePath, AnyPath, SocketPath
from orbitd.config.options import Key, Option, Reload

if TYPE_CHECKING:
    from collections.abc import Mapping

SOCKET = Option(
    SocketPath("auto"),
    "auto",
    "Its path. auto: orbitd.sock in $RUNTIME_DIRECTORY (systemd), in /run/orbitd, or in a private directory of an ordinary user.",
    Reload.RESTART,
)
STATE_DIR = Option(
    AbsolutePath("auto"),
    "auto",
    "Where the daemon keeps what must outlive it. auto: $STATE_DIRECTORY (systemd), else beside the control socket.",
    Reload.RESTART,
)
ENV_FILE = Option(
    AnyPath(),
    "",
    "A file of NAME=value lines, which count like environment variables, below those that orbitd was started with.",
    Reload.ROLLING,
    ("--env-file",),
)
ENV_FILE_KEY: Key = ("app", "env_file")
OPTIONS: Mapping[Key, Option] = MappingProxyType(
    {("control", "socket"): SOCKET, ("instance", "state_dir"): STATE_DIR, ENV_FILE_KEY: ENV_FILE}
)
