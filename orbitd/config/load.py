"""From files, environment and command line to `Settings`: every fault at once, each with its place.

Precedence: `--set KEY=VALUE` > `ORBITD_SECTION__KEY` > file > default.
"""

from __future__ import annotations

import difflib
import re
import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orbitd.config.files import read_text_file
from orbitd.config.locate import lines_of
from orbitd.config.model import OPTIONS, SECTIONS, Settings
from orbitd.config.options import Dsn, naming
from orbitd.config.printable import printable
from orbitd.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

_LARGEST_FILE_BYTES = 1024 * 1024
_MOST_PROBLEMS_SHOWN = 20
_LONGEST_MESSAGE = 300
# tomllib needs time in the square of a key's parts: a file of dots alone would keep it busy for hours.
_ENDLESS_KEY = re.compile(r"""(?<![\w"'-])(?:[\w"'-]++[ \t]*+\.[ \t]*+){64}""")
_TOML_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)")

Key = tuple[str, str]


@dataclass(frozen=True, order=True)
class _Place:
    """Where something was written; in the order in which faults are told."""

    precedence: int
    line: int
    name: str


_DEFAULT = _Place(0, 0, "")
_OVERRIDE = _Place(3, 0, "--set")


@dataclass(frozen=True)
class _Given:
    """A value as somebody wrote it, and where."""

    place: _Place
    value: object


@dataclass
class _Reader:
    """Collects what is given and what is wrong with it."""

    environ: Mapping[str, str]
    given: dict[Key, _Given] = field(default_factory=dict)
    problems: list[tuple[_Place, str]] = field(default_factory=list)

    def problem(self, place: _Place, key: str, message: object) -> None:
        what = f"{printable(key, 60)}: {message}" if key else str(message)
        self.problems.append((place, printable(f"{place.name}: {what}" if place.name else what, _LONGEST_MESSAGE)))

    def read_file(self, path: Path) -> None:
        document, lines = _parsed(path)
        for section, values in document.items():
            place = _place_in_file(path, lines[section,])
            if section not in SECTIONS:
                self.problem(place, section, f"unknown section{self._suggestion(section, SECTIONS)}")
            elif not isinstance(values, dict):
                self.problem(place, section, f"is {naming(values)}: write a section, [{section}]")
            else:
                for key, value in values.items():
                    self._give((section, key), _place_in_file(path, lines.get((section, key), place.line)), value)

    def read_environment(self) -> None:
        for name, text in self.environ.items():
            section, separator, key = name.removeprefix("ORBITD_").lower().partition("__")
            if name.startswith("ORBITD_") and separator:
                self._give_text((section, key), _Place(2, 0, f"environment: {name}"), text)

    def read_overrides(self, overrides: Iterable[str]) -> None:
        for override in overrides:
            name, equals, text = override.partition("=")
            section, dot, key = name.strip().partition(".")
            if not equals or not dot:
                self.problem(_OVERRIDE, "", f'"{override}" is not of the form section.key=value')
            elif (section, key) in OPTIONS and _shows_password((section, key), text):
                self.problem(_OVERRIDE, name, "the password would be seen by everyone on this machine: use env:NAME or file:PATH")
            else:
                self._give_text((section, key), _OVERRIDE, text)

    def value(self, key: Key) -> Any:
        """The value in force; None when it is wrong."""
        option = OPTIONS[key]
        written = self.given[key].value if key in self.given else option.default
        try:
            return option.kind.resolve(option.kind.read(written), self.environ)
        except ValueError as error:
            self.problem(self.place_of(key), ".".join(key), error)
            return None

    def place_of(self, key: Key) -> _Place:
        return self.given[key].place if key in self.given else _DEFAULT

    def refuse_problems(self, path: Path | None) -> None:
        if self.problems:
            raise ConfigError(_joined(self.problems), _hint(path))

    def _give_text(self, key: Key, place: _Place, text: str) -> None:
        if key not in OPTIONS:
            self._give(key, place, text)
            return
        try:
            self._give(key, place, OPTIONS[key].kind.from_text(text))
        except ValueError as error:
            self.problem(place, ".".join(key), error)

    def _give(self, key: Key, place: _Place, value: object) -> None:
        if key in OPTIONS:
            self.given[key] = _Given(place, value)
        else:
            self.problem(place, ".".join(key), f"unknown option{self._suggestion('.'.join(key), map('.'.join, OPTIONS))}")

    def _suggestion(self, word: str, known: Iterable[str]) -> str:
        if len(self.problems) >= _MOST_PROBLEMS_SHOWN:
            return ""
        near = difflib.get_close_matches(word[:80], known, n=1)
        return f", did you mean {near[0]}?" if near else ""


