"""Secrets stay out of the log: the values of fields that are named like one, and passwords within any text."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from functools import lru_cache

MASK = "********"

# user:password@ of a URL, up to the last @ of the word: a password may hold one itself. Bounded, for the text may be anybody's.
_IN_URL = re.compile(r"(://[^\s:@/]{0,128}:)\S{0,512}@")
# password=… of a connection string, of a URL's parameters, of an environment; "password": … of a mapping that was printed.
# Its name is bounded too: a word of many passwords would be read to its end from each of them.
_IN_PAIR = re.compile(
    r"""(password\w{0,32}(?:\s*=\s*|["']\s*[:,]\s*))('(?:[^'\\]|\\.)*'?|"(?:[^"\\]|\\.)*"?|[^\s&,;)}\]'"]+)""", re.IGNORECASE
)

_secret_name: re.Pattern[str] | None = None


def set_secret_names(patterns: Iterable[str]) -> None:
    """From now on a name that matches one of these shell patterns, in any case, is a secret's."""
    global _secret_name  # noqa: PLW0603 - one log, one list
    joined = "|".join(fnmatch.translate(pattern) for pattern in patterns)
    _secret_name = re.compile(joined, re.IGNORECASE) if joined else None
    is_secret.cache_clear()


@lru_cache(maxsize=256)
def is_secret(name: str) -> bool:
    """True for a name whose value is not for the log."""
    return _secret_name is not None and _secret_name.match(name) is not None


def masked(text: str) -> str:
    """The text without the passwords that it holds."""
    if "://" in text:
        text = _IN_URL.sub(rf"\1{MASK}@", text)
    if "password" in text.casefold():
        text = _IN_PAIR.sub(rf"\1{MASK}", text)
    return text
