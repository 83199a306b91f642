"""The sources of settings, one function for each; what counts more has a higher rank.

    a flag or --set > ORBITD_SECTION__KEY > variables of other programs > drop-ins > file > default

A variable of the process counts more than the same kind of variable in the file that app.env_file names.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from orbitd.config import early
from orbitd.config.dsn import shows_password
from orbitd.config.faults import Fault
from orbitd.config.kinds import AbsolutePath, AnyPath, Kind, naming
from orbitd.config.options import Key, Option, environment_name
from orbitd.config.reader import DEFAULT, ENVIRONMENT, Given, Place, Reader
from orbitd.config.variables import ADDRESS_PARTS, NOT_NEEDED, absolute
from orbitd.errors import nearest
from orbitd.system.files import read_text_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from orbitd.config.document import Document

# The file and its drop-ins have the ranks from 1.
_ADDRESS_PARTS, _DOTENV_VARIABLE, _VARIABLE, _DOTENV_OPTION, _OPTION, _OVERRIDE = range(100_000, 100_006)

_PREFIX = "ORBITD_"
_NO_OPTIONS = "ORBITD_PG_"
"""What the embedded PostgreSQL of development and tests is told."""
_URL: Key = ("database", "url")
_LARGEST_VALUE_BYTES = 64 * 1024
_LARGEST_ENV_FILE_BYTES = 256 * 1024


def read_all(reader: Reader, path: Path | None, overrides: Iterable[str], environ: Mapping[str, str]) -> None:
    """Let a reader have all that is given."""
    reader.environ = environ
    if path is not None:
        _read_files(reader, path)
    _read_overrides(reader, overrides)
    of_process = _Environment(environ)
    _read_environment(reader, of_process)
    of_file = _read_env_file(reader)
    _compose_address(reader, [of_process, of_file])
    _remark_hidden_address(reader)


def read_few(options: Mapping[Key, Option], path: Path | None, environ: Mapping[str, str]) -> dict[Key, Any]:
    """The values of a few options, whatever is wrong with the others.

    Raises Faults when one of these cannot be used, or a file cannot be read.
    """
    reader = Reader({**options, early.ENV_FILE_KEY: early.ENV_FILE}, is_whole=False)
    read_all(reader, path, (), environ)
    values = reader.values()
    reader.refuse_faults()
    return {key: values[key] for key in options}


# --- files ---


def _read_files(reader: Reader, path: Path) -> None:
    from orbitd.config.document import Unreadable, drop_ins, read_document

    try:
        others = drop_ins(path)
    except Unreadable as error:
        reader.cannot_read(Place(1, file=Path(f"{path}.d")), error.fault)
        others = []
    # Drop-ins may stand alone; a file that is not there is a fault only without them.
    paths = others if others and not os.path.lexists(path) else [path, *others]
    for rank, one in enumerate(paths, 1):
        try:
            document = read_document(one)
        except Unreadable as error:
            reader.cannot_read(Place(rank, file=one), error.fault)
            reader.missing = one if error.is_missing else reader.missing
        else:
            reader.files.append(one)
            _read_document(reader, document, rank)


def _read_document(reader: Reader, document: Document, rank: int) -> None:
    def place(*path: str) -> Place:
        line, column = document.places[path]
        return Place(rank, line, column, f"{document.path}:{line}:{column}", document.path)

    sections = dict.fromkeys(section for section, _ in reader.options)
    for section, values in document.values.items():
        if section not in sections:
            reader.unknown(place(section), section, "section", partial(nearest, section, sections))
        elif not isinstance(values, dict):
            reader.fault(place(section), section, f"is {naming(values)}: write a section, [{section}]")
        else:
            for key, value in values.items():
                reader.give((section, key), place(section, key), value)


# --- command line ---


def _read_overrides(reader: Reader, overrides: Iterable[str]) -> None:
    flags = {flag: key for key, option in reader.options.items() for flag in option.flags}
    for override in overrides:
        name, equals, text = override.partition("=")
        section, dot, key = name.strip().partition(".")
        if equals and name in flags:
            _override(reader, flags[name], Place(_OVERRIDE, name=name), _from_here(reader.options[flags[name]].kind, text))
        elif equals and dot:
            _override(reader, (section, key), Place(_OVERRIDE, name="--set"), text)
        else:
            reader.fault(Place(_OVERRIDE, name="--set"), "", f"{naming(override)} is not of the form section.key=value")


def _from_here(kind: Kind, text: str) -> str:
    """A path that follows a flag begins where the caller stands, as the shell completes it."""
    is_path = isinstance(kind, AbsolutePath | AnyPath) and text and not text.startswith("~")
    return absolute(text) if is_path else text


def _override(reader: Reader, key: Key, place: Place, text: str) -> None:
    if key in reader.options and reader.options[key].secret and shows_password(text):
        reader.fault(place, ".".join(key), "the password would be seen by everyone on this machine: use env:NAME or file:PATH")
    else:
        reader.give_text(key, place, text)


# --- environment ---


class _Environment(NamedTuple):
    """The variables of the process, or those of a file."""

    values: Mapping[str, str]
    file: Path | None = None
    lines: Mapping[str, int] = {}

    def place(self, name: str, *, is_option: bool) -> Place:
        """Of a variable, which is an option's own or another program's."""
        if self.file is None:
            return Place(_OPTION if is_option else _VARIABLE, name=f"{ENVIRONMENT}{name}")
        line = self.lines[name]
        return Place(_DOTENV_OPTION if is_option else _DOTENV_VARIABLE, line, 0, f"{self.file}:{line}: {name}", self.file)


def _read_environment(reader: Reader, environment: _Environment) -> None:
    for name in environment.values:
        if name.startswith(_PREFIX) and not name.startswith(_NO_OPTIONS):
            _read_option(reader, environment, name)
    for key, option in reader.options.items():
        for variable in option.variables:
            for place, text in _found(reader, environment, variable.name, ".".join(key)):
                translated = variable.translate(text)
                if translated is not None and variable.is_added:
                    reader.give(key, place, _added(translated, reader.written(key)))
                elif translated is not None:
                    reader.give_text(key, place, translated)
    if reader.is_whole:
        _remark_what_is_not_needed(reader, environment)


def _added(item: str, others: object) -> list[object]:
    """Of what is wrong among the others nothing: it is a fault of the place where it is written."""
    known = others if isinstance(others, list) else []
    return [item, *(other for other in known if isinstance(other, str) and other not in {"", item})]


def _read_option(reader: Reader, environment: _Environment, name: str) -> None:
    """`ORBITD_SECTION__KEY`, or `ORBITD_SECTION__KEY_FILE`, unless an option's own name ends so."""
    place = environment.place(name, is_option=True)
    section, separator, key = name.removeprefix(_PREFIX).lower().partition("__")
    of_file = (section, key.removesuffix("_file"))
    if not separator:
        _refuse_near_name(reader, place, name)
    elif (section, key) in reader.options or of_file not in reader.options:
        reader.give_text((section, key), place, environment.values[name])
    elif (other := name[: -len("_FILE")]) in environment.values:
        reader.fault(place, ".".join(of_file), f"{other} is set too")
    else:
        for there, text in _content(reader, place, ".".join(of_file), environment.values[name]):
            reader.give_text(of_file, there, text)


