"""Errors as text that can be stored whatever the error is like.

An exception is the author's object: its `__str__` may raise, loop or give a gigabyte, its chain may be endless, its text
may hold what Postgres refuses. Everything asked of it is therefore guarded, cut and cleaned. The guards let only
RunStopped through: it is what ends a text that loops. Passwords in it are masked.
"""

from __future__ import annotations

import importlib
import traceback
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, TracebackType
from typing import ParamSpec, TypeVar

from orbitd.pipelines.exceptions import RunStopped
from orbitd.system.log.redact import masked

P = ParamSpec("P")
T = TypeVar("T")

LONGEST_ERROR_BYTES = 8 * 1024
LONGEST_TRACEBACK_BYTES = 64 * 1024

_MOST_FRAMES = 100
_MOST_LINKS = 8
_MOST_MEMBERS = 8
_MOST_NESTING = 2
_MOST_BLOCKS = 64
_CUT = "\n[... cut ...]\n"
_NO_MEMBERS: tuple[BaseException, ...] = ()
_NO_ORIGIN: tuple[BaseException | None, str] = (None, "")
_OWN_FOLDER = f"{Path(__file__).parent.parent}/"


def headline(error: BaseException) -> str:
    """Type and message in at most LONGEST_ERROR_BYTES: "ValueError: no such tenant"."""
    kind = _guarded("an exception whose type has no name", _type_name, type(error))
    message = _guarded("<its text cannot be had>", _message, error)
    return masked(clean(f"{kind}: {message}" if message else kind, LONGEST_ERROR_BYTES))


def traceback_text(error: BaseException, begin: CodeType | None = None) -> str:
    """The traceback in at most LONGEST_TRACEBACK_BYTES, cut in the middle, with causes and members of groups.

    It shows no frame of ours or of Python's import, and of the error itself none above the function whose code is `begin`.
    """
    blocks = deque(_blocks(error, begin, 0), maxlen=_MOST_BLOCKS)
    return masked(clean("\n\n".join(blocks), LONGEST_TRACEBACK_BYTES))


def clean(text: str, longest_bytes: int) -> str:
    """The text as Postgres can store it, head and tail kept when it is too long. Surrogates and NUL are written as escapes."""
    exact = str.__str__(text)  # a subclass could have methods of its own
    if len(exact) > 2 * longest_bytes:
        exact = exact[:longest_bytes] + exact[-longest_bytes:]
    encoded = exact.replace("\0", "\\x00").encode("utf-8", "backslashreplace")
    if len(encoded) <= longest_bytes:
        return encoded.decode()
    half = (longest_bytes - len(_CUT)) // 2
    return encoded[:half].decode(errors="ignore") + _CUT + encoded[-half:].decode(errors="ignore")


def _blocks(error: BaseException, begin: CodeType | None, nesting: int) -> Iterator[str]:
    """One piece of text for each error of the chain, the first cause first, and for each member of a group."""
    for link, words in reversed(list(_chain(error))):
        yield words + _block(link, begin if link is error else None)
        if nesting < _MOST_NESTING:
            for member in _guarded(_NO_MEMBERS, _members, link):
                yield from map(_indented, _blocks(member, None, nesting + 1))


def _chain(error: BaseException) -> Iterator[tuple[BaseException, str]]:
    """The error, what it came from, and so on: each with the words that lead from the one before to it."""
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen and len(seen) < _MOST_LINKS:
        seen.add(id(link))
        former, words = _guarded(_NO_ORIGIN, _origin, link)
        yield link, words
        link = former


def _origin(error: BaseException) -> tuple[BaseException | None, str]:
    if isinstance(error.__cause__, BaseException):
        return error.__cause__, "which was the cause of:\n"
    if isinstance(error.__context__, BaseException) and not error.__suppress_context__:
        return error.__context__, "while that was handled:\n"
    return None, ""


def _members(error: BaseException) -> tuple[BaseException, ...]:
    return error.exceptions[:_MOST_MEMBERS] if isinstance(error, BaseExceptionGroup) else ()


def _block(error: BaseException, begin: CodeType | None) -> str:
    frames = _guarded("", _frames, error, begin)
    return clean(frames, LONGEST_TRACEBACK_BYTES) + _guarded(headline(error), _last_lines, error)


def _frames(error: BaseException, begin: CodeType | None) -> str:
    return "".join(traceback.format_tb(_authors_frames(error.__traceback__, begin)))


def _last_lines(error: BaseException) -> str:
    if isinstance(error, SyntaxError):
        return clean("".join(traceback.format_exception_only(error)).rstrip(), LONGEST_ERROR_BYTES)
    notes = [clean(note, LONGEST_ERROR_BYTES) for note in getattr(error, "__notes__", ())[:_MOST_MEMBERS]]
    return "\n".join([headline(error), *notes])


def _authors_frames(trace: TracebackType | None, begin: CodeType | None) -> TracebackType | None:
    """The traceback without our frames and those above `begin`, and without the middle of a very deep one.

    The links are changed in place: the run is over, and nobody else looks at this traceback.
    """
    entries = [entry for entry in _entries(trace) if not _is_ours(entry)]
    starts = [index for index, entry in enumerate(entries) if entry.tb_frame.f_code is begin]
    kept = entries[starts[0] :] if starts else entries
    if len(kept) > _MOST_FRAMES:
        kept = kept[: _MOST_FRAMES // 2] + kept[-_MOST_FRAMES // 2 :]
    for entry, following in zip(kept, [*kept[1:], None], strict=True):
        entry.tb_next = following
    return kept[0] if kept else None


def _entries(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _is_ours(entry: TracebackType) -> bool:
    file_name = entry.tb_frame.f_code.co_filename
    return file_name.startswith((_OWN_FOLDER, "<frozen importlib")) or file_name == importlib.__file__


def _message(error: BaseException) -> str:
    return clean(str(error), LONGEST_ERROR_BYTES - 1024)


def _type_name(kind: type[BaseException]) -> str:
    """As in Python's own tracebacks, and our own names as authors know them."""
    is_known = kind.__module__ in {"builtins", "__main__"} or kind.__module__.startswith("orbitd.")
    return kind.__qualname__ if is_known else f"{kind.__module__}.{kind.__qualname__}"


def _indented(text: str) -> str:
    return "  | " + text.replace("\n", "\n  | ")


def _guarded(otherwise: T, ask: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        return ask(*args, **kwargs)
    except RunStopped:
        raise
    except BaseException:  # noqa: BLE001 - the author's code answers, and may raise anything
        return otherwise
