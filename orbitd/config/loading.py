"""From files, environment and command line to `Settings`: every fault at once, each with its place (see `sources.py`)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from orbitd.config.contradictions import broken
from orbitd.config.dsn import MASK, is_reference
from orbitd.config.model import OPTIONS, SECTIONS, Settings
from orbitd.config.options import Reload
from orbitd.config.reader import Reader
from orbitd.config.sources import read_all, read_few

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from orbitd.config.options import Key


class Origin(NamedTuple):
    """Where the value of an option comes from, and how it was written there, masked if it is a secret."""

    where: str
    written: object


@dataclass(frozen=True)
class Loaded:
    """The settings in force, and how they came about. `environ` has the variables of app.env_file too."""

    settings: Settings
    origins: Mapping[Key, Origin]
    warnings: tuple[str, ...]
    files: tuple[Path, ...]
    environ: Mapping[str, str] = field(repr=False)


def load(path: Path | None, *, overrides: Sequence[str] = (), environ: Mapping[str, str]) -> Settings:
    """The settings in force; `path` None means that there is no file.

    Raises Faults, a ConfigError that has all faults, one a line: `file:line:column: section.key: what is wrong`.
    """
    return survey(path, overrides=overrides, environ=environ).settings


def survey(path: Path | None, *, overrides: Sequence[str] = (), environ: Mapping[str, str]) -> Loaded:
    """The same with the origin of each value, and with warnings.

    An override is `section.key=value`, or `FLAG=value` with a flag of an option.
    """
    reader = Reader(OPTIONS)
    read_all(reader, path, overrides, environ)
    values = reader.values()
    # What a file that cannot be read would have given is not known, so neither is what contradicts it.
    for rule, message in broken(values) if not reader.unreadable else ():
        place = reader.place_of(rule.key, rule.other)
        if rule.is_wrong:
            reader.fault(place, ".".join(rule.key), message)
        else:
            reader.remark(place, rule.key, message)
    reader.refuse_faults()
    return Loaded(
        Settings.of({section: {key: values[section, key] for of, key in OPTIONS if of == section} for section in SECTIONS}),
        MappingProxyType({key: _origin(reader, key) for key in OPTIONS}),
        tuple(dict.fromkeys(reader.remarks)),
        tuple(reader.files),
        MappingProxyType(dict(reader.environ)),
    )


def load_keys(path: Path | None, keys: Iterable[Key], environ: Mapping[str, str]) -> dict[Key, Any]:
    """The values of a few options, whatever is wrong with the others.

    Raises Faults when one of these cannot be used, or a file cannot be read.
    """
    return read_few({key: OPTIONS[key] for key in keys}, path, environ)


def adopt(old: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """The new settings as far as a reload can take them up, and the options ("section.key") that wait for a restart."""
    before, values = asdict(old), asdict(new)
    kept = []
    for (section, key), option in OPTIONS.items():
        if option.reload is Reload.RESTART and values[section][key] != before[section][key]:
            values[section][key] = before[section][key]
            kept.append(f"{section}.{key}")
    return Settings.of(values), kept


def _origin(reader: Reader, key: Key) -> Origin:
    written = reader.written(key)
    if OPTIONS[key].secret and not is_reference(written):
        written = MASK
    return Origin(reader.place_of(key).name or "default", written)
