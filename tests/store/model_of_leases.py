"""A model of one run and of all who may claim, report and take it back, small enough that every state it can get into is visited.

It says what the store's SQL does, lock by lock: a call is on its way, then has checked its guards and holds its locks, then commits or
is gone. Processes die, connections break and replies get lost at any point; one failover may bring back the database of one commit
ago. A `claim` has a number that only the model knows, whatever its token says; the promises speak of that:

    P1  the reports of one claim are accepted once
    P2  a report counts for its own claim only
    P3  what has ended stays ended
    P4  no claim is made for a child that was ended, or whose process has settled its affairs over another connection
    P5  a run is claimed by one at a time
    P6  nobody takes a run from a living child that was not ended
    P7  nobody claims on a lapsed lease, and no host is ended before its lease has lapsed
    P8  no run is lost: whatever happened, without another claim or another lease that lapses it can still end, or be pending again

`explore` visits all states, breadth first. Each field of Design is one guard of the SQL.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

PENDING, RUNNING, ENDED = "pending", "running", "ended"
_NO_HEALING = ("asks", "lapses", "loses the last commit")


@dataclass(frozen=True)
class Design:
    """The guards, all there; and how far the model goes."""

    finish_names_token: bool = True
    finish_wants_running: bool = True
    finish_locks_run: bool = True
    claim_locks_run: bool = True
    claim_locks_child: bool = True  # FOR KEY SHARE, against the FOR UPDATE of whoever ends it
    claim_wants_living_child: bool = True
    claim_wants_lease: bool = True
    token_is_random: bool = True  # else counted up in the run's row
    take_back_names_token: bool = True
    reconcile_wants_ended_child: bool = True
    reconcile_locks_run: bool = True  # else it reads first, and writes by id later
    reconnect_ends_former_child: bool = True
    reconnect_names_token: bool = True  # of what it holds
    rescue_wants_lapsed_lease: bool = True
    janitor_ends_missing_children: bool = True

    most_claims: int = 2
    most_children: int = 2
    failovers: int = 0
    lapsing_leases: int = 0  # the hosts, from the first, whose lease may lapse


class Run(NamedTuple):
    """The row in `live`, or that it has ended."""

    state: str = PENDING
    token: int = 0
    child: int = -1
    claim: int = 0
    counter: int = 0


class Database(NamedTuple):
    """What is committed."""

    run: Run = Run()
    children: frozenset[int] = frozenset({0, 1})
    ended: frozenset[int] = frozenset()
    lapsed: tuple[bool, bool] = (False, False)  # the lease of each process's host
    accepted: tuple[int, ...] = ()  # claims whose report was accepted, as often as it was


class Process(NamedTuple):
    """A child's process, and the page on which it writes what it has and what it asks for. Dead, until its janitor has seen it."""

    child: int
    state: Literal["alive", "dead", "buried"] = "alive"
    is_connected: bool = True
    token: int = 0  # of the run in hand; 0: none
    claim: int = 0
    asked: int = 0  # of a claim whose answer is awaited


class Call(NamedTuple):
    """A statement on its way, or one that has its locks (`open`) and is about to commit."""

    kind: Literal["claim", "finish"]
    process: int
    child: int
    token: int
    claim: int
    is_open: bool = False


class World(NamedTuple):
    db: Database = Database()
    before: Database = Database()  # what a failover brings back
    processes: tuple[Process, Process] = (Process(0), Process(1))
    calls: tuple[Call, ...] = ()
    claims: int = 0
    children: int = 2
    failovers: int = 0
    stale_read: bool = False  # reconcile has read the run as one to take back, and has no lock on it

    def commit(self, **changes: Any) -> World:
        return self._replace(db=self.db._replace(**changes), before=self.db)

    def process(self, which: int, **changes: Any) -> World:
        changed = self.processes[which]._replace(**changes)
        return self._replace(processes=(changed, self.processes[1]) if which == 0 else (self.processes[0], changed))

    def without(self, call: Call) -> World:
        return self._replace(calls=tuple(other for other in self.calls if other is not call))

    def opened(self, call: Call, **changes: Any) -> World:
        return self.without(call).send(call._replace(is_open=True, **changes))

    def send(self, call: Call) -> World:
        return self._replace(calls=tuple(sorted((*self.calls, call))))


class Broken(Exception):
    """A promise was broken."""


Step = tuple[str, World | Broken]


def steps(design: Design, world: World) -> Iterator[Step]:
    """All that may happen next."""
    for which in (0, 1):
        yield from of_process(design, world, which)
        yield from of_janitor(design, world, which)
    for call in world.calls:
        yield from of_server(design, world, call)
    yield from of_reconcile(design, world)
    for child in world.db.children - world.db.ended:
        if design.janitor_ends_missing_children and child not in living(world) and not is_locked(design, world, child):
            yield f"child {child} is found missing", world.commit(ended=world.db.ended | {child})
    if world.failovers < design.failovers and world.before != world.db:
        lost = world._replace(db=world.before, calls=(), failovers=world.failovers + 1, stale_read=False)
        for which in (0, 1):
            lost = lost.process(which, is_connected=False)
        yield "a failover loses the last commit", lost


