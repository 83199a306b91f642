"""What others wrote can neither leave its line, nor steer a terminal, nor carry a password into the log."""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, strategies as st

from orbitd.printable import printable
from orbitd.system.log import redact
from orbitd.system.log.console import Console
from orbitd.system.log.entry import Entry, fitted, told
from orbitd.system.log.file import File
from orbitd.system.log.journal import Journal, datagram, is_journal
from orbitd.system.log.jsonline import json_of
from orbitd.system.log.redact import MASK, masked
from orbitd.system.log.text import as_text, message_of, text_of
from tests.support.logs import DEFAULTS, entries, logged

HOSTILE = [
    'a\nb\r\n{"event": "forged"}',
    "\x1b[2J\x1b]0;owned\x07",
    "\x9b31m\x85next",
    "\u202egnp.exe\u2066",
    "one\u2028two\u2029three",
    "\ud800lone\udcff",
    "\0nul\x7f",
    "e\u0301 and \U0001f600",
]
anything = st.one_of(st.text(st.characters(codec=None)), st.sampled_from(HOSTILE), st.integers(), st.none(), st.booleans())
values = st.recursive(anything, lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(), inner, max_size=3)))


def entry_of(value: object) -> Entry:
    return {
        "ts": "2025-11-24T09:08:07.123Z",
        "level": "error",
        "event": "failed",
        "role": "child",
        "slot": 1,
        "error": told("error", value),
    }


@given(values)
def test_one_event_is_one_line_in_every_format(value: object) -> None:
    entry = entry_of(value)
    for render, longest in ((json_of, 4095), (json_of, 65536), (text_of, 4095), (message_of, 4095)):
        line = fitted(entry, render, longest)
        assert len(line) <= longest
        assert line.endswith(b"\n")
        text = line[:-1].decode()
        assert text.isprintable()
        if render is json_of:
            assert text.isascii()
            assert json.loads(text)["event"] == "failed"


@given(values)
def test_a_json_line_shown_as_text_is_one_printable_line(value: object) -> None:
    line = json_of(entry_of(value))
    shown = as_text(line + "\n")
    assert shown.isprintable()
    assert shown.startswith("2025-11-24 09:08:07.123Z error   child 1  failed")


@given(st.text(st.characters(codec=None)))
def test_what_is_no_line_of_ours_is_shown_escaped(text: str) -> None:
    assert as_text(text).isprintable()
    assert printable(text).isprintable()
    printable(text).encode()


@pytest.mark.parametrize("line", ["[]", "7", '{"event": "x"}', "[" * 100_000, '{"ts": [], "level": {"a": "\\n"}, "event": null}'])
def test_json_of_another_shape_is_no_danger(line: str) -> None:
    assert as_text(line).isprintable()


def test_json_of_any_depth_is_no_danger() -> None:
    for depth in range(900, 1100):
        assert as_text(f'{{"ts": "", "level": "", "event": "", "deep": {"[" * depth}{"]" * depth}}}').isprintable()


@pytest.mark.parametrize("style", ["json", "text"])
def test_hostile_text_stays_one_line_on_standard_error(style: str) -> None:
    for line in logged(f"for text in {HOSTILE!r}: log.fault('failed', error=text); logging.error(text)", format=style):
        assert line.isprintable()
        assert "failed" in line or "said" in line
    assert len(logged(f"for text in {HOSTILE!r}: log.fault('failed', error=text)", format=style)) == len(HOSTILE)


# --- secrets ---

CANARY = "c4n4ry"


@pytest.mark.parametrize(
    "text",
    [
        f"postgres://app:{CANARY}@db/orders",
        f"postgresql://app:{CANARY}@db:5432/orders?sslmode=require and more",
        f"postgresql://:{CANARY}@/x",
        f"could not connect to postgres://app:a@{CANARY}@db/orders",
        f"redis://default:{CANARY}@cache:6379",
        f"host=db password={CANARY} user=app",
        f"host=db password = '{CANARY} with \\' quotes' user=app",
        f"PGPASSWORD={CANARY}",
        f"sslpassword={CANARY} host=db",
        f"postgres://db/orders?user=app&password={CANARY}&sslmode=require",
        f"{{'host': 'db', 'password': '{CANARY}'}}",
        f'{{"password": "{CANARY}"}}',
        f"('db_password', '{CANARY}')",
    ],
)
def test_a_password_in_any_text_is_masked_and_the_rest_can_be_read(text: str) -> None:
    shown = masked(text)
    assert CANARY not in shown
    assert MASK in shown
    assert "db" not in text or "db" in shown or text.startswith("redis")


@pytest.mark.parametrize("text", ["http://db:8080/x", "password authentication failed for user", "a@b.c", "12:30 @ home", "no password"])
def test_what_is_no_password_is_left(text: str) -> None:
    assert masked(text) == text


