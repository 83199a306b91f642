from __future__ import annotations

import pytest

from orbitd.errors import nearest, why


@pytest.mark.parametrize(("word", "meant"), [("stauts", "status"), ("status", "status"), ("q", None), ("", None), ("x" * 10**6, None)])
def test_the_known_word_that_was_meant_is_found_if_one_is_near(word: str, meant: str | None) -> None:
    assert nearest(word, iter(["stop", "status", "list"])) == meant


def test_the_systems_reason_ends_a_message() -> None:
    with pytest.raises(FileNotFoundError) as caught, open("/nowhere/at/all"):  # noqa: PTH123 - that is what raises it
        pass
    assert why(caught.value) == "no such file or directory"
    assert why(OSError("Some Reason")) == "some reason"
