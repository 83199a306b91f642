"""The statements of the store: named paragraphs of the `.sql` files beside this module.

    -- name: lanes_of
    -- A child learns where to ask.
    SELECT ...

Parameters are named and carry their types as casts, so that no statement depends on what a driver guesses.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

FOLDER = Path(__file__).parent / "sql"
_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load(file: str) -> Mapping[str, bytes]:
    """The statements of `sql/<file>.sql` by name. Bytes, because psycopg takes no text that is not written in the code."""
    _, *parts = _NAME.split((FOLDER / f"{file}.sql").read_text("utf-8"))
    names, bodies = parts[::2], parts[1::2]
    return MappingProxyType({name: body.strip().encode() for name, body in zip(names, bodies, strict=True)})
