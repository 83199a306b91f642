"""What contradicts what: options that are each right, and together wrong, or hardly meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from orbitd.units import format_duration

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from orbitd.config.options import Key


class Rule(NamedTuple):
    """Two options, when they contradict each other, and why that matters. Wrong is an error, else it is a warning."""

    key: Key
    other: Key
    is_broken: Callable[[Any, Any], bool]
    relation: str
    consequence: str = ""
    is_wrong: bool = True

    def message(self, value: object, other: object) -> str:
        """The rule as it is broken by these values; names both options and both values."""
        why = f": {self.consequence}" if self.consequence else ""
        return f"is {_told(value)}, {self.relation} {'.'.join(self.other)}, {_told(other)}{why}"


RULES = (
    Rule(
        ("host", "beat"),
        ("host", "lease"),
        lambda beat, lease: beat * 3 > lease,
        "more than a third of",
        "one slow beat would cost the lease",
    ),
    Rule(("restart", "backoff_first"), ("restart", "backoff_longest"), lambda first, longest: first > longest, "longer than"),
    Rule(
        ("health", "errors_healthy"),
        ("health", "errors_unhealthy"),
        lambda healthy, unhealthy: healthy > unhealthy,
        "more than",
        "one error would be over as it begins",
    ),
    Rule(("instance", "pid_file"), ("control", "socket"), lambda file, socket: file == socket, "the same path as"),
    Rule(
        ("database", "call_timeout"),
        ("host", "lease"),
        lambda timeout, lease: timeout >= lease,
        "not less than",
        "a call that hangs may cost the lease",
        is_wrong=False,
    ),
    Rule(
        ("database", "connect_timeout"),
        ("host", "lease"),
        lambda timeout, lease: timeout >= lease,
        "not less than",
        "an attempt to connect may cost the lease",
        is_wrong=False,
    ),
)


def broken(values: Mapping[Key, Any]) -> Iterator[tuple[Rule, str]]:
    """The rules that are broken, with what is wrong; of options without a value nothing is known."""
    for rule in RULES:
        if rule.key in values and rule.other in values and rule.is_broken(values[rule.key], values[rule.other]):
            yield rule, rule.message(values[rule.key], values[rule.other])


def _told(value: object) -> str:
    return format_duration(value) if isinstance(value, float) else str(value)
