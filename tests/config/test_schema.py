"""An editor that checks by the schema says the same as `orbitd check`, as far as a schema can say it."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given, strategies as st

from orbitd.config import OPTIONS, SECTIONS
from orbitd.config.manual import schema

Key = tuple[str, str]
CONF = Path(__file__).parents[2] / "conf/orbitd.toml"
VALIDATOR = jsonschema.Draft202012Validator(schema())


def is_valid(document: dict[str, Any]) -> bool:
    return bool(VALIDATOR.is_valid(document))


def is_read(key: Key, value: object) -> bool:
    try:
        OPTIONS[key].kind.read(value)
    except ValueError:
        return False
    return True


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())


def test_the_shipped_file_is_valid_and_so_is_nothing_at_all() -> None:
    VALIDATOR.validate(tomllib.loads(CONF.read_text()))
    VALIDATOR.validate({})


@pytest.mark.parametrize("key", OPTIONS, ids=".".join)
def test_every_option_has_its_words_and_its_default(key: Key) -> None:
    option, told = OPTIONS[key], schema()["properties"][key[0]]["properties"][key[1]]
    assert told["default"] == option.default
    assert option.doc in told["description"]
    assert option.kind.words in told["description"]
    assert is_valid({key[0]: {key[1]: option.default}})


@pytest.mark.parametrize("document", [{"childern": {}}, {"children": {"cuont": 1}}, {"children": 3}, {"children": [{"count": 1}]}])
def test_what_is_unknown_or_of_another_shape_is_wrong(document: dict[str, Any]) -> None:
    assert not is_valid(document)


@pytest.mark.parametrize("key", OPTIONS, ids=".".join)
def test_a_value_of_another_kind_is_wrong(key: Key) -> None:
    assert not is_valid({key[0]: {key[1]: {"a": 1}}})
    assert not is_valid({key[0]: {key[1]: [[1]]}})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (("poll", "interval"), "5"),
        (("poll", "interval"), 5),
        (("children", "max_rss"), "512mb "),
        (("children", "count"), 49),
        (("children", "count"), "many"),
        (("control", "socket"), "orbitd.sock"),
        (("logging", "level"), "inof"),
        (("logging", "per_run"), "yes"),
        (("health", "failure_rate"), 1.5),
        (("app", "queues"), []),
        (("app", "pipelines"), []),
        (("runs", "backoff"), []),
    ],
)
def test_a_wrong_value_is_wrong_in_both(key: Key, value: object) -> None:
    assert not is_valid({key[0]: {key[1]: value}})
    assert not is_read(key, value)


@given(
    st.sampled_from(sorted(OPTIONS)),
    st.one_of(
        st.integers(-10, 2000),
        st.floats(0, 2),
        st.booleans(),
        st.sampled_from(["auto", "0", "5s", "1h30m", "500MiB", "/run/x", "exponential", "info", "text", "resume", "", "env:X"]),
        st.lists(st.sampled_from(["a", "*", "5s", "./x"]), max_size=2),
    ),
)
def test_nothing_that_is_taken_is_called_wrong_by_the_editor(key: Key, value: object) -> None:
    assert not is_read(key, value) or is_valid({key[0]: {key[1]: value}})


def test_every_section_is_described() -> None:
    assert {name: told["description"] for name, told in schema()["properties"].items()} == {
        name: section.__doc__ for name, section in SECTIONS.items()
    }
