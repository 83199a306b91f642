"""The outermost edge of a program: every way to end has an exit code, none has a traceback.

Nothing is imported here but what the interpreter has loaded anyway, so that Ctrl-C is caught from the first moment.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False  # typing's own is not loaded yet
if TYPE_CHECKING:
    from collections.abc import Callable

_FAILED = 1
_INTERRUPTED = 130


def exit_code(program: str, run: Callable[[], int]) -> int:
    """What `program`, whose work is `run`, ends with."""
    try:
        code = run()
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
        from orbitd.errors import why

        _discard_output()
        _say(f"{program}: cannot go on: {why(error)}")
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
