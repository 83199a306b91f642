"""`orbitd`: the entry to the command line, and to the processes that the arbiter execs this very module for (`--as`)."""

from __future__ import annotations

import os
import sys

_FAILED = 1
_INTERRUPTED = 130
_KINDS = {"mold": "orbitd.mold", "janitor": "orbitd.janitor", "probe": "orbitd.cli.probe"}


def main(argv: list[str] | None = None) -> int:
    """Run `orbitd`; returns the exit code."""
    _open_standard_descriptors()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--as"]:
        return _serve_as(arguments[1], int(arguments[2]))
    try:
        from orbitd.cli.app import run  # within reach of Ctrl-C

        code = run(arguments)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough (`| head -1`): that is no error of ours.
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        print(f"orbitd: cannot go on: {(error.strerror or str(error)).lower()}", file=sys.stderr)
        return _FAILED
    return code


def _discard_output() -> None:
    """What is still buffered would fail again when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


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

    code: int = import_module(_KINDS[kind]).main(channel_fd)
    return code


if __name__ == "__main__":
    sys.exit(main())