def _refuse_near_name(reader: Reader, place: Place, name: str) -> None:
    """`ORBITD_POLL_INTERVAL` would be without effect, and nobody would know why."""
    for key in reader.options if reader.is_whole else ():
        if environment_name(key).replace("__", "_") == name:
            reader.fault(place, "", f"unknown variable, did you mean {environment_name(key)}?")


def _found(reader: Reader, environment: _Environment, name: str, key: str) -> Iterator[tuple[Place, str]]:
    """The text of the variable that is set to something, NAME or NAME_FILE."""
    in_file = f"{name}_FILE"
    text, file = environment.values.get(name), environment.values.get(in_file)
    if text and file:
        reader.fault(environment.place(in_file, is_option=False), key, f"{name} is set too")
    elif text:
        yield environment.place(name, is_option=False), text
    elif file:
        yield from _content(reader, environment.place(in_file, is_option=False), key, file)


def _content(reader: Reader, place: Place, key: str, name: str) -> Iterator[tuple[Place, str]]:
    """What is in the file that a variable names, or nothing if that is a fault."""
    path = Path(name)
    try:
        yield place._replace(file=path), read_text_file(path, _LARGEST_VALUE_BYTES).strip()
    except ValueError as error:
        reader.fault(place, key, error)


def _remark_what_is_not_needed(reader: Reader, environment: _Environment) -> None:
    for name, why in NOT_NEEDED.items():
        if environment.values.get(name):
            reader.remarks.append(f"{environment.place(name, is_option=False).name} {why}")


