"""Any value of a type, for hypothesis: every field of a dataclass is drawn, those with a default too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

_JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda each: st.lists(each, max_size=2), max_leaves=3)
_SCALARS = {
    str: st.text(max_size=5),
    int: st.integers(),
    bool: st.booleans(),
    float: st.floats(allow_nan=False),
    bytes: st.binary(max_size=5),
    NoneType: st.none(),
    Any: _JSON,
}


@cache
def anything(kind: Any) -> st.SearchStrategy[Any]:  # noqa: PLR0911 - one return a kind of type: the list is the point
    """Any value of the type."""
    origin: Any = get_origin(kind) or kind
    arguments = get_args(kind)
    if origin in _SCALARS:
        return _SCALARS[origin]
    if origin in (Union, UnionType):
        return st.one_of([anything(each) for each in arguments])
    if is_dataclass(origin):
        hints = get_type_hints(origin)
        make: Any = origin
        return st.builds(make, **{each.name: st.deferred(_lazily(hints[each.name])) for each in fields(origin)})
    if issubclass(origin, Enum):
        return st.sampled_from(origin)
    if origin is dict:
        return st.dictionaries(anything(arguments[0]), anything(arguments[1]), max_size=2)
    if origin is tuple and arguments[1:] != (...,):
        return st.tuples(*map(anything, arguments))
    return st.lists(anything(arguments[0]), max_size=2).map(origin)


def _lazily(kind: Any) -> Callable[[], st.SearchStrategy[Any]]:
    """Not yet: a type may hold itself."""
    return lambda: anything(kind)
