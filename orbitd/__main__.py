"""`orbitd`: the entry to the command line, and to the processes that the arbiter execs this very module for (`--as`)."""

from __future__ import annotations

import os
import sys

from orbitd.edge import exit_code

_KINDS = {"mold": "orbitd.mold", "child": "orbitd.child", "janitor": "orbitd.janitor", "probe": "orbitd.cli.import_probe"}


def main(argv: list[str] | None = None) -> int:
    """Run `orbitd`; returns the exit code."""
    _open_standard_descriptors()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--as"]:
        return _serve_as(arguments[1], int(arguments[2]))

    def run() -> int:
        from orbitd.cli import app  # within reach of Ctrl-C

        return app.run(arguments)

    return exit_code("orbitd", run)


def _open_standard_descriptors() -> None:
    """Whoever starts us with 0, 1 or 2 closed would find his output in a socket of ours that got the number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one


def _serve_as(kind: str, channel_fd: int) -> int:
    """Become one of the processes. Imported here: the arbiter must not load what they need."""
    from importlib import import_module

    from orbitd.system.channel import ChannelClosed
    from orbitd.system.process import leave

    try:
        code: int = import_module(_KINDS[kind]).main(channel_fd)
    except ChannelClosed:  # the arbiter is gone, or has no use for this one any more
        leave(1)
    return code


if __name__ == "__main__":
    sys.exit(main())
