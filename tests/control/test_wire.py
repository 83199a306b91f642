"""A line is a request of the table, or it is refused: whatever bytes it has."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, strategies as st

from orbitd.control.commands import COMMANDS, find, scaled
from orbitd.control.wire import (
    LONGEST_REQUEST_BYTES,
    Answer,
    Garbled,
    encode_answer,
    encode_request,
    parse_answer,
    parse_request,
)
from orbitd.errors import ConfigError, Conflict, ExitCode, OrbitError, Refused, UsageError

LINE = encode_request("scale", {"amount": "+2", "wait": True})


def test_a_request_comes_back_as_it_was_sent_with_its_defaults() -> None:
    request = parse_request(LINE, uid=7)
    assert (request.command, request.args, request.uid) == (COMMANDS["scale"], {"amount": "+2", "wait": True}, 7)
    assert parse_request(encode_request("stop", {})).args == {"now": False}
    assert parse_request(b'{"command": "status"}').args == {}


@pytest.mark.parametrize("length", range(len(LINE) - 1))
def test_every_prefix_of_a_request_is_garbled(length: int) -> None:
    with pytest.raises(Garbled):
        parse_request(LINE[:length])


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b'"status"',
        b"12",
        b"NaN",
        b'{"command": "status"} {}',
        b'{"command": "status", "command": "stop"}',
        b'{"command": "status", "args": {"a": 1, "a": 2}}',
        b'{"command": "scale", "args": {"amount": NaN}}',
        b'{"command": "scale", "args": {"amount": Infinity}}',
        b'{"command": "scale", "args": {"amount": ' + b"9" * 10_000 + b"}}",
        b"[" * 5_000 + b"]" * 5_000,
        b'{"a":' * 5_000 + b"1" + b"}" * 5_000,
        b'{"command": "sta\xfftus"}',
        b'\xef\xbb\xbf{"command": "status"}',
        b'{"command": "status", "args": {"x": "' + b"x" * LONGEST_REQUEST_BYTES + b'"}}',
    ],
)
def test_what_is_no_request_is_garbled(line: bytes) -> None:
    with pytest.raises(Garbled) as caught:
        parse_request(line)
    assert caught.value.exit_code == ExitCode.USAGE


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "command is not a text"),
        ({"command": 1}, "command is not a text"),
        ({"command": "status", "args": []}, "args is not an object"),
        ({"command": "status", "more": 1}, "the keys command and args, and no others"),
        ({"command": "__class__"}, 'unknown command "__class__"'),
        ({"command": "status.__class__"}, "unknown command"),
        ({"command": "os.system"}, "unknown command"),
        ({"command": ""}, 'unknown command ""'),
        ({"command": "x" * 9999}, "unknown command"),
        ({"command": "status", "args": {"verbose": True}}, 'status: unknown argument "verbose"'),
        ({"command": "scale"}, "amount: a NoneType is not a number of children"),
        ({"command": "scale", "args": {"amount": 4}}, "amount: 4 is not a number of children"),
        ({"command": "scale", "args": {"amount": "4.5"}}, 'amount: "4.5" is not'),
        ({"command": "scale", "args": {"amount": "٤"}}, "is not a number of children"),
        ({"command": "scale", "args": {"amount": "99999"}}, "is not a number of children"),
        ({"command": "scale", "args": {"amount": 10**30}}, "a int is not a number of children"),
        ({"command": "scale", "args": {"amount": "1", "wait": 1}}, "wait: 1 is not true or false"),
        ({"command": "scale", "args": {"amount": "1", "wait": "true"}}, 'wait: "true" is not true or false'),
        ({"command": "scale", "args": {"amount": "1", "timeout": "5s"}}, 'unknown argument "timeout"'),
    ],
)
def test_a_wrong_command_or_argument_is_told(document: object, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_request(json.dumps(document).encode())
    assert not isinstance(caught.value, Garbled)
    assert message in caught.value.message
    assert len(caught.value.message) < 200


def test_an_unknown_command_suggests_a_near_one() -> None:
    with pytest.raises(UsageError) as caught:
        find("reloda")
    assert caught.value.hint == "did you mean reload?"


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_a_usage_error(line: bytes) -> None:
    try:
        parse_request(line)
    except UsageError:
        return


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=9,
)


@given(st.dictionaries(st.text(max_size=9), _JSON, max_size=4))
def test_any_result_comes_back_as_it_was(result: dict[str, object]) -> None:
    assert parse_answer(encode_answer(Answer(result))) == result


@pytest.mark.parametrize("kind", [OrbitError, UsageError, Refused, Conflict, ConfigError])
def test_an_error_comes_back_as_its_kind(kind: type[OrbitError]) -> None:
    with pytest.raises(kind) as caught:
        parse_answer(encode_answer(Answer(error=kind("it is so\nand so", "do this"))))
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.hint) == ("it is so\nand so", "do this")


@pytest.mark.parametrize(
    "line", [b"", b"{}", b"[]", b'{"ok": true}', b'{"ok": true, "result": 1}', b'{"ok": false, "error": {}}', b"<html>"]
)
def test_an_answer_of_something_else_is_garbled(line: bytes) -> None:
    with pytest.raises(Garbled):
        parse_answer(line)


def test_amounts_are_absolute_or_relative_and_have_limits() -> None:
    assert [scaled(amount, 4) for amount in ("7", "+2", "-1", "-4", "0")] == [7, 6, 3, 0, 0]
    for amount in ("-5", "1025", "+1021"):
        with pytest.raises(UsageError):
            scaled(amount, 4)