# --- the file of variables ---


def _read_env_file(reader: Reader) -> _Environment:
    """The variables of app.env_file that those of the process do not hide."""
    key, place = ".".join(early.ENV_FILE_KEY), reader.place_of(early.ENV_FILE_KEY)
    for name in reader.value(early.ENV_FILE_KEY):
        if not name:
            break
        path = Path(name).absolute()
        try:
            text = read_text_file(path, _LARGEST_ENV_FILE_BYTES)
        except ValueError as error:
            reader.cannot_read(place, Fault.of(place.name, key, error))
            break
        environment = _parsed(reader, path, text)
        if environment_name(early.ENV_FILE_KEY) in environment.values:
            reader.fault(place, key, f"is set in {path} itself, where it is without effect")
            break
        _read_environment(reader, environment)
        reader.environ = {**environment.values, **reader.environ}
        return environment
    return _Environment({})


def _parsed(reader: Reader, path: Path, text: str) -> _Environment:
    from orbitd.config.dotenv import parse

    found = parse(text)
    for line, message in found.faults if reader.is_whole else ():
        reader.fault(Place(_DOTENV_VARIABLE, line, 0, f"{path}:{line}", path), "", message)
    reader.remarks += [f"{path}:{line}: {message}" for line, message in found.remarks]
    entries = [entry for entry in found.entries if entry.name not in reader.environ]
    return _Environment({entry.name: entry.value for entry in entries}, path, {entry.name: entry.line for entry in entries})


# --- an address in parts ---


def _compose_address(reader: Reader, environments: Sequence[_Environment]) -> None:
    """Where neither DATABASE_URL nor anything else names the database, its host and name may."""
    if _URL not in reader.options or reader.written(_URL) not in ("", reader.options[_URL].default) or reader.environ.get("DATABASE_URL"):
        return
    from orbitd.config.libpq import composed

    parts = {name: _part(reader, environments, name) for name in ADDRESS_PARTS}
    given = [parts[name] for name in ("DATABASE_HOST", "DATABASE_NAME") if parts[name].text]
    if given:
        place = given[0].place._replace(rank=_ADDRESS_PARTS, file=parts["DATABASE_PASSWORD"].place.file)
        reader.give(_URL, place, composed(*(parts[name].text for name in ADDRESS_PARTS)))


def _remark_hidden_address(reader: Reader) -> None:
    """DATABASE_URL counts more than a file that names another database, which whoever wrote the file may not expect."""
    given = reader.given.get(_URL, [])
    of_files = [one for one in given if one.place.rank < _ADDRESS_PARTS]
    if not of_files or given[-1].place.rank not in {_DOTENV_VARIABLE, _VARIABLE}:
        return
    hidden, counting = of_files[-1].place, given[-1].place
    if _address(reader, of_files[-1]) != _address(reader, given[-1]):
        variable = counting.name.removeprefix(ENVIRONMENT)
        reader.remarks.append(f"{variable} counts, not database.url of {hidden.file}:{hidden.line}")


def _address(reader: Reader, given: Given) -> str | None:
    """None for one that cannot be had."""
    kind = reader.options[_URL].kind
    try:
        return str(kind.resolve(kind.read(given.value), reader.environ))
    except ValueError:
        return None


class _Part(NamedTuple):
    text: str = ""
    place: Place = DEFAULT


def _part(reader: Reader, environments: Sequence[_Environment], name: str) -> _Part:
    for environment in environments:
        for place, text in _found(reader, environment, name, ".".join(_URL)):
            return _Part(text, place)
    return _Part()
