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

from orbitd import __version__, postmortem
from orbitd.affairs import Affairs
from orbitd.config import Settings
from orbitd.control.ring import Ring
from orbitd.control.server import Server
from orbitd.errand import Errand
from orbitd.errors import Conflict, ExitCode, OrbitError, telling_line
from orbitd.fleet import Death, Fleet, Keep
from orbitd.generations import Generations, Reload, limits_of
from orbitd.incarnation import Incarnation
from orbitd.inquiry import Inquiries, Sight, look_at
from orbitd.rollouts import Rollouts
from orbitd.rules import actions, events, health, liveness, service, supervise
from orbitd.rules.limits import MOST_CHILDREN
from orbitd.rules.once import Once
from orbitd.rules.recycling import excess
from orbitd.rules.roster import Child, Roster
from orbitd.rules.states import Charge, DaemonState, Reason, StopLevel
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

_SAID_BY_STATUS_LINE = {"starting", "stopping", "paused", "database_down"}
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
        self.affairs = Affairs(self.fleet, generations, incarnation)
        self.rollouts = Rollouts(self, generations, self.fleet, self._scales)
        self.limits = limits_of(self.settings)
        self.roster = Roster.of(MAX_SLOTS, self.limits)
        self.desired = Desired(count=min(self.settings.children.count, (once and once.most_runs) or MOST_CHILDREN))
        self.ring = Ring()
        self._errand = Errand(once, self.fleet.slots, self._look_for_work) if once else None
        self.exit_code = ExitCode.OK
        self.start_error: str | None = None
        self._server: Server | None = None
        self._pid_file: PidFile | None = None
        self._service = Service(generations.serving.environ)
        self.succession = Succession(self.fleet, self._take_stock)
        self.looked_at = self._next_look = self._next_report = 0.0
        self._decided_at = self._wake_at = clock.now()
        self._is_record_stale = True
        self._is_judged = False
        if estate:
            self._inherit(estate)

    @property
    def settings(self) -> Settings:
        """The configuration of the generation that serves."""
        return self._generations.serving.settings

    @property
    def database(self) -> DatabaseNews:
        """What the janitor last said of it."""
        return self.affairs.database

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
        if self.affairs.is_handed_back:
            self._incarnation.end()
        if self._errand:
            self._errand.conclude(self.vitals.tally)
        log.event("stopped", exit_code=int(self.exit_code), why=telling_line(self.start_error) if self.start_error else None)
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
            self._incarnation.write(self.affairs.boot_id, self.fleet.record())
        self.inquiries.step(clock.now())
        if self._server:
            self._server.expire(clock.now())
            self._server.settle(clock.now())

    def _tell_service_manager(self) -> None:
        """Apart from the others: what keeps them from being told is no reason to call us dead."""
        self._service.tell(self._service_facts)

    def _service_facts(self) -> service.Facts:
        state, reload = self.state(clock.now()), self.reload
        troubles = (finding.message for finding in self.vitals.findings if finding.code not in _SAID_BY_STATUS_LINE)
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
        is_starting = self.reload.generation == 1 and self.reload.ok is None and not self.roster.early_deaths
        why = None if self.database.is_up else self.database.why
        reload_error = self.reload.error if self.reload.ok is False else None
        hazards = self._generations.hazards_of(self.roster.generation)
        news = health.News(why, self.database.command, reload_error, self.succession.error, "\n".join(hazards), self.database.is_deaf)
        findings = self.vitals.judge(self.settings, self.roster, self.desired, news, self.affairs.upkeep, is_starting=is_starting)
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
            self.rollouts.mold_exits(event)
        was_degraded = self.roster.is_degraded
        self.roster.note(event)
        match event:
            case events.ChildBooted(slot):
                self.rollouts.child_booted(slot)
            case events.DeathJudged(slot, judged):
                postmortem.tell(slot, judged)
            case events.JanitorExited() if not self.desired.stop_level and self.roster.janitor.dismissed_at is None:
                log.warn("janitor_exited")
        if self._errand and isinstance(event, events.ChildExited):
            self._errand.note_change()
        if self.roster.is_degraded and not was_degraded:
            log.warn("degraded", early_deaths=len(self.roster.early_deaths))
        elif was_degraded and not self.roster.is_degraded:
            log.event("degraded_ended")
        self._is_judged &= isinstance(event, events.JanitorTicked | events.RunsEnded)
        self._is_record_stale |= isinstance(event, events.ChildSaidHello | events.ChildExited | events.MoldSpawned | events.JanitorSpawned)

    def go_by(self, settings: Settings) -> None:
        """From now on the generation with this configuration serves."""
        if not self.database.is_word:
            self.database.since = clock.now()
        log.set_up("arbiter", settings.logging, host=settings.instance.name)
        self.fleet.slots.header.log_level = 0
        self.limits = self.roster.limits = limits_of(settings)
        self.affairs.tell_what_to_serve(self.roster.generation)
        process.give_back_memory()

    def give_up_start(self, error: str) -> None:
        """The very first generation is no good: the daemon ends."""
        self.exit_code, self.start_error = ExitCode.CONFIG, error
        self.desired.stop_level = StopLevel.KILL

    def janitor_said(self, message: Message) -> None:
        """News of the database, and what the children must hear."""
        match message["type"]:
            case "cancel":
                self.fleet.tell_child(message["slot"], {"type": "interrupt", "run": message["run"], "reason": "cancelled"})
            case "work" if self._errand:
                self._errand.heard(message["looked_at"], has_work=message["has_work"])
            case "event":
                self.ring.take(message["entry"])
            case about:
                self.affairs.hear(message)
                self._is_judged = False
                self._is_record_stale |= about == "host"
                if self._errand and about == "buried":
                    self._errand.note_change()

    def child_died(self, death: Death) -> None:
        """Know what it was, and have its runs taken back."""
        child = self.roster.slots[death.slot].child
        verdict, judged = postmortem.examine(death, child, self._scales)
        self.note(events.DeathJudged(death.slot, judged))
        is_to_blame = verdict.charge is not Charge.NONE
        outcomes = self.vitals.bury(death.slot, lost_runs=sum(held.begun for held in death.will.held) if is_to_blame else 0)
        if child:
            self._note_outcomes(child, *outcomes)
        self.affairs.bury(death, verdict)

    def mold_said(self, generation: int, message: Message) -> None:
        """A mold is ready, or has failed."""
        self.rollouts.mold_said(generation, message)

    # --- effects ---

    def perform(self, action: actions.Action) -> None:
        """Carry out a decision; the roster learns of it on the way."""
        if isinstance(action, actions.Step):
            self.rollouts.take(action)
            return
        if isinstance(action, actions.Tend):
            self._tend(action)
            return
        if isinstance(action, actions.OfHelper):
            self._perform_helper(action)
            return
        match action:
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
                child = self.roster.slots[slot].child
                why = excess(child, self.limits) if child and reason is Reason.OVER_MEMORY else None
                self.fleet.tell_child(slot, {"type": "interrupt", "run": None, "reason": reason, "why": why})
            case actions.Kill(slot, reason):
                log.warn("child_killed", slot=slot, reason=reason)
                self.fleet.kill_child(slot, reason)

    def _perform_helper(self, action: actions.OfHelper) -> None:
        """What is done to molds and the janitor."""
        match action:
            case actions.SpawnMold(generation):
                with self._failing("mold"):
                    loaded = self._generations.of(generation)
                    self.fleet.spawn_mold(generation, asdict(loaded.settings), loaded.environ)
            case actions.KillMold(generation):
                is_late = not self.roster.molds[generation].is_ready and generation == self.desired.generation
                self.fleet.kill_mold(generation)
                if is_late and not self.desired.stop_level:
                    self.rollouts.mold_is_late(generation, self.limits.boot_seconds)
            case actions.SpawnJanitor():
                with self._failing("janitor"):
                    self.affairs.spawn_janitor(self.roster.generation)
            case actions.DismissJanitor():
                self.fleet.tell_janitor({"type": "stopping"})
                self.note(events.JanitorDismissed(clock.now()))
            case actions.KillJanitor():
                log.warn("janitor_killed", stopping=bool(self.desired.stop_level))
                self.fleet.kill_janitor()
            case actions.AbandonMold(generation):
                log.fault("mold_unkillable", gen=generation, pid=self.roster.molds[generation].pid)
                self.fleet.abandon_mold(generation)
            case actions.AbandonJanitor():
                log.fault("janitor_unkillable", pid=self.roster.janitor.pid)
                self.fleet.abandon_janitor()

    def _tend(self, action: actions.Tend) -> None:
        """What is done for a child that stands still."""
        slot = action.slot
        match action:
            case actions.TellStall():
                self.note(events.StallTold(slot, clock.now()))
                self._look_into_stall(slot)
            case actions.DumpStack():
                self.note(events.DumpSent(slot, clock.now()))
                self.fleet.dump_stack(slot)
            case actions.Abandon():
                if known := self.roster.slots[slot].child:
                    log.fault("child_unkillable", slot=slot, pid=known.pid, why=known.vigil.words)
                self.fleet.abandon(slot)
                self.note(events.ChildAbandoned(slot))

    def _look_into_stall(self, slot: int) -> None:
        """Only who burns CPU is asked for its stacks: a signal would cut short a sleep in C, and so change what we look at."""
        child = self.roster.slots[slot].child
        if child and child.vigil.state == "R":
            self.inquiries.ask(slot, partial(self._tell_stall, slot), keeps=True)
        elif child and child.pid:
            self._tell_stall(slot, look_at(child.pid))

    def _tell_stall(self, slot: int, sight: Sight) -> None:
        record = self.fleet.slots.records[slot]
        about = {"run": record.run_id or None, "pipeline": record.pipeline or None}
        log.warn("child_stalled", slot=slot, pid=sight.pid, state=sight.state, why=sight.words, **about, stack=sight.stack or None)

    def _thaw(self, gap_seconds: float) -> None:
        log.event("thawed", seconds=round(gap_seconds, 1))
        self.fleet.slots.header.frozen_seconds += gap_seconds
        self.database.since += gap_seconds
        self.note(events.Thawed(gap_seconds, self._decided_at))

    @contextlib.contextmanager
    def _failing(self, role: str, slot: int | None = None) -> Iterator[None]:
        """The system may have no process or descriptor left: those who live go on, and we try again later."""
        try:
            yield
        except (OSError, ChannelClosed) as error:
            log.fault("spawn_failed", role=role, slot=slot, error=error)
            self.note(events.SpawnFailed(role, slot, clock.now(), random.random()))

    def _spawn_child(self, slot: int, generation: int) -> None:
        loaded = self._generations.of(generation)
        limits = limits_of(loaded.settings)  # its own generation's: a canary's do not count for the others yet
        if self.roster.molds[generation].forks:
            self.fleet.ask_for_child(slot, generation, limits)
        else:
            self.fleet.spawn_child(slot, generation, limits, asdict(loaded.settings), loaded.environ)

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

    def start_reload(self) -> int:
        """Stage a new generation with the newest configuration and code; its number. A broken one changes nothing.

        Raises ConfigError when the configuration cannot be used: a reload that is under way goes on.
        """
        self._is_judged = False
        return self.rollouts.begin()

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
            boot_id=self.affairs.boot_id,
            unburied=self.affairs.unburied,
        )

    def _inherit(self, estate: Estate) -> None:
        self.fleet.inherit(estate.fleet)
        self.ring.inherit(estate.ring)
        self.roster, self.desired = estate.roster, estate.desired
        self.roster.limits = self.limits
        self.vitals.tally, self.vitals.findings = estate.tally, estate.findings
        self.affairs.database, self.affairs.boot_id, self.affairs.unburied = estate.database, estate.boot_id, estate.unburied
        self.succession.predecessor = estate.version

    def _settle_in(self) -> None:
        """Put our code in the place of the old one, after a turn of the loop: whoever waits for this has been heard again."""
        self.fleet.reap()
        if self.roster.janitor.pid is not None:
            self.fleet.kill_janitor()  # that loses nothing: the lease outlasts its successor's start
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
        ending = self._errand.step(self.roster, len(self.fleet.in_hand()) + len(self.affairs.unburied), down_seconds, patience_seconds)
        if ending is not None:
            self.exit_code = ending
            self.stop(StopLevel.DRAIN)
