"""Mutants of the store's functions: each condition of a WHERE and each lock, left out once.

A guard that no test misses is no guard. `make test-mutants` runs the store's tests against every mutant, and
tests/store/test_mutants.py against the most critical ones.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orbitd.store.queries import FOLDER

FUNCTIONS = FOLDER / "functions"
_EQUIVALENT = Path(__file__).parents[1] / "store" / "equivalent_mutants.toml"

# What is no code: comments, texts, and the words of a header such as LANGUAGE.
_HIDDEN = re.compile(r"--[^\n]*|'(?:[^']|'')*'|\A.*?\$\$|\$\$;?\s*\Z", re.DOTALL)
_LOCK = re.compile(r"\bFOR (?:NO KEY UPDATE|UPDATE|KEY SHARE|SHARE)(?: OF \w+)?( SKIP LOCKED| NOWAIT)?\b")
_WORD = re.compile(r"[()\[\];]|\b[A-Za-z_]+\b")
_END_OF_WHERE = {"ORDER", "GROUP", "HAVING", "LIMIT", "FOR", "RETURNING", "UNION", "ON", "LOOP", "THEN", "INTO", ";"}


@dataclass(frozen=True)
class Mutant:
    """A function with one guard less."""

    function: str
    removed: str
    """The guard, as it is written, on one line."""
    number: int
    """Of those in this function that are written alike: 1, 2, …"""
    text: str
    """The statement that makes the function so."""

    @property
    def name(self) -> str:
        return f"{self.function}: {self.removed}" + (f" ({self.number})" if self.number > 1 else "")


def all_mutants(folder: Path = FUNCTIONS) -> list[Mutant]:
    return [mutant for path in sorted(folder.glob("*.sql")) for mutant in mutants_of(path.stem, path.read_text("utf-8"))]


def mutants_of(function: str, text: str) -> Iterator[Mutant]:
    seen: dict[str, int] = {}
    code = _HIDDEN.sub(lambda hidden: re.sub(r"[^\n]", "'" if hidden[0][0] == "'" else " ", hidden[0]), text)
    for start, end, instead in sorted([*_conditions(code), *_locks(code)]):
        removed = " ".join(re.sub(r"--[^\n]*", "", text[start:end]).split())
        seen[removed] = seen.get(removed, 0) + 1
        yield Mutant(function, removed, seen[removed], text[:start] + instead + text[end:])


def _locks(code: str) -> Iterator[tuple[int, int, str]]:
    """A lock is left out, and the SKIP LOCKED of one that has it."""
    for lock in _LOCK.finditer(code):
        yield lock.start(), lock.end(), ""
        if lock[1]:
            yield lock.start(1), lock.end(1), ""


def _conditions(code: str) -> Iterator[tuple[int, int, str]]:
    """Each condition that a WHERE demands becomes true; of a WHERE with alternatives, each alternative false."""
    for where in re.finditer(r"\bWHERE\b", code):
        joints, end = _joints(code, where.end())
        words = {joint[0] for joint in joints}
        if len(words) > 1:
            raise ValueError(f"AND beside OR, without parentheses: {code[where.end() : end].strip()}")
        begins = [where.end(), *(joint.end() for joint in joints)]
        ends = [*(joint.start() for joint in joints), end]
        for begin, stop in zip(begins, ends, strict=True):
            part = code[begin:stop]
            left = begin + len(part) - len(part.lstrip())
            yield left, begin + len(part.rstrip()), "false" if words == {"OR"} else "true"


def _joints(code: str, start: int) -> tuple[list[re.Match[str]], int]:
    """The ANDs and ORs between the conditions of the WHERE that begins here, and where it ends."""
    joints: list[re.Match[str]] = []
    depth, is_between = 0, False
    for word in _WORD.finditer(code, start):
        symbol = word[0]
        depth += (symbol in "([") - (symbol in ")]")
        if depth < 0 or (depth == 0 and symbol in _END_OF_WHERE):
            return joints, word.start()
        if depth == 0 and symbol in {"AND", "OR"} and not is_between:
            joints.append(word)
        if depth == 0 and symbol in {"AND", "BETWEEN"}:
            is_between = symbol == "BETWEEN"
    return joints, len(code)


def reasons() -> dict[str, str]:
    """The mutants that no test can tell from the original, by name, and why."""
    return tomllib.loads(_EQUIVALENT.read_text("utf-8"))