@pytest.mark.parametrize("word", ["password", "password_", "://a:", "password='"])
def test_a_long_text_of_words_that_look_like_a_beginning_is_read_in_a_time_that_grows_as_it_does(word: str) -> None:
    assert len(masked(word * (1024 * 1024 // len(word)))) <= 1024 * 1024


def test_a_password_at_the_place_where_a_long_text_is_cut_is_masked() -> None:
    for offset in range(20_000 - 100, 20_000 + 100, 7):
        value = "x" * offset + f" postgres://app:{CANARY}@db/orders " + "x" * 100_000
        assert CANARY not in json.dumps(told("error", value))


@pytest.fixture
def secret_names() -> Iterator[None]:
    redact.set_secret_names(DEFAULTS.redact)
    yield
    redact.set_secret_names(())


@pytest.mark.usefixtures("secret_names")
@pytest.mark.parametrize("name", ["password", "DB_Password", "client_secret", "accessToken", "Authorization", "openai_api_key"])
def test_the_value_of_a_name_that_is_a_secrets_is_masked_however_deep_it_lies(name: str) -> None:
    assert told(name, CANARY) == MASK
    assert told("args", {"inner": [{name: {"deep": CANARY}}], "other": 1}) == {"inner": [{name: MASK}], "other": 1}


def test_a_canary_in_every_place_reaches_no_output(tmp_path: Path) -> None:
    code = f"""
secret = {CANARY!r}
dsn = f'postgres://app:{{secret}}@db/orders'
log.event('one', password=secret, url=dsn, args={{'api_key': secret, 'list': [dsn]}})
logging.getLogger('psycopg').warning('connection to %s failed: password=%s', dsn, secret)
try: raise ValueError(f'bad dsn {{dsn}}')
except ValueError: logging.exception('failed')
log.fault('two', error=ValueError(dsn), error_text=repr(('password', secret)))
"""
    for style in ("json", "text"):
        lines = logged(code, format=style, dir=str(tmp_path))
        assert len(lines) == 4
        assert CANARY not in "\n".join(lines)
    for path in tmp_path.iterdir():
        assert CANARY not in path.read_text()


# --- the journal ---


def _fields(message: bytes) -> dict[str, str]:
    """The native protocol, read as its description says."""
    fields: dict[str, str] = {}
    while message:
        name, separator, rest = message.partition(b"\n")
        if b"=" in name:
            key, _, value = name.partition(b"=")
            message = rest
        else:
            assert separator
            length = int.from_bytes(rest[:8], "little")
            key, value = name, rest[8 : 8 + length]
            assert rest[8 + length : 9 + length] == b"\n"
            message = rest[9 + length :]
        assert key.decode() not in fields
        fields[key.decode()] = value.decode()
    return fields


OUR_NAMES = {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "ORBIT_EVENT", "ORBIT_ROLE", "ORBIT_SLOT", "ORBIT_PIPELINE"}


@given(values, st.text(st.characters(codec=None)))
def test_a_datagram_has_our_fields_whatever_is_in_the_values(value: object, pipeline: str) -> None:
    fields = _fields(datagram({**entry_of(value), "pipeline": pipeline}))
    assert set(fields) == OUR_NAMES
    assert fields["PRIORITY"] == "3"
    assert fields["ORBIT_PIPELINE"] == pipeline.encode(errors="backslashreplace").decode()
    assert "\n" not in fields["MESSAGE"]


class Listener:
    """A journal, as far as its socket goes."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))

    def drain(self) -> int:
        """Take what is there, and tell how many events it was."""
        count = 0
        self.socket.settimeout(0)
        with contextlib.suppress(BlockingIOError):
            while self.socket.recv(1 << 20):
                count += 1
        return count

    def heard(self) -> dict[str, str]:
        self.socket.settimeout(5)
        return _fields(self.socket.recv(1 << 20))


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(tmp_path / "journal")
    yield listener
    listener.socket.close()


def test_an_event_can_be_found_by_its_run(tmp_path: Path, listener: Listener) -> None:
    journal = Journal(str(tmp_path / "journal"))
    journal.take({**entry_of("x"), "run": 7, "gen": 2, "attempt": 1, "host": "here", "step": "load"})
    fields = listener.heard()
    assert {name: value for name, value in fields.items() if name.startswith("ORBIT_")} == {
        "ORBIT_EVENT": "failed",
        "ORBIT_HOST": "here",
        "ORBIT_ROLE": "child",
        "ORBIT_SLOT": "1",
        "ORBIT_GENERATION": "2",
        "ORBIT_RUN_ID": "7",
        "ORBIT_STEP": "load",
        "ORBIT_ATTEMPT": "1",
    }
    assert fields["SYSLOG_IDENTIFIER"] == "orbitd"
    assert fields["MESSAGE"].split() == ["failed", "error=x", "run=7", "gen=2", "attempt=1", "step=load"]


def test_a_journal_that_does_not_read_blocks_nobody_and_hears_of_the_loss(tmp_path: Path, listener: Listener) -> None:
    journal = Journal(str(tmp_path / "journal"))
    for _ in range(5000):
        journal.take(entry_of("x" * 1000))
    received = listener.drain()
    assert received < 5000
    journal.take(entry_of("after"))
    assert f"dropped_lines={5000 - received}" in listener.heard()["MESSAGE"]


def test_without_a_journal_the_line_goes_to_standard_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    Journal(str(tmp_path / "nobody")).take(entry_of("x"))
    assert "failed" in capfd.readouterr().err


def test_the_journal_is_used_only_when_it_is_what_standard_error_leads_to(tmp_path: Path) -> None:
    code = "log.event('told', where=type(log._log.places[0].sink).__name__)"
    here = "facts = os.fstat(2)\nos.environ['JOURNAL_STREAM'] = f'{facts.st_dev}:{facts.st_ino}'\n"
    again = "log.set_up('test', LogOptions(format={style!r}), host='here')\n"
    assert "where=Journal" in logged(here + again.format(style="auto") + code)[0]
    assert '"where":"Console"' in logged(here + again.format(style="json") + code)[0], "whoever asks for JSON gets JSON"
    assert not is_journal({"JOURNAL_STREAM": "1:2"})
    assert not is_journal({})


def test_files_and_console_know_the_same_event(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def complain(name: str, **fields: object) -> None:
        pytest.fail(f"{name} {fields}")

    entry: dict[str, Any] = entry_of("x")
    File(tmp_path / "log", 1000, 2, complain=complain).take(entry)
    Console("json").take(entry)
    assert [json.loads(capfd.readouterr().err)] == entries(tmp_path / "log")