def of_process(design: Design, world: World, which: int) -> Iterator[Step]:
    me, db = world.processes[which], world.db
    if me.state != "alive":
        return
    yield f"process {which} dies", world.process(which, state="dead", is_connected=False)
    is_waiting = any(call.process == which and call.child == me.child for call in world.calls)
    if me.is_connected and not is_waiting:
        if me.token:
            yield f"process {which} reports", world.send(Call("finish", which, me.child, me.token, me.claim))
        elif world.claims < design.most_claims and db.run.state != ENDED:
            number = world.claims + 1
            asked = number if design.token_is_random else -1
            call = Call("claim", which, me.child, asked, number)
            yield f"process {which} asks", world.process(which, asked=asked)._replace(claims=number).send(call)
    if is_waiting:
        yield f"process {which} loses its connection", world.process(which, is_connected=False)
    if not me.is_connected and world.children < design.most_children:
        yield from reconnect(design, world, which)


def reconnect(design: Design, world: World, which: int) -> Iterator[Step]:
    """start_child: end the former id, hand back what was asked for, and go on with what is held."""
    me, run, child = world.processes[which], world.db.run, world.children
    if is_locked(design, world, me.child):
        return
    ended = world.db.ended | {me.child} if design.reconnect_ends_former_child else world.db.ended
    if run.state == RUNNING and not is_run_locked(design, world):
        if me.asked == run.token:
            run = run._replace(state=PENDING, token=0, child=-1)
        elif me.token and (me.token == run.token or not design.reconnect_names_token):
            run = run._replace(child=child)
    elif run.state == RUNNING and run.token in {me.asked, me.token}:
        return  # waits for the lock
    lapsed = changed(world.db.lapsed, which, False)
    done = world.commit(run=run, ended=ended, children=world.db.children | {child}, lapsed=lapsed)
    yield (
        f"process {which} comes again as child {child}",
        done.process(which, child=child, asked=0, is_connected=True)._replace(children=child + 1),
    )


def of_janitor(design: Design, world: World, which: int) -> Iterator[Step]:
    """A dead child is ended, and its run taken back, in one transaction; a host whose lease has lapsed is ended by another."""
    me, db = world.processes[which], world.db
    can_end = not is_locked(design, world, me.child)
    if me.state == "dead" and can_end:
        is_ours = db.run.state == RUNNING and (db.run.token in {me.token, me.asked} or not design.take_back_names_token)
        buried = world.commit(ended=db.ended | {me.child}).process(which, state="buried", token=0, asked=0)
        if not is_ours:
            yield f"process {which} is buried", buried
        elif not is_run_locked(design, world):
            yield f"process {which} is buried, its run taken back", taken_back(buried, world)
    if not db.lapsed[which]:
        if which < design.lapsing_leases:
            yield f"the lease of host {which} lapses", world.commit(lapsed=changed(db.lapsed, which, True))
    elif me.child not in db.ended:
        yield f"host {which} revives its lease", world.commit(lapsed=changed(db.lapsed, which, False))
    if can_end and me.child in db.children - db.ended and (db.lapsed[which] or not design.rescue_wants_lapsed_lease):
        rescued = world.commit(ended=db.ended | {me.child})
        yield f"host {which} is rescued", rescued if db.lapsed[which] else Broken("P7: a host was ended whose lease had not lapsed")


def of_reconcile(design: Design, world: World) -> Iterator[Step]:
    """The sweep over running runs whose child was ended."""
    run = world.db.run
    if world.stale_read:
        written = world._replace(stale_read=False)
        yield "reconcile writes what it read", Broken("P3: what had ended is back") if run.state == ENDED else taken_back(written, world)
    elif run.state == RUNNING and (run.child in world.db.ended or not design.reconcile_wants_ended_child):
        if not design.reconcile_locks_run:
            yield "reconcile reads", world._replace(stale_read=True)
        elif not is_run_locked(design, world):
            yield "reconcile takes the run back", taken_back(world, world)


def of_server(design: Design, world: World, call: Call) -> Iterator[Step]:
    """What becomes of a call: nobody may be there any more to hear the answer."""
    sender = world.processes[call.process]
    hears = sender.state == "alive" and sender.is_connected and sender.child == call.child
    gone = world.without(call)
    if not hears:
        yield f"a {call.kind} of child {call.child} is dropped", gone
    if call.is_open:
        commit = committed_claim if call.kind == "claim" else committed_finish
        yield f"a {call.kind} of child {call.child} commits", commit(world, call, hears=hears)
    elif call.kind == "claim":
        yield from of_claim(design, world, call, gone.process(call.process, asked=0) if hears else gone)
    else:
        run = world.db.run
        is_open = run.state == RUNNING or not design.finish_wants_running
        if not is_open or (run.token != call.token and design.finish_names_token):
            yield f"a finish of child {call.child} changes nothing", gone.process(call.process, token=0) if hears else gone
        elif not is_run_locked(design, world) or not design.finish_locks_run:
            yield f"a finish of child {call.child} has its locks", world.opened(call)


