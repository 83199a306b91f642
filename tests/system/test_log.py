"""Each test logs in a process of its own: the log belongs to descriptor 2."""

from __future__ import annotations

import json
import os
import subprocess
import sys

PRELUDE = "import sys; from orbitd.system import log; log.set_up(level='info', style=sys.argv[1], role='test'); "


def _logged(code: str, style: str = "json") -> list[str]:
    done = subprocess.run([sys.executable, "-c", PRELUDE + code, style], capture_output=True, check=True, text=True)
    return done.stderr.splitlines()


def test_an_event_is_one_json_line_with_its_fields_in_order() -> None:
    (line,) = _logged("log.event('run_ended', outcome='ok', run=7, slot=1, nothing=None)")
    fields = json.loads(line)
    assert list(fields)[:3] == ["ts", "level", "event"]
    assert {name: fields[name] for name in ("event", "role", "slot", "run", "outcome")} == {
        "event": "run_ended",
        "role": "test",
        "slot": 1,
        "run": 7,
        "outcome": "ok",
    }
    assert "nothing" not in fields


def test_hostile_text_stays_one_line_in_both_styles() -> None:
    code = r"log.fault('failed', error='a\nb\x1b[2J\u202e\ud800 {\"event\": 1}')"
    assert len(_logged(code)) == 1
    assert json.loads(_logged(code)[0])["error"].startswith("a\nb")
    (text,) = _logged(code, "text")
    assert text.isprintable()


def test_a_long_line_is_cut() -> None:
    (line,) = _logged("log.event('long', text='x' * 100_000)", "text")
    assert len(line) <= 4096
    assert line.endswith("[cut]")


def test_what_is_below_the_level_is_not_written() -> None:
    assert _logged("import logging; log.event('whisper', logging.DEBUG)") == []


def test_a_reader_that_stalls_blocks_nobody_and_the_loss_is_counted() -> None:
    reader, writer = os.pipe()
    code = (
        PRELUDE
        + "import os\nfor n in range(5000): log.event('line', n=n, padding='x' * 200)\nos.write(1, b'!'); os.read(0, 1); log.event('after')"
    )
    child = subprocess.Popen([sys.executable, "-c", code, "json"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=writer)
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
    assert lines[-1]["dropped_lines"] + len(lines) - 1 == 5000
