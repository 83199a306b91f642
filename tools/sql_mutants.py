"""Run the store's tests against every mutant of its SQL functions: `make test-mutants`.

A mutant is a function with one condition of a WHERE, or one lock, left out (tests/support/mutants.py). Some test must fail for it;
one that none can tell from the original is named, with the reason, in tests/store/equivalent_mutants.toml.

The tests are collected once. First a process runs all that are new, to learn which test calls which functions. Then each mutant is put
into the database that tests take for a freshly migrated one, and a process, forked from the one that has collected, runs those tests
that call the function: what killed its siblings first, and its other cases, then one case of each, until one fails or the seconds are
over. The one that failed must fail once more: a test that only lost its patience on a busy machine kills nothing. What was learned,
and which mutants were killed, is remembered in build/mutants for as long as a mutant stays the same: --again forgets it.

Exits 1 when a mutant survives that nobody has given a reason for; with --excused, when one is killed that has a reason.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import psycopg
import pytest
from psycopg import sql

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from orbitd.store.migrate import migrate  # noqa: E402  - this file is started as a script
from orbitd.system.postgres import Cluster  # noqa: E402
from tests.support.mutants import FUNCTIONS, Mutant, all_mutants, reasons  # noqa: E402
from tests.support.postgres import FAST_SETTINGS, Databases  # noqa: E402

_STATE = ROOT / "build" / "mutants"
_CALLS, _KILLED = _STATE / "calls.jsonl", _STATE / "killed.jsonl"
_MOST_KILLERS_FIRST = 8
_CALL = re.compile(rb"orbit function called: (\w+)")


class Workshop:
    """A cluster with a migrated database, for one process of tests after the other."""

    def __init__(self) -> None:
        self.cluster = Cluster(Path(tempfile.mkdtemp(prefix="orbitd-mutants-")), settings=FAST_SETTINGS)
        self.cluster.start()
        self.cluster.create_database("migrated")
        migrate(self.cluster.dsn("migrated"))
        self.databases = Databases(self.cluster)
        vars(self.databases)["migrated"] = "migrated"

    def close(self) -> None:
        """Stop the cluster, and leave nothing of it."""
        self.cluster.stop("immediate")
        shutil.rmtree(self.cluster.home, ignore_errors=True)
        shutil.rmtree(self.cluster.folder, ignore_errors=True)

    def write(self, statement: str) -> None:
        """Make a function anew for all tests to come."""
        with psycopg.connect(self.cluster.dsn("migrated"), autocommit=True) as conn:
            conn.execute(statement.encode())

    def sweep(self) -> None:
        """Drop what a process that was cut short has left."""
        with psycopg.connect(self.cluster.dsn(), autocommit=True) as conn:
            for (name,) in conn.execute("SELECT datname FROM pg_database WHERE datname LIKE 'test%'").fetchall():
                conn.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@dataclass
class Trial:
    """A mutant, and the process that tries to kill it."""

    mutant: Mutant
    workshop: Workshop
    answer: Path
    began: float = field(default_factory=time.monotonic)


class Hunt:
    """The plugin that takes the place of pytest's own loop over the tests."""

    def __init__(self, args: argparse.Namespace) -> None:
        self._args = args
        self._workshop: Workshop | None = None  # in a process of tests: its own
        self._shared: dict[str, str] = {}  # the databases of modules, and what would drop them
        self._until_the_end = ExitStack()
        self._failed: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._killers: dict[str, Counter[str]] = {}
        self._trials: dict[int, Trial] = {}
        self._idle: list[Workshop] = []
        self.killed: list[str] = []
        self.survivors: list[str] = []

    # --- in a process of tests ---

    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest) -> object | None:
        """The cluster and the maker of databases are there already; the database of a module is made once."""
        if self._workshop is None or fixturedef.argname not in {"cluster", "databases", "shared_dsn"}:
            return None
        made: object
        match fixturedef.argname:
            case "cluster":
                made = self._workshop.cluster
            case "databases":
                made = self._workshop.databases
            case _:
                made = self._shared_dsn(self._workshop, request.node.nodeid)
        fixturedef.cached_result = (made, None, None)
        return made

    def _shared_dsn(self, workshop: Workshop, module: str) -> str:
        if module not in self._shared:
            self._shared[module] = self._until_the_end.enter_context(workshop.databases.copy_of("migrated"))
        return self._shared[module]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test has failed: the mutant is dead."""
        if report.failed:
            self._failed.append(report.nodeid)

    def _fork(self, workshop: Workshop) -> int:
        """As os.fork; the new process has the workshop, and says nothing."""
        pid = os.fork()
        if not pid:
            self._workshop = workshop
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
        return pid

    def _record(self, items: list[pytest.Item], log: Path) -> NoReturn:
        """Run all tests, and write down which functions each has called."""
        try:
            with log.open("rb") as stream, _CALLS.open("a") as calls:
                for item, following in zip(items, [*items[1:], None], strict=True):
                    began = time.monotonic()
                    item.ihook.pytest_runtest_protocol(item=item, nextitem=following)
                    called = {name.decode() for name in _CALL.findall(stream.read())}
                    line = {"test": item.nodeid, "seconds": round(time.monotonic() - began, 2)}
                    # who fails without a mutant kills none
                    line["calls"] = [] if item.nodeid in self._failed else sorted(called)
                    calls.write(json.dumps(line) + "\n")
        finally:
            os._exit(0)

    def _kill(self, items: list[pytest.Item], answer: Path) -> NoReturn:
        """Run these tests until one fails or the time is up."""
        deadline = time.monotonic() + self._args.seconds
        try:
            for item in items:
                if self._fails(item) and self._fails(item):
                    answer.write_text(item.nodeid)
                    break
                if time.monotonic() > deadline:
                    break
        except BaseException:  # noqa: BLE001  the process ends here whatever happened
            answer.write_text(f"({traceback.format_exc().splitlines()[-1]})")
        finally:
            os._exit(0)

    def _fails(self, item: pytest.Item) -> bool:
        self._failed.clear()
        item.ihook.pytest_runtest_protocol(item=item, nextitem=None)
        if self._failed:
            self._shared.clear()  # what it has left there shall not make another fail
        return bool(self._failed)

    # --- in the process that has collected ---

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """All mutants, one after the other."""
        items = [item for item in session.items if not item.get_closest_marker("slow")]
        if self._args.again:
            _CALLS.unlink(missing_ok=True)
        known = {line["test"] for line in lines(_CALLS)}
        if new := [item for item in items if item.nodeid not in known]:
            self._learn(new)
        self._calls = lines(_CALLS)
        for line in lines(_KILLED):
            self._killers.setdefault(line["function"], Counter())[line["by"]] += 1
        todo = self._todo()
        self._idle = [Workshop() for _ in range(min(self._args.processes, len(todo)))]
        workshops = list(self._idle)
        try:
            by_name = {item.nodeid: item for item in items}
            for mutant in todo:
                if not self._idle:
                    self._judge()
                self._try(mutant, by_name)
            while self._trials:
                self._judge()
        finally:
            for workshop in workshops:
                workshop.close()
        return True

    def _learn(self, items: list[pytest.Item]) -> None:
        workshop = Workshop()
        try:
            for path in FUNCTIONS.glob("*.sql"):
                workshop.write(talking(path.stem, path.read_text("utf-8")))
            print(f"{len(items)} tests run once, to learn what each calls", flush=True)
            if not (pid := self._fork(workshop)):
                self._record(items, workshop.cluster.folder / "log")
            os.waitpid(pid, 0)
        finally:
            workshop.close()

    def _todo(self) -> list[Mutant]:
        excused = reasons()
        killed = {line["text"] for line in lines(_KILLED)}
        mutants = all_mutants()
        if wanted := self._args.functions:
            mutants = sorted((mutant for mutant in mutants if mutant.function in wanted), key=lambda mutant: wanted.index(mutant.function))
        mutants = [mutant for mutant in mutants if (mutant.name in excused) == self._args.excused]
        todo = mutants if self._args.excused else [mutant for mutant in mutants if fingerprint(mutant) not in killed]
        what = "with a reason to survive" if self._args.excused else f"besides {len(excused)} with a reason to survive"
        print(f"{len(mutants)} mutants {what}, {len(todo)} to be tried", flush=True)
        return todo

    def _try(self, mutant: Mutant, items: dict[str, pytest.Item]) -> None:
        workshop = self._idle.pop()
        answer = workshop.cluster.folder / "answer"
        try:
            workshop.write(mutant.text)
        except psycopg.Error as error:
            self._idle.append(workshop)
            self._tell(mutant, f"(PostgreSQL refuses it: {str(error).splitlines()[0]})", 0)
            return
        tests = [items[test] for test in self._order(mutant.function) if test in items]
        answer.write_text("")
        if not (pid := self._fork(workshop)):
            self._kill(tests, answer)
        self._trials[pid] = Trial(mutant, workshop, answer)

    def _order(self, function: str) -> list[str]:
        """The tests that may kill a mutant of this function, the most promising first."""
        concerned = [line for line in self._calls if function in line["calls"]]
        first = [test for test, _ in self._killers.get(function, Counter()).most_common(_MOST_KILLERS_FIRST)]
        killing = {sentence_of(test) for test in first}
        words = callers(function)
        seen: Counter[str] = Counter()
        ranked: list[tuple[int, bool, str]] = []
        for line in sorted(concerned, key=lambda line: float(line["seconds"])):
            sentence = sentence_of(line["test"])
            rank = -1 if sentence in killing and seen[sentence] < _MOST_KILLERS_FIRST else seen[sentence]
            ranked.append((rank, not any(word in line["test"] for word in words), line["test"]))
            seen[sentence] += 1
        ranked.sort(key=lambda rank: rank[:2])
        return list(dict.fromkeys([*first, *(test for *_, test in ranked)]))

    def _judge(self) -> None:
        """Wait for one trial to end."""
        pid, _ = os.wait()
        trial = self._trials.pop(pid)
        killer = trial.answer.read_text() or None
        trial.workshop.sweep()
        trial.workshop.write((FUNCTIONS / f"{trial.mutant.function}.sql").read_text("utf-8"))
        self._idle.append(trial.workshop)
        self._tell(trial.mutant, killer, time.monotonic() - trial.began)

    def _tell(self, mutant: Mutant, killer: str | None, seconds: float) -> None:
        print(f"{'killed  ' if killer else 'SURVIVES'} {seconds:5.1f} s  {mutant.name}{f'  <- {killer}' if killer else ''}", flush=True)
        if killer is None:
            self.survivors.append(mutant.name)
            return
        self.killed.append(mutant.name)
        self._killers.setdefault(mutant.function, Counter())[killer] += 1
        with _KILLED.open("a") as stream:
            line = {"function": mutant.function, "mutant": mutant.name, "text": fingerprint(mutant), "by": killer}
            stream.write(json.dumps(line) + "\n")


def talking(function: str, text: str) -> str:
    """The function, which logs its name when it is called."""
    return re.sub(r"^BEGIN$", f"BEGIN\n    RAISE LOG 'orbit function called: {function}';", text, count=1, flags=re.MULTILINE)


def sentence_of(test: str) -> str:
    """What all cases of a test have in common."""
    return test.partition("[")[0]


def callers(function: str) -> set[str]:
    """The function and all that call it: their names may stand in the name of a test's case."""
    found, rest = set(), {function}
    texts = {path.stem: path.read_text("utf-8") for path in FUNCTIONS.glob("*.sql")}
    while rest:
        found |= rest
        rest = {name for name, text in texts.items() if any(f"orbit.{one}(" in text for one in rest)} - found
    return found


