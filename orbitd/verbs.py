"""What `orbitctl` may ask of the arbiter: one function a command, named like its row in `control.commands`.

They read the arbiter, or edit its desired state and return; what takes time is awaited by a check that the server repeats
after each turn of the loop. None of them waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from orbitd import __version__
from orbitd.arbiter import Arbiter
from orbitd.control import views
from orbitd.control.commands import MOST_EVENTS, scaled
from orbitd.control.server import Pending
from orbitd.control.wire import Answer, Request
from orbitd.errors import ConfigError, Conflict, ExitCode, NoSuchObject, OrbitError, UsageError
from orbitd.generations import Reload
from orbitd.inquiry import Sight
from orbitd.rules import actions
from orbitd.rules.exits import Exit
from orbitd.rules.findings import Finding
from orbitd.rules.ids import short_id
from orbitd.rules.roster import Child, Slot
from orbitd.rules.states import Phase, Reason, SlotState, StopLevel
from orbitd.system import clock, log
from orbitd.system.slots import MAX_SLOTS
from orbitd.units import counted, rfc3339

Reply = Answer | Pending

_STOPPING = {
    StopLevel.DRAIN: "the runs in hand are finished first",
    StopLevel.INTERRUPT: "the runs in hand are interrupted, and resume later",
    StopLevel.KILL: "the children are killed",
}

_OUTLAST_STOP = {"events", "stop"}
_NO_PROBLEMS = {"starting", "stopping"}


class Verbs:
    """Answers requests about one arbiter."""

    def __init__(self, arbiter: Arbiter, config: str | None) -> None:
        self._arbiter, self._config = arbiter, config
        self._answers: Mapping[str, Callable[[Mapping[str, Any]], Reply]] = {
            "status": lambda _: Answer(self._status()),
            "list": self._list,
            "health": lambda _: Answer(self._health()),
            "metrics": lambda _: Answer(self._metrics()),
            "ping": lambda _: Answer(views.pong()),
            "version": lambda _: Answer(views.version(__version__, os.getpid())),
            "events": self._events,
            "stack": self._stack,
            "scale": self._scale,
            "reload": self._reload,
            "upgrade": self._upgrade,
            "stop": self._stop,
            "pause": lambda _: self._pause(is_paused=True),
            "unpause": lambda _: self._pause(is_paused=False),
            "drain": self._drain,
            "restart": self._restart,
            "kill": self._kill,
            "loglevel": self._loglevel,
            "reopen": lambda _: self._reopen(),
        }

    def answer(self, request: Request) -> Reply:
        """The answer to a checked request. Who has asked for a change stands in the log."""
        name = request.command.name
        if request.command.effect == "changes" and not request.args.get("dry-run"):
            log.event("command_given", command=name, uid=request.uid)
        reply = self._answers[name](request.args)
        return self._until_stop(name, reply) if isinstance(reply, Pending) and name not in _OUTLAST_STOP else reply

    def _until_stop(self, name: str, pending: Pending) -> Pending:
        """A stop ends the wait: what is waited for does not come any more, and the drain may take hours."""

        def check(now: float) -> Answer | None:
            answer = pending.check(now)
            if answer is None and self._arbiter.desired.stop_level:
                return Answer(error=Conflict(f"the daemon is stopping: {name} will not be completed", "start it again"))
            return answer

        return replace(pending, check=check)

    # --- changes ---

    def _refuse_while_stopping(self, what: str) -> None:
        if self._arbiter.desired.stop_level:
            raise Conflict(f"the daemon is stopping: {what} would change nothing", "start it again")

    def _scale(self, args: Mapping[str, Any]) -> Reply:
        self._refuse_while_stopping("scale")
        before = self._arbiter.desired.count
        self._arbiter.scale(scaled(args["amount"], before))
        count = self._arbiter.desired.count
        done = views.done(
            "scale", f"{counted(count, 'child is', 'children are')} wanted, {before} were", changed=count != before, children=count
        )
        why_vain = self._watch_newborn(most_deaths=1)

        def check(_now: float) -> Answer | None:
            roster, there = self._arbiter.roster, self._there()
            is_leaving = any(child.reason is Reason.SURPLUS for child in roster.children())
            is_done = len(there) == len(roster.serving()) == self._arbiter.desired.count and not is_leaving
            return Answer(done) if is_done else why_vain()

        return Pending(check) if args["wait"] else Answer(done)

    def _reload(self, args: Mapping[str, Any]) -> Reply:
        self._refuse_while_stopping("reload")
        if args["dry-run"]:
            return self._plan_reload(is_awaited=args["wait"])
        generation = self._arbiter.start_reload()

        def check(_now: float) -> Answer | None:
            reload = self._arbiter.reload
            if reload.generation != generation:
                return Answer(error=OrbitError(f"the reload to generation {generation} was overtaken by another", "see: orbitctl status"))
            if reload.ok is None:
                return None
            if reload.ok:
                return Answer(_reloaded(reload, "serves"))
            return Answer(error=_reload_error(reload.error or "", reload.exit_code, self._arbiter.roster.generation))

        if args["wait"]:
            return Pending(check)
        return Answer(_reloaded(self._arbiter.reload, "is being staged"))

    def _plan_reload(self, *, is_awaited: bool) -> Reply:
        if is_awaited:
            raise UsageError("--dry-run and --wait exclude each other: there is nothing to wait for", "leave one away")
        from orbitd.config.explain import changes  # here: it takes the texts of the manual with it

        now, then = self._arbiter.rollouts.newest_configuration()
        variables = sorted(name for name in now.environ.keys() | then.environ.keys() if now.environ.get(name) != then.environ.get(name))
        changed = [change._asdict() for change in changes(now, then)]
        return Answer(views.reload_plan(self._arbiter.roster.generation, changed, variables, then.warnings))

    def _upgrade(self, args: Mapping[str, Any]) -> Reply:
        """Over the exec it is asked again, of the new program, and joins there."""
        self._arbiter.start_upgrade()

        def check(_now: float) -> Answer | None:
            upgrade, reload = self._arbiter.succession.upgrade, self._arbiter.reload
            if upgrade is None or upgrade.ok is None:
                return None
            if not upgrade.ok:
                message = f"the upgrade failed, orbitd {__version__} goes on: {upgrade.error}"
                return Answer(error=OrbitError(message, "mend it, then: orbitctl upgrade --wait"))
            if reload.ok is None:
                return None
            if not reload.ok:
                upgraded = f"orbitd was upgraded from {upgrade.before} to {__version__}; but "
                return Answer(error=_reload_error(reload.error or "", reload.exit_code, self._arbiter.roster.generation, upgraded))
            message = f"orbitd {__version__} serves, generation {reload.generation}; it was {upgrade.before}"
            facts = {"version": __version__, "before": upgrade.before, "pid": os.getpid(), "generation": reload.generation}
            return Answer({**views.done("upgrade", message), **facts})

        if args["wait"]:
            return Pending(check, is_repeatable=True)
        return Answer(views.done("upgrade", "the version that is installed now is tried, and takes over if it can", pid=os.getpid()))

    def _stop(self, args: Mapping[str, Any]) -> Reply:
        before = self._arbiter.desired.stop_level
        self._arbiter.stop(StopLevel.INTERRUPT if args["now"] else StopLevel.DRAIN)
        level = self._arbiter.desired.stop_level
        return Answer(views.done("stop", f"stopping: {_STOPPING[level]}", changed=level != before))

    def _pause(self, *, is_paused: bool) -> Reply:
        was_paused, name = self._arbiter.desired.is_paused, "pause" if is_paused else "unpause"
        self._refuse_while_stopping(name)
        self._arbiter.pause(is_paused=is_paused)
        message = "no more runs are started; those in hand go on" if is_paused else "runs are started"
        has_changed = was_paused != is_paused
        return Answer(views.done(name, message if has_changed else f"already {name}d: {message}", changed=has_changed))

    def _drain(self, args: Mapping[str, Any]) -> Reply:
        """As pause, and awaited until no run is in hand."""
        self._refuse_while_stopping("drain")
        was_paused = self._arbiter.desired.is_paused
        self._arbiter.pause(is_paused=True)
        in_hand = self._arbiter.fleet.in_hand()
        if was_paused and not in_hand:
            return Answer(views.done("drain", "already drained: no run is in hand, and none is started", changed=False))

        def check(_now: float) -> Answer | None:
            if not self._arbiter.desired.is_paused:
                return Answer(error=Conflict("the drain was ended by `unpause`", "see: orbitctl status"))
            if self._arbiter.fleet.in_hand():
                return None
            return Answer(views.done("drain", "drained: no run is in hand, and none is started"))

        return (
            Pending(check)
            if args["wait"]
            else Answer(views.done("drain", f"draining: {counted(len(in_hand), 'run is', 'runs are')} in hand"))
        )

    def _restart(self, args: Mapping[str, Any]) -> Reply:
        self._refuse_while_stopping("restart")
        occupied = self._occupied_slots(clock.now())
        named = [self._existing(number, occupied) for number in args["slots"]] or list(occupied.values())
        wanted = [slot for slot in named if slot.child is None or slot.child.is_serving]  # the others are leaving already
        before = [slot.child for slot in wanted if slot.child]
        self._arbiter.restart(slot.index for slot in wanted)
        why_vain = self._watch_newborn(most_deaths=0)

        def check(_now: float) -> Answer | None:
            left = [child for child in self._arbiter.roster.children() if any(child is old for old in before)]
            if any(child.is_serving for child in left) or len(self._there()) < self._arbiter.desired.count:
                return why_vain()
            told = f"{counted(len(wanted), 'child was', 'children were')} replaced"
            busy = [child for child in left if self._arbiter.fleet.slots.records[child.slot].run_id]
            finishing = f", {counted(len(busy), 'of them finishes its run', 'of them finish their runs')}" if busy else ""
            return Answer(views.done("restart", told + finishing))

        if args["wait"]:
            return Pending(check)
        return Answer(views.done("restart", f"{counted(len(wanted), 'child is', 'children are')} being replaced"))

    def _kill(self, args: Mapping[str, Any]) -> Reply:
        slot = self._existing(args["slot"], {index: slot for index, slot in self._occupied_slots(clock.now()).items() if slot.child})
        child = slot.child
        is_alive = child is not None and child.phase is not Phase.DYING
        if is_alive:
            self._arbiter.perform(actions.Kill(slot.index, Reason.KILL_ASKED))
        facts: dict[str, Any] = {"changed": is_alive, "slot": slot.index, "pid": child.pid if child else None}
        why_vain = self._watch_newborn(most_deaths=1)

        def check(_now: float) -> Answer | None:
            is_left = any(each is child for each in self._arbiter.roster.children())
            if is_left:
                return None
            if len(self._there()) < self._arbiter.desired.count:
                return why_vain()
            return Answer(views.done("kill", f"the child of slot {slot.index} was killed, and another is there", **facts))

        if args["wait"]:
            return Pending(check)
        return Answer(views.done("kill", f"the child of slot {slot.index} is killed", **facts))

    def _watch_newborn(self, *, most_deaths: int) -> Callable[[], Answer | None]:
        """What tells, for whoever waits for new children, that they die: more than so many in a slot, or that one is held."""
        roster = self._arbiter.roster
        old, before = {child.pid for child in roster.children()}, [slot.restarts for slot in roster.slots]

        def look() -> Answer | None:
            for slot in roster.slots:
                if roster.slot_state(slot, clock.now()) is SlotState.HELD:
                    return _vain(slot, " is held: its children died again and again, last of")
                has_died = slot.restarts - before[slot.index] > most_deaths and slot.exits
                if has_died and slot.exits[-1].pid not in old and not slot.exits[-1].run_id:  # a run may end any child
                    return _vain(slot, ": its children die again and again, last of" if most_deaths else ": the new child died:")
            return None

        return look

    def _there(self) -> list[Child]:
        """The children that can start runs, or could if the database were there."""
        roster = self._arbiter.roster
        return roster.ready() if self._arbiter.database.is_up else roster.able()

    def _occupied_slots(self, now: float) -> dict[int, Slot]:
        roster = self._arbiter.roster
        return {slot.index: slot for slot in roster.slots if roster.is_occupied(slot, now)}

    def _existing(self, number: int, slots: Mapping[int, Slot]) -> Slot:
        if number in slots:
            return slots[number]
        there = ", ".join(map(str, slots)) or "none"
        raise NoSuchObject(f"no child is in slot {number}; there are children in slots {there}", "see: orbitctl list")

    def _loglevel(self, args: Mapping[str, Any]) -> Reply:
        before, level = log.level(), args["level"]
        self._arbiter.set_log_level(level)
        done = views.done("loglevel", f"lines from {level} on are written", changed=before != level, level=level, before=before)
        return Answer(done)

    def _reopen(self) -> Reply:
        self._arbiter.reopen()
        return Answer(views.done("reopen", "lines go to files of the configured names from now on"))

    # --- reads ---

    def _events(self, args: Mapping[str, Any]) -> Reply:
        """With follow it is awaited that there is one."""
        ring, after, limit = self._arbiter.ring, args["after"], args["limit"]
        if not 1 <= limit <= MOST_EVENTS:
            raise UsageError(f"limit: {limit} is not from 1 to {MOST_EVENTS}")

        def check(_now: float) -> Answer | None:
            items = ring.after(after, limit)
            return Answer(views.events(items, ring.last_number)) if items or not args["follow"] else None

        return check(clock.now()) or Pending(check, is_repeatable=True)

    def _stack(self, args: Mapping[str, Any]) -> Reply:
        """The child answers into its stack file; the arbiter looks for that at its next turns."""
        slot = self._slot_of(args["object"])
        record = self._arbiter.fleet.slots.records[slot.index]
        if slot.child is None or slot.child.booted_at is None:
            raise Conflict(f"the child of slot {slot.index} is only starting, and cannot show its stack yet", "ask again in a moment")
        about = {"slot": slot.index, "state": self._arbiter.roster.slot_state(slot, clock.now())}
        about |= {"run": str(record.run_id), "pipeline": record.pipeline} if record.run_id else {"run": None, "pipeline": None}
        seen: list[Sight] = []
        self._arbiter.inquiries.ask(slot.index, seen.append)

        def check(_now: float) -> Answer | None:
            return _stack_answer(seen[0], about) if seen else None

        return Pending(check)

    def _slot_of(self, name: str) -> Slot:
        """The slot of that number, or the one whose child has that run in hand."""
        occupied = {index: slot for index, slot in self._occupied_slots(clock.now()).items() if slot.child}
        word = name.removeprefix("slot:")
        if word.isascii() and word.isdigit() and int(word) < MAX_SLOTS:
            return self._existing(int(word), occupied)
        for slot in occupied.values():
            run_id = self._arbiter.fleet.slots.records[slot.index].run_id
            if run_id and name in (str(run_id), short_id(run_id)):
                return slot
        raise NoSuchObject(f"no child of this daemon has run {name} in hand", "see: orbitctl list")

    def _status(self, *, with_past: bool = False) -> dict[str, Any]:
        """`with_past`: with the slots that nobody is in, but somebody was."""
        arbiter, now = self._arbiter, clock.now()
        findings = self._findings()
        beat_at = arbiter.fleet.slots.header.beat_at
        return views.status(
            state=arbiter.state(now),
            pid=os.getpid(),
            version=__version__,
            generation=arbiter.roster.generation,
            config=self._config,
            target=arbiter.desired.count,
            slots=[
                self._slot(slot, now)
                for slot in arbiter.roster.slots
                if arbiter.roster.is_occupied(slot, now) or (with_past and slot.exits)
            ],
            problems=[finding for finding in findings if finding.code not in _NO_PROBLEMS],
            last_reload=self._last_reload(),
            last_beat_at=_wall(time.time() - (now - beat_at)) if beat_at else None,
            age_seconds=self._age_seconds(now, with_memory=True),
            processes=self._processes(),
            memory=self._memory(),
        )

    def _list(self, args: Mapping[str, Any]) -> Reply:
        if not args["exits"]:
            return Answer(views.listing(self._status()))
        now, wall = clock.now(), time.time()
        exits = {slot.index: [_exit(ended, wall - (now - ended.at)) for ended in slot.exits[::-1]] for slot in self._arbiter.roster.slots}
        return Answer(views.listing(self._status(with_past=True), exits))

    def _memory(self) -> dict[str, int | None]:
        roster = self._arbiter.roster
        pressure = roster.pressure
        return {
            "children_pss_bytes": sum(child.pss_bytes or 0 for child in roster.children()),
            "used_bytes": pressure.used_bytes if pressure else None,
            "limit_bytes": pressure.limit_bytes if pressure else None,
        }

    def _findings(self) -> list[Finding]:
        """What is not well just now."""
        self._arbiter.look()
        self._arbiter.check_vitals(clock.now())
        return self._arbiter.vitals.findings

    def _health(self) -> dict[str, Any]:
        findings, vitals = self._findings(), self._arbiter.vitals
        return views.health(findings, vitals.metrics()["lastRunTime"], vitals.stuck_runs, self._age_seconds(clock.now()))

    def _metrics(self) -> dict[str, Any]:
        arbiter = self._arbiter
        numbers = arbiter.vitals.metrics() | {
            "childExits": dict(sorted(arbiter.roster.exits_by_cause.items())),
            "dutyAgeSeconds": arbiter.vitals.duty_ages(arbiter.affairs.upkeep),
        }
        return views.metrics(numbers, round(clock.now() - self._arbiter.looked_at, 3))

    def _age_seconds(self, now: float, *, with_memory: bool = False) -> float:
        """Of what is known of the database, which the janitor tells, and of the samples of memory. The rest was looked at just now."""
        looks = [self._arbiter.fleet.slots.header.janitor_tick_at]
        if with_memory:
            looks += [at for child in self._arbiter.roster.children() for at in (child.rss_seen_at, child.own_seen_at)]
        return round(max(0.0, now - min((at for at in looks if at), default=now)), 3)

    def _last_reload(self) -> dict[str, Any] | None:
        reload = self._arbiter.reload
        if reload.generation == 1:
            return None
        rollout = self._arbiter.roster.rollout
        stage = rollout.stage if rollout and rollout.generation == reload.generation else None
        return {
            "ok": reload.ok,
            "generation": reload.generation,
            "at": _wall(reload.at),
            "error": reload.error,
            "stage": stage,
            "restart_needed": list(reload.restart_needed),
        }

    def _processes(self) -> list[dict[str, Any]]:
        roster = self._arbiter.roster
        janitor_state = "running" if self._arbiter.database.is_up else "waiting"
        found: list[dict[str, Any]] = [{"role": "arbiter", "pid": os.getpid(), "state": "running", "generation": None}]
        for mold in (mold for mold in roster.molds.values() if mold.pid is not None):
            state = "ready" if mold.is_ready else "importing"
            found.append({"role": "mold", "pid": mold.pid, "state": state, "generation": mold.generation})
        if roster.janitor.pid is not None:
            found.append({"role": "janitor", "pid": roster.janitor.pid, "state": janitor_state, "generation": None})
        return found

    def _slot(self, slot: Slot, now: float) -> dict[str, Any]:
        child, record = slot.child, self._arbiter.fleet.slots.records[slot.index]
        has_run = child is not None and record.run_id != 0
        return {
            "slot": slot.index,
            "pid": child.pid if child else None,
            "state": self._arbiter.roster.slot_state(slot, now),
            "generation": child.generation if child else None,
            "run": str(record.run_id) if has_run else None,
            "pipeline": record.pipeline if has_run else None,
            "since": _wall(time.time() - (now - record.since)) if record.since else None,
            "rss_bytes": child.rss_bytes if child else None,
            "own_bytes": child.own_bytes if child else None,
            "pss_bytes": child.pss_bytes if child else None,
            "runs": record.runs,
            "failed": record.failed,
            "restarts": slot.restarts,
            "last_exit": slot.last_exit,
        }


def _exit(ended: Exit, at: float) -> dict[str, Any]:
    """One of `exits` in orbit.list/1, at this wall clock time."""
    return {
        "at": _wall(at),
        "cause": ended.cause,
        "by": ended.by,
        "reason": ended.reason,
        "pid": ended.pid,
        "generation": ended.generation,
        "run": str(ended.run_id) if ended.run_id else None,
        "pipeline": ended.pipeline or None,
        "uptime_seconds": round(ended.uptime_seconds, 3),
        "peak_bytes": ended.peak_bytes or None,
        "own_peak_bytes": ended.own_peak_bytes,
    }


def _stack_answer(sight: Sight, about: Mapping[str, Any]) -> Answer:
    if sight.stack:
        facts = {"pid": sight.pid, "process_state": sight.state, "kernel_function": sight.kernel_function or None}
        return Answer(views.stack({**about, **facts, "message": sight.words, "stack": sight.stack}))
    hints = {"T": f"kill -CONT {sight.pid}", "D": f"cat /proc/{sight.pid}/cgroup /proc/{sight.pid}/stack"}
    hint = hints.get(sight.state, f"see: orbitctl list; to end it: orbitctl kill {about['slot']}")
    message = f"slot {about['slot']}, pid {sight.pid}, shows no stack: {sight.words}"
    return Answer(error=Conflict(message, hint))


def _vain(slot: Slot, words: str) -> Answer:
    return Answer(error=OrbitError(f"slot {slot.index}{words} {slot.last_exit}", "orbitctl list --exits"))


def _reloaded(reload: Reload, how: str) -> dict[str, Any]:
    rest = f"; restart orbitd for: {', '.join(reload.restart_needed)}" if reload.restart_needed else ""
    message = f"generation {reload.generation} {how}{rest}"
    return views.done("reload", message, generation=reload.generation, restart_needed=list(reload.restart_needed))


def _reload_error(error: str, exit_code: ExitCode, generation: int, so_far: str = "") -> OrbitError:
    kind = ConfigError if exit_code is ExitCode.CONFIG else OrbitError
    words, _, hint = error.rpartition("\nhint: ")
    if not words or "\n" in hint:  # a traceback follows
        words, hint = error, "mend it"
    return kind(f"{so_far}the reload failed, generation {generation} goes on: {words}", f"{hint}; then: orbitctl reload --wait")


def _wall(at: float) -> str:
    return rfc3339(datetime.fromtimestamp(at, UTC))
