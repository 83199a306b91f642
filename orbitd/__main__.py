"""`orbitd`: the command line, the configuration, and the table of process kinds.

    orbitd [-c FILE] [--set KEY=VALUE]...     run in the foreground
    orbitd migrate [-c FILE]                  bring the database's schema up to date
    orbitd dev PIPELINES...                   development: with an embedded Postgres if no database is configured

The arbiter execs this very module again for its mold and its janitor (`--as`).
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from orbitd import __version__
from orbitd.errors import DatabaseUnavailable, ExitCode, OrbitError, Refused


def main(argv: list[str] | None = None) -> int:
    """Run `orbitd`; an error for a person ends in one message and its exit code."""
    _open_standard_descriptors()
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["--as"]:
        return _serve_as(arguments[1], int(arguments[2]))
    options = _parser().parse_args(arguments)
    try:
        return int(options.act(options))
    except OrbitError as error:
        print(f"orbitd: {error}", file=sys.stderr)
        return error.exit_code


def _open_standard_descriptors() -> None:
    """Whoever starts us with 0, 1 or 2 closed would find his output in a socket of ours that got the number."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one


def _serve_as(kind: str, channel_fd: int) -> int:
    """Become one of the arbiter's processes. Imported here: the arbiter must not load what they need."""
    if kind == "mold":
        from orbitd import mold

        return mold.main(channel_fd)
    from orbitd import janitor

    return janitor.main(channel_fd)


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("-c", "--config", type=Path, metavar="FILE", help="the configuration (default: see orbitd.toml(5))")
    common.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="an option, such as children.count=4; may be repeated"
    )
    parser = argparse.ArgumentParser(
        prog="orbitd", parents=[common], allow_abbrev=False, description="Runs pipelines from Postgres in supervised children."
    )
    parser.add_argument("--allow-root", action="store_true", help="run the pipelines' code as root")
    parser.add_argument("--version", action="store_true", help="print the version")
    parser.set_defaults(act=_run)
    verbs = parser.add_subparsers(metavar="COMMAND", title="commands")
    migrate = verbs.add_parser("migrate", parents=[common], allow_abbrev=False, help="bring the database's schema up to date")
    migrate.set_defaults(act=_migrate)
    dev = verbs.add_parser("dev", allow_abbrev=False, help="development: with an embedded Postgres if no database is configured")
    dev.add_argument("pipelines", nargs="+", metavar="PIPELINES", help="modules, or directories of .py files")
    dev.set_defaults(act=_dev)
    return parser


def _run(options: argparse.Namespace) -> int:
    from orbitd import config
    from orbitd.arbiter import Arbiter
    from orbitd.control.server import Server
    from orbitd.incarnation import Incarnation
    from orbitd.system import clock, log
    from orbitd.verbs import Verbs

    if options.version:
        print(f"orbitd {__version__}")
        return ExitCode.OK
    path = options.config or config.find_file(os.environ)

    def load() -> config.Settings:
        settings = config.load(path, overrides=options.set, environ=os.environ)
        config.require_database(settings)
        return settings

    settings = load()
    if os.geteuid() == 0 and not options.allow_root:
        raise Refused("orbitd does not run the pipelines' code as root", "start it as another user, or say --allow-root")
    log.set_up(level=settings.logging.level, style=settings.logging.format, role="arbiter")
    incarnation = Incarnation.begin(config.state_dir(settings, os.environ))
    arbiter = Arbiter(settings, load, incarnation)
    verbs = Verbs(arbiter, str(path) if path else None)
    server = Server(config.socket_path(settings, os.environ), arbiter.wakeup.selector, verbs.answer, clock=clock.now)
    try:
        arbiter.serve(server)
        return arbiter.run()
    finally:
        server.close()


def _migrate(options: argparse.Namespace) -> int:
    import psycopg

    from orbitd import config, store

    path = options.config or config.find_file(os.environ)
    settings = config.load(path, overrides=options.set, environ=os.environ)
    try:
        applied = store.migrate(config.require_database(settings))
    except psycopg.Error as error:
        why = " ".join(str(error).split())
        raise DatabaseUnavailable(
            f"the database cannot be migrated: {why}", "mend that, then run it again: nothing is half done"
        ) from error
    print("\n".join(f"applied {name}" for name in applied) if applied else "the schema is up to date")
    return ExitCode.OK


def _dev(options: argparse.Namespace) -> int:
    from orbitd import dev

    return dev.run(options.pipelines)


if __name__ == "__main__":
    sys.exit(main())
