"""The arbiter: one thread, one selector loop, no database, no user code.

    while not finished:
        decide what to do about what was noted  (rules/supervise.py: pure)
        perform it                              (the only place that starts or ends processes)
        sleep until something happens or a deadline is due
        note what has happened                  (facts, in the roster)

Signals and commands edit the *desired state*, and leave it to the next turn to act on it. A few do more: what forgives earlier
deaths (scale, restart, reload) notes that as a fact, and `kill` performs its kill at once. The arbiter must not be able to die
of what its children die of.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from functools import partial

from setproctitle import setproctitle

from orbitd import __version__
from orbitd.config import Loaded, Settings
from orbitd.control.ring import Ring
from orbitd.control.server import Server
from orbitd.errand import Errand
from orbitd.errors import Conflict, ExitCode, OrbitError
from orbitd.fleet import Death, Fleet, Keep
from orbitd.generations import Generations, Reload, limits_of
from orbitd.incarnation import Incarnation
from orbitd.inquiry import Inquiries, Sight, look_at
from orbitd.rules import actions, events, health, liveness, service, supervise
from orbitd.rules.exits import Circumstances, Ender, Exit, Verdict, judge
from orbitd.rules.limits import MOST_CHILDREN
from orbitd.rules.once import Once
from orbitd.rules.recycling import refusal
from orbitd.rules.roster import Child, Roster
from orbitd.rules.states import Charge, DaemonState, Phase, StopLevel
from orbitd.rules.supervise import Desired
from orbitd.scales import Scales
from orbitd.service import Service
from orbitd.succession import Estate, Succession
from orbitd.system import clock, log, process
from orbitd.system.channel import ChannelClosed, Message
from orbitd.system.loop import Loop
from orbitd.system.pidfile import PidFile
from orbitd.system.slots import MAX_SLOTS, SharedSlots
from orbitd.system.wakeup import Wakeup
from orbitd.vitals import DatabaseNews, Vitals

_MOST_KILLED_IMPORTS = 3
_BLAMELESS = (signal.SIGKILL, signal.SIGTERM)
_SAID_BY_STATE = {"starting", "stopping", "paused", "database_down"}
_SIGNALS = ("TERM", "INT", "QUIT", "HUP", "TTIN", "TTOU", "USR1", "USR2", "TSTP", "CONT", "CHLD")


class Arbiter:
    """Supervises; see the module's text. With an `estate` it goes on where another version of orbitd stopped, in this very process.

    With `once` it does what is due, and ends by itself: with OK, DATABASE_UNAVAILABLE, or FAILED when no child stays alive.
    """

    def __init__(
        self, generations: Generations, incarnation: Incarnation, once: Once | None = None, *, estate: Estate | None = None
    ) -> None:
        self._generations, self._incarnation = generations, incarnation
        self.wakeup = Wakeup()
        slots = SharedSlots(**estate.fleet.slots) if estate else SharedSlots.create(once.most_runs if once else None)
        self.fleet = Fleet(self, self.wakeup, slots)
        log.follow(self.fleet.slots.header)
        self.vitals, self._scales, self.inquiries = Vitals(self.fleet.slots), Scales(self.note), Inquiries(self.fleet)
        self.limits = limits_of(self.settings)
        self.roster = Roster.of(MAX_SLOTS, self.limits)
        self.desired = Desired(count=min(self.settings.children.count, (once and once.most_runs) or MOST_CHILDREN))
        self.ring = Ring()
        self._errand = Errand(once, self.fleet.slots, self._look_for_work) if once else None
        self.database = DatabaseNews()
        self.exit_code = ExitCode.OK
        self.import_error: str | None = None
        self._server: Server | None = None
        self._pid_file: PidFile | None = None
        self._service = Service(generations.serving.environ)
        self.succession = Succession(self.fleet, self._take_stock)
        self._boot_id: str | None = None
        self._unburied: dict[str, Message] = {}
        self.looked_at = self._next_look = self._next_report = 0.0
        self._decided_at = self._wake_at = clock.now()
        self._is_record_stale = True
        self._is_judged = False
        self._is_handed_back = False
        if estate:
            self._inherit(estate)

    @property
    def settings(self) -> Settings:
        """The configuration of the generation that serves."""
        return self._generations.serving.settings

    @property
    def reload(self) -> Reload:
        """The last reload, or the start."""
        return self._generations.reload

    def serve(self, server: Server, pid_file: PidFile | None) -> None:
        """Answer on this control socket, which turns in our loop; an upgrade hands it over, and the pid file."""
        self._server, self._pid_file = server, pid_file

    def run(self) -> ExitCode:
        """Supervise until told to stop and everybody has left."""
        setproctitle("orbitd: arbiter")
        process.become_subreaper()  # where the kernel has none, nothing is forked: see `process.lacking`
        self.wakeup.catch([getattr(signal, f"SIG{name}") for name in _SIGNALS], self._on_signal)
        log.tell_also(self.ring)
        self.fleet.slots.header.is_awaited = int(self.desired.is_paused or self._errand is not None)
        parts = (self.look, self._run_errand, self._decide, self._tell, self._tell_service_manager, self._upgrade)
        loop = Loop(self.wakeup, parts, self._plan)
        while not supervise.is_finished(self.roster, self.desired) or self.fleet.has_strays:
            loop.turn()
        self.succession.abandon()
        if self._is_handed_back:
            self._incarnation.end()
        if self._errand:
            self._errand.conclude(self.vitals.tally)
        log.event("stopped", exit_code=int(self.exit_code))
        return self.exit_code

    def _decide(self) -> None:
        """Decide what to do about all that was noted, and do it. After a freeze of us all that nobody is late."""
        before, self._decided_at = self._decided_at, clock.now()
        gap_seconds = liveness.frozen_seconds(before, max(before, self._wake_at), self._decided_at)
        if gap_seconds:
            self._thaw(gap_seconds)
        for action in supervise.decide(self.roster, self.desired, self.limits, self._decided_at):
            self.perform(action)

    def _tell(self) -> None:
        """Let everybody know who waits for it: our processes, the next arbiter, the operator."""
        self.fleet.flush()
        if self._is_record_stale:
            self._is_record_stale = False
            self._incarnation.write(self._boot_id, self.fleet.record())
        self.inquiries.step(clock.now())
        if self._server:
            self._server.expire(clock.now())
            self._server.settle(clock.now())

    def _tell_service_manager(self) -> None:
        """Apart from the others: what keeps them from being told is no reason to call us dead."""
        self._service.tell(self._service_facts)

    def _service_facts(self) -> service.Facts:
        state, reload = self.state(clock.now()), self.reload
        troubles = (finding.message for finding in self.vitals.findings if finding.code not in _SAID_BY_STATE)
        trouble = self.database.why if state is DaemonState.WAITING_DATABASE else next(troubles, None)
        return service.facts_of(
            self.roster, self.desired, state, reload=reload.generation, is_under_way=reload.ok is None, trouble=trouble or ""
        )

    def state(self, now: float) -> DaemonState:
        """The one word for the daemon that people read."""
        reload, is_up = self.reload, self.database.is_up
        return service.state_of(
            self.roster, self.desired, now, reload=reload.generation, is_under_way=reload.ok is None, is_database_up=is_up
        )

    def _plan(self) -> float:
        """Until when we mean to sleep: whoever wakes much later has been frozen."""
        self._wake_at = self._next_deadline()
        return self._wake_at

    def _next_deadline(self) -> float:
        now = clock.now()
        due = supervise.next_deadline(self.roster, self.desired, self.limits, now)
        due = min(due, self._service.next_deadline(), self.inquiries.next_deadline, self.succession.next_deadline)
        if self._server and (server_due := self._server.next_deadline()) is not None:
            due = min(due, server_due)
        if self._errand:
            due = min(due, max(now, self._errand.next_deadline))
        if any(self.roster.children()) or not self._is_judged:
            return min(due, self._next_look, self._scales.next_at)
        return min(due, max(self._next_look, self._next_report)) if self.settings.metrics.report_interval else due

    def look(self) -> None:
        """Read what shared memory says; once in `look_seconds` at least, since a run's deadline is set there. Then also weigh."""
        self.looked_at = clock.now()
        self.note(events.JanitorTicked(self.fleet.slots.header.janitor_tick_at))
        for child in self.roster.children():
            self.fleet.look(child.slot)
            self._note_outcomes(child, *self.vitals.look(child.slot))
            if child.pid and liveness.is_suspect(child, self.limits, clock.now()):
                sight = look_at(child.pid)
                self.note(events.ProcessSeen(child.slot, sight.state, sight.words))
        now = clock.now()
        self._scales.look(list(self.roster.children()), now)
        if now >= self._next_look:
            self._next_look = now + self.limits.look_seconds
            self._keep_socket()
            self.check_vitals(now)

    def _note_outcomes(self, child: Child, succeeded: int, failed: int) -> None:
        if succeeded or failed:
            self.note(events.RunsEnded(child.generation, succeeded, failed))

    def check_vitals(self, now: float) -> None:
        """Judge how we do, say so when that has changed, and write the periodic report."""
        before = {finding.code for finding in self.vitals.findings}
        is_starting = self.reload.generation == 1 and self.reload.ok is None
        why = None if self.database.is_up else self.database.why
        news = health.News(why, self.database.command, self.reload.error if self.reload.ok is False else None, self.succession.error)
        findings = self.vitals.judge(self.settings, self.roster, self.desired, news, is_starting=is_starting)
        self._is_judged = True
        if self._errand is None and before != {finding.code for finding in findings}:
            log.event("health_changed", reasons=",".join(finding.code for finding in findings) or "none")
        if self.settings.metrics.report_interval and now >= self._next_report:
            if self._next_report:
                log.event("report", **self.vitals.report())
            self._next_report = now + self.settings.metrics.report_interval

    def _keep_socket(self) -> None:
        """Whatever cleans up temporary files may have removed the control socket's name."""
        try:
            if self._server:
                self._server.ensure_bound()
        except OrbitError as error:
            log.warn("control_socket_lost", error=error)

    # --- facts ---

    def note(self, event: events.Event) -> None:
        """A fact for the roster, and for the log where it is worth a line."""
        if isinstance(event, events.MoldExited):
            self._mold_exited(event)
        was_degraded = self.roster.degraded_since is not None
        self.roster.note(event)
        match event:
            case events.ChildBooted(slot):
                self._child_booted(slot)
            case events.DeathJudged(slot, judged):
                _log_exit(slot, judged)
            case events.JanitorExited() if not self.desired.stop_level and self.roster.janitor.dismissed_at is None:
                log.warn("janitor_exited")
        if self._errand and isinstance(event, events.ChildExited):
            self._errand.note_change()
        if was_degraded != (self.roster.degraded_since is not None):
            log.event("degraded_ended") if was_degraded else log.warn("degraded", early_deaths=len(self.roster.early_deaths))
        self._is_judged &= isinstance(event, events.JanitorTicked | events.RunsEnded)
        self._is_record_stale |= isinstance(event, events.ChildSaidHello | events.ChildExited | events.MoldSpawned | events.JanitorSpawned)

    def mold_said(self, generation: int, message: Message) -> None:
        """A mold is ready, or has failed. One that was overtaken has nothing more to say."""
        mold = self.roster.molds.get(generation)
        if mold is None or mold.is_leaving:
            return
        match message["type"]:
            case "ready" if not self._generations.is_unchanged(generation, message["fingerprint"]):
                self._part_with_changed(generation)
            case "ready":
                log.event("mold_ready", gen=generation, pipelines=",".join(spec["name"] for spec in message["pipelines"]))
                if message["hazards"]:
                    log.warn("unsafe_to_fork", gen=generation, causes="; ".join(message["hazards"]), so="each child is exec'd and imports")
                self._generations.learn(generation, message["pipelines"])
                self.note(events.MoldReady(generation, message["forks"]))
            case "failed":
                log.fault("mold_failed", gen=generation, error=message["error"])
                self.note(events.MoldFailed(generation))
                self._mold_failed(generation, message["error"], ExitCode(message["exit_code"]))

    def _child_booted(self, slot: int) -> None:
        """What a child weighs before it has done anything tells whether the memory limits can be meant."""
        child = self.roster.slots[slot].child
        if child is None:
            return
        log.event("child_booted", slot=slot, gen=child.generation, pid=child.pid)
        is_first = self.roster.is_on_trial(child) or (self.reload.ok is None and self.reload.generation == 1)
        if is_first:
            self._scales.weigh(child, clock.now())
            if why := refusal(child, limits_of(self._generations.of(child.generation).settings)):
                self._mold_failed(child.generation, why, ExitCode.CONFIG)

    def _mold_exited(self, event: events.MoldExited) -> None:
        mold = self.roster.molds.get(event.generation)
        if mold is None or mold.is_leaving or (mold.is_ready and not mold.forks):
            return
        log.warn("mold_exited", gen=event.generation, status=event.status)
        was_killed = event.status.signal in _BLAMELESS and len(self.roster.mold_history.deaths) < _MOST_KILLED_IMPORTS
        if not mold.is_ready and not was_killed:
            self._mold_failed(event.generation, f"the import of the pipelines ended the process: {event.status}", ExitCode.FAILED)

    def _part_with_changed(self, generation: int) -> None:
        """A mold has imported other files than the first one of its generation: that is another generation, with newer code."""
        log.warn("code_changed", gen=generation, so="a new generation is begun, as by a reload")
        self.note(events.CodeChanged(generation))
        self.fleet.kill_mold(generation)
        if self.desired.generation == generation and not self.desired.stop_level:
            with contextlib.suppress(OrbitError):  # it is in the log, and in the status
                self._stage()

    def _take_over(self, generation: int) -> None:
        """From now on this generation serves: the arbiter and the janitor go by its configuration."""
        before, now = self.settings, self._generations.take_over(generation).settings
        if not self.database.is_word:
            self.database.since = clock.now()
        if now.children.count != before.children.count:
            self.scale(now.children.count)
        log.set_up("arbiter", now.logging, host=now.instance.name)
        self.fleet.slots.header.log_level = 0
        self.limits = self.roster.limits = limits_of(now)
        for pipeline in self._generations.pipelines_of(generation):
            log.event("pipeline_loaded", pipeline=pipeline["name"], queue=pipeline["queue"])
        self._tell_what_to_serve()

    def _tell_what_to_serve(self) -> None:
        if pipelines := self._generations.pipelines_of(self.roster.generation):
            self.fleet.tell_janitor({"type": "serve", "pipelines": pipelines, "settings": asdict(self.settings)})

    def _mold_late(self, generation: int) -> None:
        error = f"the import took longer than {self.limits.boot_seconds:g}s"
        log.fault("mold_failed", gen=generation, error=error)
        self._mold_failed(generation, error, ExitCode.FAILED)

    def _mold_failed(self, generation: int, error: str, exit_code: ExitCode) -> None:
        """A generation is no good, and will be given up for the one before. At the very first start there is none: the daemon ends."""
        rollout = self.roster.rollout
        if rollout and rollout.generation == generation and rollout.fallback == 0:
            self.exit_code, self.import_error = ExitCode.CONFIG, error
            self.desired.stop_level = StopLevel.KILL
        else:
            self.note(events.GenerationRefused(generation, error, exit_code))

    def _give_up(self, action: actions.GiveUp) -> None:
        served = self.roster.generation
        self.note(events.GenerationGivenUp(action.generation, clock.now()))
        self.desired.generation = self.roster.rollout.generation if self.roster.rollout else self.roster.generation
        why = action.why
        if self.roster.generation != served:
            log.warn("rolled_back", gen=action.generation, to=self.roster.generation, why=why)
            why = f"rolled back: {why}"
            self._take_over(self.roster.generation)
        self._generations.fail(action.generation, why, action.exit_code)

    def janitor_said(self, message: Message) -> None:
        """News of the database, and what the children must hear."""
        match message["type"]:
            case "host":
                self._boot_id, self._is_record_stale = message["boot_id"], True
            case "database":
                self._note_database(DatabaseNews(message["up"], message["why"], message["command"], is_word=True))
            case "cancel":
                self.fleet.tell_child(message["slot"], {"type": "interrupt", "run": message["run"], "reason": "cancelled"})
            case "buried":
                self._unburied.pop(message["nonce"], None)
                if self._errand:
                    self._errand.note_change()
            case "work" if self._errand:
                self._errand.heard(message["looked_at"], has_work=message["has_work"])
            case "event":
                self.ring.take(message["entry"])
            case "handed_back":
                self._is_handed_back = True

    def _note_database(self, news: DatabaseNews) -> None:
        before, self.database = self.database, news
        is_change = news.is_up != before.is_up
        if before.is_word and not is_change:
            news.since = before.since
        news.was_up = before.was_up or news.is_up
        if is_change or not before.is_word:
            self._is_judged = False
            log.event("database_up") if news.is_up else log.warn("database_down", why=news.why)

    def child_died(self, death: Death) -> None:
        """Have its runs taken back. Kept until the janitor has done so: a janitor may die, or have no database."""
        child = self.roster.slots[death.slot].child
        verdict = self._judge(child, death)
        is_to_blame = verdict.charge is not Charge.NONE
        outcomes = self.vitals.bury(death.slot, lost_runs=sum(held.begun for held in death.will.held) if is_to_blame else 0)
        if child:
            self._note_outcomes(child, *outcomes)
        message = {
            "type": "child_ended",
            "nonce": death.nonce,
            "child_id": death.child_id,
            "slot": death.slot,
            "will": asdict(death.will),
            "cause": verdict.cause,
            "charge": verdict.charge,
            "stack": death.stack,
        }
        if death.child_id:
            self._unburied[death.nonce] = message
            self.fleet.tell_janitor(message)

    def _judge(self, child: Child | None, death: Death) -> Verdict:
        """What this death was; noted, so that the operator can be told."""
        now = clock.now()
        reason, is_killed = (child.reason, child.phase is Phase.DYING) if child else (None, False)
        is_foreign_kill = death.status.signal == signal.SIGKILL and not is_killed
        has_run = bool(death.run_id or death.will.held)
        is_out_of_memory = is_foreign_kill and self._scales.has_oom_killed(now)
        verdict = judge(death.status, Circumstances(reason, is_killed, is_out_of_memory, has_run))
        judged = Exit(
            at=now,
            pid=child.pid if child else None,
            generation=child.generation if child else 0,
            cause=verdict.cause,
            by=verdict.by,
            reason=reason,
            uptime_seconds=now - child.asked_at if child else 0.0,
            peak_bytes=death.peak_bytes,
            own_peak_bytes=child.own_peak_bytes if child else None,
            run_id=death.run_id,
            pipeline=death.pipeline,
        )
        self.note(events.DeathJudged(death.slot, judged))
        return verdict

    # --- effects ---

    def perform(self, action: actions.Action) -> None:  # noqa: C901 - one arm an action: the list is the point
        """Carry out a decision; the roster learns of it on the way."""
        if isinstance(action, actions.Step):
            self._take_step(action)
            return
        if isinstance(action, actions.Tend):
            self._tend(action)
            return
        match action:
            case actions.SpawnMold(generation):
                with self._failing("mold"):
                    loaded = self._generations.of(generation)
                    self.fleet.spawn_mold(generation, asdict(loaded.settings), loaded.environ)
            case actions.KillMold(generation):
                is_late = not self.roster.molds[generation].is_ready and generation == self.desired.generation
                self.fleet.kill_mold(generation)
                if is_late and not self.desired.stop_level:
                    self._mold_late(generation)
            case actions.SpawnJanitor():
                with self._failing("janitor"):
                    self._spawn_janitor()
            case actions.DismissJanitor():
                self.fleet.tell_janitor({"type": "stopping"})
                self.note(events.JanitorDismissed(clock.now()))
            case actions.KillJanitor():
                log.warn("janitor_killed", stopping=bool(self.desired.stop_level))
                self.fleet.kill_janitor()
                self.note(events.JanitorDismissed(clock.now()))
            case actions.Spawn(slot, generation):
                with self._failing("child", slot):
                    self._spawn_child(slot, generation)
            case actions.Drain(slot, reason, until):
                log.event("child_drained", slot=slot, reason=reason)
                self.note(events.DrainSent(slot, reason, until))
                self.fleet.tell_child(slot, {"type": "drain"})
            case actions.Interrupt(slot, reason, until):
                log.event("child_interrupted", slot=slot, reason=reason)
                self.note(events.InterruptSent(slot, reason, until))
                self.fleet.tell_child(slot, {"type": "interrupt", "run": None, "reason": reason})
            case actions.Kill(slot, reason):
                log.warn("child_killed", slot=slot, reason=reason)
                self.fleet.kill_child(slot, reason)

    def _tend(self, action: actions.Tend) -> None:
        """What is done for a child that stands still."""
        slot = action.slot
        match action:
            case actions.TellStall():
                self.note(events.StallTold(slot, clock.now()))
                self.inquiries.ask(slot, partial(self._tell_stall, slot), keeps=True)
            case actions.DumpStack():
                self.note(events.DumpSent(slot))
                self.fleet.dump_stack(slot)
            case actions.Abandon():
                if known := self.roster.slots[slot].child:
                    log.fault("child_unkillable", slot=slot, pid=known.pid, why=known.vigil.words)
                self.fleet.abandon(slot)
                self.note(events.ChildAbandoned(slot))

    def _tell_stall(self, slot: int, sight: Sight) -> None:
        record = self.fleet.slots.records[slot]
        about = {"run": record.run_id or None, "pipeline": record.pipeline or None}
        log.warn("child_stalled", slot=slot, pid=sight.pid, state=sight.state, why=sight.words, **about, stack=sight.stack or None)

    def _thaw(self, gap_seconds: float) -> None:
        log.event("thawed", seconds=round(gap_seconds, 1))
        self.fleet.slots.header.frozen_seconds += gap_seconds
        self.database.since += gap_seconds
        self.note(events.Thawed(gap_seconds, self._decided_at))

    def _take_step(self, step: actions.Step) -> None:
        """A step of a reload, or of a degraded service."""
        match step:
            case actions.Stage(generation):
                canary_seconds = limits_of(self._generations.of(generation).settings).canary_seconds
                self.note(events.GenerationStaged(generation, clock.now(), canary_seconds))
            case actions.Promote(generation):
                self.note(events.GenerationPromoted(generation, clock.now()))
                self._take_over(generation)
            case actions.Hold(generation):
                self.note(events.GenerationHolds(generation, clock.now()))
                self._generations.conclude(generation, len(self.roster.able()))
            case actions.Settle(generation):
                self.note(events.GenerationSettled(generation))
                self._generations.keep({generation})
            case actions.GiveUp():
                self._give_up(step)
            case actions.EndDegraded():
                self.note(events.DegradedEnded())

    @contextlib.contextmanager
    def _failing(self, role: str, slot: int | None = None) -> Iterator[None]:
        """The system may have no process or descriptor left: those who live go on, and we try again later."""
        try:
            yield
        except (OSError, ChannelClosed) as error:
            log.fault("spawn_failed", role=role, slot=slot, error=error)
            self.note(events.SpawnFailed(role, slot, clock.now(), random.random()))

    def _spawn_child(self, slot: int, generation: int) -> None:
        if self.roster.molds[generation].forks:
            self.fleet.ask_for_child(slot, generation, self.limits)
        else:
            loaded = self._generations.of(generation)
            self.fleet.spawn_child(slot, generation, self.limits, asdict(loaded.settings), loaded.environ)

    def _spawn_janitor(self) -> None:
        former = self._incarnation.former_boot_id if self._boot_id is None else None
        configuration = {"settings": asdict(self.settings), "former_boot_id": former, "boot_id": self._boot_id}
        self.fleet.spawn_janitor(configuration, self._generations.serving.environ)
        self._tell_what_to_serve()
        for message in self._unburied.values():
            self.fleet.tell_janitor(message)

    # --- what the operator wants ---

    def _on_signal(self, number: int) -> None:  # noqa: C901 - one arm a signal: the list is the point
        match signal.Signals(number):
            case signal.SIGTERM | signal.SIGINT:
                self.stop(StopLevel(min(self.desired.stop_level + 1, StopLevel.KILL)))
            case signal.SIGQUIT:
                self.stop(StopLevel.INTERRUPT)
            case signal.SIGHUP if not self.desired.stop_level:
                with contextlib.suppress(OrbitError):  # it is in the log, and in the status
                    self.start_reload()
            case signal.SIGTTIN:
                self.scale(self.desired.count + 1)
            case signal.SIGTTOU:
                self.scale(self.desired.count - 1)
            case signal.SIGTSTP:
                self.pause(is_paused=True)
            case signal.SIGCONT:
                self.pause(is_paused=False)
            case signal.SIGCHLD:
                self.fleet.reap()
            case signal.SIGUSR1:
                self.reopen()
            case signal.SIGUSR2:
                with contextlib.suppress(OrbitError):  # it is in the log
                    self.start_upgrade()
            case other:
                log.event("signal_ignored", signal=other.name)

    def stop(self, level: StopLevel) -> None:
        """Stop, at least this hard; never softer than before."""
        if level > self.desired.stop_level:
            self.desired.stop_level = level
            log.event("stopping", how=level.name.lower())

    def scale(self, count: int) -> None:
        """Have this many children, within what the slots hold."""
        self.desired.count = max(0, min(count, MOST_CHILDREN))
        self.note(events.Scaled(self.desired.count, clock.now()))
        log.event("scaled", children=self.desired.count)

    def pause(self, *, is_paused: bool) -> None:
        """Stop or resume claiming; processes stay, runs in hand go on."""
        if is_paused != self.desired.is_paused:
            log.event("paused" if is_paused else "unpaused")
            self._is_judged = False
        self.desired.is_paused = is_paused
        self.fleet.slots.header.is_paused = int(is_paused)
        self.fleet.slots.header.is_awaited = int(is_paused or self._errand is not None)
        for child in self.roster.children():
            self.fleet.slots.ring(child.slot)

    def restart(self, slots: Iterable[int]) -> None:
        """Have the children of these slots replaced, and try at once where one is held back."""
        wanted = frozenset(slots)
        self.note(events.RestartAsked(wanted))
        log.event("restart_asked", slots=",".join(map(str, sorted(wanted))))

    def set_log_level(self, level: str) -> None:
        """Have every process write lines from this level on, until the next reload."""
        log.event("log_level_changed", before=log.level(), now=level)
        self.fleet.slots.header.log_level = log.number(level)

    def reopen(self) -> None:
        """Each line opens its file by name: this one makes the new file at once, where whoever moved the old one looks for it."""
        log.event("logs_reopened")

    def newest_configuration(self) -> tuple[Loaded, Loaded]:
        """The configuration in force, and what a reload would take up now. Raises ConfigError when that cannot be used."""
        return self._generations.serving, self._generations.newest()

    def start_reload(self) -> int:
        """Stage a new generation with the newest configuration and code; its number. A broken one changes nothing.

        Raises ConfigError when the configuration cannot be used: a reload that is under way goes on.
        """
        generation = self._stage()
        self.note(events.Forgiven())
        return generation

    def _stage(self) -> int:
        generation = max(self.roster.newest_generation, self.desired.generation) + 1
        self._is_judged = False
        self._generations.stage(generation)
        self.desired.generation = generation
        return generation

    # --- upgrade in place: see succession.py ---

    def start_upgrade(self) -> None:
        """Have the orbitd that is installed now take our place, if it can. Joins an upgrade that is under way. Raises Conflict."""
        if self._errand or self.desired.stop_level or not self.roster.generation:
            state = "stopping" if self.desired.stop_level else "starting" if self._errand is None else "there for one errand"
            log.warn("upgrade_refused", why=state)
            raise Conflict(f"the daemon is {state}: it cannot be upgraded", "start the new version afterwards")
        self._is_judged = False
        self.succession.begin(self.limits.boot_seconds)

    def _upgrade(self) -> None:
        """Hand over to the new version once its rehearsal has passed. As the new version, settle in first."""
        if self.succession.arrive():
            self._settle_in()
        if not self.succession.is_due():
            return
        with self.wakeup.deaf():
            if self.desired.stop_level:
                self.succession.fail("the daemon was told to stop")
            else:
                if self._server:
                    self._server.dismiss(Conflict("orbitd is upgraded in place; what was asked for goes on", "see: orbitctl status"))
                self.succession.hand_over(self.limits.boot_seconds)
        self._tell()

    def _take_stock(self, keep: Keep) -> Estate:
        """All that `_inherit` goes on with: whatever is not here begins anew."""
        server = self._server
        if server is None:
            raise OrbitError("there is no control socket to hand over")
        return Estate(
            pid=os.getpid(),
            version=__version__,
            fds=[],
            generations=self._generations.hand_over(),
            incarnation=self._incarnation.hand_over(keep),
            fleet=self.fleet.hand_over(keep),
            server=server.hand_over(keep),
            pid_file=self._pid_file.hand_over(keep) if self._pid_file else None,
            ring=self.ring.hand_over(),
            roster=self.roster,
            desired=self.desired,
            tally=self.vitals.tally,
            findings=self.vitals.findings,
            database=self.database,
            boot_id=self._boot_id,
            unburied=self._unburied,
        )

    def _inherit(self, estate: Estate) -> None:
        self.fleet.inherit(estate.fleet)
        self.ring.inherit(estate.ring)
        self.roster, self.desired = estate.roster, estate.desired
        self.roster.limits = self.limits
        self.vitals.tally, self.vitals.findings, self.database = estate.tally, estate.findings, estate.database
        self._boot_id, self._unburied = estate.boot_id, estate.unburied
        self.succession.predecessor = estate.version

    def _settle_in(self) -> None:
        """Put our code in the place of the old one, after a turn of the loop: whoever waits for this has been heard again."""
        self.fleet.reap()
        if self.roster.janitor.pid is not None:
            self.fleet.kill_janitor()  # that loses nothing: the lease outlasts its successor's start
            self.note(events.JanitorDismissed(clock.now()))
        with contextlib.suppress(OrbitError):  # it is in the log, and in the status
            self.start_reload()

    # --- orbitd once ---

    def _look_for_work(self) -> None:
        self.fleet.tell_janitor({"type": "look_for_work"})

    def _run_errand(self) -> None:
        """End when all that was due is done. A database that never came, or stays away until our lease is over, is the end too.

        So is a janitor that never says a word of it.
        """
        if self._errand is None or self.desired.stop_level:
            return
        database = self.database
        down_seconds = None if database.is_up else clock.now() - database.since
        patience_seconds = max(self.settings.host.lease, self.limits.janitor_stall_seconds)
        if database.is_word:
            patience_seconds = self.settings.host.lease if database.was_up else self.settings.database.connect_timeout
        ending = self._errand.step(self.roster, len(self.fleet.in_hand()) + len(self._unburied), down_seconds, patience_seconds)
        if ending is not None:
            self.exit_code = ending
            self.stop(StopLevel.DRAIN)


def _log_exit(slot: int, judged: Exit) -> None:
    tell = log.event if judged.by is Ender.ORBITD else log.warn
    tell(
        "child_exited",
        slot=slot,
        pid=judged.pid,
        gen=judged.generation,
        cause=judged.cause,
        by=judged.by,
        reason=judged.reason,
        uptime_seconds=round(judged.uptime_seconds, 3),
        peak_bytes=judged.peak_bytes,
        run=judged.run_id or None,
        pipeline=judged.pipeline or None,
    )
