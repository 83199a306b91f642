"""What is written comes out in base units, the nearest to the operator's hand wins, and every fault is told with its place."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings as run_with, strategies as st

from orbitd.config import OPTIONS, SECTIONS, Settings, load, load_keys, require_database, survey
from orbitd.config.amounts import Duration, Size
from orbitd.errors import ConfigError, ExitCode


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "orbitd.toml"


def faults(path: Path | None, *overrides: str, **environ: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(path, overrides=overrides, environ=environ)
    assert caught.value.exit_code == ExitCode.CONFIG
    return caught.value.message.splitlines()


def fault_of(path: Path | None, *overrides: str) -> str | None:
    try:
        load(path, overrides=overrides, environ={})
    except ConfigError as error:
        return error.message
    return None


def test_without_anything_there_are_the_defaults() -> None:
    settings = load(None, environ={})
    assert settings.database.url == ""
    assert settings.app.pipelines == ("app.pipelines",)
    assert settings.children.count >= 1
    assert settings.restart.backoff_first == 0.5
    assert settings.runs.max_log == 1024 * 1024
    assert settings.runs.backoff == "exponential"
    assert settings.instance.name not in {"", "$HOSTNAME"}


def test_values_come_in_seconds_and_bytes(file: Path) -> None:
    file.write_text('[runs]\ntimeout = "1h30m"\nmax_result = "2MiB"\nbackoff = ["1m", "5m"]\n[children]\nmax_rss = 0\n')
    settings = load(file, environ={})
    assert (settings.runs.timeout, settings.runs.max_result, settings.runs.backoff) == (5400.0, 2 * 1024 * 1024, (60.0, 300.0))
    assert settings.children.max_rss == 0


def test_command_line_before_environment_before_file_before_default(file: Path) -> None:
    file.write_text('[children]\ncount = 2\n[poll]\ninterval = "2s"\n[shutdown]\ndrain_timeout = "2s"\n')
    environ = {"ORBITD_CHILDREN__COUNT": "3", "ORBITD_POLL__INTERVAL": "3s"}
    settings = load(file, overrides=["children.count=4"], environ=environ)
    assert (settings.children.count, settings.poll.interval, settings.shutdown.drain_timeout) == (4, 3.0, 2.0)
    assert settings.host.lease == 20.0


def test_lists_on_the_command_line_are_separated_by_commas_or_written_as_toml() -> None:
    assert load(None, overrides=["app.pipelines=a.b, ./more"], environ={}).app.pipelines == ("a.b", "./more")
    assert load(None, overrides=['app.path=["a,b", "c"]'], environ={}).app.path == ("a,b", "c")
    assert load(None, overrides=["runs.backoff=1s,2s"], environ={}).runs.backoff == (1.0, 2.0)
    assert load(None, overrides=["runs.backoff=30s"], environ={}).runs.backoff == (30.0,)


def test_all_faults_are_told_at_once_in_the_order_of_their_places(file: Path) -> None:
    file.write_text('[children]\ncuont = 3\ncount = "x"\n\n[chidlren]\n[app]\npipelines = [\n  "os:system",\n]\n')
    assert faults(file, "poll.interval=5", "rubbish", ORBITD_RUNS__TIMOUT="5s") == [
        f"{file}:2:1: children.cuont: unknown option, did you mean children.count?",
        f'{file}:3:1: children.count: is "x": write "auto", or a whole number, 0 to 48',
        f"{file}:5:2: chidlren: unknown section, did you mean children?",
        f'{file}:7:1: app.pipelines: "os:system" is neither a module name such as "app.pipelines" nor a directory such as "./pipelines"',
        "environment: ORBITD_RUNS__TIMOUT: runs.timout: unknown option, did you mean runs.timeout?",
        '--set: "rubbish" is not of the form section.key=value',
        '--set: poll.interval: "5" is not a duration: write a number and a unit, such as "500ms", "30s", "10m", "1h30m"',
    ]


def test_thousands_of_faults_are_cut(file: Path) -> None:
    file.write_text("[app]\n" + "".join(f"no_{number} = 1\n" for number in range(5000)))
    told = faults(file)
    assert len(told) == 21
    assert told[-1] == "and 4980 more"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"\xff\xfea\x00", "is UTF-16 text: save it as UTF-8"),
        (b'[app]\npath = ["\xe9"]', ":2:10: byte 0xe9 is not UTF-8 text"),
        (b"[children]\ncount = 1\0", ":2:10: not TOML: "),
        (b"[children]\rcount = 1", ":1:11: not TOML: "),
        (b"a = " + b"[" * 10_000 + b"]" * 10_000, ": brackets are nested too deeply"),
        (b"a = " + b"{a=" * 10_000 + b"1" + b"}" * 10_000, ": brackets are nested too deeply"),
        (b"x." * 100_000 + b"x = 1", ":1:1: a key with more than 64 parts"),
        (b"#" * 2_000_000, "has more than 262144 bytes"),
        (b"[children]\ncount = 1\ncount = 2", ":3:10: not TOML: "),
        (b"[children]\n[children]\n", ":2:10: not TOML: "),
        (b"children.count = 1\n[children]\n", ":2:10: not TOML: "),
        (b"[children]\ncount = " + b"9" * 5000, ": not TOML: a number or date that cannot be"),
        (b"[instance]\nname = 2021-02-31", ": not TOML: "),
        (b'[instance]\nname = """', ":2:11: not TOML: unterminated string"),
        (b"[children]\ncount = nan", ":2:1: children.count: is a number"),
        (b"[children]\ncount = inf", ":2:1: children.count: is a number"),
        (b"[children]\ncount = true", ":2:1: children.count: is true"),
        (b"[children]\ncount = -1", ":2:1: children.count: is out of range"),
        (b"[children]\ncount = 0x" + b"f" * 9000, ":2:1: children.count: is out of range"),
        (b"[instance]\nname = 2020-01-01", ":2:1: instance.name: is a date or time"),
        (b"[poll]\ninterval = 5", ':2:1: poll.interval: is a number: write a duration in quotes, such as "500ms"'),
        (b'[poll]\ninterval = "1e9h"', ':2:1: poll.interval: "1e9h" is not a duration'),
        ('[poll]\ninterval = "٣s"'.encode(), ':2:1: poll.interval: "٣s" is not a duration'),
        (b'[children]\nmax_rss = "512mb "', ':2:1: children.max_rss: "512mb " is not a size'),
        (b'[children]\nmax_rss = "1KiB"', ':2:1: children.max_rss: "1KiB" is out of range: size, 16MiB to 1024GiB, or 0'),
        (b"[[children]]\ncount = 1", ":1:3: children: is a list: write a section, [children]"),
        (b"children = 3", ":1:1: children: is a number: write a section, [children]"),
        (b"[app]\npipelines = [[1]]", ":2:1: app.pipelines: holds a list where a text is due"),
        (b"[app]\npipelines = []", ":2:1: app.pipelines: is an empty list: name a module such as"),
        (b'[app]\npipelines = [""]', ':2:1: app.pipelines: holds "" where a text is due'),
        (b'[app]\npipelines = ["__main__:x"]', ':2:1: app.pipelines: "__main__:x" is neither'),
        (b'[app]\npipelines = ["a.b:c.d"]', ':2:1: app.pipelines: "a.b:c.d" is neither'),
        (b'[app]\npipelines = ["a..b"]', ':2:1: app.pipelines: "a..b" is neither'),
        (b'[app]\npath = ["a\\u0000b"]', ":2:1: app.path: holds a control character"),
        (b'[app]\nworking_directory = "~/app"', ':2:1: app.working_directory: "~/app": ~ is not expanded here, write the whole path'),
        (b'[control]\nsocket = "orbitd.sock"', ':2:1: control.socket: "orbitd.sock" is not an absolute path of at most'),
        (b'[control]\nsocket = "@abstract"', ':2:1: control.socket: "@abstract" is not an absolute path'),
        (b"[runs]\nbackoff = []", ":2:1: runs.backoff: is an empty list"),
        (b'[logging]\nlevel = "inof"', ':2:1: logging.level: is "inof": write one of debug | info | warning | error'),
        (b'[host]\nbeat = "10s"', ":2:1: host.beat: is 10s, more than a third of host.lease, 20s"),
        (b'[restart]\nbackoff_longest = "10ms"', ":2:1: restart.backoff_first: is 500ms, longer than restart.backoff_longest, 10ms"),
        ('"chi\u202eldren" = 1'.encode(), ":1:1: chi\\u202eldren: unknown section"),
        ("[\u0441hildren]\ncount = 1".encode(), ":1:2: not TOML: "),
        ('["\u0441hildren"]\ncount = 1'.encode(), ":1:2: \u0441hildren: unknown section, did you mean children?"),
        (b'["chil.dren"]\ncount = 1', ":1:2: chil.dren: unknown section, did you mean children?"),
        (b'[children]\n"\\u001b[31m" = 1', ":2:1: children.\\x1b[31m: unknown option"),
        (b'[children]\n"' + b"x" * 100_000 + b'" = 1', ":2:1: children.xxxx"),
    ],
)
def test_every_malformed_file_has_one_fault_with_its_place(file: Path, content: bytes, fault: str) -> None:
    file.write_bytes(content)
    [told] = faults(file)
    assert fault in told
    assert told.isprintable()
    assert len(told) <= 300


