"""Text of others on a terminal: nothing in it may move the cursor, change colours or turn the line around."""

from __future__ import annotations


def printable(text: str, limit: int = 0) -> str:
    """`text` in one line, each character that cannot be seen written as its escape; cut with "…" to `limit` characters unless 0."""
    shown = text if text.isascii() and text.isprintable() else "".join(map(_visible, text))
    return f"{shown[: limit - 1]}…" if limit and len(shown) > limit else shown


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()
