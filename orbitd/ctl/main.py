"""The outermost edge of `orbitctl`: every way to end has an exit code, none has a traceback.

Nothing is imported here but what the interpreter has loaded anyway, so that Ctrl-C is caught from the first moment.
"""

from __future__ import annotations

import os
import sys

_INTERRUPTED = 130
_FAILED = 1


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line; returns the exit code."""
    try:
        from orbitd.ctl.app import run  # within reach of Ctrl-C

        code = run(sys.argv[1:] if argv is None else argv)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        _discard_output()
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has seen enough (`| head -1`): that is no error of ours.
        _discard_output()
        return 0
    except OSError as error:
        _discard_output()
        _say(f"orbitctl: cannot write the answer: {(error.strerror or str(error)).lower()}")
        return _FAILED
    return code


def _discard_output() -> None:
    """What is still buffered would fail again, or block, when the interpreter ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _say(text: str) -> None:
    if sys.stderr is not None:
        print(text, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
