"""Documents keep the promise of their schemas; every `--json` output in these tests is checked too, where it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonschema import ValidationError

from orbitd.control.commands import COMMANDS
from tests.ctl import documents
from tests.ctl.conftest import Orbitctl
from tests.ctl.documents import Document
from tests.ctl.schemas import check, name_of, names, schema

DOCUMENTS: dict[str, Document] = {name: value for name, value in vars(documents).items() if isinstance(value, dict) and "schema" in value}


def objects(part: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The objects of a schema, itself included."""
    if "properties" in part:
        yield part
        for inner in part["properties"].values():
            yield from objects(inner)
    if "items" in part:
        yield from objects(part["items"])


@pytest.mark.parametrize("name", names())
def test_a_schema_says_what_it_is_for_and_is_open_to_more_fields(name: str) -> None:
    found = schema(name)
    assert found["title"]
    assert found["$id"] == f"urn:orbit:{name}:1"
    assert name == "error" or found["properties"]["schema"] == {"const": f"orbit.{name}/1"}
    for part in objects(found):
        assert "additionalProperties" not in part
        assert set(part["required"]) <= set(part["properties"])


@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents_fit_with_and_without_more_fields(name: str) -> None:
    check(DOCUMENTS[name])
    check(DOCUMENTS[name] | {"new_in_a_later_version": 1})


@pytest.mark.parametrize("name", DOCUMENTS)
def test_a_document_without_one_of_its_fields_is_refused(name: str) -> None:
    document, kind = DOCUMENTS[name], name_of(DOCUMENTS[name])
    for field in schema(kind)["required"]:
        with pytest.raises(ValidationError):
            check({key: value for key, value in document.items() if key != field}, kind)


@pytest.mark.parametrize(
    ("document", "change"),
    [
        (documents.STATUS, {"state": "well"}),
        (documents.STATUS, {"age_seconds": "0"}),
        (documents.STATUS, {"last_beat_at": "2026-01-01 10:00"}),
        (documents.LIST, {"slots": [documents.SLOTS[1] | {"run": 4711}]}),
        (documents.LIST, {"slots": [{"slot": 0}]}),
        (documents.HEALTH, {"status": "fine"}),
        (documents.EVENTS, {"next": None}),
    ],
)
def test_a_document_of_wrong_types_is_refused(document: Document, change: Document) -> None:
    with pytest.raises(ValidationError):
        check(document | change)


@pytest.mark.usefixtures("daemon")
@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "stop"])
def test_the_daemons_verbs_print_documents_that_fit(orbitctl: Orbitctl, name: str) -> None:
    words = [argument.choices[0] if argument.choices else "1" for argument in COMMANDS[name].arguments if argument.positional]
    assert orbitctl(name, *words, "--json").document["schema"].startswith("orbit.")


@pytest.mark.parametrize("words", [["status"], ["frob"], ["scale", "many"], ["-c", "/no/such.toml", "list"], ["describe", "4711"]])
def test_errors_fit_too(orbitctl: Orbitctl, words: list[str]) -> None:
    called = orbitctl(*words, "-o", "json")
    assert called.out == ""
    assert called.code != 0
    assert called.error["code"]


READING = [["runs"], ["pipelines"], ["dlq", "list"], ["check-interrupted"], ["audit"]]


@pytest.mark.parametrize("words", [*READING, ["recover", "--dry-run"], ["recover"], ["cancel", "--all", "--dry-run"]])
def test_an_empty_database_is_a_document_with_no_items(orbitctl: Orbitctl, environ: pytest.MonkeyPatch, dsn: str, words: list[str]) -> None:
    environ.setenv("DATABASE_URL", dsn)
    assert orbitctl(*words, "--json").document["items"] == []
    assert orbitctl(*words, "-o", "jsonl").out == ""
    assert orbitctl(*words, "-o", "csv").out == ""
    assert orbitctl(*words).code == 0


@pytest.mark.parametrize("words", [*READING, ["describe", "1"], ["logs", "1"], ["dlq", "show", "1"], ["enqueue", "a.b"], ["retry", "1"]])
def test_a_database_that_was_never_migrated_is_an_error_that_fits(
    orbitctl: Orbitctl, environ: pytest.MonkeyPatch, empty_dsn: str, words: list[str]
) -> None:
    environ.setenv("DATABASE_URL", empty_dsn)
    called = orbitctl(*words, "--json")
    assert (called.code, called.out) == (78, "")
    assert "orbitd migrate" in called.error["hint"]


@pytest.mark.parametrize("words", [*READING, ["describe", "1"], ["dlq", "delete", "1", "--yes"]])
def test_a_database_that_does_not_answer_is_an_error_that_fits(
    orbitctl: Orbitctl, environ: pytest.MonkeyPatch, tmp_path: Path, words: list[str]
) -> None:
    environ.setenv("DATABASE_URL", f"postgresql:///x?host={tmp_path}")
    called = orbitctl(*words, "--json")
    assert (called.code, called.out, called.error["code"]) == (69, "", "database_unavailable")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_can_be_a_document(orbitctl: Orbitctl, shell: str) -> None:
    assert orbitctl("completion", shell, "--json").document["shell"] == shell
