from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, strategies as st

from orbitd.units import counted, format_duration, format_size, parse_duration, parse_size, rfc3339


@pytest.mark.parametrize(
    ("text", "seconds"), [("0", 0), ("500ms", 0.5), ("5s", 5), ("1h30m", 5400), ("7d", 604800), ("1.5h", 5400), ("2w", 1209600)]
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "5 s", "s", "-5s", "1e9h", "٣s", "5sec", "nan", "inf", "999999999w", "5s "])
def test_what_is_no_duration_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|hundred years") as caught:
        parse_duration(text)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("text", "size_bytes"), [("0", 0), ("512B", 512), ("1KiB", 1024), ("500M", 524288000), ("2GB", 2 * 10**9), ("1.5 GiB", 1610612736)]
)
def test_a_size_is_read(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("text", ["", "5", "512mb ", "-1KiB", "1XiB", "9999999999GiB"])
def test_what_is_no_size_is_refused_with_its_text(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|PiB") as caught:
        parse_size(text)
    assert text in str(caught.value)


@given(st.integers(1, 10**8))
def test_a_written_duration_reads_back_to_within_its_last_unit(seconds: int) -> None:
    assert 0 <= seconds - parse_duration(format_duration(seconds)) < 3600


@pytest.mark.parametrize(("size_bytes", "text"), [(0, "0B"), (1024, "1KiB"), (1536, "1.5KiB"), (400 * 2**20, "400MiB")])
def test_a_size_is_written_short(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


def test_a_time_is_told_in_utc_and_in_milliseconds_wherever_it_was_taken() -> None:
    in_delhi = datetime(2026, 1, 1, 5, 30, 0, 1999, timezone(timedelta(hours=5, minutes=30)))
    assert rfc3339(in_delhi) == "2026-01-01T00:00:00.001Z"
    assert rfc3339(datetime(2026, 1, 1, tzinfo=UTC)) == "2026-01-01T00:00:00.000Z"


@pytest.mark.parametrize(("number", "told"), [(0, "no runs are"), (1, "1 run is"), (3, "3 runs are")])
def test_things_are_counted_in_words_that_fit(number: int, told: str) -> None:
    assert counted(number, "run is", "runs are") == told
    assert counted(number, "run") == told.rpartition(" ")[0]
