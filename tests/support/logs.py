"""What tests of the log share: options, and a process of its own that logs, since the log belongs to descriptor 2."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class LogOptions:
    """The section [logging], as far as the log reads it."""

    level: str = "info"
    format: str = "json"
    dir: str = ""
    max_size: int = 10 * 1024 * 1024
    max_files: int = 10
    redact: tuple[str, ...] = ("*password*", "*secret*", "*token*", "authorization", "*api_key*")


DEFAULTS = LogOptions()


def command(code: str, options: LogOptions = DEFAULTS) -> list[str]:
    """A command line that sets the log up, then does `code`."""
    given = f"log.set_up('test', LogOptions({', '.join(repr(value) for value in vars(options).values())}), host='here')"
    return [
        sys.executable,
        "-c",
        f"import os, logging\nfrom tests.support.logs import LogOptions\nfrom orbitd.system import log\n{given}\n{code}",
    ]


def logged(code: str, options: LogOptions = DEFAULTS, **changes: Any) -> list[str]:
    """The lines that the code has logged on standard error."""
    done = subprocess.run(command(code, replace(options, **changes)), capture_output=True, check=True, text=True)
    return done.stderr.splitlines()


def entries(path: Path) -> list[dict[str, Any]]:
    """The JSON lines of a file."""
    return [json.loads(line) for line in path.read_text().splitlines()]
