"""The address of a database is found where it is said to be, translated for libpq, and shown to nobody."""

from __future__ import annotations

from pathlib import Path

import pytest

from orbitd.config import Faults, Loaded, load, masked, survey
from orbitd.errors import ConfigError

URL = "postgresql://app:hunter2@db/app"
KEYS = ("url", "direct_url", "admin_url")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "orbitd.toml"
    path.touch(mode=0o600)
    return path


def surveyed(url: str, **environ: str) -> Loaded:
    return survey(None, environ={"DATABASE_URL": url, **environ})


def faults(*overrides: str, path: Path | None = None, **environ: str) -> list[str]:
    with pytest.raises(Faults) as caught:
        load(path, overrides=overrides, environ=environ)
    told = [": ".join(filter(None, fault)) for fault in caught.value.faults]
    assert "hunter2" not in f"{told} {caught.value} {caught.value!r} {caught.value.__cause__!r} {caught.value.__context__!r}"
    return told


class TestReference:
    @pytest.mark.parametrize("key", KEYS)
    def test_each_address_may_be_in_a_variable_a_file_or_a_credential(self, key: str, tmp_path: Path) -> None:
        secret = tmp_path / "address"
        secret.write_text(f"  {URL}\n\n")
        environ = {"ELSEWHERE": URL, "CREDENTIALS_DIRECTORY": str(tmp_path)}
        for reference in ("env:ELSEWHERE", f"file:{secret}", "credential:address"):
            loaded = survey(None, overrides=[f"database.{key}={reference}"], environ=environ)
            assert getattr(loaded.settings.database, key) == URL
            assert loaded.origins["database", key] == ("--set", reference)

    @pytest.mark.parametrize(
        ("reference", "fault"),
        [
            ("env:NOWHERE", "names the environment variable NOWHERE, which is not set"),
            ("file:relative", '"file:relative" is not an absolute path'),
            ("file:/no/such", "/no/such cannot be read: no such file or directory"),
            ("file:/", "/ cannot be read: is a directory"),
            ("file:/dev/zero", "/dev/zero is a device, not a file"),
            ("credential:x", "$CREDENTIALS_DIRECTORY is not set"),
            ("credential:../x", "is not the name of a credential"),
            ("credential:", "is not complete"),
        ],
    )
    def test_one_that_leads_nowhere_is_a_fault(self, reference: str, fault: str) -> None:
        [told] = faults(f"database.direct_url={reference}")
        assert told.startswith("--set: database.direct_url: ")
        assert fault in told

    def test_a_credential_that_is_not_there_is_a_fault(self, tmp_path: Path) -> None:
        [told] = faults("database.url=credential:absent", CREDENTIALS_DIRECTORY=str(tmp_path))
        assert f"{tmp_path}/absent cannot be read: no such file or directory" in told

    @pytest.mark.parametrize("content", [b"\xff\xfe", b"\xe9", b"hunter2", b"postgresql://u:hunter2@db/\0", b"a\nhunter2", b"x" * 100_000])
    def test_a_file_with_rubbish_is_a_fault_that_names_it_and_not_its_content(self, content: bytes, tmp_path: Path) -> None:
        secret = tmp_path / "address"
        secret.write_bytes(content)
        [told] = faults(f"database.url=file:{secret}")
        assert str(secret) in told
        assert told.isprintable()

    def test_the_variable_of_the_pooler_s_bypass_is_found_too(self) -> None:
        assert surveyed(URL, DIRECT_URL="postgresql://direct/app").settings.database.direct_url == "postgresql://direct/app"


def test_an_operator_s_address_is_the_one_with_the_most_rights() -> None:
    environ = {"DATABASE_URL": "postgresql://a/"}
    direct, admin = "database.direct_url=postgresql://b/", "database.admin_url=postgresql://c/"
    for overrides, option, address in (([], "url", "a"), ([direct], "direct_url", "b"), ([direct, admin], "admin_url", "c")):
        database = load(None, overrides=overrides, environ=environ).database
        assert (database.admin_option, database.admin_address) == (option, f"postgresql://{address}/")
    assert load(None, overrides=[admin], environ={}).database.admin_address == "postgresql://c/"
    with pytest.raises(ConfigError, match="no database is configured"):
        _ = load(None, environ={}).database.admin_address


