"""U15: errors become text that can be stored, whatever they are like."""

from __future__ import annotations

import functools
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, strategies as st

from orbitd.pipelines.failure import LONGEST_ERROR_BYTES, LONGEST_TRACEBACK_BYTES, clean, headline, traceback_text


class RaisesInStr(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text for you")


class ExitsInStr(Exception):
    def __str__(self) -> str:
        raise SystemExit(0)


class IsNotText(Exception):
    def __str__(self) -> str:
        return 42  # type: ignore[return-value]  # noqa: PLE0307 - that is the point


class EvilText(str):
    __slots__ = ()

    def __len__(self) -> int:
        raise RuntimeError

    def __getitem__(self, key: object) -> str:
        raise RuntimeError

    def encode(self, *_args: object) -> bytes:
        raise RuntimeError

    def __str__(self) -> str:
        raise RuntimeError


class EvilStr(Exception):
    def __str__(self) -> str:
        return EvilText("got through")


class RaisesInCause(Exception):
    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]
        raise RuntimeError

    @property
    def __context__(self) -> BaseException:  # type: ignore[override]
        raise RuntimeError


class EndlessCause(Exception):
    @property
    def __cause__(self) -> BaseException:  # type: ignore[override]
        return EndlessCause()


class LiesAboutItsClass(Exception):
    def __getattribute__(self, name: str) -> Any:
        if name == "__class__":
            raise RuntimeError
        return super().__getattribute__(name)

    __notes__ = property(lambda _self: 1 / 0)


class NamelessType(type):
    def __getattribute__(cls, name: str) -> Any:
        if name == "__qualname__":
            raise RuntimeError
        return super().__getattribute__(name)


class Nameless(Exception, metaclass=NamelessType):
    pass


def cyclic() -> BaseException:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    return first


def long_chain() -> BaseException:
    error: BaseException = ValueError("the deepest")
    for number in range(10_000):
        outer = ValueError(f"number {number}")
        outer.__cause__ = error
        error = outer
    return error


def wide_and_deep_group() -> BaseException:
    group: BaseException = ValueError("leaf")
    for _ in range(50):
        group = ExceptionGroup("many", [group] * 30)  # type: ignore[type-var]
    return group


def with_notes(*notes: Any) -> BaseException:
    error = ValueError("noted")
    error.__notes__ = list(notes)
    return error


