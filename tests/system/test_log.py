"""Events on standard error: their form, their level, and what happens when nobody can take them."""

from __future__ import annotations

import json
import os
import pty
import socket
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.logs import DEFAULTS, command, logged

FLOOD = "for n in range(2000): log.event('line', n=n, padding='x' * 200)\nos.write(1, b'!'); os.read(0, 1); log.event('after')"


def test_an_event_is_one_json_line_with_its_fields_in_order() -> None:
    (line,) = logged("log.event('run_ended', outcome='ok', attempt=2, run=7, slot=1, pipeline='p', step='s', gen=3, pid=9, nothing=None)")
    fields = json.loads(line)
    assert list(fields) == ["ts", "level", "event", "host", "role", "slot", "gen", "pid", "run", "pipeline", "step", "attempt", "outcome"]
    del fields["ts"]
    assert list(fields.values()) == ["info", "run_ended", "here", "test", 1, 3, 9, 7, "p", "s", 2, "ok"]


def test_values_keep_their_kind_where_json_has_it_and_become_text_where_not() -> None:
    (line,) = logged(
        "import signal\n"
        "log.event('e', yes=True, half=0.5, nan=float('nan'), big=10**5000, sig=signal.SIGTERM, path=os, parts={'a': [1, None]})"
    )
    fields = json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is no JSON"))
    assert (fields["yes"], fields["half"], fields["nan"], fields["sig"], fields["parts"]) == (True, 0.5, "nan", 15, {"a": [1, None]})
    assert fields["big"].startswith("0x")
    assert fields["path"].startswith("<module")


def test_a_value_without_a_text_costs_its_field_and_nothing_else() -> None:
    (line,) = logged("class Bad:\n    def __str__(self): raise OSError('no')\nlog.event('e', bad=Bad(), good=1)")
    fields = json.loads(line)
    assert fields["bad"] == "<a Bad without a text: OSError>"
    assert fields["good"] == 1


def test_a_long_line_is_cut_and_stays_json_with_head_and_tail_of_what_was_long() -> None:
    (line,) = logged("log.fault('long', text='begin' + '\\u20ac' * 100_000 + 'end', run=7)")
    assert len(line) < 4096
    fields = json.loads(line)
    assert fields["run"] == 7
    assert fields["text"].startswith("begin")
    assert fields["text"].endswith("end")
    assert " [cut] " in fields["text"]
    (text,) = logged("log.fault('long', text='x' * 100_000)", format="text")
    assert len(text) < 4096


def test_what_is_below_the_level_is_not_written() -> None:
    assert logged("log.event('whisper', logging.DEBUG)") == []


def test_the_level_in_shared_memory_rules_at_the_next_event_and_zero_gives_it_back() -> None:
    code = """
from orbitd.system.slots import SharedSlots
slots = SharedSlots.create()
log.follow(slots.header)
log.event('one', logging.DEBUG)
slots.header.log_level = log.number('Debug')
log.event('two', logging.DEBUG); logging.getLogger('lib').debug('three')
slots.header.log_level = log.number('error')
log.warn('four'); logging.getLogger('lib').warning('five')
slots.header.log_level = 10**12
log.event('six', logging.DEBUG); log.event('seven', level_now=log.level())
slots.header.log_level = 0
log.event('eight', logging.DEBUG); log.event('nine')
"""
    fields = [json.loads(line) for line in logged(code)]
    assert [each["event"] for each in fields] == ["two", "said", "seven", "nine"], "what is no level counts as none"
    assert fields[2]["level_now"] == "info"


def test_a_level_that_is_none_is_refused_by_name() -> None:
    (line,) = logged("try: log.number('loud')\nexcept ValueError as error: log.event('refused', error=error)")
    assert json.loads(line)["error"] == "'loud' is no level: there are debug, info, warning, error and critical"


def test_options_may_change_and_the_fields_of_the_process_stay() -> None:
    lines = logged(
        "log.always(slot=3)\nlog.set_up('test', LogOptions(level='warning'), host='here')\nlog.event('quiet'); log.warn('loud')\n"
        "logging.info('quiet'); logging.warning('heard')"
    )
    loud, heard = map(json.loads, lines)
    assert (loud["event"], loud["slot"], heard["message"]) == ("loud", 3, "heard")


# --- a terminal ---


def _on_terminal(code: str, **environ: str) -> str:
    ours, theirs = pty.openpty()
    environment = {**{name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "TERM"}}, **environ}
    child = subprocess.Popen(command(code, replace(DEFAULTS, format="auto")), stderr=theirs, env=environment)
    os.close(theirs)
    pieces = []
    try:
        while piece := os.read(ours, 4096):
            pieces.append(piece)
    except OSError:  # a terminal's way to say that all have left
        pass
    os.close(ours)
    assert child.wait(10) == 0
    return b"".join(pieces).decode().replace("\r\n", "\n")


def test_on_a_terminal_a_line_is_aligned_text_without_what_everybody_knows() -> None:
    shown = _on_terminal(
        "log.always(role='child', slot=3, gen=7, pid=99)\nlog.event('run_ended', run=5, note='two words')\nlog.warn('x')", TERM="dumb"
    )
    first, second = shown.splitlines()
    assert first[14:] == 'info    child 3  run_ended         gen=7 run=5 note="two words"'
    assert second[14:] == "warning child 3  x                 gen=7"
    assert first[:14].count(":") == 2


def test_the_level_has_a_colour_where_the_terminal_has_and_nobody_minds() -> None:
    code = "log.fault('bad'); log.event('good')"
    assert "\x1b[31merror  \x1b[0m" in _on_terminal(code, TERM="xterm")
    assert "\x1b" not in _on_terminal(code, TERM="xterm", NO_COLOR="1")
    assert "\x1b" not in _on_terminal(code, TERM="dumb")
    assert "\x1b" not in _on_terminal(code)