def test_what_a_pooler_breaks_goes_past_it() -> None:
    environ = {"DATABASE_URL": "postgresql://a/"}
    assert load(None, environ=environ).database.listen_address == "postgresql://a/"
    assert load(None, environ=environ | {"DIRECT_URL": "postgresql://b/"}).database.listen_address == "postgresql://b/"


class TestPrisma:
    """The address as another program's configuration has it."""

    @pytest.mark.parametrize(
        ("query", "translated", "named"),
        [
            ("pgbouncer=true", "", ["pgbouncer"]),
            ("connection_limit=5&pool_timeout=10", "", ["connection_limit", "pool_timeout"]),
            ("pgbouncer=true&sslmode=require&connection_limit=1", "?sslmode=require", ["pgbouncer", "connection_limit"]),
            ("socket_timeout=5&statement_cache_size=0", "", ["socket_timeout", "statement_cache_size"]),
            ("sslidentity=client.p12", "", ["sslidentity"]),
            ("schema=public", "", ["schema"]),
            ("sslaccept=strict", "?sslmode=verify-full", ["sslaccept"]),
            ("sslmode=require&sslaccept=strict", "?sslmode=verify-full", ["sslaccept"]),
            ("sslmode=require&sslaccept=accept_invalid_certs", "?sslmode=require", ["sslaccept"]),
        ],
    )
    def test_a_parameter_that_libpq_does_not_know_is_dropped_or_translated_and_named(
        self, query: str, translated: str, named: list[str]
    ) -> None:
        loaded = surveyed(f"{URL}?{query}")
        assert loaded.settings.database.url == f"{URL}{translated}"
        assert all(any(name in warning for warning in loaded.warnings) for name in named)
        assert "hunter2" not in "".join(loaded.warnings)

    @pytest.mark.parametrize(
        ("schema", "search_path"), [("app", '"app"'), ("My%20App", '"My App"'), ("a%22b", '"a""b"'), ("a%5Cb", '"a\\b"')]
    )
    def test_a_schema_is_the_search_path(self, schema: str, search_path: str) -> None:
        from psycopg.conninfo import conninfo_to_dict

        loaded = surveyed(f"{URL}?schema={schema}")
        options = str(conninfo_to_dict(loaded.settings.database.url)["options"])
        assert options.startswith("-csearch_path=")
        assert options.partition("=")[2].replace("\\ ", " ").replace("\\\\", "\\") == search_path
        assert any("schema" in warning for warning in loaded.warnings)

    def test_the_driver_of_a_python_layer_is_dropped_and_told(self) -> None:
        loaded = surveyed(URL.replace("://", "+asyncpg://"))
        assert loaded.settings.database.url == URL
        assert any("driver" in warning for warning in loaded.warnings)

    def test_an_address_without_any_is_as_it_was_and_warns_of_nothing(self) -> None:
        loaded = surveyed(f"{URL}?sslmode=require&application_name=a%20b")
        assert loaded.settings.database.url == f"{URL}?sslmode=require&application_name=a%20b"
        assert loaded.warnings == ()