# Made anew for each test, and not by pytest, which would look at them.
HOSTILE: dict[str, Callable[[], BaseException]] = {
    "raises in __str__": RaisesInStr,
    "exits in __str__": ExitsInStr,
    "__str__ is no text": IsNotText,
    "__str__ is a hostile subclass": EvilStr,
    "raises in __cause__": lambda: RaisesInCause("x"),
    "endless __cause__": lambda: EndlessCause("x"),
    "lies about its class": lambda: LiesAboutItsClass("x"),
    "type without a name": lambda: Nameless("x"),
    "cycle": cyclic,
    "long chain": long_chain,
    "group": wide_and_deep_group,
    "NUL": lambda: ValueError("a\0b"),
    "surrogates": lambda: ValueError("\ud800 and \udfff"),
    "bytes": lambda: ValueError(b"\xff\0"),
    "huge": lambda: ValueError("ä" * 20_000_000),
    "unserialisable repr": lambda: ValueError(object()),
    "notes": lambda: with_notes("a\0", "\ud800", 7, EvilText("x")),
    "many notes": lambda: with_notes(*["n" * 100_000] * 1000),
    "syntax": lambda: SyntaxError("bad", ("file\0.py", 1, 2, "x" * 1_000_000, 1, 3)),
    "broken syntax": lambda: SyntaxError("bad", ("file.py", "no", "number", "at")),  # type: ignore[arg-type]
    "exit": lambda: SystemExit(0),
    "empty": KeyboardInterrupt,
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_u15_a_hostile_exception_becomes_a_bounded_clean_text(kind: str) -> None:
    error = HOSTILE[kind]()
    for text, longest in ((headline(error), LONGEST_ERROR_BYTES), (traceback_text(error), LONGEST_TRACEBACK_BYTES)):
        assert text
        assert "\0" not in text
        assert len(text.encode()) <= longest


def test_what_can_be_told_of_a_hostile_exception_is_told() -> None:
    assert headline(RaisesInStr()).endswith("RaisesInStr: <its text cannot be had>")
    assert headline(EvilStr()).endswith("EvilStr: got through")
    assert headline(Nameless("x")) == "an exception whose type has no name: x"
    assert headline(ValueError("a\0b\ud800")) == r"ValueError: a\x00b\ud800"
    assert headline(KeyboardInterrupt()) == "KeyboardInterrupt"


MISSING: dict[str, int] = {}


def caught(function: Any) -> BaseException:
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - that is the point
        return error
    raise AssertionError("nothing was raised")


def test_causes_are_shown_before_what_they_caused() -> None:
    def function() -> None:
        try:
            MISSING["missing"]
        except KeyError as error:
            raise ValueError("no such tenant") from error

    text = traceback_text(caught(function))
    assert text.index("KeyError: 'missing'") < text.index("which was the cause of:") < text.index("ValueError: no such tenant")


def test_contexts_are_shown_unless_they_are_suppressed() -> None:
    def function(*, quietly: bool) -> None:
        try:
            MISSING["missing"]
        except KeyError:
            if quietly:
                raise ValueError("no such tenant") from None
            raise ValueError("no such tenant")  # noqa: B904 - that is the point

    texts = [traceback_text(caught(functools.partial(function, quietly=quietly))) for quietly in (False, True)]
    assert ["while that was handled:" in text for text in texts] == [True, False]


def test_the_members_of_a_group_are_shown_with_their_frames() -> None:
    def fails() -> None:
        raise KeyError("inner")

    text = traceback_text(BaseExceptionGroup("many", [caught(fails), ValueError("other")]))
    assert "in fails" in text
    assert "  | KeyError: 'inner'" in text
    assert "  | ValueError: other" in text


def test_the_traceback_begins_at_the_pipelines_own_frame() -> None:
    def helper() -> None:
        raise ValueError("boom")

    def function() -> None:
        helper()

    def runtime() -> None:
        function()

    text = traceback_text(caught(runtime), function.__code__)
    assert "in runtime" not in text
    assert text.index("in function") < text.index("in helper") < text.index("ValueError: boom")


def test_a_very_deep_traceback_keeps_its_head_and_tail() -> None:
    def function(depth: int) -> None:
        if depth % 2:
            function(depth - 1)
        elif depth:
            other(depth - 1)
        else:
            bottom()

    def other(depth: int) -> None:
        function(depth)

    def bottom() -> None:
        raise ValueError("the bottom")

    text = traceback_text(caught(lambda: function(300)), function.__code__)
    assert text.lstrip().startswith("File")
    assert "in bottom" in text
    assert text.count("File") <= 100


@given(st.text(st.characters()), st.integers(100, 300))
def test_clean_text_can_be_stored_and_is_short_enough(text: str, longest_bytes: int) -> None:
    cleaned = clean(text, longest_bytes)
    assert len(cleaned.encode("utf-8")) <= longest_bytes
    assert "\0" not in cleaned


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20))
def test_clean_text_that_fits_is_left_alone(text: str) -> None:
    assert clean(text, 100) == text


def test_long_text_is_cut_in_the_middle() -> None:
    text = clean("head" + "ä" * 10_000 + "tail", 200)
    assert text.startswith("headä")
    assert text.endswith("ätail")
    assert "[... cut ...]" in text


def test_an_ordinary_traceback_reads_like_pythons_own() -> None:
    def function() -> None:
        raise ValueError("boom")

    error = caught(function)
    assert traceback.format_tb(error.__traceback__)[-1] in traceback_text(error)


def test_a_password_in_an_error_is_not_stored() -> None:
    error = ConnectionError("cannot reach postgresql://app:hunter2@db/app, password=hunter3")
    told = headline(error) + traceback_text(error)
    assert "postgresql://app:********@db/app" in told
    assert "hunter" not in told
