"""`ask.py COUNT undoable|final WORD...` asks as a verb with this command line would, and says "done" if it may."""

from __future__ import annotations

import os
import sys

from orbitd.ctl.app import Session
from orbitd.ctl.guard import confirm
from orbitd.ctl.output import Output
from orbitd.ctl.parser import parse
from orbitd.ctl.verbs import ORBITCTL
from orbitd.errors import OrbitError

count, kind, *words = sys.argv[1:]
out = Output("orbitctl")
try:
    confirm(Session(parse(ORBITCTL, words), out, os.environ, words), f"{words[0]} {count} runs", int(count), undoable=kind == "undoable")
except OrbitError as error:
    out.error(error)
    sys.exit(error.exit_code)
print("done")
