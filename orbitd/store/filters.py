"""Filters: how a person says which runs are meant. One grammar for the command line, the dashboard and HTTP.

    state:failed,interrupted pipeline:invoice.* -tenant:42 took:>10s error:"Timeout *" since:1h

Terms are joined by AND, the values of a term by OR, `-` turns a term round. A value that holds a space, a comma, or a quote or
comparison at its beginning stands in quotes, either kind. `parse` turns the text into predicates of `sql/filters.sql` and their
parameters; no value ever becomes part of a statement.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

from orbitd.errors import UsageError, nearest
from orbitd.rules.states import RunState
from orbitd.store import queries
from orbitd.units import parse_duration

TERMS: Mapping[str, str] = MappingProxyType(
    {
        "state": "one of scheduled, pending, running, interrupted, succeeded, failed, cancelled",
        "pipeline": "the pipeline's name, with * and ?",
        "queue": "the queue's name, with * and ?",
        "tenant": "the tenant",
        "step": "the name of a step that the run has done, with * and ?",
        "error": "the last error, with * and ?",
        "group": "a group of failures, as `orbitctl dlq list` shows it",
        "args.NAME": "the argument NAME",
        "host": "the name of the last host that ran it, with * and ?",
        "slot": "the last slot that ran it",
        "key": "the idempotency key",
        "since": "made since then: 1h, 2026-01-31, 2026-01-31T08:00:00Z",
        "took": "how long the last attempt took, or takes: >10s, <=5m",
        "attempt": "how many attempts were begun: 3, >=3",
    }
)

_PREDICATES = queries.load("filters")
_GLOBS = frozenset({"pipeline", "queue", "step", "error", "host"})
_EXACT = frozenset({"tenant", "group", "args", "key"})
_MOST_CHARACTERS = 4000
_ALL_STATES = frozenset(RunState)

_NAME = re.compile(r"(-?)([^\s:]+):")
_QUOTED = re.compile(r"""(["'])(.*?)\1(?=[,\s]|$)""", re.DOTALL)
_BARE = re.compile(r"[^,\s]*")
_RANGES = {">=": "[{},)", ">": "({},)", "<=": "(,{}]", "<": "(,{})", "": "[{0},{0}]"}


@dataclass(frozen=True, slots=True)
class Condition:
    """A predicate of `sql/filters.sql`, and what it is to be called with."""

    predicate: str
    parameters: Mapping[str, Any]
    is_negated: bool = False

    def sql(self, number: int) -> tuple[bytes, dict[str, Any]]:
        """The condition and its parameters, which bear the number, so that they are no other condition's."""
        _, text = _PREDICATES[self.predicate].split(b"\n", 1)
        for name in self.parameters:
            text = text.replace(f"%({name})s".encode(), f"%({name}_{number})s".encode())
        whole = b"AND NOT coalesce((" + text + b"), false)" if self.is_negated else b"AND (" + text + b")"
        return whole, {f"{name}_{number}": value for name, value in self.parameters.items()}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which runs are meant: what must hold for them, and what is known of where they can be (None: nothing).

    Made by `parse`, and by joining two with `&`.
    """

    text: str = ""
    conditions: tuple[Condition, ...] = ()
    states: frozenset[RunState] = _ALL_STATES
    pipelines: tuple[str, ...] | None = None
    groups: tuple[str, ...] | None = None
    keys: tuple[str, ...] | None = None
    since: datetime | None = None

    def __str__(self) -> str:
        return self.text

    def __and__(self, other: Filter) -> Filter:
        """The runs that both mean."""
        return Filter(
            f"{self.text} {other.text}".strip(),
            self.conditions + other.conditions,
            self.states & other.states,
            self.pipelines or other.pipelines,
            self.groups or other.groups,
            self.keys or other.keys,
            self.since or other.since,
        )

    @property
    def means_all(self) -> bool:
        """Whether there is no run that is not meant."""
        return not self.conditions and self.states == _ALL_STATES

    def sql(self) -> tuple[bytes, dict[str, Any]]:
        """The conditions, each after an AND, and their parameters."""
        conditions = self.conditions
        if self.states != _ALL_STATES:
            conditions = (Condition("state", {"values": sorted(self.states)}), *conditions)
        pairs = [condition.sql(number) for number, condition in enumerate(conditions)]
        parameters = {name: value for _, values in pairs for name, value in values.items()}
        return b"\n".join(text for text, _ in pairs), parameters


@dataclass(frozen=True, slots=True)
class _Value:
    """A value as it was written, without its quotes."""

    text: str
    is_quoted: bool


def parse(text: str, now: datetime | None = None) -> Filter:
    """The filter that a person wrote; the empty text means all runs. Raises UsageError.

    `now` is what the durations of `since:` are counted back from.
    """
    if len(text) > _MOST_CHARACTERS:
        raise UsageError(f"the filter has {len(text)} characters, the limit is {_MOST_CHARACTERS}")
    if odd := next((character for character in text if _is_control(character)), None):
        raise UsageError(f"the filter has the control character U+{ord(odd):04X}", "write ? for it where a pattern is taken")
    found, rest = Filter(), text.strip()
    while rest:
        named = _NAME.match(rest)
        if named is None:
            word = rest.split()[0][:60]
            raise UsageError(f'"{word}" in the filter is not of the form name:value', f"such as pipeline:{word}; {_NAMES}")
        minus, name = named.groups()
        values, rest = _values(name, rest[named.end() :])
        found &= _term(name, values, now or datetime.now(UTC), is_negated=bool(minus))
    return replace(found, text=text.strip())


def like(glob: str) -> str:
    """The LIKE pattern of a glob with * and ?."""
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")


def _values(name: str, text: str) -> tuple[list[_Value], str]:
    """The values at the beginning of the text, and what comes after them."""
    values = []
    while True:
        is_quoted = text.startswith(('"', "'"))
        written = (_QUOTED if is_quoted else _BARE).match(text)
        if written is None:
            hint = "end the value with the quote that it begins with, then a comma, a space or nothing"
            raise UsageError(f"the quote after {name}: in the filter is not closed: {text[:60]}", hint)
        value = _Value(written[2] if is_quoted else written[0], is_quoted)
        if not value.text:
            raise UsageError(f"{name}: in the filter has an empty value", f"write {name}:VALUE, or leave the term out")
        values.append(value)
        text = text[written.end() :]
        if not text.startswith(","):
            return values, text.lstrip()
        text = text[1:]


def _term(name: str, values: Sequence[_Value], now: datetime, *, is_negated: bool) -> Filter:
    """The filter of one term. Raises UsageError."""
    kind, _, argument = name.partition(".")
    if kind not in _KINDS or bool(argument) != (kind == "args") or name.endswith("."):
        near = nearest(kind, _KINDS)
        raise UsageError(f'unknown term "{name[:60]}" in the filter', f"did you mean {_KINDS[near]}? {_NAMES}" if near else _NAMES)
    if kind == "state":
        states = frozenset(_state(value.text) for value in values)
        return Filter(states=_ALL_STATES - states if is_negated else states)
    if kind == "since":
        since = _since(values, now)
        condition = Condition("since", {"values": since}, is_negated)
        return Filter(conditions=(condition,), since=None if is_negated else since)
    if kind not in _GLOBS | _EXACT:
        ranges = [_range(name, value.text) for value in values]
        return Filter(conditions=(Condition(kind, {"values": ranges}, is_negated),))
    return _text_term(name, [_literal(name, value) for value in values], is_negated=is_negated)


def _text_term(name: str, texts: Sequence[str], *, is_negated: bool) -> Filter:
    """The filter of a term whose values are texts or globs."""
    kind, _, argument = name.partition(".")
    wanted = [like(text) for text in texts] if kind in _GLOBS else texts
    parameters = {"values": wanted} | ({"name": argument} if argument else {})
    term = Filter(conditions=(Condition(kind, parameters, is_negated),))
    match kind:
        case "pipeline" if not is_negated:
            return replace(term, pipelines=tuple(wanted))
        case "group" if not is_negated:
            return replace(term, groups=tuple(wanted))
        case "key" if not is_negated:
            return replace(term, keys=tuple(wanted))
    return term


def _state(text: str) -> RunState:
    try:
        return RunState(text)
    except ValueError:
        near = nearest(text, RunState)
        hint = f"did you mean {near}? " if near else ""
        raise UsageError(f'unknown state "{text[:60]}" in the filter', f"{hint}there are {', '.join(RunState)}") from None


def _since(values: Sequence[_Value], now: datetime) -> datetime:
    if len(values) > 1:
        raise UsageError("since: in the filter takes one value", "give the earliest")
    text = values[0].text
    try:
        return now - timedelta(seconds=parse_duration(text))
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None and len(text) <= len("2026-01-31"):
            moment = moment.replace(tzinfo=UTC)
        elif moment.tzinfo is None:
            raise UsageError(f'the time "{text[:60]}" in the filter has no zone', f"write since:{text}Z")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        hint = "write a duration or a time: since:1h, since:2026-01-31, since:2026-01-31T08:00:00Z"
        raise UsageError(f'since: in the filter has "{text[:60]}", which is no time', hint) from None


def _range(name: str, text: str) -> str:
    """A value, with a comparison or without, as a range of Postgres."""
    comparison = next(sign for sign in _RANGES if text.startswith(sign))
    number = text.removeprefix(comparison)
    if name == "took":
        try:
            return _RANGES[comparison].format(f"{parse_duration(number):f}")
        except ValueError as error:
            raise UsageError(f"took: in the filter: {error}", "such as took:>10s") from None
    if not re.fullmatch(r"[0-9]{1,9}", number):
        raise UsageError(f'{name}: in the filter has "{text[:60]}", which is no number', f"such as {name}:3 or {name}:>=3")
    return _RANGES[comparison].format(int(number))


def _literal(name: str, value: _Value) -> str:
    """The text of a value that cannot be compared by size."""
    if not value.is_quoted and value.text.startswith((">", "<")):
        raise UsageError(f"{name}: in the filter takes no comparison", f'write {name}:"{value.text[:60]}" if it begins so')
    return value.text


def _is_control(character: str) -> bool:
    """Whether a terminal might obey it, or the database could not store it; spaces of all kinds part the terms."""
    return unicodedata.category(character) in {"Cc", "Cs"} and not character.isspace()


_KINDS = {name.partition(".")[0]: name for name in TERMS}
_NAMES = f"the terms are {', '.join(TERMS)}"