def fingerprint(mutant: Mutant) -> str:
    """What tells this mutant from the same one of another version of its function."""
    return hashlib.sha256(mutant.text.encode()).hexdigest()[:16]


def lines(file: Path) -> list[dict[str, Any]]:
    """The lines of a file of JSON; none when there is no file."""
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("functions", nargs="*", help="only mutants of these functions, in this order")
    parser.add_argument("--again", action="store_true", help="also those that were killed before, and learn anew what the tests call")
    parser.add_argument("--excused", action="store_true", help="only those with a reason to survive: who is killed has none")
    parser.add_argument("--tests", nargs="*", default=["tests/store"], help="only tests in these files (tests/store)")
    parser.add_argument("--seconds", type=float, default=60, help="how long to try each (60)")
    parser.add_argument("--processes", type=int, default=2, help="how many at a time (2)")
    return parser.parse_args()


def main() -> int:
    """The whole hunt."""
    args = parse()
    _STATE.mkdir(parents=True, exist_ok=True)
    if args.again:
        _KILLED.unlink(missing_ok=True)
    hunt = Hunt(args)
    quiet = ["-q", "-s", "--no-header", "--no-summary", "-p", "no:randomly", "-p", "no:cacheprovider"]
    pytest.main([*quiet, "--rootdir", str(ROOT), *(str(ROOT / tests) for tests in args.tests)], plugins=[hunt])
    if args.excused:
        print(f"\n{len(hunt.killed)} are killed, whose reasons are wrong", *hunt.killed, sep="\n  ")
        return 1 if hunt.killed else 0
    print(f"\n{len(hunt.survivors)} survive that nobody has given a reason for", *hunt.survivors, sep="\n  ")
    return 1 if hunt.survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
