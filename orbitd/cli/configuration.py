"""`orbitd config`: what is configured, what that means, and a file to begin with."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

from orbitd.cli.call import Act, Call
from orbitd.config import OPTIONS, SECTIONS, Loaded
from orbitd.config.explain import Shown, explained, shown
from orbitd.config.manual import toml
from orbitd.ctl.render import Column, table
from orbitd.errors import ConfigError, Conflict, ExitCode, OrbitError, why

_FILE_MODE = 0o640


def show(call: Call) -> int:
    """`orbitd config show`."""
    loaded = call.survey()
    options = shown(loaded)
    _tell_warnings(call, loaded)
    call.out.document(_document(loaded, options), map(call.out.style.plain, _as_toml(options, with_origin=call.args["origin"])))
    return ExitCode.OK


def diff(call: Call) -> int:
    """`orbitd config diff`."""
    loaded = call.survey()
    changed = [option for option in shown(loaded) if not option.is_default]
    if not changed:
        call.out.note("every option has its default")
    _tell_warnings(call, loaded)
    call.out.document(_document(loaded, changed), map(call.out.style.plain, _as_toml(changed, with_origin=True)))
    return ExitCode.OK


def explain(call: Call) -> int:
    """`orbitd config explain`: an option, or a section's options. What is in force is told if the configuration can be read."""
    name = call.args["key"].strip("[]")
    loaded = None
    try:
        loaded = call.survey()
    except ConfigError as error:
        call.out.note(f"{error.message.splitlines()[0]}; so this tells nothing of what is in force")
    if name in SECTIONS:
        rows = [explained(f"{section}.{key}", loaded)._asdict() for section, key in OPTIONS if section == name]
        columns = (
            Column("OPTION", lambda row: row["key"]),
            Column("VALUE", lambda row: toml(row["default"] if row["value"] is None else row["value"])),
            Column("WHAT IT IS", lambda row: row["doc"], elastic=True),
        )
        call.out.document({"schema": "orbit.options/1", "items": rows}, table(columns, rows, call.out.style))
    else:
        found = explained(name, loaded)
        call.out.document({"schema": "orbit.option/1", **found._asdict()}, map(call.out.style.plain, found.lines()))
    return ExitCode.OK


def schema(call: Call) -> int:
    """`orbitd config schema`: a JSON document in any case."""
    from orbitd.config import manual

    document = manual.schema()
    call.out.document(document, [json.dumps(document, indent=2)])
    return ExitCode.OK


def init(call: Call) -> int:
    """`orbitd config init`."""
    from orbitd.config import manual

    text, name = manual.config_file(), call.args["file"]
    if not name:
        call.out.document({"schema": "orbit.file/1", "path": None, "text": text}, [text.rstrip("\n")])
        return ExitCode.OK
    path = Path(name)
    _write_new(path, text)
    call.out.document({"schema": "orbit.file/1", "path": str(path.absolute()), "text": text}, [call.out.style.plain(f"written: {path}")])
    call.out.note(f"set database.url and app.pipelines there, then: orbitd check -c {path} --import --connect")
    return ExitCode.OK


def _write_new(path: Path, text: str) -> None:
    """Raises Conflict when there is a file already, OrbitError when it cannot be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _FILE_MODE)
    except FileExistsError:
        raise Conflict(f"{path} exists already", "name another file, or print it with: orbitd config init") from None
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> OrbitError:
    return OrbitError(f"{path} cannot be written: {why(error)}", "name a file in a directory that you may write to")


def _document(loaded: Loaded, options: Sequence[Shown]) -> dict[str, object]:
    return {
        "schema": "orbit.config/1",
        "files": [str(path) for path in loaded.files],
        "warnings": list(loaded.warnings),
        "items": [option._asdict() for option in options],
    }


def _as_toml(options: Sequence[Shown], *, with_origin: bool) -> Iterator[str]:
    """Sections and keys as a file has them; beside each what it came to, and where it comes from."""
    for index, (section, group) in enumerate(groupby(options, lambda option: option.key.partition(".")[0])):
        yield from ([""] if index else [])
        yield f"[{section}]"
        for option in group:
            facts = [option.meaning, option.origin if with_origin else ""]
            comment = "; ".join(filter(None, facts))
            line = f"{option.key.partition('.')[2]} = {toml(option.value)}"
            yield f"{line:<40}  # {comment}" if comment else line


def _tell_warnings(call: Call, loaded: Loaded) -> None:
    for warning in loaded.warnings:
        call.out.note(f"warning: {warning}")


ACTS: Mapping[str, Act] = {
    "config show": show,
    "config explain": explain,
    "config diff": diff,
    "config schema": schema,
    "config init": init,
}
