"""What arguments a pipeline takes, read from its function, and whether given ones fit.

Arguments arrive as a JSON object, so only what JSON can hold is checked: text, integer, number, boolean, list, object
and null. An annotation that says more than that (a class of the author's) is not checked here.
"""

from __future__ import annotations

import inspect
import json
import types
import typing
from collections import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from orbitd.errors import nearest

_PLAIN: Mapping[Any, frozenset[type]] = types.MappingProxyType(
    {
        str: frozenset({str}),
        int: frozenset({int}),
        float: frozenset({float, int}),
        bool: frozenset({bool}),
        list: frozenset({list}),
        abc.Sequence: frozenset({list}),
        dict: frozenset({dict}),
        abc.Mapping: frozenset({dict}),
        None: frozenset({type(None)}),
        type(None): frozenset({type(None)}),
    }
)
_WORDS: Mapping[type, str] = types.MappingProxyType(
    {str: "text", int: "an integer", float: "a number", bool: "a boolean", list: "a list", dict: "an object", type(None): "null"}
)
_CONTEXT_NAMES = ("", "ctx", "context")


@dataclass(frozen=True)
class Signature:
    """The arguments of a pipeline, without its context. `open`: it takes names beyond these (`**kwargs`).

    `accepted` has, for the names whose annotation says it, the types that JSON may give.
    """

    required: tuple[str, ...]
    optional: tuple[str, ...]
    open: bool
    accepted: Mapping[str, frozenset[type]]
    context_name: str

    def to_json(self) -> str:
        """What the store keeps: the names, which an enqueue in plain SQL is checked by, and which of them take text only."""
        text = [name for name, types in self.accepted.items() if str in types and types <= {str, type(None)}]
        names = {"required": self.required, "optional": self.optional, "open": self.open, "text": text}
        return json.dumps(names, separators=(",", ":"))

    def problems(self, arguments: Mapping[str, Any]) -> list[str]:
        """What is wrong with the arguments, a sentence each; empty when they fit."""
        return [*self._missing(arguments), *self._unknown(arguments), *self._mistyped(arguments)]

    def _missing(self, arguments: Mapping[str, Any]) -> list[str]:
        return [f'argument "{name}" is missing' for name in self.required if name not in arguments]

    def _unknown(self, arguments: Mapping[str, Any]) -> list[str]:
        known = [*self.required, *self.optional]
        strangers = [name for name in arguments if name not in known and (not self.open or name == self.context_name)]
        return [f'argument "{name}" is unknown{_did_you_mean(name, known)}' for name in strangers]

    def _mistyped(self, arguments: Mapping[str, Any]) -> list[str]:
        return [
            f'argument "{name}" is {_WORDS[type(value)]}, expected {_spoken(self.accepted[name])}'
            for name, value in arguments.items()
            if name in self.accepted and type(value) not in self.accepted[name]
        ]


def signature_of(function: Callable[..., Any]) -> Signature:
    """The signature of a pipeline's function.

    Raises ValueError when runs could not call it: no context, positional-only or `*` parameters.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or not _is_context(parameters[0]):
        raise ValueError('the first parameter must be the context: write "def f(ctx: Context, ...)"')
    context = parameters.pop(0)
    for parameter in parameters:
        if parameter.kind in {Parameter.POSITIONAL_ONLY, Parameter.VAR_POSITIONAL}:
            raise ValueError(f'parameter "{parameter}" cannot be given by name, and the arguments of a run have names')
    named = [parameter for parameter in parameters if parameter.kind is not Parameter.VAR_KEYWORD]
    accepted = {parameter.name: _accepted(function, parameter) for parameter in named}
    return Signature(
        required=tuple(parameter.name for parameter in named if parameter.default is Parameter.empty),
        optional=tuple(parameter.name for parameter in named if parameter.default is not Parameter.empty),
        open=len(named) < len(parameters),
        accepted={name: kinds for name, kinds in accepted.items() if kinds},
        context_name=context.name,
    )


def _is_context(parameter: Parameter) -> bool:
    if parameter.kind not in {Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD}:
        return False
    annotation = parameter.annotation if isinstance(parameter.annotation, str) else getattr(parameter.annotation, "__name__", "")
    return parameter.name.strip("_") in _CONTEXT_NAMES or annotation.rpartition(".")[2] in {"Context", "AsyncContext"}


def _accepted(function: Callable[..., Any], parameter: Parameter) -> frozenset[type]:
    """The types that may be given; empty when the annotation does not tell, as with names that only type checkers see."""
    if parameter.annotation is Parameter.empty:
        return frozenset()
    holder = types.SimpleNamespace(__annotations__={"it": parameter.annotation})
    try:
        allowed = _allowed(typing.get_type_hints(holder, globalns=getattr(function, "__globals__", {}))["it"])
    except Exception:  # noqa: BLE001 - an annotation is an expression of the author's, and may raise anything
        return frozenset()
    return allowed | {type(None)} if allowed and parameter.default is None else allowed


def _allowed(hint: Any) -> frozenset[type]:
    origin = typing.get_origin(hint)
    if origin in {typing.Union, types.UnionType}:
        alternatives = [_allowed(alternative) for alternative in typing.get_args(hint)]
        return frozenset().union(*alternatives) if all(alternatives) else frozenset()
    if typing.is_typeddict(hint):
        return _PLAIN[dict]
    return _PLAIN.get(origin or hint, frozenset())


def _did_you_mean(name: str, known: list[str]) -> str:
    near = nearest(name, known)
    return f', did you mean "{near}"?' if near else ""


def _spoken(kinds: frozenset[type]) -> str:
    return " or ".join(word for kind, word in _WORDS.items() if kind in kinds)