def load(path: Path | None, *, overrides: Sequence[str] = (), environ: Mapping[str, str]) -> Settings:
    """The settings in force; `path` None means that there is no file.

    Raises ConfigError that names all faults, one a line: `file:line: section.key: what is wrong`.
    """
    reader = _Reader(environ)
    if path is not None:
        reader.read_file(path)
    reader.read_environment()
    reader.read_overrides(overrides)
    values = {section: {key: reader.value((section, key)) for other, key in OPTIONS if other == section} for section in SECTIONS}
    reader.refuse_problems(path)
    settings = Settings.of(values)
    for key, message in _contradictions(settings):
        reader.problem(reader.place_of(key), ".".join(key), message)
    reader.refuse_problems(path)
    return settings


def load_keys(path: Path | None, keys: Iterable[Key], environ: Mapping[str, str]) -> dict[Key, Any]:
    """The values of a few options, whatever is wrong with the others.

    Raises ConfigError when one of these cannot be used, or the file is no TOML.
    """
    reader = _Reader(environ)
    if path is not None:
        reader.read_file(path)
    reader.read_environment()
    reader.problems.clear()
    values = {key: reader.value(key) for key in keys}
    reader.refuse_problems(path)
    return values


def _parsed(path: Path) -> tuple[dict[str, Any], dict[tuple[str, ...], int]]:
    try:
        text = read_text_file(path, _LARGEST_FILE_BYTES)
    except ValueError as error:
        raise ConfigError(printable(str(error)), "name another file with -c, or $ORBITD_CONFIG") from error
    if endless := _ENDLESS_KEY.search(text):
        line = text.count("\n", 0, endless.start()) + 1
        raise ConfigError(printable(f"{path}:{line}: a key with more than 64 parts"), _hint(path))
    try:
        return tomllib.loads(text), lines_of(text)
    except RecursionError:
        raise ConfigError(printable(f"{path}: brackets are nested too deeply"), _hint(path)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(printable(_syntax_error(path, text, str(error)), _LONGEST_MESSAGE), _hint(path)) from error
    except ValueError as error:
        # Not TOML's own: int() refuses a number of thousands of digits, datetime() the 31st of February.
        raise ConfigError(
            printable(f"{path}: not TOML: a number or date that cannot be: {error}", _LONGEST_MESSAGE), _hint(path)
        ) from error


def _syntax_error(path: Path, text: str, message: str) -> str:
    """`file:line: what`, of tomllib's "What (at line 3, column 4)"."""
    place = _TOML_PLACE.search(message)
    if place is None:
        return f"{path}: not TOML: {message}"
    line = place[1] or text.count("\n") + 1
    return f"{path}:{line}: not TOML: {message[: place.start()].lower()}"


def _contradictions(settings: Settings) -> Iterator[tuple[Key, str]]:
    if settings.host.beat * 3 > settings.host.lease:
        yield (
            ("host", "beat"),
            f"is {settings.host.beat:g}s, more than a third of host.lease, {settings.host.lease:g}s: one slow beat would cost the lease",
        )
    if settings.restart.backoff_first > settings.restart.backoff_longest:
        yield ("restart", "backoff_first"), "is longer than restart.backoff_longest"


def _shows_password(key: Key, text: str) -> bool:
    kind = OPTIONS[key].kind
    return isinstance(kind, Dsn) and kind.holds_password(text)


def _place_in_file(path: Path, line: int) -> _Place:
    return _Place(1, line, f"{path}:{line}")


def _joined(problems: list[tuple[_Place, str]]) -> str:
    shown = [text for _, text in sorted(problems)[:_MOST_PROBLEMS_SHOWN]]
    rest = len(problems) - len(shown)
    return "\n".join([*shown, f"and {rest} more"] if rest else shown)


def _hint(path: Path | None) -> str:
    return printable(f"orbitd.toml(5) lists every option{f'; correct {path} and try again' if path else ''}")
