from __future__ import annotations

import pytest

from orbitd.errors import nearest, telling_line, why


@pytest.mark.parametrize(("word", "meant"), [("stauts", "status"), ("status", "status"), ("q", None), ("", None), ("x" * 10**6, None)])
def test_the_known_word_that_was_meant_is_found_if_one_is_near(word: str, meant: str | None) -> None:
    assert nearest(word, iter(["stop", "status", "list"])) == meant


def test_the_systems_reason_ends_a_message() -> None:
    with pytest.raises(FileNotFoundError) as caught, open("/nowhere/at/all"):  # noqa: PTH123 - that is what raises it
        pass
    assert why(caught.value) == "no such file or directory"
    assert why(OSError("Some Reason")) == "some reason"


SYNTAX = """cannot import "work": SyntaxError: invalid syntax (work.py, line 2)
hint: mend it
  File "/app/main.py", line 7, in <module>
    import work
  File "/app/work.py", line 2
    def f(:
          ^
SyntaxError: invalid syntax
"""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (SYNTAX, 'SyntaxError: invalid syntax (File "/app/work.py", line 2)'),
        ("a.toml:1:1: runs.timeout: no duration\nhint: orbitd.toml(5) lists every option", "a.toml:1:1: runs.timeout: no duration"),
        ("one\ntwo\nthree\nhint: mend them", "one, and 2 more"),
        ("one\ntwo\nand 40 more\nhint: mend them", "one, and 41 more"),
        ("children cannot be forked:\n  a thread\n  a socket\nhint: mend it", "children cannot be forked: a thread, and 1 more"),
        ("rolled back: it died", "rolled back: it died"),
        ("", ""),
    ],
)
def test_the_telling_line_of_an_error_is_never_its_hint(error: str, told: str) -> None:
    assert telling_line(error) == told
