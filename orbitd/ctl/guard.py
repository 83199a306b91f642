"""The question before a destructive act: nothing for one thing that can be undone, y/N for some, the number itself for many."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from orbitd.ctl.output import say, stderr_is_terminal
from orbitd.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from orbitd.ctl.app import Session

_MOST_BY_LETTER = 100
_YES = {"y", "yes"}


def confirm(session: Session, what: str, count: int, *, undoable: bool) -> None:
    """Let `what`, an act such as "cancel 12 runs", go on only if the caller wants it; `count` things are touched.

    Raises Refused when the person says no, and when nobody is there to be asked and --yes was not given.
    """
    if session.args.get("yes") or count == 0 or (count == 1 and undoable):
        return
    if not (stderr_is_terminal() and sys.stdin is not None and sys.stdin.isatty()):
        raise Refused(f"would {what}, and nobody is there to be asked", f"type: {typed_again(session, '--yes')}")
    warning = "" if undoable else "; this cannot be undone"
    if count <= _MOST_BY_LETTER:
        agreed = _answer(session, f"{what}{warning}? [y/N] ").lower() in _YES
    else:
        agreed = _answer(session, f"{what}{warning}? type {count} to go on: ") == str(count)
    if not agreed:
        raise Refused("nothing was done", None)


def typed_again(session: Session, word: str) -> str:
    """The command line of this call, with one more word, to be pasted into a shell."""
    import shlex

    return shlex.join([session.program, *_with(session.argv, word)])


def _with(argv: Sequence[str], word: str) -> list[str]:
    """After `--` it would be no option."""
    at = argv.index("--") if "--" in argv else len(argv)
    return [*argv[:at], word, *argv[at:]]


def _answer(session: Session, question: str) -> str:
    say(session.out.told(question), end="")
    line = sys.stdin.readline()
    if not line.endswith("\n"):
        say("")
    return line.strip()
