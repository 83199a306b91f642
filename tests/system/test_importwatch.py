"""What an import leaves behind is named with its line: each in a process of its own, which has the threads and sockets to itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

IMPORTS = """
import importlib, json, os, sys
from orbitd.system.importwatch import ImportWatch

sys.path.insert(0, os.getcwd())
with ImportWatch() as watch:
    importlib.import_module("app")
print(json.dumps(watch.hazards()), flush=True)
os._exit(0)
"""
NATIVE = """
import ctypes
libc, thread = ctypes.CDLL(None), ctypes.c_ulong()
libc.pthread_create(ctypes.byref(thread), None, ctypes.cast(libc.pause, ctypes.c_void_p), None)
"""
STOPS_AT_A_FORK = (
    NATIVE
    + """
import os
os.register_at_fork(before=lambda: (libc.pthread_cancel(thread), libc.pthread_join(thread, None)))
"""
)


def _hazards(folder: Path, code: str, **others: str) -> str:
    for name, text in {"app": code, **others}.items():
        (folder / f"{name}.py").write_text(text.lstrip())
    command = [sys.executable, "-c", IMPORTS]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


CASES = [
    ("import json, wave\nx = 1\n", "[]"),
    ("import wave\nimport statsd\n", '["thread \\"sender\\" was started at app.py:2 (import statsd)"]'),
    (NATIVE, '["native thread \\"python\\" was started at or after app.py:1 (import ctypes)"]'),
    (STOPS_AT_A_FORK, "[]"),
    (
        "import socket\n\nudp = socket.socket(type=socket.SOCK_DGRAM)\n",
        '["a socket at 0.0.0.0:0 was left open at or after app.py:3 (udp = socket.socket(type=socket.SOCK_DGRAM))"]',
    ),
    ("import socket\nsocket.socket().close()\n", "[]"),
]
STATSD = "import threading, time\nthreading.Thread(target=time.sleep, args=[60], name='sender').start()\n"


@pytest.mark.parametrize(("code", "hazards"), CASES, ids=["nothing", "thread", "native", "stops-at-a-fork", "socket", "closed"])
def test_what_an_import_leaves_is_named_with_the_line_that_did_it(tmp_path: Path, code: str, hazards: str) -> None:
    """Complaint 21 (pitchfork#79) and 14 (psycopg2#281). Threads that their library stops at a fork, as OpenBLAS does, are none."""
    assert _hazards(tmp_path, code, statsd=STATSD).replace("python3.11", "python").replace("python3", "python") == hazards


def test_a_thread_start_that_the_import_has_put_in_place_stays(tmp_path: Path) -> None:
    patch = "import threading\ndef start(thread, before=threading.Thread.start): before(thread)\nthreading.Thread.start = start\n"
    (tmp_path / "app.py").write_text(patch)
    code = IMPORTS.replace("print(json.dumps(watch.hazards()), flush=True)", "print(threading.Thread.start.__module__, flush=True)")
    command = [sys.executable, "-c", "import threading\n" + code]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=30).stdout.strip() == "app"


def test_connections_and_listeners_are_told_apart(tmp_path: Path) -> None:
    told = _hazards(
        tmp_path,
        "import socket\nlistens = socket.create_server(('127.0.0.1', 0))\nleads = socket.create_connection(listens.getsockname())\n",
    )
    assert "a socket at 127.0.0.1:" in told
    assert "left open at app.py:2 (listens = " in told
    assert "a connection to 127.0.0.1:" in told
    assert "left open at app.py:3 (leads = " in told
