"""The options for a reader's eyes: what is in force and why, and what an option means.

Values are as they were written, for people as TOML; of a secret nobody learns more than whether two are the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from orbitd.config import OPTIONS, SECTIONS, masked
from orbitd.config.dsn import MASK
from orbitd.config.manual import toml
from orbitd.config.options import environment_name
from orbitd.errors import NoSuchObject, nearest
from orbitd.printable import printable

if TYPE_CHECKING:
    from orbitd.config import Key, Loaded


class Shown(NamedTuple):
    """An option in force. `meaning` is what a value such as "auto" came to, else ""."""

    key: str
    value: Any
    meaning: str
    origin: str
    is_default: bool


class Change(NamedTuple):
    """An option that has another value now than before. `reload` is the class that says when it counts."""

    key: str
    reload: str
    reload_words: str
    old: Any
    old_meaning: str
    new: Any
    new_meaning: str
    origin: str


class Explanation(NamedTuple):
    """All that is known of an option. `value` is None, `meaning` and `origin` are "", when it is not known what is in force."""

    key: str
    doc: str
    words: str
    default: Any
    reload: str
    reload_words: str
    environment: str
    flags: tuple[str, ...]
    variables: tuple[str, ...]
    value: Any
    meaning: str
    origin: str

    def lines(self) -> list[str]:
        """For people."""
        facts = {
            "in force": "" if self.value is None else _with_remark(toml(self.value), self.meaning),
            "from": self.origin,
            "default": toml(self.default),
            "may be": self.words,
            "reload": f"{self.reload}: {self.reload_words}",
            "flags": ", ".join([*self.flags, f"--set {self.key}=VALUE"]),
            "environment": ", ".join([self.environment, *self.variables]),
        }
        return [self.key, f"  {self.doc}", *(f"  {name + ':':<13}{fact}" for name, fact in facts.items() if fact)]


def shown(loaded: Loaded) -> list[Shown]:
    """Every option, in the order of the table."""
    return [_shown(key, loaded) for key in OPTIONS]


def changes(old: Loaded, new: Loaded) -> list[Change]:
    """What a reload would make of it, in the order of the table. A value that is only written differently is no change."""
    return [_change(key, old, new) for key in OPTIONS if _in_force(key, old) != _in_force(key, new)]


def explained(name: str, loaded: Loaded | None = None) -> Explanation:
    """What `name`, such as "poll.interval", is. Raises NoSuchObject."""
    section, _, last = name.partition(".")
    key = (section, last)
    option = OPTIONS.get(key)
    if option is None:
        raise _unknown(name)
    now = _shown(key, loaded) if loaded else Shown(name, None, "", "", is_default=False)
    return Explanation(
        key=name,
        doc=option.doc,
        words=option.kind.words,
        default=option.default,
        reload=option.reload,
        reload_words=f"a changed value counts {option.reload.words}",
        environment=environment_name(key),
        flags=option.flags,
        variables=tuple(variable.name for variable in option.variables),
        value=now.value,
        meaning=now.meaning,
        origin=now.origin,
    )


def _shown(key: Key, loaded: Loaded) -> Shown:
    value, where = _written(key, loaded), loaded.origins[key].where
    meaning = _meaning(key, loaded)
    return Shown(".".join(key), value, "" if meaning == str(value) else meaning, where, is_default=_is_default(key, value))


def _change(key: Key, old: Loaded, new: Loaded) -> Change:
    before, after, reload = _shown(key, old), _shown(key, new), OPTIONS[key].reload
    return Change(before.key, reload, reload.words, before.value, before.meaning, after.value, after.meaning, after.origin)


def _written(key: Key, loaded: Loaded) -> Any:
    written = loaded.origins[key].written
    return masked(_in_force(key, loaded)) if OPTIONS[key].secret and written == MASK else written


def _meaning(key: Key, loaded: Loaded) -> str:
    option, value = OPTIONS[key], _in_force(key, loaded)
    return masked(value) if option.secret else printable(option.kind.meaning(value))


def _is_default(key: Key, written: object) -> bool:
    """Also when the default is written differently: "1m" for "60s"."""
    option = OPTIONS[key]
    return written == option.default or (not option.secret and bool(option.kind.read(written) == option.kind.read(option.default)))


def _in_force(key: Key, loaded: Loaded) -> Any:
    section, name = key
    return getattr(getattr(loaded.settings, section), name)


def _with_remark(value: str, remark: str) -> str:
    return f"{value}  # {remark}" if remark else value


def _unknown(name: str) -> NoSuchObject:
    near = _near(name)
    hint = f"did you mean {' or '.join(near)}?" if near else "`orbitd config show` lists every option"
    return NoSuchObject(f"there is no option{'' if '.' in name else ' or section'} {printable(name, 60)}", hint)


def _near(name: str) -> list[str]:
    """The options that bear this name in another section, else what looks like it: a section, or options."""
    if options := _called(name.rpartition(".")[2]):
        return options
    near = nearest(name, [*SECTIONS, *map(".".join, OPTIONS), *(last for _, last in OPTIONS)])
    return [] if near is None else _called(near) or [near]


def _called(last: str) -> list[str]:
    return [".".join(key) for key in OPTIONS if key[1] == last]
