"""`orbitd config`: what is in force and why, what it means, and a file to begin with."""

from __future__ import annotations

import json
import stat
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from orbitd.config import OPTIONS
from tests.cli.conftest import Orbitd
from tests.ctl.schemas import check as check_schema

Configure = Callable[..., Path]
BASE = '[database]\nurl = "postgresql://app:s3cret@localhost/app"\n[children]\ncount = 3\n'


def test_show_prints_every_option_as_toml_that_can_be_read_again(orbitd: Orbitd, configure: Configure) -> None:
    configure(BASE)
    done = orbitd("config", "show")
    assert (done.returncode, done.stderr) == (0, "")
    found = tomllib.loads(done.stdout)
    assert {(section, key) for section, values in found.items() for key in values} == set(OPTIONS)
    assert found["children"]["count"] == 3
    assert "s3cret" not in done.stdout
    assert "********" in found["database"]["url"]


def test_show_origin_says_where_each_value_comes_from(orbitd: Orbitd, configure: Configure) -> None:
    path = configure(BASE)
    done = orbitd("-w", "5", "config", "show", "--origin", "--set", "runs.timeout=7s", ORBITD_POLL__INTERVAL="2s", LOG_LEVEL="WARN")
    lines = {line.partition(" = ")[0]: line for line in done.stdout.splitlines()}
    assert lines["count"].startswith("count = 5 ")
    assert lines["count"].endswith("# --children")
    assert lines["timeout"].endswith("# --set")
    assert lines["interval"].endswith("# environment: ORBITD_POLL__INTERVAL")
    assert lines["level"].endswith("# environment: LOG_LEVEL")
    assert lines["url"].endswith(f"# {path}:2:1")
    assert lines["beat"].endswith("# default")


def test_show_json_has_key_value_and_origin(orbitd: Orbitd, configure: Configure) -> None:
    path = configure(BASE)
    answer = json.loads(orbitd("config", "show", "--json").stdout)
    assert (answer["schema"], answer["files"]) == ("orbit.config/1", [str(path)])
    check_schema(answer)
    count = next(item for item in answer["items"] if item["key"] == "children.count")
    assert (count["value"], count["origin"]) == (3, f"{path}:4:1")
    values = {item["key"]: item["value"] for item in answer["items"]}
    assert (values["instance.name"], values["app.queues"], values["logging.per_run"]) == ("$HOSTNAME", ["*"], True)
    assert values["database.url"].startswith("********")
    assert "s3cret" not in json.dumps(answer)


def test_diff_prints_only_what_differs_from_the_defaults(orbitd: Orbitd, configure: Configure) -> None:
    configure(BASE)
    found = tomllib.loads(orbitd("config", "diff").stdout)
    assert found == {"database": {"url": found["database"]["url"]}, "children": {"count": 3}}
    configure("")
    done = orbitd("config", "diff")
    assert (done.stdout, done.stderr) == ("", "every option has its default\n")


def test_explain_tells_all_of_an_option(orbitd: Orbitd, configure: Configure) -> None:
    path = configure(BASE)
    said = orbitd("config", "explain", "children.count").stdout
    for word in (OPTIONS["children", "count"].doc[:20], "ORBITD_CHILDREN__COUNT", "--children", "-w", "auto", f"{path}:4:1", "live"):
        assert word in said
    answer = json.loads(orbitd("config", "explain", "children.count", "--json").stdout)
    assert (answer["schema"], answer["key"], answer["value"]) == ("orbit.option/1", "children.count", 3)
    assert answer["default"] == "auto"
    check_schema(answer)


def test_explain_of_a_section_lists_its_options(orbitd: Orbitd) -> None:
    for name in ("restart", "[restart]"):
        said = orbitd("config", "explain", name).stdout
        assert all(f"restart.{key} " in said for section, key in OPTIONS if section == "restart")
    check_schema(json.loads(orbitd("config", "explain", "restart", "--json").stdout))


def test_explain_of_an_unknown_option_suggests_the_near_one(orbitd: Orbitd) -> None:
    done = orbitd("config", "explain", "children.cuont")
    assert done.returncode == 4
    assert "children.count" in done.stderr


def test_explain_works_with_a_broken_file_too(orbitd: Orbitd, configure: Configure) -> None:
    configure("[childern]\n")
    done = orbitd("config", "explain", "children.count")
    assert done.returncode == 0
    assert "childern" in done.stderr
    assert "ORBITD_CHILDREN__COUNT" in done.stdout
    answer = json.loads(orbitd("config", "explain", "children.count", "--json").stdout)
    check_schema(answer)
    assert answer["value"] is None


def test_show_of_a_broken_file_ends_with_78(orbitd: Orbitd, configure: Configure) -> None:
    configure("[childern]\n")
    done = orbitd("config", "show")
    assert (done.returncode, done.stdout) == (78, "")
    assert "did you mean children?" in done.stderr


def test_the_schema_is_json_with_every_option(orbitd: Orbitd) -> None:
    schema = json.loads(orbitd("config", "schema").stdout)
    assert all(key in schema["properties"][section]["properties"] for section, key in OPTIONS)


class TestInit:
    def test_it_prints_the_shipped_file(self, orbitd: Orbitd) -> None:
        assert orbitd("config", "init").stdout == (Path(__file__).parents[2] / "conf/orbitd.toml").read_text()

    def test_it_writes_a_file_that_others_cannot_read_and_that_is_sound(self, orbitd: Orbitd, folder: Path) -> None:
        done = orbitd("config", "init", "new.toml")
        assert done.returncode == 0
        assert "orbitd check -c new.toml" in done.stderr
        assert stat.S_IMODE((folder / "new.toml").stat().st_mode) == 0o640
        assert orbitd("check", "-c", "new.toml", DATABASE_URL="postgresql://localhost/app").returncode == 0

    def test_the_document_has_path_and_text(self, orbitd: Orbitd, folder: Path) -> None:
        for words, path in ((["init"], None), (["init", "new.toml"], str(folder / "new.toml"))):
            answer = json.loads(orbitd("config", *words, "--json").stdout)
            check_schema(answer)
            assert answer["path"] == path
            assert tomllib.loads(answer["text"])

    def test_it_leaves_a_file_alone_that_exists(self, orbitd: Orbitd, configure: Configure) -> None:
        path = configure(BASE)
        done = orbitd("config", "init", path)
        assert done.returncode == 6
        assert f"{path} exists already" in done.stderr
        assert path.read_text() == BASE

    @pytest.mark.parametrize("name", ["nowhere/orbitd.toml", "/proc/orbitd.toml"])
    def test_a_place_that_cannot_be_written_to_is_one_clear_error(self, orbitd: Orbitd, name: str) -> None:
        done = orbitd("config", "init", name)
        assert done.returncode == 1
        assert f"orbitd: {name} cannot be written: no such file or directory" in done.stderr
