"""Finding the pipelines of an application: which modules to import, which pipelines they hold, which are served.

An entry of `app.pipelines` is a dotted module, or a directory (written with a slash) whose files are imported each
under its own name. Nothing is registered by the import itself: the pipelines are looked up in the modules' globals.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import pkgutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any

from orbitd.errors import ConfigError
from orbitd.pipelines.definition import Pipeline
from orbitd.pipelines.failure import headline, traceback_text

AnyPipeline = Pipeline[..., Any]


class LoadError(ConfigError):
    """A module of the application cannot be imported. `traceback` shows the application's own frames."""

    def __init__(self, message: str, hint: str | None, traceback: str) -> None:
        super().__init__(message, hint)
        self.traceback = traceback


@dataclass(frozen=True)
class Registry:
    """The pipelines that were found. `served` and `left_out`, by the filter, are in the order of loading."""

    served: Mapping[str, AnyPipeline]
    left_out: Mapping[str, AnyPipeline]
    modules: tuple[ModuleType, ...]


def load(entries: Sequence[str], paths: Sequence[str], working_directory: str, filters: Sequence[str]) -> Registry:
    """Import the entries and collect their pipelines.

    `paths`, then the working directory, are put at the front of sys.path; relative paths start at the working directory.
    Raises LoadError when an import fails, ConfigError when a name is taken twice or nothing is left to serve.
    """
    base = Path(working_directory).resolve()
    _put_first([*(base / path for path in paths), base])
    importlib.invalidate_caches()
    modules = tuple(dict.fromkeys(module for entry in entries for module in _import_entry(entry, base)))
    found = _collect(modules)
    if not found:
        raise ConfigError(f"no pipeline in {_listed(entries)}", _hint_of_nothing_found(modules))
    served = {name: pipeline for name, pipeline in found.items() if any(fnmatchcase(name, glob) for glob in filters)}
    if not served:
        raise ConfigError(f"app.filter {_listed(filters)} matches none of the pipelines {_listed(found)}", "change app.filter")
    left_out = {name: pipeline for name, pipeline in found.items() if name not in served}
    return Registry(MappingProxyType(served), MappingProxyType(left_out), modules)


def warm_up(modules: Iterable[ModuleType]) -> None:
    """Call the `warm_up` of each module that has one; one that several modules import, once. Raises LoadError."""
    found = {id(function): (module.__name__, function) for module in modules if callable(function := vars(module).get("warm_up"))}
    for name, function in found.values():
        if inspect.iscoroutinefunction(function):
            raise ConfigError(f"warm_up() in {name} is async, and nobody would wait for it", "make it an ordinary function")
        try:
            function()
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            raise LoadError(f"warm_up() in {name} failed: {headline(error)}", None, traceback_text(error)) from error


def fingerprint() -> str:
    """A digest of path, mtime and size of all loaded modules but Python's own: other files, or a deploy, change it."""
    stamps = sorted(stamp for name, module in list(sys.modules.items()) if (stamp := _stamp(name, module)))
    return hashlib.sha256("\n".join(stamps).encode("utf-8", "surrogateescape")).hexdigest()


def _import_entry(entry: str, base: Path) -> list[ModuleType]:
    if "/" in entry:
        return list(_import_directory((base / entry).resolve()))
    if not all(part.isidentifier() for part in entry.split(".")):
        raise ConfigError(
            f'app.pipelines: "{entry}" is not a module', 'write a dotted name such as "app.pipelines", or a directory with a slash'
        )
    return [_import(entry)]


def _import_directory(folder: Path) -> Iterator[ModuleType]:
    """Import each file and package of the folder, in the order of their names, but those that begin with "_" or "."."""
    if not folder.is_dir():
        raise ConfigError(f'app.pipelines: "{folder}" is not a directory', "correct app.pipelines or app.working_directory")
    _put_first([folder])
    for path in sorted(folder.iterdir()):
        source = path / "__init__.py" if path.is_dir() else path
        if source.suffix == ".py" and source.is_file() and not path.name.startswith(("_", ".")):
            yield _import_file(path.name.removesuffix(".py"), source)


def _import_file(name: str, source: Path) -> ModuleType:
    """Import the file as a top-level module, and make sure that it is this file which bears the name."""
    if not name.isidentifier():
        raise ConfigError(f"{source} cannot be imported: its name is no Python name", 'rename it, or let its name begin with "_"')
    if name in sys.stdlib_module_names:
        raise ConfigError(f'{source} has the name of the module "{name}" of Python\'s own library', "rename it")
    module = _import(name)
    loaded_from = getattr(module, "__file__", None)
    if not loaded_from or not source.samefile(loaded_from):
        raise ConfigError(f'{source} has the name of a module that is loaded already: "{name}" from {loaded_from}', "rename it")
    return module


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        message = f'cannot import "{name}": {headline(error)}'
        raise LoadError(message, _hint_of_missing(name, error), traceback_text(error)) from error


def _collect(modules: Iterable[ModuleType]) -> dict[str, AnyPipeline]:
    """The pipelines in the modules' globals; one that several modules import counts once."""
    found: dict[str, AnyPipeline] = {}
    for value in [value for module in modules for value in vars(module).values()]:
        if not issubclass(type(value), Pipeline):  # isinstance would ask the object, and a lazy proxy may raise
            continue
        known = found.setdefault(value.name, value)
        if known is not value:
            raise ConfigError(f'pipeline "{value.name}" is defined twice: in {known.place} and in {value.place}', "rename one of them")
    return found


def _put_first(folders: Sequence[Path]) -> None:
    names = [str(folder) for folder in folders]
    sys.path[:] = [*dict.fromkeys(names), *(name for name in sys.path if name not in names)]


def _hint_of_missing(name: str, error: BaseException) -> str | None:
    is_missing = isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")
    return f"looked in {_listed(sys.path[:3])} and so on: set app.path or app.working_directory" if is_missing else None


def _hint_of_nothing_found(modules: Sequence[ModuleType]) -> str:
    packages = [module for module in modules if hasattr(module, "__path__")]
    parts = [part.name for package in packages for part in pkgutil.iter_modules(package.__path__)]
    if parts:
        return f"a package counts with what its __init__.py holds: import from {_listed(parts)} there, or name them in app.pipelines"
    return 'decorate a function with @pipeline("name")'


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _stamp(name: str, module: ModuleType) -> str | None:
    path = getattr(module, "__file__", None)
    if name.partition(".")[0] in sys.stdlib_module_names or not isinstance(path, str):
        return None
    try:
        status = Path(path).stat()
    except OSError:
        return f"{path} is gone"
    return f"{path} {status.st_mtime_ns} {status.st_size}"
