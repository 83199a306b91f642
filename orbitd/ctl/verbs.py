"""All verbs of `orbitctl`: those that the daemon answers, and those that ask the database."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from orbitd.control.commands import COMMANDS, FOLLOW, TIMEOUT, WAIT, Argument, Command, Kind
from orbitd.ctl.parser import Flag, Program

if TYPE_CHECKING:
    from collections.abc import Mapping

_RUN = Argument("run", Kind.TEXT, "its id, in the long or the short form", positional=True, metavar="RUN", completes="run")
_RUNS = Argument("runs", Kind.TEXTS, "their ids", default=(), positional=True, metavar="RUN", completes="run")
_FILTER = Argument(
    "filter", Kind.TEXTS, "only runs that match every one, such as state:failed", default=(), positional=True, metavar="TERM"
)
_LIMIT = Argument("limit", Kind.INTEGER, "how many, at most 1000", default=50, metavar="N")
_BEFORE = Argument("before", Kind.TEXT, "only runs made before this one: the `next` of the page before", metavar="RUN", completes="run")
_REASON = Argument("reason", Kind.TEXT, "why, for whoever reads the run later", metavar="TEXT")
# What every verb takes that acts on many runs at once.
_BULK = (
    Argument("where", Kind.TEXT, "instead of ids: all runs that match", metavar="FILTER"),
    Argument("all", Kind.FLAG, "instead of ids: all runs that the verb can act on", default=False),
    Argument("dry-run", Kind.FLAG, "only show which runs it would be", default=False),
    Argument("yes", Kind.FLAG, "do not ask", default=False),
)
_GROUP = Argument("group", Kind.TEXT, "instead of ids: all of one group of `orbitctl dlq list`, or how its name begins", metavar="GROUP")
_RESOLVED = Argument("resolved", Kind.FLAG, "those that were resolved too", default=False)
_BY = Argument("by", Kind.TEXT, "who did it, instead of who types", metavar="NAME")

RUN_COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        command.name: command
        for command in (
            Command(
                "runs",
                "reads",
                "the latest runs, problems first",
                (_FILTER, _LIMIT, _BEFORE),
                "A search among runs that have ended needs since: or pipeline:, and stops after 2 s with what it has found.",
                example="runs state:failed since:1h",
            ),
            Command(
                "describe",
                "reads",
                "all that is known of a run, a pipeline or a slot",
                (
                    Argument(
                        "object", Kind.TEXT, "a run's id, a pipeline's name, or slot:N", positional=True, metavar="OBJECT", completes="run"
                    ),
                ),
                "Of a slot: its child, and how its last children ended, the latest first.",
                example="describe 4711",
            ),
            Command("pipelines", "reads", "the pipelines that daemons have told of or that runs wait for, and their runs"),
            Command(
                "logs",
                "reads",
                "the log of a run, or of the daemon",
                (
                    Argument(
                        "run",
                        Kind.TEXT,
                        "a run's id; without it, the daemon's log",
                        default="",
                        positional=True,
                        metavar="RUN",
                        completes="run",
                    ),
                    FOLLOW,
                    Argument("errors", Kind.FLAG, "only errors", default=False),
                    Argument("since", Kind.DURATION, "only lines of this last time", metavar="TIME"),
                    Argument("lines", Kind.INTEGER, "only the last so many", metavar="N"),
                ),
                example="logs 4711 -f",
            ),
            Command(
                "enqueue",
                "changes",
                "make a run of a pipeline, print its id",
                (
                    Argument("pipeline", Kind.TEXT, "its name", positional=True, metavar="PIPELINE", completes="pipeline"),
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
                    Argument("key-for", Kind.DURATION, "with --key: nor within this time, even if it has ended", metavar="TIME"),
                    Argument("in", Kind.DURATION, "start it no sooner than after this time", metavar="TIME"),
                    Argument("at", Kind.TEXT, "start it no sooner than then, such as 2030-01-31T08:00:00Z", metavar="TIME"),
                    Argument("priority", Kind.INTEGER, "instead of the pipeline's, from -2 to 2; a higher one goes first", metavar="N"),
                    Argument("queue", Kind.TEXT, "instead of the pipeline's", metavar="QUEUE", completes="queue"),
                    Argument("tenant", Kind.TEXT, "for whom it is", metavar="TENANT"),
                    Argument("count", Kind.INTEGER, "make so many; {n} in a VALUE, KEY or TENANT is the number of each", metavar="N"),
                    Argument("wait", Kind.FLAG, "return when it has ended; exit 20 if it failed, 21 if it was cancelled", default=False),
                    Argument("follow", Kind.FLAG, "as --wait, and show its log and progress meanwhile", default=False, short="-f"),
                    TIMEOUT,
                ),
                example="enqueue invoice.sync tenant_id=42 --follow",
            ),
            Command(
                "cancel",
                "changes",
                "end runs",
                (_RUNS, *_BULK, _REASON, WAIT, TIMEOUT),
                "A waiting run is cancelled at once. A running one is told to end; after runs.kill_after its process is killed.",
                example="cancel --where 'pipeline:invoice.* tenant:42' --dry-run",
            ),
            Command(
                "retry",
                "changes",
                "try failed runs again, and those that wait for a retry at once",
                (_RUNS, *_BULK, _REASON, WAIT, TIMEOUT),
                "The run keeps its id and its finished steps, and has all of its attempts again. It leaves the dead letters.",
                example="retry 4711 --wait",
            ),
            Command(
                "rerun",
                "changes",
                "make new runs with the arguments of runs that have ended",
                (_RUNS, *_BULK, _REASON, WAIT, TIMEOUT),
                "The new run begins anew: it shares no step with the old one, which stays as it is.",
                example="rerun 4711",
            ),
            Command(
                "resume",
                "changes",
                "let interrupted runs go on from their last finished step",
                (_RUNS, *_BULK, WAIT, TIMEOUT),
                example="resume --all",
            ),
            Command(
                "check-interrupted",
                "reads",
                "the runs whose child or host has died, and that wait for recovery",
                details="Ends with 0 whether there are any or not.",
            ),
            Command(
                "audit",
                "reads",
                "whether the tables agree: no run lost, none finished twice, nothing left over",
                (Argument("since", Kind.DURATION, "of the runs, only those made in this last time", metavar="TIME"),),
                "Reads every run, page by page, and holds nobody up. Ends with 0 when all is well, else with 1.",
                example="audit --since 7d",
            ),
            Command(
                "recover",
                "changes",
                "take back the runs of dead hosts, now",
                (
                    Argument("auto-resume", Kind.FLAG, "and let them and all interrupted runs go on", default=False),
                    Argument("older-than", Kind.DURATION, "only what has been interrupted or silent for so long", metavar="TIME"),
                    Argument("dry-run", Kind.FLAG, "only show which runs it would be", default=False),
                    Argument("yes", Kind.FLAG, "do not ask", default=False),
                ),
                "Daemons do the first part by themselves when a lease lapses. Without --auto-resume the runs stay interrupted.",
                example="recover --auto-resume",
            ),
            Command(
                "dlq list",
                "reads",
                "the dead letters: failed runs that nobody has resolved",
                (_FILTER, _RESOLVED, _LIMIT, _BEFORE),
                example="dlq list pipeline:invoice.*",
            ),
            Command("dlq show", "reads", "all that is known of a dead letter", (_RUN,), example="dlq show 4711"),
            Command(
                "dlq retry",
                "changes",
                "try dead letters again",
                (_RUNS, _GROUP, *_BULK, _REASON, WAIT, TIMEOUT),
                "As `orbitctl retry`.",
                example="dlq retry --group GROUP",
            ),
            Command(
                "dlq resolve",
                "changes",
                "mark dead letters as dealt with; they are kept",
                (_RUNS, _GROUP, *_BULK, _BY, Argument("notes", Kind.TEXT, "what was found or done", metavar="TEXT")),
                example='dlq resolve 4711 --notes "the address was wrong"',
            ),
            Command(
                "dlq delete",
                "changes",
                "delete dead letters, and all that is kept of their runs",
                (_RUNS, _GROUP, _RESOLVED, *_BULK),
                "This cannot be undone.",
                example="dlq delete --where since:30d --dry-run",
            ),
            Command(
                "completion",
                "reads",
                "the completion script for a shell",
                (Argument("shell", Kind.TEXT, "for which", positional=True, metavar="SHELL", choices=("bash", "zsh", "fish")),),
                "For bash: `orbitctl completion bash > ~/.local/share/bash-completion/completions/orbitctl`.",
                example="completion bash",
            ),
        )
    }
)

ALL_COMMANDS: Mapping[str, Command] = MappingProxyType({**COMMANDS, **RUN_COMMANDS})
ALIASES: Mapping[str, str] = MappingProxyType({"ls": "list", "desc": "describe", "dlq": "dlq list", "--version": "version"})
GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "look": (
            *("status", "list", "describe", "runs", "pipelines", "logs", "events", "check-interrupted", "audit", "dlq list", "dlq show"),
            *("stack", "health", "metrics", "version", "ping"),
        ),
        "runs": (*("enqueue", "cancel", "retry", "rerun", "resume", "recover", "dlq retry", "dlq resolve", "dlq delete"),),
        "daemon": ("scale", "reload", "upgrade", "pause", "unpause", "drain", "stop", "restart", "kill", "loglevel", "reopen"),
        "set up": ("completion",),
    }
)

ORBITCTL = Program(
    name="orbitctl",
    summary="watch and steer orbitd, and the runs in its database",
    commands=ALL_COMMANDS,
    groups=GROUPS,
    aliases=ALIASES,
    flags=(
        Flag(("-c", "--config"), "the configuration; else $ORBITD_CONFIG, ./.orbitd/orbitd.toml, /etc/orbitd.toml", "FILE"),
        Flag(("--socket",), "the daemon's control socket; else $ORBITD_SOCKET, or the one that is configured", "PATH"),
        Flag(("--json",), "print the answer, and any error, as a JSON document: -o json"),
        Flag(("-o", "--output"), "how to print the answer", "FORMAT", ("table", "wide", "json", "jsonl", "csv")),
        Flag(("-w", "--watch"), "print the answer of a reading verb again and again, every 2 s, until Ctrl-C"),
        Flag(("--color",), "auto: on a terminal, unless $NO_COLOR is set", "WHEN", ("auto", "always", "never")),
    ),
    closing="orbitctl(1) tells all",
)
