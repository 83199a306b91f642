"""With what a child is born: nothing of its siblings, and chance of its own (F7, F9, F10; S20)."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.daemon.conftest import Begin

pytestmark = pytest.mark.daemon

LOOKS = """
    import os, random, signal, ssl, time, uuid
    from pathlib import Path

    random.seed(7)  # at import, in the mold: no child may go on from there

    @pipeline("looks")
    def looks(ctx: Context, folder: str) -> dict:
        Path(folder, str(os.getpid())).touch()
        while len(list(Path(folder).iterdir())) < 2:
            time.sleep(0.01)
        fds = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]
        return {
            "chance": [random.random(), uuid.uuid4().hex, ssl.RAND_bytes(8).hex()],
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            "ignored": [number for number in (signal.SIGCHLD, signal.SIGUSR1, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_IGN],
            "session": os.getsid(0) == os.getpid(),
            "memfds": [name for name in fds if "memfd" in name],
            "eventfds": len([name for name in fds if "eventfd" in name]),
        }
"""


def test_children_share_no_chance_no_descriptor_and_no_mask(begin: Begin, tmp_path: Path) -> None:
    daemon = begin(LOOKS)
    runs = [daemon.enqueue("looks", folder=str(tmp_path)) for _ in range(2)]
    one, other = (daemon.await_run(run_id, "succeeded")["result"] for run_id in runs)
    assert not set(one["chance"]) & set(other["chance"])
    for looked in (one, other):
        assert (looked["blocked"], looked["ignored"], looked["session"]) == ([], [], True)
        kinds = Counter(name.split("-")[1].split(" ")[0] for name in looked["memfds"])
        assert kinds == {"slots": 1, "stack": 1}, "only its own stack file"
        assert looked["eventfds"] == 3, "its own bell, the janitor's, and its attendant's"


def test_the_dsn_is_in_no_command_line_and_no_environment(begin: Begin) -> None:
    daemon = begin(LOOKS, start=False)
    secret = "canary-in-a-dsn"
    daemon.configure(**{"database.url": daemon.dsn.replace("postgres@", f"postgres:{secret}@")})
    daemon.start()
    for pid in (daemon.pid, daemon.pid_of("mold"), daemon.pid_of("janitor"), *daemon.child_pids()):
        for file in ("cmdline", "environ"):
            assert secret.encode() not in Path(f"/proc/{pid}/{file}").read_bytes()
    assert secret not in daemon.log()


BORN_TOO_LATE = """
import socket
from orbitd import child
from orbitd.system.channel import Channel
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
ours.close()
child.run_child = lambda *_: Channel(theirs).send({"type": "hello", "pid": 1})
child.live(None, None, None)
"""


def test_who_is_born_when_nobody_wants_him_any_more_ends_quietly() -> None:
    ended = subprocess.run([sys.executable, "-c", BORN_TOO_LATE], capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stderr) == (1, "")


@pytest.mark.parametrize("kind", ["mold", "child"])
def test_a_process_whose_arbiter_is_gone_before_it_has_begun_ends_quietly(kind: str) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    with theirs:
        command = [sys.executable, "-m", "orbitd", "--as", kind, str(theirs.fileno())]
        ended = subprocess.run(command, pass_fds=[theirs.fileno()], capture_output=True, text=True, timeout=20, check=False)
    assert (ended.returncode, ended.stderr) == (1, "")