def of_claim(design: Design, world: World, call: Call, refused: World) -> Iterator[Step]:
    run, db = world.db.run, world.db
    is_ended = call.child not in db.children - db.ended
    is_lapsed = db.lapsed[call.process]
    if run.state != PENDING or (is_run_locked(design, world) and design.claim_locks_run):
        yield f"a claim of child {call.child} finds nothing", refused
    elif (is_ended and design.claim_wants_living_child) or (is_lapsed and design.claim_wants_lease):
        yield f"a claim of child {call.child} is refused", refused
    elif is_lapsed:
        yield f"a claim of child {call.child} has its locks", Broken("P7: a claim on a lapsed lease")
    else:
        token = call.token if design.token_is_random else run.counter + 1
        yield f"a claim of child {call.child} has its locks", world.opened(call, token=token)


def committed_claim(world: World, call: Call, *, hears: bool) -> World | Broken:
    sender, run = world.processes[call.process], world.db.run
    if call.child in world.db.ended:
        return Broken("P4: a claim for a child that was ended")
    if sender.state == "alive" and sender.child != call.child:
        return Broken("P4: a claim over a connection whose affairs were settled")
    if run.state != PENDING:
        return Broken("P5: a run claimed by two at once")
    done = world.without(call).commit(run=Run(RUNNING, call.token, call.child, call.claim, run.counter + 1))
    return done.process(call.process, token=call.token, claim=call.claim, asked=0) if hears else done


def committed_finish(world: World, call: Call, *, hears: bool) -> World | Broken:
    run, accepted = world.db.run, world.db.accepted
    if call.claim in accepted:
        return Broken("P1: two reports of one claim accepted")
    if run.claim != call.claim:
        return Broken("P2: a report counted for another claim")
    done = world.without(call).commit(run=run._replace(state=ENDED), accepted=(*accepted, call.claim))
    return done.process(call.process, token=0) if hears else done


def taken_back(done: World, world: World) -> World | Broken:
    """`done`, with the run pending; `world` is what was before."""
    run, db = world.db.run, done.db
    for process in world.processes:
        has_it = process.token and process.claim == run.claim
        if process.state == "alive" and has_it and process.child in db.children - db.ended:
            return Broken("P6: a run taken from a living child")
    after = done._replace(before=world.db)
    return after._replace(db=db._replace(run=Run(counter=run.counter)))


def is_locked(design: Design, world: World, child: int) -> bool:
    """Whether somebody claims for this child just now, so that nobody can end it."""
    return design.claim_locks_child and any(call.is_open and call.kind == "claim" and call.child == child for call in world.calls)


def is_run_locked(design: Design, world: World) -> bool:
    locks = {"claim": design.claim_locks_run, "finish": design.finish_locks_run}
    return any(call.is_open and locks[call.kind] for call in world.calls)


def living(world: World) -> set[int]:
    """The children whose processes have not been buried: what a janitor is told by its arbiter and their pages."""
    return {process.child for process in world.processes if process.state != "buried"}


def changed(pair: tuple[bool, bool], which: int, value: bool) -> tuple[bool, bool]:  # noqa: FBT001
    return (value, pair[1]) if which == 0 else (pair[0], value)


@dataclass(frozen=True)
class Explored:
    """All states were visited, or one was found in which a promise is broken."""

    states: int
    broken: str = ""
    trace: tuple[str, ...] = ()


def explore(design: Design) -> Explored:
    """Visit every state, the nearest first: a promise is broken by as few steps as can be."""
    came_from: dict[World, tuple[World, str] | None] = {World(): None}
    heals: dict[World, list[World]] = {}
    todo = deque(came_from)
    while todo:
        world = todo.popleft()
        for label, after in steps(design, world):
            if isinstance(after, Broken):
                return Explored(len(came_from), str(after), (*trace(came_from, world), label))
            if not label.endswith(_NO_HEALING):
                heals.setdefault(after, []).append(world)
            if after not in came_from:
                came_from[after] = (world, label)
                todo.append(after)
    for world in came_from.keys() - helped(came_from, heals):
        return Explored(len(came_from), "P8: a run is lost", trace(came_from, world))
    return Explored(len(came_from))


def helped(worlds: Iterable[World], heals: dict[World, list[World]]) -> set[World]:
    """Those from which steps that heal lead to a run that is pending or has ended; `heals` has them backwards."""
    well = {world for world in worlds if world.db.run.state != RUNNING}
    todo = deque(well)
    while todo:
        for before in heals.get(todo.popleft(), ()):
            if before not in well:
                well.add(before)
                todo.append(before)
    return well


def trace(came_from: dict[World, tuple[World, str] | None], world: World) -> tuple[str, ...]:
    labels: list[str] = []
    while origin := came_from[world]:
        world, label = origin
        labels.append(label)
    return tuple(reversed(labels))
