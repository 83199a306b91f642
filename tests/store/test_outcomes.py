from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, strategies as st

from orbitd.store import Failure, Fence, Outcome, Report, clean_text

FENCE = Fence(1, 2, 3, 4)
FAILURE = Failure("error", "no")


@given(st.text(st.characters()), st.integers(100, 2000))
def test_clean_text_is_storable_and_short_enough(text: str, max_bytes: int) -> None:
    cleaned = clean_text(text, max_bytes)
    assert "\0" not in cleaned
    assert len(cleaned.encode("utf-8")) <= max_bytes


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=100))
def test_clean_text_leaves_proper_text_alone(text: str) -> None:
    assert clean_text(text, 10_000) == text


def test_clean_text_keeps_both_ends() -> None:
    cleaned = clean_text("begin" + "x" * 10_000 + "end", 200)
    assert cleaned.startswith("begin")
    assert cleaned.endswith("end")
    assert "10008 bytes" in cleaned


def test_clean_text_joins_surrogate_pairs() -> None:
    assert clean_text("\ud83d\ude00 \ud83d", 100) == "\U0001f600 \ufffd"


class Evil(str):
    """A text that cannot even be encoded."""

    __slots__ = ()

    def encode(self, *_args: object) -> bytes:
        raise ZeroDivisionError


def test_clean_text_of_what_is_no_proper_text_is_a_constant() -> None:
    for text in (None, 7, b"bytes", Evil("x")):
        assert clean_text(text, 100) == "(this text cannot be stored)"  # type: ignore[arg-type]


def test_a_failure_cleans_and_cuts_its_texts() -> None:
    failure = Failure("error", "\0" * 20_000, "t" * 100_000, None)
    assert len(failure.error.encode()) <= 8 * 1024
    assert failure.traceback is not None
    assert len(failure.traceback) <= 64 * 1024
    assert failure.stack is None


@pytest.mark.parametrize(
    ("report", "expected"),
    [
        (Report.succeeded(FENCE, "1"), Report(FENCE, Outcome.SUCCEEDED, None, "1", None)),
        (Report.retry(FENCE, 5, FAILURE), Report(FENCE, Outcome.RETRIED, 5, None, FAILURE)),
        (Report.snoozed(FENCE, 5), Report(FENCE, Outcome.SNOOZED, 5, None, None)),
        (Report.failed(FENCE, FAILURE), Report(FENCE, Outcome.FAILED, None, None, FAILURE)),
        (Report.cancelled(FENCE), Report(FENCE, Outcome.CANCELLED, None, None, None)),
        (Report.interrupted(FENCE, FAILURE), Report(FENCE, Outcome.INTERRUPTED, None, None, FAILURE)),
    ],
)
def test_each_constructor_makes_its_report(report: Report, expected: Report) -> None:
    assert report == expected
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.result = "2"  # type: ignore[misc]
