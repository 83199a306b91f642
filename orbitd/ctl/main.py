"""`orbitctl`: the entry to the command line."""

from __future__ import annotations

import sys

from orbitd.edge import exit_code


def main(argv: list[str] | None = None) -> int:
    """Carry out the command line; returns the exit code."""

    def run() -> int:
        from orbitd.ctl import app  # within reach of Ctrl-C

        return app.run(sys.argv[1:] if argv is None else argv)

    return exit_code("orbitctl", run)


if __name__ == "__main__":
    sys.exit(main())