class TestSecrecy:
    def test_no_password_is_in_settings_origins_or_warnings(self, file: Path) -> None:
        file.write_text(f'[database]\nurl = "{URL}?pgbouncer=true"\ndirect_url = "host=db password=hunter2"\n')
        loaded = survey(file, environ={"OTHER": URL})
        assert loaded.settings.database.direct_url.endswith("hunter2")
        assert "hunter2" not in f"{loaded} {loaded.settings} {loaded.origins} {loaded.warnings}"

    @pytest.mark.parametrize(
        "url",
        [
            *(
                "mysql://u:hunter2@h/d",
                "hunter2",
                "postgresql://u:hunter2@h:x/d",
                "postgresql://u:hunter2@[::/d",
                "postgresql://u:hunter2%@h/d",
            ),
            *("host=h password='hunter2", "postgresql://u@h/d?hunter2", "postgresql://u:hunter2@h/\x1b", "postgresql://u:hunter2@h/%00"),
            *("postgresql://u:hunter2@h/d?sslmode=hunter2", "postgresql://h/d?connect_timeout=hunter2", "host=h port=hunter2"),
            *("postgresql+asyncpg://u:hunter2@h:x/d", "postgresql://u:hunter2@h/d?schema=%"),
        ],
    )
    @pytest.mark.parametrize("key", KEYS)
    def test_no_part_of_an_address_is_in_a_fault(self, url: str, key: str, file: Path) -> None:
        [told] = faults(path=None, **{f"ORBITD_DATABASE__{key.upper()}": url})
        assert told.startswith(f"environment: ORBITD_DATABASE__{key.upper()}: database.{key}: ")
        [told] = faults(f"database.{key}=env:OTHER", OTHER=url)
        assert "OTHER" in told
        file.write_text(f"[database]\n{key} = '''{url}'''\n".replace("\x1b", " x"))
        [told] = faults(path=file)
        assert told.startswith(f"{file}:2:1: database.{key}: ")

    @pytest.mark.parametrize("url", [URL, "host=h password=hunter2", "postgres://h/d?password=hunter2", "postgresql://u:hunter2@h:x"])
    def test_a_password_on_the_command_line_is_refused(self, url: str) -> None:
        [told] = faults(f"database.url={url}")
        assert "would be seen by everyone" in told

    @pytest.mark.parametrize(
        "override", [URL, f"DATABASE_URL={URL}", f"databse.url={URL}", "host=h password=hunter2", f"logging.level={URL}"]
    )
    def test_no_password_is_told_that_was_given_in_the_wrong_place(self, override: str) -> None:
        assert len(faults(override)) == 1

    @pytest.mark.parametrize(
        "content", [f"database = '{URL}'", f"[database]\nulr = '{URL}'", f"[database.url]\na = '{URL}'", f"[app]\npath = '{URL}'"]
    )
    def test_no_password_is_told_that_stands_in_the_wrong_place(self, file: Path, content: str) -> None:
        file.write_text(content)
        assert len(faults(path=file)) == 1

    def test_a_mask_tells_equal_secrets_from_others_and_nothing_more(self) -> None:
        assert masked("a") == masked("a") != masked("b")
        assert masked(URL).startswith("******** (sha256 ")
        assert "hunter2" not in masked(URL)


class TestReadableByEverybody:
    """CF4: a password in a file that is no secret is a warning, which says what to do."""

    def warnings(self, path: Path, **environ: str) -> tuple[str, ...]:
        warnings = survey(path, environ=environ).warnings
        assert "hunter2" not in "".join(warnings)
        return warnings

    def test_the_configuration_itself(self, file: Path) -> None:
        file.write_text(f'[database]\nurl = "{URL}"\n')
        assert self.warnings(file) == ()
        file.chmod(0o640)
        assert self.warnings(file) == ()
        file.chmod(0o644)
        [told] = self.warnings(file)
        assert told.startswith(f"{file}:2:1: database.url: ")
        assert f"chmod o-r {file}" in told

    def test_a_drop_in(self, file: Path, tmp_path: Path) -> None:
        (tmp_path / "orbitd.toml.d").mkdir()
        drop_in = tmp_path / "orbitd.toml.d/database.toml"
        drop_in.write_text(f'[database]\ndirect_url = "{URL}"\n')
        drop_in.chmod(0o644)
        [told] = self.warnings(file)
        assert f"chmod o-r {drop_in}" in told

    def test_the_file_that_a_reference_names(self, file: Path, tmp_path: Path) -> None:
        secret = tmp_path / "url"
        secret.write_text(URL)
        secret.chmod(0o644)
        file.write_text(f'[database]\nurl = "file:{secret}"\n')
        [told] = self.warnings(file)
        assert f"chmod o-r {secret}" in told

    def test_the_file_of_variables(self, file: Path, tmp_path: Path) -> None:
        env_file = tmp_path / ".env"
        env_file.write_text(f"DATABASE_URL={URL}\n")
        env_file.chmod(0o644)
        file.write_text(f'[app]\nenv_file = "{env_file}"\n')
        [told] = self.warnings(file)
        assert f"chmod o-r {env_file}" in told

    def test_not_where_there_is_no_password(self, file: Path) -> None:
        file.chmod(0o644)
        for url in ("env:ELSEWHERE", "postgresql://app@db/app", "service=app"):
            file.write_text(f'[database]\nurl = "{url}"\n')
            assert self.warnings(file, ELSEWHERE=URL) == ()
