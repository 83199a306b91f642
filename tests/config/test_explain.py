"""Every value in force has a reason that can be read, a secret none that could be used."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbitd.config import OPTIONS, Key, Loaded, survey
from orbitd.config.explain import Shown, changes, explained, shown
from orbitd.config.manual import toml
from orbitd.config.options import Reload
from orbitd.errors import NoSuchObject

URL = "postgresql://app:hunter2@db/app"


def loaded(*overrides: str, path: Path | None = None, **environ: str) -> Loaded:
    return survey(path, overrides=overrides, environ=environ)


def row(key: str, of: Loaded) -> Shown:
    [found] = [one for one in shown(of) if one.key == key]
    return found


class TestShown:
    def test_every_option_is_there_in_the_order_of_the_table(self) -> None:
        assert [one.key for one in shown(loaded())] == [".".join(key) for key in OPTIONS]

    def test_what_is_shown_as_toml_means_the_same_again(self, tmp_path: Path) -> None:
        given = loaded(
            "children.count=3", 'app.path=["a b", "c\\"d"]', "runs.backoff=1s,5m", "health.failure_rate=0.5", "logging.per_run=no"
        )
        again = tmp_path / "again.toml"
        again.write_text("".join(f"{one.key} = {toml(one.value)}\n" for one in shown(given)))
        assert loaded(path=again).settings == given.settings

    def test_a_value_comes_with_its_origin(self, tmp_path: Path) -> None:
        file = tmp_path / "orbitd.toml"
        file.write_text('[poll]\n  interval = "2s"\n')
        given = loaded("runs.timeout=7s", "-w=5", path=file, LOG_LEVEL="WARN", ORBITD_HOST__LEASE="30s")
        assert row("poll.interval", given) == Shown("poll.interval", "2s", "", f"{file}:2:3", is_default=False)
        assert row("runs.timeout", given) == Shown("runs.timeout", "7s", "", "--set", is_default=False)
        assert row("children.count", given) == Shown("children.count", 5, "", "-w", is_default=False)
        assert row("logging.level", given) == Shown("logging.level", "warning", "", "environment: LOG_LEVEL", is_default=False)
        assert row("host.lease", given) == Shown("host.lease", "30s", "", "environment: ORBITD_HOST__LEASE", is_default=False)
        assert row("host.beat", given) == Shown("host.beat", "5s", "", "default", is_default=True)

    def test_what_a_value_stands_for_is_told_beside_it(self) -> None:
        given = loaded()
        assert row("children.count", given).meaning == str(given.settings.children.count)
        assert row("instance.name", given).meaning == given.settings.instance.name
        assert row("instance.name", loaded("instance.name=web1")).meaning == ""

    def test_a_default_that_is_written_down_is_no_difference(self) -> None:
        assert row("poll.interval", loaded("poll.interval=5000ms")).is_default
        assert not row("poll.interval", loaded("poll.interval=5001ms")).is_default

    def test_a_secret_is_a_mask_that_differs_for_another(self) -> None:
        one = loaded(ORBITD_DATABASE__URL=URL)
        other = loaded(ORBITD_DATABASE__URL=URL.replace("hunter2", "hunter3"))
        assert "********" in row("database.url", one).value
        assert row("database.url", one) == row("database.url", loaded(ORBITD_DATABASE__URL=URL))
        assert row("database.url", one) != row("database.url", other)
        assert "hunter" not in repr((shown(one), shown(other), one, other.origins))

    def test_a_secret_s_reference_is_shown_as_it_stands(self) -> None:
        found = row("database.url", loaded("database.url=env:ELSEWHERE", ELSEWHERE=URL))
        assert found.value == "env:ELSEWHERE"
        assert found.meaning.startswith("********")
        assert "hunter2" not in repr(found)


class TestChanges:
    def test_what_is_only_written_differently_is_no_change(self) -> None:
        assert changes(loaded("poll.interval=5000ms", "children.count=3"), loaded("poll.interval=5s", "-w=3")) == []

    def test_each_changed_option_comes_with_both_values_and_its_class(self, tmp_path: Path) -> None:
        file = tmp_path / "orbitd.toml"
        file.write_text('[runs]\ntimeout = "7s"\n')
        old = loaded("children.count=2", "control.group=one", "poll.interval=1s")
        new = loaded("children.count=3", "control.group=two", "poll.interval=1s", path=file)
        found = {change.key: change for change in changes(old, new)}
        assert list(found) == ["children.count", "runs.timeout", "control.group"]
        assert (found["children.count"].old, found["children.count"].new, found["children.count"].reload) == (2, 3, Reload.LIVE)
        assert found["runs.timeout"].reload == Reload.NEW_RUNS
        assert found["runs.timeout"].origin == f"{file}:2:1"
        assert found["control.group"].reload_words == "only after a restart of orbitd"

    def test_a_secret_that_has_changed_is_shown_by_two_masks(self) -> None:
        old, new = loaded(DATABASE_URL=URL), loaded(DATABASE_URL=URL.replace("hunter2", "hunter3"))
        [change] = changes(old, new)
        assert change.key == "database.url"
        assert change.old != change.new
        assert "hunter" not in repr(change)


class TestExplained:
    @pytest.mark.parametrize("key", OPTIONS, ids=".".join)
    def test_every_option_can_be_asked_for(self, key: Key) -> None:
        name = ".".join(key)
        found = explained(name)
        assert (found.key, found.doc, found.words) == (name, OPTIONS[key].doc, OPTIONS[key].kind.words)
        assert found.default == OPTIONS[key].default
        assert (found.value, found.meaning, found.origin) == (None, "", "")
        assert f"ORBITD_{key[0].upper()}__{key[1].upper()}" in "\n".join(found.lines())

    @pytest.mark.parametrize("reload", Reload)
    def test_every_reload_class_is_put_into_words(self, reload: Reload) -> None:
        found = next(explained(".".join(key)) for key, option in OPTIONS.items() if option.reload is reload)
        assert found.reload == reload
        assert found.reload_words
        assert f"{found.reload}: {found.reload_words}" in "\n".join(found.lines())

    def test_what_is_in_force_is_told_where_that_is_known(self) -> None:
        found = explained("children.count", loaded("--children=4"))
        assert (found.value, found.origin, found.flags) == (4, "--children", ("-w", "--children"))
        lines = "\n".join(found.lines())
        assert all(word in lines for word in ("4", "--children", "--set children.count=VALUE", '"auto"', OPTIONS["children", "count"].doc))

    def test_the_variables_of_other_programs_are_named(self) -> None:
        assert "POLL_INTERVAL" in explained("poll.interval").variables
        assert "LOG_LEVEL" in "\n".join(explained("logging.level").lines())

    @pytest.mark.parametrize(
        ("name", "hint"),
        [
            ("pol.interval", "did you mean poll.interval?"),
            ("timeout", "did you mean runs.timeout?"),
            ("timout", "did you mean runs.timeout?"),
            ("children.timeout", "did you mean runs.timeout?"),
            ("chidren", "did you mean children?"),
            ("x" * 100_000, "config show"),
            ("", "show"),
        ],
    )
    def test_an_unknown_name_suggests_the_near_one(self, name: str, hint: str) -> None:
        with pytest.raises(NoSuchObject) as caught:
            explained(name)
        assert hint in str(caught.value.hint)
        assert len(caught.value.message) < 100

    def test_a_strange_name_cannot_play_with_the_terminal(self) -> None:
        with pytest.raises(NoSuchObject) as caught:
            explained("poll.\x1b[31m\u202e")
        assert caught.value.message.isprintable()
