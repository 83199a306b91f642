"""The JSON schema of the configuration file, for editors that check TOML by one. Draft 2020-12; made from the table of options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orbitd.config.model import OPTIONS, SECTIONS

if TYPE_CHECKING:
    from orbitd.config.options import Option

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


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
    return {"description": description, "default": option.default, **option.kind.schema()}
