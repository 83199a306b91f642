"""All verbs of `orbitctl`: those that the daemon answers, and those that ask the database."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from orbitd.control.commands import COMMANDS, TIMEOUT, Argument, Command, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

RUN_COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        command.name: command
        for command in (
            Command(
                "runs",
                "reads",
                "view",
                "the latest runs, problems first",
                (
                    Argument("state", Kind.TEXT, "only runs in these states, separated by commas", metavar="STATE,..."),
                    Argument("pipeline", Kind.TEXT, "only runs of pipelines that match this shell pattern", metavar="GLOB"),
                    Argument("limit", Kind.INTEGER, "how many, at most 1000", default=50, metavar="N"),
                    Argument("before", Kind.TEXT, "only runs made before this one: the `next` of the page before", metavar="RUN"),
                ),
            ),
            Command(
                "describe",
                "reads",
                "view",
                "all that is known of a run: error, arguments, steps, attempts, result",
                (Argument("run", Kind.TEXT, "its id, in the long or the short form", positional=True, metavar="RUN"),),
            ),
            Command(
                "enqueue",
                "changes",
                "operate",
                "make a run of a pipeline, print its id",
                (
                    Argument("pipeline", Kind.TEXT, "its name", positional=True, metavar="PIPELINE"),
                    Argument(
                        "pairs",
                        Kind.TEXTS,
                        "arguments for it; a VALUE that is JSON counts as such, any other is a text",
                        default=(),
                        positional=True,
                        metavar="KEY=VALUE",
                    ),
                    Argument(
                        "args", Kind.TEXT, "the arguments as a JSON object: itself, in a file, or on standard input", metavar="JSON|@FILE|-"
                    ),
                    Argument("key", Kind.TEXT, "make no second run of the pipeline while one with this key has not ended", metavar="KEY"),
                    Argument("in", Kind.DURATION, "start it no sooner than after this time", metavar="TIME"),
                    Argument("priority", Kind.INTEGER, "instead of the pipeline's, from -2 to 2; a higher one goes first", metavar="N"),
                    Argument("queue", Kind.TEXT, "instead of the pipeline's", metavar="QUEUE"),
                    Argument("tenant", Kind.TEXT, "for whom it is", metavar="TENANT"),
                    Argument("count", Kind.INTEGER, "make so many alike", default=1, metavar="N"),
                    Argument("wait", Kind.FLAG, "return when it has ended; exit 20 if it failed, 21 if it was cancelled", default=False),
                    TIMEOUT,
                ),
            ),
            Command(
                "cancel",
                "changes",
                "operate",
                "end runs",
                (
                    Argument("runs", Kind.TEXTS, "their ids", positional=True, metavar="RUN"),
                    Argument("reason", Kind.TEXT, "why, for whoever reads the run later", metavar="TEXT"),
                ),
                "A waiting run is cancelled at once. A running one is told to end; after runs.kill_after its process is killed.",
            ),
        )
    }
)

ALL_COMMANDS: Mapping[str, Command] = MappingProxyType({**COMMANDS, **RUN_COMMANDS})
ALIASES: Mapping[str, str] = MappingProxyType({"ls": "list"})
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "look": ("status", "list", "runs", "describe", "version", "ping"),
        "runs": ("enqueue", "cancel"),
        "daemon": ("scale", "reload", "pause", "unpause", "stop"),
    }
)
