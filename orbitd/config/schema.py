"""The JSON schema of the configuration file, for editors that check TOML by one. Draft 2020-12; made from the table of options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orbitd.config.kinds import (
    AbsolutePath,
    AutoDuration,
    Backoff,
    Boolean,
    ChildrenCount,
    Choice,
    Duration,
    GlobList,
    Integer,
    Kind,
    Share,
    Size,
    TextList,
)
from orbitd.config.model import OPTIONS, SECTIONS
from orbitd.units import DURATION_PATTERN, SIZE_PATTERN

if TYPE_CHECKING:
    from orbitd.config.options import Option

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_ZERO = {"const": 0}
_DURATION = {"anyOf": [{"type": "string", "pattern": f"^(0|{DURATION_PATTERN})$"}, _ZERO]}
_SIZE = {"anyOf": [{"type": "string", "pattern": f"^(0|{SIZE_PATTERN})$"}, _ZERO]}
_TEXTS = {"type": "array", "items": {"type": "string", "minLength": 1}}


def schema() -> dict[str, Any]:
    """What an editor is given. It knows every option; ranges of durations, and what contradicts what, are left to `orbitd check`."""
    return {
        "$schema": _DIALECT,
        "title": "the configuration of orbitd",
        "type": "object",
        "additionalProperties": False,
        "properties": {name: _section(name, section) for name, section in SECTIONS.items()},
    }


def _section(name: str, section: type[Any]) -> dict[str, Any]:
    options = {key: _option(option) for (of, key), option in OPTIONS.items() if of == name}
    return {"type": "object", "description": section.__doc__, "additionalProperties": False, "properties": options}


def _option(option: Option) -> dict[str, Any]:
    description = f"{option.doc} ({option.kind.words}; {option.reload})"
    return {"description": description, "default": option.default, **_values(option.kind)}


def _values(kind: Kind) -> dict[str, Any]:  # noqa: C901, PLR0911 - one way out for each kind
    """What TOML may hold for an option of this kind; the derived kinds come before their bases."""
    match kind:
        case AutoDuration():
            return _or_word("auto", _DURATION)
        case Duration():
            return _DURATION
        case Size():
            return _SIZE
        case ChildrenCount():
            return _or_word("auto", {"type": "integer", "minimum": kind.least, "maximum": kind.most})
        case Integer():
            return {"type": "integer", "minimum": kind.least, "maximum": kind.most}
        case Choice():
            return {"enum": list(kind.choices)}
        case Boolean():
            return {"type": "boolean"}
        case Share():
            return {"type": "number", "minimum": 0, "maximum": 1}
        case AbsolutePath():
            return _or_word(kind.instead, {"type": "string", "pattern": "^/"})
        case Backoff():
            return _or_word("exponential", {"anyOf": [*_DURATION["anyOf"], {"type": "array", "items": _DURATION, "minItems": 1}]})
        case GlobList():
            return _TEXTS if kind.or_none else {**_TEXTS, "minItems": 1}
        case TextList():
            return _TEXTS
    return {"type": "string"}


def _or_word(word: str, values: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [{"const": word}, values]}
