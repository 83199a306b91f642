"""Plain JSON values for dataclasses, and back, by their type hints alone: no list of fields that somebody must keep in step.

A field that is missing gets its default: it is newer than whoever wrote. One that is unknown is refused: it is newer than
we are, and would be lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_COLLECTIONS = (list, tuple, set, frozenset)
_SCALARS: tuple[type, ...] = (str, bool, int, float, NoneType)


class Unreadable(ValueError):
    """It does not fit the type; the message says where."""


def plain(value: object) -> Any:
    """What `restored` makes the value of again. Raises TypeError for what it could not."""
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(item) for key, item in value.items()}
    if isinstance(value, _COLLECTIONS):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, _SCALARS):
        return value
    raise TypeError(f"a {type(value).__name__} has no plain form")


def restored(kind: type[T], value: Any, place: str = "") -> T:
    """The value of this type whose plain form it is. Raises Unreadable."""
    made: T = _restored(kind, value, place)
    return made


def _restored(kind: Any, value: Any, place: str) -> Any:  # noqa: PLR0911 - one return a kind of type: the list is the point
    origin, arguments = get_origin(kind) or kind, get_args(kind)
    if origin in (Any, object):
        return value
    if origin in (Union, UnionType):
        return _first_that_fits(arguments, value, place)
    if is_dataclass(origin):
        return _dataclass(origin, value, place)
    if origin in _COLLECTIONS:
        return origin(_items(origin, arguments, _checked(list, value, place), place))
    if origin is dict:
        of_key, of_item = arguments or (Any, Any)
        return {_key(of_key, key, place): _restored(of_item, item, f"{place}[{key}]") for key, item in _checked(dict, value, place).items()}
    if origin is bytes:
        return _made(lambda: _checked(str, value, place).encode("latin-1"), value, place)
    if issubclass(origin, Enum):
        return _made(lambda: origin(value), value, place)
    if origin is float:
        return float(value) if type(value) is int else _checked(float, value, place)
    return _checked(origin, value, place)


def _dataclass(kind: Any, value: Any, place: str) -> Any:
    given = _checked(dict, value, place)
    known = {field.name: field for field in fields(kind)}
    if unknown := given.keys() - known.keys():
        raise Unreadable(f"{place or kind.__name__}: unknown: {', '.join(sorted(unknown))}")
    for name, field in known.items():
        if name not in given and field.default is MISSING and field.default_factory is MISSING:
            raise Unreadable(f"{place or kind.__name__}: {name} is missing")
    hints = _hints(kind)
    return kind(**{name: _restored(hints[name], item, f"{place}.{name}".lstrip(".")) for name, item in given.items()})


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _items(origin: type, arguments: tuple[Any, ...], values: list[Any], place: str) -> Iterable[Any]:
    if origin is tuple and arguments[1:] != (...,):
        if len(arguments) != len(values):
            raise Unreadable(f"{place}: {len(values)} values instead of {len(arguments)}")
        kinds: Iterable[Any] = arguments
    else:
        kinds = [next(iter(arguments), Any)] * len(values)
    return [_restored(kind, item, f"{place}[{index}]") for index, (kind, item) in enumerate(zip(kinds, values, strict=True))]


def _key(kind: Any, key: str, place: str) -> Any:
    """The keys of a JSON object are texts."""
    is_number = isinstance(kind, type) and issubclass(kind, int)
    return _restored(kind, _made(lambda: int(key), key, place) if is_number else key, place)


def _first_that_fits(kinds: Iterable[Any], value: Any, place: str) -> Any:
    wrong: Unreadable | None = None
    for kind in kinds:
        try:
            return _restored(kind, value, place)
        except Unreadable as error:
            wrong = wrong or error
    raise wrong or Unreadable(place)


def _checked(kind: Any, value: Any, place: str) -> Any:
    if type(value) is not kind:
        raise Unreadable(f"{place}: {_shown(value)} is no {kind.__name__}")
    return value


def _made(make: Callable[[], Any], value: Any, place: str) -> Any:
    try:
        return make()
    except ValueError as error:
        raise Unreadable(f"{place}: {_shown(value)} does not fit") from error


def _shown(value: object) -> str:
    return repr(value)[:60]
