"""What stands in the environment and in a .env file counts where it should, in its own units, and says where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orbitd.config import OPTIONS, Faults, Key, Loaded, load, survey
from orbitd.errors import ExitCode

VALUES: dict[str, tuple[str, Any]] = {
    "poll.interval": ("1s", 1.0),
    "runs.timeout": ("2m", 120.0),
    "children.count": ("3", 3),
    "app.filter": ("a.*,b", ("a.*", "b")),
    "logging.per_run": ("no", False),
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "orbitd.toml"


def value(name: str, loaded: Loaded) -> Any:
    section, key = name.split(".")
    return getattr(getattr(loaded.settings, section), key)


def where(name: str, loaded: Loaded) -> str:
    section, key = name.split(".")
    return loaded.origins[section, key].where


def faults(path: Path | None = None, *overrides: str, **environ: str) -> list[str]:
    with pytest.raises(Faults) as caught:
        load(path, overrides=overrides, environ=environ)
    assert caught.value.exit_code == ExitCode.CONFIG
    assert [": ".join(filter(None, fault)) for fault in caught.value.faults] == caught.value.message.splitlines()
    return caught.value.message.splitlines()


class TestPrecedence:
    def test_each_source_counts_more_than_all_below_it(self, file: Path, tmp_path: Path) -> None:
        def survey_all(*overrides: str, **environ: str) -> tuple[float, str]:
            loaded = survey(file, overrides=overrides, environ=environ)
            return loaded.settings.poll.interval, where("poll.interval", loaded)

        file.write_text("")
        assert survey_all() == (5.0, "default")
        file.write_text('[poll]\ninterval = "6s"\n')
        assert survey_all() == (6.0, f"{file}:2:1")
        drop_ins = tmp_path / "orbitd.toml.d"
        drop_ins.mkdir()
        (drop_ins / "20-b.toml").write_text('poll = {interval = "8s"}')
        (drop_ins / "10-a.toml").write_text('[poll]\ninterval = "7s"\n')
        assert survey_all() == (8.0, f"{drop_ins}/20-b.toml:1:9")
        env_file = tmp_path / ".env"
        env_file.write_text("# mine\nPOLL_INTERVAL=9000\n")
        assert survey_all(f"--env-file={env_file}") == (9.0, f"{env_file}:2: POLL_INTERVAL")
        assert survey_all(f"--env-file={env_file}", POLL_INTERVAL="10000") == (10.0, "environment: POLL_INTERVAL")
        assert survey_all(POLL_INTERVAL="10000", ORBITD_POLL__INTERVAL="11s") == (11.0, "environment: ORBITD_POLL__INTERVAL")
        assert survey_all("poll.interval=12s", ORBITD_POLL__INTERVAL="11s") == (12.0, "--set")

    def test_a_flag_counts_like_set_and_the_last_wins(self) -> None:
        loaded = survey(None, overrides=["children.count=2", "--children=3"], environ={})
        assert (value("children.count", loaded), where("children.count", loaded)) == (3, "--children")
        loaded = survey(None, overrides=["-w=3", "children.count=2"], environ={})
        assert (value("children.count", loaded), where("children.count", loaded)) == (2, "--set")

    def test_every_option_has_an_origin(self) -> None:
        assert set(survey(None, environ={}).origins) == set(OPTIONS)
        assert {origin.where for origin in survey(None, environ={}).origins.values()} == {"default"}

    def test_the_files_that_were_read_are_told_in_their_order(self, file: Path, tmp_path: Path) -> None:
        file.write_text("")
        drop_ins = tmp_path / "orbitd.toml.d"
        drop_ins.mkdir()
        for name in ("b.toml", "a.toml", "ignored.toml~", "c.toml.dpkg-new", ".hidden.toml"):
            (drop_ins / name).write_text("")
        assert survey(file, environ={}).files == (file, drop_ins / "a.toml", drop_ins / "b.toml")
        assert survey(None, environ={}).files == ()

    def test_a_fault_in_a_drop_in_is_told_with_the_others(self, file: Path, tmp_path: Path) -> None:
        file.write_text("[poll]\nintervall = 1\n")
        drop_ins = tmp_path / "orbitd.toml.d"
        drop_ins.mkdir()
        (drop_ins / "a.toml").write_text("[poll")
        (drop_ins / "b.toml").write_text('[runs]\ntimeout = "x"')
        told = faults(file)
        assert [line.partition(": ")[0] for line in told] == [f"{file}:2:1", f"{drop_ins}/a.toml:1:6", f"{drop_ins}/b.toml:2:1"]

    @pytest.mark.parametrize("flag", [flag for option in OPTIONS.values() for flag in option.flags])
    def test_every_flag_is_one_option_s(self, flag: str) -> None:
        [key] = [key for key, option in OPTIONS.items() if flag in option.flags]
        told = faults(None, f"{flag}=\x1b")
        assert any(line.startswith(f"{flag}: {'.'.join(key)}: ") for line in told)

    @pytest.mark.parametrize(
        ("flag", "key"),
        [
            *(("-w", ("children", "count")), ("--children", ("children", "count")), ("--timeout", ("runs", "timeout"))),
            *(("--run-timeout", ("runs", "timeout")), ("--graceful-timeout", ("shutdown", "drain_timeout"))),
            *(("--log-level", ("logging", "level")), ("--pid", ("instance", "pid_file")), ("--queue", ("app", "queues"))),
            ("--env-file", ("app", "env_file")),
        ],
    )
    def test_the_hands_of_other_servers_find_their_flags(self, flag: str, key: Key) -> None:
        assert flag in OPTIONS[key].flags


class TestOwnVariables:
    @pytest.mark.parametrize("name", VALUES)
    def test_every_option_has_one(self, name: str) -> None:
        text, wanted = VALUES[name]
        variable = f"ORBITD_{name.upper().replace('.', '__')}"
        loaded = survey(None, environ={variable: text})
        assert (value(name, loaded), where(name, loaded)) == (wanted, f"environment: {variable}")

    def test_it_may_name_a_file(self, tmp_path: Path) -> None:
        secret = tmp_path / "url"
        secret.write_text("postgresql://u:hunter2@db/app\n")
        loaded = survey(None, environ={"ORBITD_DATABASE__URL_FILE": str(secret)})
        assert loaded.settings.database.url == "postgresql://u:hunter2@db/app"
        assert where("database.url", loaded) == "environment: ORBITD_DATABASE__URL_FILE"
        assert "hunter2" not in repr(loaded.origins)

    def test_an_option_that_ends_in_file_is_itself(self, tmp_path: Path) -> None:
        (tmp_path / "env").write_text("A=1")
        assert survey(None, environ={"ORBITD_APP__ENV_FILE": str(tmp_path / "env")}).environ["A"] == "1"
        assert survey(None, environ={"ORBITD_INSTANCE__PID_FILE": "/run/x.pid"}).settings.instance.pid_file == "/run/x.pid"

    def test_both_it_and_a_file_is_a_fault(self, tmp_path: Path) -> None:
        [told] = faults(ORBITD_POLL__INTERVAL="1s", ORBITD_POLL__INTERVAL_FILE=str(tmp_path))
        assert told.startswith("environment: ORBITD_POLL__INTERVAL_FILE: poll.interval: ")
        assert "ORBITD_POLL__INTERVAL" in told.rpartition("poll.interval: ")[2]

    def test_a_file_that_is_not_there_is_a_fault(self) -> None:
        told = faults(ORBITD_POLL__INTERVAL_FILE="/no/such", LOG_LEVEL_FILE="/no/such")
        assert sorted(told) == [
            "environment: LOG_LEVEL_FILE: logging.level: /no/such cannot be read: no such file or directory",
            "environment: ORBITD_POLL__INTERVAL_FILE: poll.interval: /no/such cannot be read: no such file or directory",
        ]

    def test_a_forgotten_underscore_is_a_fault_with_the_name_that_was_meant(self) -> None:
        [told] = faults(ORBITD_POLL_INTERVAL="1s")
        assert told == "environment: ORBITD_POLL_INTERVAL: unknown variable, did you mean ORBITD_POLL__INTERVAL?"

    def test_the_programs_own_names_are_no_options(self) -> None:
        load(None, environ={"ORBITD_CONFIG": "x", "ORBITD_SOCKET": "x", "ORBITD": "x", "ORBITD_": "x"})


class TestVariablesOfOtherPrograms:
    @pytest.mark.parametrize(
        ("name", "text", "option", "wanted"),
        [
            ("POLL_INTERVAL", "3000", "poll.interval", 3.0),
            ("POLL_INTERVAL", "250", "poll.interval", 0.25),
            ("POLL_INTERVAL", "4s", "poll.interval", 4.0),
            ("WORKER_POLL_INTERVAL_MS", "3000", "poll.interval", 3.0),
            ("METRICS_INTERVAL", "60000", "metrics.report_interval", 60.0),
            ("METRICS_INTERVAL", "0", "metrics.report_interval", 0.0),
            ("MAX_EXECUTION_TIMEOUT", "600000", "runs.timeout", 600.0),
            ("LOGS_DIR", "/var/log/orbit", "logging.dir", "/var/log/orbit"),
            ("PIPELINE_FILTER", "analytics-*, mail", "app.filter", ("analytics-*", "mail")),
            ("WORKER_INSTANCE", "primary", "instance.name", "primary"),
            ("PROJECT_ROOT", "/srv/app", "app.working_directory", "/srv/app"),
            ("NODE_ENV", "development", "logging.format", "text"),
            ("NODE_ENV", "production", "logging.format", "auto"),
            *(("LOG_LEVEL", text, "logging.level", "debug") for text in ("debug", "DEBUG", "trace", "verbose", "silly", "10", " Debug ")),
            *(("LOG_LEVEL", text, "logging.level", "info") for text in ("info", "INFO", "http", "notice", "20")),
            *(("LOG_LEVEL", text, "logging.level", "warning") for text in ("WARN", "warning", "Warning", "30")),
            *(("LOG_LEVEL", text, "logging.level", "error") for text in ("Error", "critical", "FATAL", "40", "50")),
        ],
    )
    def test_each_is_taken_in_its_own_spelling(self, name: str, text: str, option: str, wanted: object) -> None:
        loaded = survey(None, environ={name: text})
        assert value(option, loaded) == wanted
        assert where(option, loaded) in {f"environment: {name}", "default"}
        assert value(option, survey(None, environ={name: ""})) == value(option, survey(None, environ={}))

    @pytest.mark.parametrize(
        ("name", "text", "key"),
        [
            ("POLL_INTERVAL", "soon", "poll.interval"),
            ("POLL_INTERVAL", "-1", "poll.interval"),
            ("POLL_INTERVAL", "1e3", "poll.interval"),
            ("POLL_INTERVAL", "٣٠٠٠", "poll.interval"),
            ("POLL_INTERVAL", "9" * 5000, "poll.interval"),
            ("LOG_LEVEL", "loud", "logging.level"),
            ("MAX_EXECUTION_TIMEOUT", "1", "runs.timeout"),
            ("WORKER_INSTANCE", "x" * 201, "instance.name"),
            ("WORKER_INSTANCE", "a\udcffb", "instance.name"),
            ("PIPELINE_FILTER", "\udcff", "app.filter"),
        ],
    )
    def test_rubbish_is_a_fault_that_names_variable_and_option(self, name: str, text: str, key: str) -> None:
        [told] = faults(None, **{name: text})
        assert told.startswith(f"environment: {name}: {key}: ")
        assert told.isprintable()

    @pytest.mark.parametrize("name", ["POLL_INTERVAL", "LOG_LEVEL", "DATABASE_URL", "WORKER_INSTANCE"])
    def test_each_may_name_a_file_but_not_both(self, name: str, tmp_path: Path) -> None:
        text = {"POLL_INTERVAL": "3000", "LOG_LEVEL": "WARN", "DATABASE_URL": "postgresql://db/a", "WORKER_INSTANCE": "w"}[name]
        file = tmp_path / "value"
        file.write_text(f"{text}\n")
        assert load(None, environ={f"{name}_FILE": str(file)}) == load(None, environ={name: text})
        assert load(None, environ={f"{name}_FILE": str(file), name: ""}) == load(None, environ={name: text})
        [told] = faults(None, **{name: text, f"{name}_FILE": str(file)})
        assert told.startswith(f"environment: {name}_FILE: ")

    def test_a_relative_directory_begins_where_orbitd_was_started(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert load(None, environ={"LOGS_DIR": "./logs"}).logging.dir == f"{tmp_path}/logs"

    def test_the_root_of_a_project_is_where_its_code_is_found(self) -> None:
        loaded = survey(None, overrides=["app.path=lib"], environ={"PROJECT_ROOT": "/srv/app"})
        assert loaded.settings.app.working_directory == "/srv/app"
        assert loaded.settings.app.path == ("lib",)
        assert load(None, environ={"PROJECT_ROOT": "/srv/app"}).app.path == ("/srv/app",)

    @pytest.mark.parametrize(
        "name", ["DATABASE_POOL_SIZE", "DATABASE_MAX_OVERFLOW", "DATABASE_POOL_RECYCLE", "MAX_CONCURRENT_ATTEMPTS_PER_JOB"]
    )
    def test_what_has_no_place_here_is_a_warning_that_names_it(self, name: str) -> None:
        [told] = survey(None, environ={name: "5"}).warnings
        assert name in told
        assert survey(None, environ={name: ""}).warnings == ()


PARTS = {"DATABASE_HOST": "db", "DATABASE_PORT": "6432", "DATABASE_USER": "app", "DATABASE_PASSWORD": "p@ss/w%", "DATABASE_NAME": "orders"}


class TestAddressParts:
    def test_they_make_an_address_when_none_is_given(self) -> None:
        loaded = survey(None, environ=PARTS)
        assert loaded.settings.database.url == "postgresql://app:p%40ss%2Fw%25@db:6432/orders"
        assert "DATABASE_" in where("database.url", loaded)
        assert "p@ss" not in repr(loaded.origins)
        assert "p%40ss" not in repr(loaded.origins)

    def test_an_address_that_is_given_counts_more(self, file: Path) -> None:
        assert load(None, environ=PARTS | {"DATABASE_URL": "postgresql://other/a"}).database.url == "postgresql://other/a"
        file.write_text('[database]\nurl = "postgresql://other/a"')
        assert load(file, environ=PARTS).database.url == "postgresql://other/a"

    def test_some_of_them_are_enough(self) -> None:
        assert load(None, environ={"DATABASE_HOST": "db"}).database.url == "postgresql://db/"
        assert load(None, environ={"DATABASE_HOST": "::1", "DATABASE_NAME": "a"}).database.url == "postgresql://[::1]/a"

    def test_the_password_may_stand_in_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "password"
        file.write_text("s3cret\n")
        environ = {name: text for name, text in PARTS.items() if name != "DATABASE_PASSWORD"} | {"DATABASE_PASSWORD_FILE": str(file)}
        assert load(None, environ=environ).database.url == "postgresql://app:s3cret@db:6432/orders"

    def test_a_part_that_cannot_be_is_a_fault_without_the_secret(self) -> None:
        [told] = faults(None, **(PARTS | {"DATABASE_PORT": "54x", "DATABASE_PASSWORD": "hunter2"}))
        assert "port" in told
        assert "hunter2" not in told


class TestEnvFile:
    def test_it_is_below_the_environment_and_part_of_what_the_pipelines_see(self, tmp_path: Path) -> None:
        path = tmp_path / ".env"
        path.write_text("export TOKEN='abc # d'\nLOG_LEVEL=error\nHOME=/elsewhere\nDATABASE_URL=postgresql://db/a\n")
        loaded = survey(None, overrides=[f"app.env_file={path}"], environ={"HOME": "/root"})
        assert dict(loaded.environ) == {
            "TOKEN": "abc # d",
            "LOG_LEVEL": "error",
            "HOME": "/root",
            "DATABASE_URL": "postgresql://db/a",
        }
        assert loaded.settings.logging.level == "error"
        assert loaded.settings.database.url == "postgresql://db/a"
        assert where("logging.level", loaded) == f"{path}:2: LOG_LEVEL"

    def test_its_faults_are_told_with_their_lines_and_without_values(self, tmp_path: Path) -> None:
        path = tmp_path / ".env"
        path.write_text("A=1\nhunter2\nPOLL_INTERVAL=soon\nB='hunter2\n")
        told = faults(None, f"--env-file={path}")
        assert [line.partition(": ")[0] for line in told] == [f"{path}:2", f"{path}:3", f"{path}:4"]
        assert "hunter2" not in "".join(told)

    def test_one_that_cannot_be_read_is_a_fault(self, tmp_path: Path) -> None:
        for path, reason in ((tmp_path / "absent", "no such file or directory"), (tmp_path, "is a directory")):
            [told] = faults(None, f"--env-file={path}")
            assert told == f"--env-file: app.env_file: {path} cannot be read: {reason}"

    def test_what_looks_like_an_expansion_is_a_warning(self, tmp_path: Path) -> None:
        path = tmp_path / ".env"
        path.write_text("A=1\nB=${A}\n")
        loaded = survey(None, overrides=[f"--env-file={path}"], environ={})
        assert loaded.environ["B"] == "${A}"
        assert any(f"{path}:2" in warning and "B" in warning for warning in loaded.warnings)

    def test_the_environment_without_a_file_is_as_it_was(self) -> None:
        assert dict(survey(None, environ={"A": "1"}).environ) == {"A": "1"}