# --- nobody takes it ---


@pytest.mark.parametrize("kind", ["pipe", "stream socket"])
def test_a_reader_that_stalls_blocks_nobody_and_the_loss_is_counted(kind: str) -> None:
    reader, writer = os.pipe() if kind == "pipe" else (end.detach() for end in socket.socketpair())
    child = subprocess.Popen(command(FLOOD), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writer)
    os.close(writer)
    assert child.stdin
    assert child.stdout
    assert child.stdout.read(1) == b"!"
    pieces = [os.read(reader, 1 << 20)]
    child.stdin.write(b"?")
    child.stdin.close()
    while piece := os.read(reader, 1 << 20):
        pieces.append(piece)
    assert child.wait(10) == 0
    child.stdout.close()
    os.close(reader)
    lines = [json.loads(line) for line in b"".join(pieces).splitlines()]
    assert lines[-1]["event"] == "after"
    assert lines[-1]["dropped_lines"] + len(lines) - 1 == 2000


def test_many_writers_at_the_last_place_in_a_pipe_do_not_wait_for_each_other() -> None:
    reader, writer = os.pipe()
    children = [subprocess.Popen(command("for n in range(500): log.event('line', padding='x' * 3000)"), stderr=writer) for _ in range(4)]
    assert [child.wait(20) for child in children] == [0, 0, 0, 0], "with nobody reading"
    os.close(writer)
    os.close(reader)


@pytest.mark.parametrize("stderr", ["closed", "/dev/full", "broken pipe"])
def test_standard_error_that_takes_nothing_is_survived(stderr: str) -> None:
    code = "import sys\nfor n in range(100): log.fault('lost')\nprint('alive')"
    if stderr == "closed":
        made = subprocess.run(["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *command(code)], stdout=subprocess.PIPE, check=True)
    elif stderr == "/dev/full":
        with Path("/dev/full").open("wb") as full:
            made = subprocess.run(command(code), stdout=subprocess.PIPE, stderr=full, check=True)
    else:
        reader, writer = os.pipe()
        os.close(reader)
        made = subprocess.run(command(code), stdout=subprocess.PIPE, stderr=writer, check=True)
        os.close(writer)
    assert made.stdout == b"alive\n"


def test_the_shared_descriptor_never_becomes_non_blocking() -> None:
    reader, writer = os.pipe()
    subprocess.run(command("log.event('line')"), stderr=writer, check=True)
    assert os.get_blocking(writer)
    assert b"line" in os.read(reader, 4096)
    os.close(reader)
    os.close(writer)


# --- the standard logging module ---


def test_what_the_logging_module_is_told_becomes_an_event() -> None:
    lines = logged("logging.getLogger('urllib3.pool').warning('retry %d\\nof', 3)\ntry: 1 / 0\nexcept Exception: logging.exception('bad')")
    first, second = map(json.loads, lines)
    assert (first["event"], first["level"], first["logger"], first["message"]) == ("said", "warning", "urllib3.pool", "retry 3\nof")
    assert second["message"].startswith("bad\nTraceback")


@pytest.mark.parametrize(
    "rude",
    [
        "import logging.config; logging.config.dictConfig({'version': 1})",
        "logging.disable(logging.CRITICAL)",
        "logging.root.handlers.clear()",
        "logging.basicConfig(force=True, filename=os.devnull)",
        "logging.setLogRecordFactory(None)",
        "logging.shutdown()",
        "os.closerange(3, 1000)",
        "os.fork() and os.wait()",
    ],
)
def test_whatever_user_code_does_to_logging_our_events_go_on(rude: str) -> None:
    assert json.loads(logged(f"{rude}\nlog.event('after')")[-1])["event"] == "after"


def test_a_flood_of_other_peoples_lines_is_bounded_and_counted() -> None:
    lines = [
        json.loads(line)
        for line in logged(
            "for n in range(20_000): logging.warning('x' * 500)\nlog.tell_unsaid(run=7)",
        )
    ]
    said = [line for line in lines if line["event"] == "said"]
    unsaid = [line for line in lines if line["event"] == "said_too_much"]
    assert len(said) + sum(line["lines"] for line in unsaid) + sum(line.get("dropped_lines", 0) for line in lines) == 20_000
    assert len(said) < 10_000
    assert unsaid[-1]["run"] == 7


def test_the_arguments_of_a_foreign_line_may_be_anything() -> None:
    code = "class Bad:\n    def __str__(self): raise KeyError('no')\nlogging.warning('%s', Bad()); logging.warning('%d', 'x')"
    assert [json.loads(line)["message"] for line in logged(code)] == [
        "<a line that cannot be written: KeyError>",
        "<a line that cannot be written: TypeError>",
    ]


def test_a_line_is_heard_where_the_base_class_takes_the_handlers_lock_without_asking_whether_there_is_one() -> None:
    newer = "def handle(self, record):\n    with self.lock: self.emit(record)\nlogging.Handler.handle = handle\nlogging.warning('heard')"
    assert json.loads(logged(newer)[-1])["message"] == "heard"


def test_the_level_decides_what_is_written_and_not_who_hears_it() -> None:
    listening = (
        "from orbitd.system.log.sink import Sink\n"
        "class Listener(Sink):\n"
        "    def _write(self, entry): os.write(1, entry['event'].encode())\n"
        "log.tell_also(Listener())\n"
        "log.event('whisper')"
    )
    done = subprocess.run(command(listening, replace(DEFAULTS, level="error")), capture_output=True, check=True, text=True)
    assert (done.stdout, done.stderr) == ("whisper", "")
