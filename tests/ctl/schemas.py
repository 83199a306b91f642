"""The shipped schemas, as a script would use them."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

FOLDER = files("orbitd.control") / "schemas"


def names() -> list[str]:
    """Of all schemas."""
    return sorted(path.name.removesuffix(".json") for path in FOLDER.iterdir())


@functools.cache
def schema(name: str) -> Mapping[str, Any]:
    """That of `orbit.NAME/1`, or of an error."""
    found: Mapping[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    Draft202012Validator.check_schema(found)
    return found


def check(document: Mapping[str, Any], name: str = "") -> None:
    """Raises when the document does not fit the schema that it names."""
    Draft202012Validator(schema(name or name_of(document))).validate(document)


def name_of(document: Mapping[str, Any]) -> str:
    """`status` of a document that is `orbit.status/1`."""
    return str(document["schema"]).removeprefix("orbit.").removesuffix("/1")
