"""Capture the newcomer's session in README.md from a real terminal: `make session`.

tmux holds two terminals of 100 columns in a fresh clone: in one runs `make run`, in the other the commands below are typed as a
person would, each when the one before has ended. What stands on the second screen goes into README.md between its marks, as it is.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

ROOT = Path(__file__).parents[1]
COLUMNS, LINES = 100, 400
COMMANDS = (
    "orbitctl status",
    "orbitctl pipelines",
    "orbitctl enqueue lead.intake --count 30 n='{n}' | tail -1",
    "orbitctl enqueue basics.hello name=Ada --follow",
    "orbitctl runs --limit 6",
    "orbitctl dlq list",
    "orbitctl health",
    "orbitctl scale +1 --wait",
    "orbitctl list",
)
_PROMPT = "$ "
_PART = re.compile(r"(?<=<!-- session -->\n).*?(?=<!-- end of session -->)", re.DOTALL)
_PATIENCE_SECONDS = 300.0
_CLONE = Path("/tmp/orbitd")  # noqa: S108 - made anew, or refused


class Tmux:
    """A tmux server of our own, with a terminal for each name."""

    def __init__(self, folder: Path) -> None:
        self._command = ["tmux", "-L", f"orbitd-{uuid.uuid4().hex[:8]}", "-f", "/dev/null"]
        self._folder = folder

    def __call__(self, *arguments: str) -> str:
        """A tmux command, and its output."""
        return subprocess.run([*self._command, *arguments], check=True, capture_output=True, text=True).stdout

    def open(self, name: str) -> None:
        """A terminal with a plain shell that finds the clone's programs."""
        environment = {"PATH": f"{self._folder}/.venv/bin:{os.environ['PATH']}", "PS1": _PROMPT, "LANG": "C.UTF-8", "HISTFILE": ""}
        shell = shlex.join(["env", *(f"{key}={value}" for key, value in environment.items()), "bash", "--norc", "--noprofile"])
        self("new-session", "-d", "-s", name, "-x", str(COLUMNS), "-y", str(LINES), "-c", str(self._folder), shell)

    def type(self, name: str, line: str) -> None:
        """Type a line."""
        self("send-keys", "-t", name, "-l", line)
        self("send-keys", "-t", name, "Enter")

    def screen(self, name: str) -> str:
        """What stands there now."""
        return "\n".join(line.rstrip() for line in self("capture-pane", "-p", "-t", name).splitlines()).rstrip("\n")

    def await_screen(self, name: str, pattern: str) -> str:
        """The screen once the pattern is on it. Raises TimeoutError."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not re.search(pattern, screen := self.screen(name)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"no {pattern!r} on the screen:\n{screen}")
            time.sleep(0.1)
        return screen


def captured() -> str:
    """The screen of the second terminal when all has been typed."""
    _CLONE.mkdir()  # it is seen on the screen; if somebody has it already, this fails
    try:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(_CLONE)], check=True)
        return _typed(Tmux(_CLONE))
    finally:
        shutil.rmtree(_CLONE)


def _typed(tmux: Tmux) -> str:
    try:
        tmux.open("daemon")
        tmux.type("daemon", "make run")
        tmux.await_screen("daemon", "generation_serves")
        tmux.open("operator")
        for typed, command in enumerate(COMMANDS):
            tmux.await_screen("operator", rf"(?:\$ .*\n(?:.*\n)*?){{{typed}}}\$$" if typed else r"\$$")
            tmux.type("operator", command)
        screen = tmux.await_screen("operator", r"\n\$$")
        tmux("send-keys", "-t", "daemon", "C-c")
        tmux.await_screen("daemon", r"\$$")
    finally:
        tmux("kill-server")
    return screen.removesuffix("\n$")


def main() -> int:
    """Write the session into README.md."""
    readme = ROOT / "README.md"
    session = f"```console\n{captured()}\n```\n"
    readme.write_text(_PART.sub(lambda _: session, readme.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