@pytest.mark.parametrize("content", [b"", b"\n", b"# nothing\n", b"\xef\xbb\xbf[children]\ncount = 1\n", b"[children]\r\n\tcount = 1\r\n"])
def test_emptiness_byte_order_marks_and_dos_line_ends_are_no_faults(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    load(file, environ={})


def test_what_is_no_file_is_a_fault_and_never_waited_for(tmp_path: Path) -> None:
    fifo, link = tmp_path / "fifo", tmp_path / "link"
    os.mkfifo(fifo)
    link.symlink_to(fifo)
    assert faults(fifo) == [f"{fifo} is a fifo, not a file"]
    assert faults(link) == [f"{link} is a fifo, not a file"]
    assert faults(tmp_path) == [f"{tmp_path} cannot be read: is a directory"]
    assert faults(Path("/dev/zero")) == ["/dev/zero is a device, not a file"]
    assert faults(tmp_path / "absent") == [f"{tmp_path / 'absent'} cannot be read: no such file or directory"]
    assert faults(Path("a\0b")) == ["embedded null byte"]


def test_an_unreadable_file_is_a_fault(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(os, "open", refuse)
    assert faults(file) == [f"{file} cannot be read: permission denied"]


class TestDatabaseUrl:
    def test_is_found_in_the_environment_unless_written(self) -> None:
        environ = {"DATABASE_URL": "postgresql://a/b", "OTHER": "postgresql://c/d"}
        assert load(None, environ=environ).database.url == "postgresql://a/b"
        assert load(None, overrides=["database.url=env:OTHER"], environ=environ).database.url == "postgresql://c/d"
        assert load(None, overrides=["database.url="], environ=environ).database.url == ""

    def test_is_found_in_a_file(self, tmp_path: Path) -> None:
        secret = tmp_path / "url"
        secret.write_text("host=/run/postgresql dbname=app\n")
        assert load(None, overrides=[f"database.url=file:{secret}"], environ={}).database.url == "host=/run/postgresql dbname=app"
        secret.unlink()
        assert faults(None, f"database.url=file:{secret}") == [f"--set: database.url: {secret} cannot be read: no such file or directory"]
        assert faults(None, "database.url=file:url") == ['--set: database.url: "file:url" is not an absolute path']

    def test_that_names_a_missing_variable_is_a_fault(self) -> None:
        assert faults(None, "database.url=env:NOWHERE") == ["--set: database.url: names the environment variable NOWHERE, which is not set"]

    @pytest.mark.parametrize("url", ["mysql://u:hunter2@h/d", "hunter2", "postgresql://u:hunter2@h/\x1b", "postgresql://u:hunter2@h/%00"])
    def test_is_never_shown_in_a_fault(self, url: str) -> None:
        [told] = faults(None, DATABASE_URL=url)
        assert "DATABASE_URL" in told
        assert "hunter2" not in told

    @pytest.mark.parametrize("url", ["postgresql://u:hunter2@h/d", "host=h password=hunter2", "postgres://h/d?password=hunter2"])
    def test_with_a_password_is_refused_on_the_command_line(self, url: str) -> None:
        [told] = faults(None, f"database.url={url}")
        assert "would be seen by everyone" in told
        assert "hunter2" not in told

    @pytest.mark.parametrize(
        "option",
        ["poll.interval", "children.max_rss", "children.count", "runs.backoff", "control.socket", "logging.level", "app.pipelines"],
    )
    @pytest.mark.parametrize("prefix", ["", "~", "["])
    def test_is_not_shown_where_it_was_typed_for_another_option(self, option: str, prefix: str) -> None:
        told = faults(None, f"{option}={prefix}host=h password=hunter2")
        assert "hunter2" not in "".join(told)
        assert "a text with a password" in "".join(told)

    def test_is_never_shown_by_the_settings(self) -> None:
        settings = load(None, environ={"DATABASE_URL": "postgresql://u:hunter2@h/d"})
        assert "hunter2" not in f"{settings} {settings!r} {settings.database}"

    def test_is_required_by_whoever_needs_it(self) -> None:
        with pytest.raises(ConfigError, match="no database is configured"):
            require_database(load(None, environ={}))


def test_some_options_can_be_had_whatever_is_wrong_with_the_others(file: Path) -> None:
    file.write_text('[control]\nsocket = "/run/x.sock"\n[nonsense]\n[children]\ncount = "many"\n')
    assert load_keys(file, [("control", "socket")], {"ORBITD_NO__SUCH": "1"}) == {("control", "socket"): "/run/x.sock"}


_VALUES = {
    "float": st.floats(min_value=0, allow_nan=False, allow_infinity=False),
    "float | None": st.none() | st.floats(min_value=0, max_value=1e9),
    "int": st.integers(min_value=0, max_value=2**62),
    "int | Literal['auto']": st.just("auto") | st.integers(min_value=1, max_value=64),
    "bool": st.booleans(),
    "str": st.text(max_size=9),
    "tuple[str, ...]": st.lists(st.text(max_size=9), max_size=2).map(tuple),
    "str | tuple[float, ...]": st.one_of(st.just("exponential"), st.lists(st.floats(0, 1e9), min_size=1, max_size=2).map(tuple)),
}


@run_with(max_examples=20)
@given(st.sampled_from(sorted(SECTIONS)).flatmap(lambda name: st.tuples(st.just(name), _values_of(name))))
def test_settings_survive_json_exactly(drawn: tuple[str, dict[str, object]]) -> None:
    section, values = drawn
    everything = {name: asdict(getattr(load(None, environ={}), name)) for name in SECTIONS}
    settings = Settings.of({**everything, section: values})
    assert Settings.from_json(settings.to_json()) == settings


def _values_of(section: str) -> st.SearchStrategy[dict[str, object]]:
    return st.fixed_dictionaries({key: _VALUES[str(kind)] for key, kind in SECTIONS[section].__annotations__.items()})


@run_with(max_examples=300)
@given(
    st.sampled_from(sorted(OPTIONS)),
    st.one_of(st.text(max_size=40), st.sampled_from(["1", "5s", "-1", "[", '["a"]', "auto", "0", "env:", "file:/"])),
)
def test_any_text_for_any_option_is_taken_or_refused_in_words(key: tuple[str, str], text: str) -> None:
    fault = fault_of(None, f"{'.'.join(key)}={text}")
    assert fault is None or re.match(r"(--set: |)\w+\.\w+: ", fault)
    assert fault is None or fault.isprintable()


@run_with(max_examples=300)
@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused_in_words(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    fault = fault_of(path)
    assert fault is None or str(path) in fault


@pytest.mark.parametrize("kind", [option.kind for option in OPTIONS.values() if isinstance(option.kind, Duration | Size)])
def test_the_ends_of_every_range_are_in_it(kind: Duration | Size) -> None:
    assert kind.read(kind.least) <= kind.read(kind.most)


def test_auto_is_no_more_children_than_a_daemon_runs_however_large_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitd.system.cpus.usable_cpus", lambda: 256)
    assert load(None, environ={}).children.count == 48


class TestHiddenValues:
    """A flag or variable hides a value only until the next start without it."""

    @pytest.mark.parametrize(
        ("written", "hiding", "environ"),
        [
            ('children.count = "x"', ["-w=2"], {}),
            ('children.count = "x"', [], {"ORBITD_CHILDREN__COUNT": "2"}),
            ('poll.interval = "soon"', [], {"POLL_INTERVAL": "500"}),
            ('database.url = "mysql://app@db/app"', [], {"DATABASE_URL": "postgresql://app@db/app"}),
            ("app.path = [1]", [], {"PROJECT_ROOT": "/srv/app"}),
        ],
    )
    def test_a_wrong_one_is_a_fault_of_its_own_place(self, file: Path, written: str, hiding: list[str], environ: dict[str, str]) -> None:
        file.write_text(f"{written}\n")
        [told] = faults(file, *hiding, **environ)
        assert told.startswith(f"{file}:1:")
        assert f": {written.partition(' ')[0]}: " in told

    def test_each_of_several_is_told(self, file: Path, tmp_path: Path) -> None:
        file.write_text("children.count = true\n")
        (tmp_path / "orbitd.toml.d").mkdir()
        (tmp_path / "orbitd.toml.d/a.toml").write_text("children.count = -1\n")
        assert len(faults(file, "children.count=x", "children.count=2", ORBITD_CHILDREN__COUNT="99")) == 4

    def test_what_a_sound_one_would_refer_to_need_not_be_there(self, file: Path) -> None:
        file.write_text('database.url = "env:NOT_IN_CI"\n')
        assert load(file, overrides=["database.url=postgresql://db/app"], environ={}).database.url == "postgresql://db/app"

    def test_they_do_not_keep_orbitctl_from_the_socket(self, file: Path) -> None:
        file.write_text('control.socket = "relative"\n')
        key = ("control", "socket")
        assert load_keys(file, [key], {"ORBITD_CONTROL__SOCKET": "/run/x.sock"}) == {key: "/run/x.sock"}


class TestHint:
    """It names what must be corrected, and nothing that is innocent."""

    @pytest.mark.parametrize(
        ("overrides", "environ", "culprit"),
        [
            ([], {"LOG_LEVEL": "loud"}, "LOG_LEVEL"),
            ([], {"DATABASE_URL": "mysql://db"}, "DATABASE_URL"),
            ([], {"ORBITD_CHILDREN__COUNT": "x"}, "ORBITD_CHILDREN__COUNT"),
            (["foo"], {}, "--set"),
            (["--pid=~/orbitd.pid"], {}, "--pid"),
            (["database.url=env:ELSEWHERE"], {"ELSEWHERE": "mysql://db"}, "ELSEWHERE"),
            (["foo"], {"LOG_LEVEL": "loud"}, "them"),
        ],
    )
    def test_of_a_fault_elsewhere_it_leaves_the_file_out(
        self, file: Path, overrides: list[str], environ: dict[str, str], culprit: str
    ) -> None:
        file.touch()
        with pytest.raises(ConfigError) as caught:
            load(file, overrides=overrides, environ=environ)
        assert caught.value.hint == f"orbitd.toml(5) lists every option; correct {culprit} and try again"

    @pytest.mark.parametrize("name", ["orbitd.toml", "orbitd.toml.d/a.toml"])
    @pytest.mark.parametrize("content", ["cuont = 1\nchildren.count = true\n", "[["])
    def test_of_faults_in_one_file_it_names_that_one(self, file: Path, tmp_path: Path, name: str, content: str) -> None:
        file.touch()
        (tmp_path / "orbitd.toml.d").mkdir()
        (tmp_path / name).write_text(content)
        with pytest.raises(ConfigError) as caught:
            load(file, environ={})
        assert caught.value.hint == f"orbitd.toml(5) lists every option; correct {tmp_path / name} and try again"

    def test_of_a_file_that_is_not_there_it_says_how_to_make_one(self, file: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            load(file, environ={})
        assert caught.value.hint == f"`orbitd config init {file}` writes one"


class TestPathsOfFlags:
    def test_they_begin_where_the_caller_stands(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "env").write_text("WORKER_INSTANCE=web1\n")
        settings = load(None, overrides=["--pid=run/../b.pid", "--env-file=env"], environ={})
        assert (settings.instance.pid_file, settings.app.env_file) == (f"{tmp_path}/b.pid", f"{tmp_path}/env")
        assert settings.instance.name == "web1"

    def test_elsewhere_a_path_is_absolute(self, file: Path) -> None:
        file.write_text('instance.pid_file = "b.pid"\n')
        assert 'instance.pid_file: "b.pid" is not an absolute path' in faults(file)[0]
        assert 'instance.pid_file: "b.pid" is not an absolute path' in faults(None, "instance.pid_file=b.pid")[0]


class TestAddressOfAFileThatDoesNotCount:
    """DATABASE_URL hides `database.url` of a file, which whoever wrote the file may not expect."""

    def test_is_a_warning_that_names_both(self, file: Path, tmp_path: Path) -> None:
        file.write_text('[database]\nurl = "postgresql://db/one"\n')
        told = f"DATABASE_URL counts, not database.url of {file}:2"
        assert survey(file, environ={"DATABASE_URL": "postgresql://db/two"}).warnings == (told,)
        (tmp_path / "env").write_text("DATABASE_URL=postgresql://db/two\n")
        (tmp_path / "env").chmod(0o600)
        [told] = survey(file, overrides=[f"--env-file={tmp_path}/env"], environ={}).warnings
        assert told == f"{tmp_path}/env:1: DATABASE_URL counts, not database.url of {file}:2"

    def test_is_none_when_both_are_the_same(self, file: Path) -> None:
        for written in ("env:DATABASE_URL", "postgresql://db/two"):
            file.write_text(f'database.url = "{written}"\n')
            assert survey(file, environ={"DATABASE_URL": "postgresql://db/two"}).warnings == ()

    def test_is_none_when_orbitd_s_own_variable_counts(self, file: Path) -> None:
        file.write_text('database.url = "postgresql://db/one"\n')
        assert survey(file, environ={"ORBITD_DATABASE__URL": "postgresql://db/two"}).warnings == ()
