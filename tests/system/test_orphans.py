"""Who is swept, and who is left alone. Each case has processes of its own: what is tried here is who is whose child."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

SETTING = """
    import atexit, os, signal, subprocess, time
    from setproctitle import setproctitle
    from orbitd.system import process
    from orbitd.system.orphans import MOST_AT_ONCE, Orphans

    def child(**environment: str) -> int:
        pid = subprocess.Popen(["sleep", "60"], env={"PATH": os.environ["PATH"], **environment}).pid
        while not process.environment_of(pid):  # its exec is under way
            time.sleep(0.001)
        return pid

    @atexit.register
    def leave_nobody() -> None:
        for pid in process.own_children():
            os.kill(pid, signal.SIGKILL)

    def fork(title: str) -> int:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            setproctitle(title)
            os.write(writer, b"x")
            time.sleep(60)
            os._exit(0)
        os.read(reader, 1)
        return pid
"""


def tried(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SETTING) + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


CASES = [
    ("a program of a dead child", "child(ORBITD_MOLD='m')", "", "gone"),
    ("one with an environment of its own", "child()", "", "gone"),
    ("a fork of a child", "fork('orbitd: child 3 g1 invoice.sync 7')", "", "gone"),
    ("a fork of a mold", "fork('orbitd: mold g1')", "", "gone"),
    ("what may be a newborn child", "fork('orbitd: mold g1')", "is_arriving", "left"),
    ("what may be one that has just put up its title", "fork('orbitd: child 3 g1 starting')", "is_arriving", "left"),
    ("a program while a newborn may come", "child(ORBITD_MOLD='m')", "is_arriving", "gone"),
    ("a fork while a newborn may come", "fork('orbitd: child 3 g1 invoice.sync 7')", "is_arriving", "gone"),
    ("what is known", "known.append(child()) or known[0]", "", "left"),
    ("a program where there are strangers", "stranger and child(ORBITD_MOLD='m')", "stranger", "gone"),
    ("a fork where there are strangers", "stranger and fork('orbitd: child 3 g1 invoice.sync 7')", "stranger", "gone"),
    ("a stranger's own", "stranger and child()", "stranger", "left"),
    ("another daemon's", "stranger and child(ORBITD_MOLD='other')", "stranger", "left"),
    ("a stranger that was there before us", "stranger", "stranger", "left"),
]


@pytest.mark.parametrize(("orphan", "given", "fate"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_orphans_of_dead_children_are_killed_and_strangers_are_not(orphan: str, given: str, fate: str) -> None:
    seen = tried(
        f"""
        known = []
        stranger = child() if {given == "stranger"} else 0
        orphans = Orphans()
        orphan = {orphan}
        swept = orphans.sweep(known, "m", is_arriving={given == "is_arriving"})
        assert swept in ([], [orphan]), swept
        print("gone" if swept else "left")
        """
    )
    assert seen.strip() == fate


def test_strangers_that_have_gone_do_not_hold_the_sweep_back() -> None:
    seen = tried("""
        stranger = child()
        orphans = Orphans()
        os.kill(stranger, signal.SIGKILL)
        os.waitpid(stranger, 0)
        stray = child()
        print(orphans.sweep([], "m", is_arriving=False) == [stray])
    """)
    assert seen.strip() == "True"


def test_a_thousand_are_swept_by_and_by() -> None:
    """complaint 28: however many there are, one turn of the loop kills only so many; the end of each is the occasion for more."""
    seen = tried("""
        orphans = Orphans()
        for _ in range(1000):
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
        sizes = []
        while swept := orphans.sweep([], "m", is_arriving=False):
            sizes.append(len(swept))
            for pid in swept:
                os.waitpid(pid, 0)
        print(sum(sizes), max(sizes) == MOST_AT_ONCE)
    """)
    assert seen.split() == ["1000", "True"]


def test_a_zombie_is_no_orphan() -> None:
    seen = tried("""
        orphans = Orphans()
        dead = child()
        os.kill(dead, signal.SIGKILL)
        os.waitid(os.P_PID, dead, os.WEXITED | os.WNOWAIT)
        print(orphans.sweep([], "m", is_arriving=False))
    """)
    assert seen.strip() == "[]"
