"""`orbitd check`: every fault that can be found beforehand, at once and each with its place.

The configuration in any case, then, if asked, what an import of the pipelines does, and what the database says to us.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import groupby
from typing import Any

from orbitd import config
from orbitd.cli.announce import warnings_at_start
from orbitd.cli.call import Act, Call
from orbitd.cli.check_import import Imported, import_pipelines
from orbitd.config import Faults, Loaded
from orbitd.ctl.render import Column, Style, table
from orbitd.errors import ConfigError, ExitCode
from orbitd.system.importwatch import UnsafeToFork
from orbitd.units import counted, format_duration, format_size


@dataclass(frozen=True)
class Finding:
    """A fault. `place` is a file's line, a variable or a flag; `details` a traceback or stack."""

    place: str
    key: str
    message: str
    hint: str | None = None
    details: str = ""
    exit_code: ExitCode = ExitCode.CONFIG


@dataclass
class Report:
    """What has been found; None is what nobody asked for, or what could not be asked."""

    files: list[str] = field(default_factory=list)
    errors: list[Finding] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    imported: Imported | None = None
    databases: dict[str, dict[str, Any]] | None = None
    """By the option of [database] that has its address."""

    @property
    def exit_code(self) -> ExitCode:
        """78 if anything must be mended here; 69 if only the database does not answer."""
        return max((error.exit_code for error in self.errors), default=ExitCode.OK)

    def document(self) -> dict[str, Any]:
        """orbit.check/1."""
        return {
            "schema": "orbit.check/1",
            "ok": not self.errors,
            "files": self.files,
            "errors": [{name: value for name, value in asdict(error).items() if name != "exit_code"} for error in self.errors],
            "warnings": self.warnings,
            "pipelines": self.imported.pipelines if self.imported else None,
            "rss_bytes": self.imported.rss_bytes if self.imported else None,
            "database": self.databases,
        }


def check(call: Call) -> int:
    """`orbitd check`."""
    report = Report()
    try:
        loaded = call.survey()
        config.require_database(loaded.settings)
    except Faults as faults:
        report.errors += [Finding(fault.place, fault.key, fault.message, faults.hint) for fault in faults.faults]
    except ConfigError as error:
        report.errors.append(Finding("", "database.url", error.message, error.hint))
    else:
        report.files = [str(path) for path in loaded.files]
        report.warnings += warnings_at_start(loaded)
        if call.args["import"]:
            call.refuse_root(loaded.settings)
            _import(report, loaded)
        if call.args["connect"]:
            _connect(report, loaded)
    call.out.document(report.document(), _told(report, call.out.style))
    return report.exit_code


def _import(report: Report, loaded: Loaded) -> None:
    imported = import_pipelines(loaded.settings, loaded.environ)
    if imported.failure:
        place = loaded.origins["app", "pipelines"].where
        failure = imported.failure.removeprefix("app.pipelines: ")
        report.errors.append(Finding(place, "app.pipelines", failure, imported.hint, imported.details))
        return
    report.imported = imported
    _judge_hazards(report, loaded, imported.hazards)
    limit_bytes = loaded.settings.children.max_rss
    if 0 < limit_bytes <= imported.rss_bytes:
        had = format_size(imported.rss_bytes)
        message = f"is {format_size(limit_bytes)}, and a child has {had} from the import alone: each would be replaced after every run"
        hint = f"set it well above {had}, or to 0 for no limit"
        report.errors.append(Finding(loaded.origins["children", "max_rss"].where, "children.max_rss", message, hint))


def _judge_hazards(report: Report, loaded: Loaded, hazards: Sequence[str]) -> None:
    """What they mean depends on whether the children are to be forked."""
    match loaded.settings.children.preload:
        case "require" if hazards:
            error = UnsafeToFork(hazards)
            report.errors.append(Finding(loaded.origins["children", "preload"].where, "children.preload", error.message, error.hint))
        case "auto":
            report.warnings += [f"each child will import the pipelines for itself: {hazard}" for hazard in hazards]


def _connect(report: Report, loaded: Loaded) -> None:
    from orbitd.cli.check_database import ask  # it imports the database's driver

    database = loaded.settings.database
    report.databases = {}
    for option in database.addresses:
        place, answer = loaded.origins["database", option].where, ask(database, option)
        report.databases[option] = answer.facts
        report.errors += [
            Finding(place, f"database.{option}", fault.message, fault.hint, exit_code=fault.exit_code) for fault in answer.faults
        ]


# --- for people ---


def _told(report: Report, style: Style) -> Iterator[str]:
    if report.files or not report.errors:
        yield style.plain(f"configuration: {', '.join(report.files) or 'no file, only environment and command line'}")
    if report.imported:
        yield f"pipelines: {len(report.imported.pipelines)}, imported into {format_size(report.imported.rss_bytes)} of memory"
        yield from (f"  {line}" for line in _pipelines(report.imported.pipelines, style))
    for key, database in (report.databases or {}).items():
        yield style.plain(f"database.{key}: {_database(database)}")
    for warning in report.warnings:
        yield f"{style.paint('warning:', 'yellow')} {style.plain(warning)}"
    for hint, errors in groupby(report.errors, lambda error: error.hint):
        for error in errors:
            yield from _error(error, style)
        if hint:
            yield f"{style.paint('hint:', 'dim')} {style.plain(hint)}"
    yield _summary(report)


def _pipelines(pipelines: Sequence[Mapping[str, Any]], style: Style) -> Iterator[str]:
    columns = (
        Column("PIPELINE", lambda row: row["name"], elastic=True),
        Column("QUEUE", lambda row: row["queue"]),
        Column("TIMEOUT", lambda row: format_duration(row["timeout_seconds"]) if row["timeout_seconds"] else "none", right=True),
    )
    return table(columns, pipelines, style)


def _database(database: Mapping[str, Any]) -> str:
    facts = [database["database"]]
    if database["server"]:
        version = database["schema_version"]
        facts += [f"PostgreSQL {database['server']}", f"as {database['user']}", f"schema version {version}" if version else "no schema"]
    return ", ".join(facts)


def _error(error: Finding, style: Style) -> Iterator[str]:
    where = ": ".join(filter(None, (error.place, error.key)))
    first, *more = error.message.splitlines() or [""]
    yield f"{style.paint('error:', 'red')} {style.plain(f'{where}: {first}' if where else first)}"
    yield from (f"  {style.plain(line)}" for line in (*more, *_details(error)))


def _details(error: Finding) -> list[str]:
    """Without the end of a traceback, which the message tells already."""
    lines = error.details.rstrip().splitlines()
    return lines[:-1] if lines and lines[-1] in error.message else lines


def _summary(report: Report) -> str:
    return ", ".join([counted(len(report.errors), "error"), *([counted(len(report.warnings), "warning")] if report.warnings else [])])


ACTS: Mapping[str, Act] = {"check": check}
