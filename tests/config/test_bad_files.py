"""Whatever a file turns out to be, it is taken or refused in words: at once, without a traceback, with all of its faults."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings as run_with, strategies as st

from orbitd.config import OPTIONS, Faults, Loaded, load, survey
from orbitd.errors import ExitCode

SHIPPED = Path(__file__).parents[2] / "conf/orbitd.toml"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "orbitd.toml"


def faults(path: Path | None, *overrides: str, **environ: str) -> list[str]:
    with pytest.raises(Faults) as caught:
        load(path, overrides=overrides, environ=environ)
    assert caught.value.exit_code == ExitCode.CONFIG
    assert caught.value.hint
    told = [": ".join(filter(None, fault)) for fault in caught.value.faults]
    assert all(line.isprintable() and len(line) <= 600 for line in told)
    return told


def survey_or_faults(path: Path) -> Loaded | Faults:
    try:
        return survey(path, environ={})
    except Faults as error:
        return error


def told_about(path: Path) -> bool:
    """Whether a file is taken, or refused with its name."""
    found = survey_or_faults(path)
    return isinstance(found, Loaded) or all(fault.place.startswith(str(path)) for fault in found.faults)


class TestWhatIsNoFile:
    def test_a_sparse_film_is_refused_unread(self, file: Path) -> None:
        with file.open("wb") as film:
            film.truncate(100 * 1024 * 1024)
        [told] = faults(file)
        assert told == f"{file} has more than 262144 bytes"

    def test_links_that_lead_in_a_circle_are_refused(self, file: Path, tmp_path: Path) -> None:
        file.symlink_to(tmp_path / "other")
        (tmp_path / "other").symlink_to(file)
        assert faults(file) == [f"{file} cannot be read: too many levels of symbolic links"]

    def test_a_file_behind_a_link_is_read(self, file: Path, tmp_path: Path) -> None:
        (tmp_path / "real").write_text("[children]\ncount = 3\n")
        file.symlink_to(tmp_path / "real")
        assert load(file, environ={}).children.count == 3

    @pytest.mark.parametrize(
        "path", ["/dev/null", "/dev/full", "/dev/tty", "/proc/self/mem", "/proc/self/fd/0", "/etc", "/etc/passwd/x", "x" * 5000]
    )
    def test_strange_places_are_refused(self, path: str) -> None:
        if path == "/proc/self/fd/0" and not Path(path).exists():
            pytest.skip("there is no standard input")
        if path == "/proc/self/fd/0" and Path(path).is_file():
            pytest.skip("standard input is a file")
        assert faults(Path(path))

    def test_a_fifo_is_not_waited_for_whoever_names_it(self, tmp_path: Path) -> None:
        fifo = tmp_path / "fifo"
        os.mkfifo(fifo)
        assert faults(fifo) == [f"{fifo} is a fifo, not a file"]
        (tmp_path / "orbitd.toml.d").mkdir()
        (tmp_path / "orbitd.toml.d/a.toml").symlink_to(fifo)
        (tmp_path / "orbitd.toml").touch()
        assert faults(tmp_path / "orbitd.toml") == [f"{tmp_path}/orbitd.toml.d/a.toml is a fifo, not a file"]
        [told] = faults(None, f"--env-file={fifo}")
        assert told.endswith(f"{fifo} is a fifo, not a file")
        [told] = faults(None, f"database.url=file:{fifo}")
        assert told.endswith(f"{fifo} is a fifo, not a file")
        [told] = faults(None, POLL_INTERVAL_FILE=str(fifo))
        assert told.endswith(f"{fifo} is a fifo, not a file")

    def test_a_directory_of_drop_ins_that_is_none_is_a_fault(self, file: Path, tmp_path: Path) -> None:
        file.touch()
        (tmp_path / "orbitd.toml.d").touch()
        assert faults(file) == [f"{tmp_path}/orbitd.toml.d cannot be read: not a directory"]


class TestEncoding:
    @pytest.mark.parametrize("content", [b"", b"\xef\xbb\xbf", b" \t", b"\xef\xbb\xbf[children]\r\n\tcount\t=\t1\r\n", b"# \xe2\x80\xae\n"])
    def test_emptiness_marks_and_tabs_are_no_faults(self, file: Path, content: bytes) -> None:
        file.write_bytes(content)
        load(file, environ={})

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1"])
    def test_another_encoding_is_one_fault(self, file: Path, encoding: str) -> None:
        file.write_bytes('[instance]\nname = "é"\n'.encode(encoding))
        assert len(faults(file)) == 1

    @pytest.mark.parametrize(
        ("content", "line"),
        [
            (b"[children]\ncount = 1 # \xff\n", 2),
            (b"[children]\ncount = 1 # \xed\xa0\x80\n", 2),
            (b"[children]\ncount = 1 # \xc0\xaf\n", 2),
            (b"[children]\n\0count = 1\n", 2),
            (b"[children]\ncount = 1\r[poll]\r", 2),
            (b"[instance]\nname = 'a\x1bb'\n", 2),
        ],
    )
    def test_bytes_that_cannot_be_are_told_with_their_line(self, file: Path, content: bytes, line: int) -> None:
        file.write_bytes(content)
        [told] = faults(file)
        assert told.startswith(f"{file}:{line}:")


class TestStructure:
    @pytest.mark.parametrize(
        "content",
        [
            *("[" * 10_000, "a = " + "[" * 10_000, "a = " + "[" * 10_000 + "]" * 10_000, "a = " + "{a = " * 10_000),
            *("[" + "a." * 50_000 + "a]", "a." * 50_000 + "a = 1", '"a".' * 50_000 + "a = 1", "a = '''" + "'" * 100_000),
            *('a = "' + "\\" * 100_001, "[a]\n" * 50_000, "[[a]]\n" * 50_000 + "x", "a = 1e" + "9" * 100_000, "a = " + "1_" * 100_000),
            *("a = 1" + "0" * 5_000, "a = 0b" + "1" * 500_000, "\n" * 900_000 + "x", "#" * 900_000 + "\nx", " " * 900_000 + "x"),
            *("a = [" + "1," * 100_000, "a = [" + "\n" * 500_000, "a = {" + "b = 1, " * 10_000),
        ],
        ids=lambda content: content[:20].strip(),
    )
    def test_depth_and_length_are_refused_at_once(self, file: Path, content: str) -> None:
        file.write_text(content)
        assert faults(file)

    @pytest.mark.parametrize(
        ("content", "line"),
        [
            ("[poll]\ninterval = '1s'\ninterval = '2s'\n", 3),
            ("[poll]\n[runs]\n[poll]\n", 3),
            ("[poll]\ninterval = '1s'\n\n[poll.interval]\n", 4),
            ("poll.interval = '1s'\n[poll]\n", 2),
            ("poll.interval = '1s'\npoll.interval.x = 1\n", 2),
            ("poll = {interval = '1s'}\n[poll]\n", 2),
            ("poll = {interval = '1s'}\npoll.interval = '2s'\n", 2),
        ],
    )
    def test_what_is_said_twice_is_refused(self, file: Path, content: str, line: int) -> None:
        file.write_text(content)
        [told] = faults(file)
        assert told.startswith(f"{file}:{line}:")
        assert "not TOML" in told

    @pytest.mark.parametrize(
        "content",
        ["poll.interval = '1s'", "poll = {interval = '1s'}", '["poll"]\n"inter\\u0076al" = "1s"', "[ poll ]\ninterval='''\n1s'''"],
    )
    def test_every_spelling_of_toml_is_taken(self, file: Path, content: str) -> None:
        file.write_text(content)
        assert load(file, environ={}).poll.interval == 1.0

    @pytest.mark.parametrize(
        "value", ["inf", "-inf", "nan", "-0.0", "1e308", "-1", "0.5", "true", "[]", "{}", "1979-05-27", "07:32:00", "''", "10000"]
    )
    @pytest.mark.parametrize("key", ["children.count", "health.min_runs", "poll.interval", "children.max_rss"])
    def test_a_value_of_another_kind_is_a_fault_with_its_place(self, file: Path, key: str, value: str) -> None:
        section, name = key.split(".")
        if (name, value) in {("max_rss", "-0.0"), ("min_runs", "10000")}:
            load(None, overrides=[f"{key}={value.strip('-.0') or '0'}"], environ={})
            return
        file.write_text(f"[{section}]\n  {name} = {value}\n")
        [told] = faults(file)
        assert told.startswith(f"{file}:2:3: {key}: ")

    @pytest.mark.parametrize(
        "value", ['"1e9h"', '"٣s"', '"5"', '"5 s"', '"-5s"', '"5S"', '"1h 5m"', '"99999999w"', '""', '"1.5.s"', f'"{"9" * 4000}s"']
    )
    def test_a_time_that_is_none_is_a_fault(self, file: Path, value: str) -> None:
        file.write_text(f"[poll]\ninterval = {value}\n")
        [told] = faults(file)
        assert told.startswith(f"{file}:2:1: poll.interval: ")


class TestKeys:
    @pytest.mark.parametrize("key", [key for key in OPTIONS if len(key[1]) > 3], ids=".".join)
    def test_a_slip_of_the_pen_in_any_option_is_told_with_what_was_meant(self, file: Path, key: tuple[str, str]) -> None:
        section, name = key
        slip = name[:-2] + name[-1] + name[-2] if name[-1] != name[-2] else name[:-1]
        file.write_text(f"[{section}]\n{slip} = 1\n")
        assert faults(file) == [f"{file}:2:1: {section}.{slip}: unknown option, did you mean {section}.{name}?"]

    @pytest.mark.parametrize(
        ("key", "shown"),
        [
            ('"inter\\u202eval"', "poll.inter\\u202eval"),
            ('"inter\\u200bval"', "poll.inter\\u200bval"),
            ('"\\u001b]0;x\\u0007"', "poll.\\x1b]0;x\\x07"),
            ('"inter.val"', "poll.inter.val"),
            ('"inter val"', "poll.inter val"),
            ('""', "poll."),
            ("'\"'", 'poll."'),
            ('"\\n"', "poll.\\n"),
            ('"\u0456nterval"', "poll.\u0456nterval"),
        ],
    )
    def test_a_disguised_key_is_unmasked(self, file: Path, key: str, shown: str) -> None:
        file.write_text(f"[poll]\n{key} = '1s'\n")
        [told] = faults(file)
        assert told.startswith(f"{file}:2:1: {shown}: unknown option")

    @pytest.mark.parametrize(
        "override",
        [
            "",
            "=",
            "x",
            "x=",
            ".=",
            "poll.=1",
            ".interval=1",
            "poll.interval",
            "poll.interval.x=1",
            "-w",
            "--=1",
            "\x1b=\x1b",
            "a" * 100_000,
        ],
    )
    def test_an_override_that_is_none_is_a_fault(self, override: str) -> None:
        [told] = faults(None, override)
        assert told.startswith("--set: ")


class TestPaths:
    @pytest.mark.parametrize(
        ("key", "value", "reason"),
        [
            ("control.socket", "orbitd.sock", "not an absolute path"),
            ("control.socket", "", "not an absolute path"),
            ("control.socket", "@name", "not an absolute path"),
            ("control.socket", "/" + "x" * 107, "has 108 bytes"),
            ("control.socket", "/" + "é" * 54, "has 109 bytes"),
            ("control.socket", "/run/../x.sock", '".."'),
            ("control.socket", "~/x.sock", "~ is not expanded"),
            ("instance.state_dir", "state", "not an absolute path"),
            ("instance.state_dir", "/a/../b", '".."'),
            ("app.env_file", "~/.env", "~ is not expanded"),
            ("logging.dir", "~/logs", "~ is not expanded"),
            ("app.working_directory", "/" + "x" * 5000, "4095 bytes"),
            ("app.pipelines", "os:system", "neither a module name"),
            ("app.pipelines", "../x", None),
            ("control.group", "no such group!", "cannot be the name of a group"),
        ],
    )
    def test_a_path_that_cannot_be_is_refused_before_anybody_uses_it(self, file: Path, key: str, value: str, reason: str | None) -> None:
        section, name = key.split(".")
        file.write_text(f"[{section}]\n{name} = {[value] if name == 'pipelines' else [value][0]!r}\n".replace("\\", "\\\\"))
        if reason is None:
            load(file, environ={})
            return
        [told] = faults(file)
        assert told.startswith(f"{file}:2:1: {key}: ")
        assert reason in told

    def test_the_longest_socket_is_taken(self) -> None:
        path = "/" + "x" * 106
        assert load(None, overrides=[f"control.socket={path}"], environ={}).control.socket == path

    @pytest.mark.parametrize("name", ["ORBITD_INSTANCE__NAME", "WORKER_INSTANCE", "LOGS_DIR", "ORBITD_CONTROL__SOCKET", "DATABASE_URL"])
    def test_a_variable_that_is_not_utf_8_is_refused_without_it(self, name: str) -> None:
        [told] = faults(None, **{name: "/a\udcff"})
        assert told.startswith(f"environment: {name}: ")
        told.encode()


class TestContradictions:
    """CF5: two values that cannot both be; told as soon as both are right by themselves, whatever else is wrong."""

    RULES = (
        (("host.beat", "host.lease"), ('"7s"', '"20s"'), ('"6s"', '"20s"')),
        (("restart.backoff_first", "restart.backoff_longest"), ('"2m"', '"1m"'), ('"1m"', '"60s"')),
        (("health.errors_healthy", "health.errors_unhealthy"), ("6", "5"), ("5", "5")),
    )

    @pytest.mark.parametrize(("keys", "wrong", "right"), RULES, ids=lambda value: value[0] if "." in value[0] else "")
    def test_each_names_both_keys_and_what_is_written_and_only_the_wrong_is_refused(
        self, file: Path, keys: tuple[str, str], wrong: tuple[str, str], right: tuple[str, str]
    ) -> None:
        file.write_text("".join(f"{key} = {value}\n" for key, value in zip(keys, right, strict=True)))
        load(file, environ={})
        file.write_text("children.count = -1\n" + "".join(f"{key} = {value}\n" for key, value in zip(keys, wrong, strict=True)))
        other, told = faults(file)
        assert other.startswith(f"{file}:1:10: children.count: ")
        assert told.startswith(f"{file}:")
        assert all(key in told for key in keys)
        assert all(value.strip('"') in told for value in wrong)

    @pytest.mark.parametrize(("keys", "wrong", "right"), RULES, ids=lambda value: value[0] if "." in value[0] else "")
    def test_a_value_that_is_wrong_by_itself_contradicts_nothing(
        self, file: Path, keys: tuple[str, str], wrong: tuple[str, str], right: tuple[str, str]
    ) -> None:
        del right
        file.write_text(f"{keys[0]} = {wrong[0]}\n{keys[1]} = true\n")
        [told] = faults(file)
        assert told.startswith(f"{file}:2:{keys[1].index('.') + 2}: {keys[1]}: is true")

    @pytest.mark.parametrize("key", ["database.call_timeout", "database.connect_timeout"])
    def test_what_can_only_cost_something_is_a_warning(self, file: Path, key: str) -> None:
        file.write_text(f'{key} = "20s"\nhost.lease = "20s"\n')
        [told] = survey(file, environ={}).warnings
        assert told.startswith(f"{file}:")
        assert key in told
        assert "host.lease, 20s" in told
        file.write_text(f'{key} = "19s"\nhost.lease = "20s"\n')
        assert survey(file, environ={}).warnings == ()


class TestHalfWritten:
    """CF3: a file that somebody is still writing is parsed whole, or refused."""

    def test_every_beginning_of_the_shipped_file_is_taken_or_refused(self, file: Path) -> None:
        # Without its comments, in which nothing can happen.
        content = re.sub(rb"(?m)^#.*\n|^\n", b"", SHIPPED.read_bytes())
        for length in range(len(content)):
            file.write_bytes(content[:length])
            assert told_about(file)

    @run_with(max_examples=200)
    @given(st.data())
    def test_a_shipped_file_that_was_mangled_is_taken_or_refused(
        self, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
    ) -> None:
        file = tmp_path_factory.getbasetemp() / "mangled.toml"
        lines = SHIPPED.read_text().splitlines()
        index = data.draw(st.integers(0, len(lines) - 1))
        lines[index : index + 1] = data.draw(
            st.sampled_from(
                [[], [lines[index]] * 2, [lines[index][::-1]], [lines[index].replace("=", "")], [lines[index].replace('"', "")]]
            )
        )
        file.write_text("\n".join(lines))
        assert told_about(file)

    @run_with(max_examples=200)
    @given(
        st.dictionaries(
            st.sampled_from(sorted(OPTIONS)),
            st.sampled_from(["0", "-1", "1", '"5s"', '"auto"', "[]", "true", '""', "1.5", '"/x"', "[[1]]", "{a = 1}", "1979-05-27", "nan"]),
        )
    )
    def test_any_values_for_any_options_are_all_judged(
        self, tmp_path_factory: pytest.TempPathFactory, given: dict[tuple[str, str], str]
    ) -> None:
        file = tmp_path_factory.getbasetemp() / "any-values.toml"
        file.write_text("".join(f"{'.'.join(key)} = {value}\n" for key, value in given.items()))
        tomllib.loads(file.read_text())
        found = survey_or_faults(file)
        if isinstance(found, Faults):
            assert all(fault.place.startswith(f"{file}:") for fault in found.faults)
            assert len({fault.key for fault in found.faults}) == len(found.faults)
        else:
            assert {key for key, origin in found.origins.items() if origin.where != "default"} == set(given)
