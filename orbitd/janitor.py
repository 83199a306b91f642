"""The janitor: everything that the host must say to the database which is not one child's work.

    beat          renews the host's lease; promotes due runs; says where work waits and whose run was cancelled
    bells         rings idle children when the database announces work (LISTEN), or a beat finds some
    bury          takes back the runs of a dead child, at once
    reconcile     takes back what belongs to nobody, with each new connection, soon after somebody was ended, and every five minutes
    upkeep        the fleet's duties, in a thread of its own: see `upkeep.py`
    rescue        takes back the runs of hosts whose lease has lapsed
    watermark     finds the runs of producers who commit late

One loop: sleep on the arbiter's channel, the database's notifications and the next duty. Its own death loses nothing: the
lease outlasts its restart, and the arbiter tells the next one what is still to be buried. A database that is down is a
state, told to the arbiter, and no reason to exit.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
from collections import deque
from dataclasses import dataclass
from math import ceil, inf

import psycopg
from setproctitle import setproctitle

from orbitd import __version__, lease, store
from orbitd.config import Settings
from orbitd.errors import ExitCode, OrbitError
from orbitd.rules.backoff import reconnect_seconds
from orbitd.rules.queues import is_served
from orbitd.rules.states import Charge, RunState
from orbitd.store import Connection, Fence, Lane, Mode, PipelineSpec
from orbitd.system import clock, log, privileges, process
from orbitd.system.channel import Channel, ChannelClosed, Message
from orbitd.system.log.entry import Entry
from orbitd.system.log.redact import masked
from orbitd.system.log.sink import Sink
from orbitd.system.slots import SharedSlots
from orbitd.upkeep import Upkeep
from orbitd.waking import Deaf, Waking
from orbitd.watermark import Watermark

_RECONCILE_SECONDS = 300.0
_RECONCILE_SOON_SECONDS = 30.0
"""After somebody was ended: an audit takes a run of theirs for abandoned once that is a minute ago."""

_SHORTEST_PAUSE_SECONDS = 0.02
_PUT_OFF_SECONDS = 5.0
_NEWS_LEVELS = ("warning", "error", "critical")


def main(channel_fd: int) -> int:
    """Run the janitor on the channel that the arbiter handed over."""
    channel = Channel.inherited(channel_fd, blocks=False)
    configuration = channel.receive(wait=True) or {}
    process.die_with_parent(configuration["arbiter_pid"])
    process.leave_signals_to_arbiter()
    settings = Settings.from_json(json.dumps(configuration["settings"]).encode())
    privileges.drop(settings.children.user, configuration["arbiter_pid"])
    setproctitle("orbitd: janitor")
    log.set_up("janitor", settings.logging, host=settings.instance.name)
    log.always(pid=os.getpid())
    log.tell_also(_News(channel))
    process.give_back_memory()
    try:
        Janitor(channel, configuration, settings).work()
    except ChannelClosed:  # the arbiter is gone
        return ExitCode.FAILED
    return ExitCode.OK


class _News(Sink):
    """Tells the arbiter what an operator may want to know: `orbitctl events` shows it."""

    def __init__(self, channel: Channel) -> None:
        super().__init__()
        self._channel = channel

    def _write(self, entry: Entry) -> None:
        if entry["level"] in _NEWS_LEVELS:
            with contextlib.suppress(ChannelClosed, BufferError):
                self._channel.send({"type": "event", "entry": entry})


@dataclass(slots=True)
class _Grave:
    """A dead child to be buried, not before a time when an attempt has failed."""

    message: Message
    not_before: float = 0.0


class Janitor:
    """See the module's text."""

    def __init__(self, channel: Channel, configuration: Message, settings: Settings) -> None:
        self._slots = SharedSlots(**configuration["slots"])
        log.follow(self._slots.header)
        self._channel, self._settings = channel, settings
        self._former_boot_id: str | None = configuration["former_boot_id"]
        self._boot_id: str = configuration["boot_id"] or os.urandom(16).hex()
        self._pipelines: list[Message] | None = None
        self._all_lanes: frozenset[int] = frozenset()
        self._waking = Waking(self._slots)
        self._are_lanes_known = False
        self._is_asked_for_work = False
        self._watermark = Watermark(self._slots)
        self._graves: deque[_Grave] = deque()
        self._told_database: tuple[bool, str | None, bool] | None = None
        self._connection: Connection | None = None
        self._host_id = 0
        self._attempts = 0
        self._is_stopping = self._is_deaf = self._has_ended = False
        self._upkeep = Upkeep(self._tell)
        self._beat_at = self._next_beat = self._next_reconcile = 0.0

    def work(self) -> None:
        """Do the duties until told to stop. Raises ChannelClosed."""
        while not self._is_stopping:
            self._tick()
            self._waking.hush()
            self._listen_to_arbiter()
            try:
                self._do_duties()
            except store.LeaseLost:
                self._start_afresh()
            except Deaf:
                log.warn("listener_deaf")
                self._close()
            except (psycopg.Error, OrbitError) as error:
                self._lose(error)
            self._sleep()
        self._say_farewell()

    def _do_duties(self) -> None:
        if self._pipelines is None:  # no mold was ready yet: there is nothing to serve
            return
        if self._connection is None:
            self._connection = self._open()
        if not self._host_id:
            self._register(self._connection, self._pipelines)
        if not self._are_lanes_known:
            self._make_lanes(self._connection, self._pipelines)
        self._answer(self._connection)
        if clock.now() >= self._next_beat and self._beat(self._connection):
            self._rescue(self._connection)
        self._bury_the_dead(self._connection)
        if clock.now() >= self._next_reconcile:
            self._reconcile(self._connection)
        self._upkeep.speak()
        if (due_seconds := self._waking.look(self._connection)) is not None:
            self._next_beat = min(self._next_beat, max(self._beat_at + _SHORTEST_PAUSE_SECONDS, clock.now() + due_seconds))
        self._waking.ring_idle(self._watermark.look(self._connection, self._waking.lanes))

    def _tick(self) -> None:
        """Show that we turn; before each call to the database, too, so that only one which outlasts its deadline looks like a stall."""
        self._slots.header.janitor_tick_at = clock.now()

    def _reconcile(self, connection: Connection) -> None:
        """The backstop behind every quicker way: end the children of ours whom nobody has any more, take back what is nobody's."""
        living = [record.child_id for record in self._slots.records if record.child_id]
        if missing := store.end_missing_children(connection, self._host_id, living):
            log.warn("missing_children_ended", children=missing)
            self._note_end()
        store.reconcile(connection, self._mode(), lambda: self._keep_beating(connection))
        self._next_reconcile = clock.now() + (_RECONCILE_SOON_SECONDS if self._has_ended else _RECONCILE_SECONDS)
        self._has_ended = False

    def _note_end(self) -> None:
        """Somebody was ended. A run of theirs that a transaction had locked just then was passed over, and is in nobody's hands."""
        self._has_ended = True
        self._next_reconcile = min(self._next_reconcile, clock.now() + _RECONCILE_SOON_SECONDS)

    # --- the host's place in the fleet ---

    def _open(self) -> Connection:
        database = self._settings.database
        connection = store.connect(
            database.listen_address,
            connect_timeout_seconds=database.connect_timeout,
            call_timeout_seconds=database.call_timeout,
            application_name=store.application_name(self._settings.instance.name, "janitor"),
            pooled=database.listen_pooled,
            before_call=self._tick,
        )
        store.check_schema(connection)
        self._waking.begin(connection)
        if connection.is_pooled and not self._is_deaf:
            option = "direct_url" if database.direct_url else "url"
            log.warn("poll_only", why=f"database.{option} leads through a pooler, which announces nothing")
        self._is_deaf = connection.is_pooled
        self._watermark.reset()
        self._next_beat = self._next_reconcile = 0.0
        return connection

    def _register(self, connection: Connection, pipelines: list[Message]) -> None:
        """Join the fleet. The order matters: first take back our own, then say that we can claim."""
        if self._former_boot_id:
            taken = store.end_host(connection, self._former_boot_id, "its arbiter died", self._mode())
            log.warn("former_incarnation_ended", runs=taken)
            self._note_end()
            self._former_boot_id = None
        asked_at = clock.now()
        self._host_id = store.register(
            connection,
            boot_id=self._boot_id,
            name=self._settings.instance.name,
            pid=os.getppid(),
            version=__version__,
            lease_seconds=self._settings.host.lease,
        )
        self._tell({"type": "host", "boot_id": self._boot_id})
        self._make_lanes(connection, pipelines)
        self._next_beat = self._next_reconcile = 0.0
        self._upkeep.attend(self._settings, self._host_id)
        lease.hold(self._slots.header, asked_at, self._settings.host.lease)
        self._publish(is_news=True)

    def _make_lanes(self, connection: Connection, pipelines: list[Message]) -> None:
        specs = [PipelineSpec(**spec) for spec in pipelines]
        self._learn_lanes(store.register_pipelines(connection, self._host_id, specs))
        self._are_lanes_known = True

    def _learn_lanes(self, lanes: list[Lane]) -> None:
        """Have the children read the lanes again when there are others than before, and know those in queues that we serve."""
        everything = frozenset(lane.id for lane in lanes)
        self._slots.board.enter(everything)
        self._waking.lanes = frozenset(lane.id for lane in lanes if is_served(lane.queue, self._settings.app.queues))
        if everything != self._all_lanes:
            self._all_lanes = everything
            self._slots.header.lanes_version += 1

    def _publish(self, *, is_news: bool) -> None:
        """The lease holds, and whoever may claim now and might not before is to know."""
        header = self._slots.header
        header.beat_at = clock.now()
        header.host_id = self._host_id
        self._attempts = 0
        self._tell_database(is_up=True)
        if is_news:
            self._waking.ring_all()

    def _answer(self, connection: Connection) -> None:
        """Hear the bells: they are for idle children, or for a beat."""
        if self._waking.answer(connection):
            self._next_beat = min(self._next_beat, self._beat_at + _SHORTEST_PAUSE_SECONDS)

    def _beat(self, connection: Connection) -> bool:
        """See the module's text; whether there may be somebody to rescue. Raises LeaseLost."""
        self._beat_at, held_until = clock.now(), self._slots.header.lease_until
        beat = self._watermark.beat(connection, self._host_id, self._settings.host.lease, probes=self._waking.prepare_beat())
        if self._all_lanes != frozenset(beat.lanes):
            self._learn_lanes(store.lanes_of(connection, [spec["name"] for spec in self._pipelines or ()]))
        self._publish(is_news=clock.now() >= held_until)
        has_work = not self._waking.lanes.isdisjoint(beat.lanes_with_work)
        if has_work:
            self._waking.ring_for_find()
        if self._is_asked_for_work:
            self._is_asked_for_work = False
            self._tell({"type": "work", "looked_at": self._beat_at, "has_work": has_work or beat.next_due_seconds == 0})
        self._pass_on_cancels(beat.cancels)
        pause = min(self._settings.host.beat, self._settings.poll.interval)
        if beat.next_due_seconds is not None:
            pause = min(pause, max(_SHORTEST_PAUSE_SECONDS, beat.next_due_seconds))
        self._next_beat = self._beat_at + pause
        return beat.others_lapsed

    def _keep_beating(self, connection: Connection) -> None:
        """While much is taken back: our own lease must not lapse over it. Raises LeaseLost."""
        self._answer(connection)  # a beat takes its own bell that nobody has heard for lost
        if clock.now() >= self._next_beat:
            self._beat(connection)

    def _rescue(self, connection: Connection) -> None:
        self._note_end()
        if rescued := store.rescue(connection, self._host_id, self._mode(), lambda: self._keep_beating(connection)):
            log.warn("runs_rescued", runs=rescued)

    def _start_afresh(self) -> None:
        """Somebody took us for dead and has taken back our runs. What we are still doing is fenced; we join as a new host."""
        log.warn("host_was_ended", host_id=self._host_id)
        self._host_id, self._boot_id = 0, os.urandom(16).hex()
        self._next_beat = 0.0

    def _mode(self) -> Mode:
        return "hold" if self._settings.recovery.mode == "hold" else "resume"

    def _pass_on_cancels(self, cancels: list[tuple[int, int]]) -> None:
        for run_id, _ in cancels:
            for slot, record in enumerate(self._slots.records):
                if record.run_id == run_id or self._slots.claims[slot].holds(run_id):
                    self._tell({"type": "cancel", "slot": slot, "run": run_id})

    # --- the dead ---

    def _bury_the_dead(self, connection: Connection) -> None:
        """Take back their runs, the latest first. One that cannot be buried now (its session still holds a lock) is put off.

        It must not keep the others waiting, nor the beat.
        """
        for _ in range(len(self._graves)):
            grave = self._graves.popleft()
            if clock.now() < grave.not_before:
                self._graves.append(grave)
                continue
            try:
                self._bury(connection, grave.message)
            except psycopg.Error as error:
                grave.not_before = clock.now() + _PUT_OFF_SECONDS
                self._graves.append(grave)
                if connection.closed:
                    raise
                log.warn("burial_put_off", slot=grave.message["slot"], error=str(error).strip())

    def _bury(self, connection: Connection, grave: Message) -> None:
        """Take back what a dead child held, and what it may have been given without knowing.

        What it was doing in the database ends by itself when the server finds its client gone; if it does not, it is ended.
        """
        try:
            taken = self._interrupt(connection, grave)
        except psycopg.errors.LockNotAvailable:
            name = store.name_of_child(self._settings.instance.name, grave["slot"], grave["nonce"])
            if not store.end_sessions(connection, name):
                raise
            log.warn("sessions_ended", slot=grave["slot"], of=name)
            taken = self._interrupt(connection, grave)
        self._note_end()
        for run_id, state in taken:
            log.warn("run_taken_back", run=run_id, slot=grave["slot"], cause=grave["cause"], state=state)
        self._tell({"type": "buried", "nonce": grave["nonce"]})
        will = grave["will"]
        for held in will["held"]:
            self._slots.board.tell_of(held["lane"], held["seq"])
        for lane in will["asked_lanes"] or self._waking.lanes if will["asked_token"] else ():
            self._slots.board.tell_of(lane, 0)  # which run its claim took, only the database knew
        self._waking.ring_idle(sum(state == "pending" for _, state in taken))

    def _interrupt(self, connection: Connection, grave: Message) -> list[tuple[int, RunState]]:
        will = grave["will"]
        return store.interrupt(
            connection,
            child_id=grave["child_id"],
            held=[(Fence(held["lane"], held["seq"], held["run_id"], held["token"]), held["begun"]) for held in will["held"]],
            asked=(will["asked_token"], list(will["asked_lanes"])) if will["asked_token"] else None,
            cause=grave["cause"],
            error=f"the child process ended: {grave['cause']}",
            stack=grave["stack"],
            charge=Charge(grave["charge"]),
            mode=self._mode(),
        )

    # --- arbiter, database, sleep ---

    def _listen_to_arbiter(self) -> None:
        while message := self._channel.receive():
            match message["type"]:
                case "serve":
                    self._pipelines = message["pipelines"]
                    self._settings = Settings.from_json(json.dumps(message["settings"]).encode())
                    log.set_up("janitor", self._settings.logging, host=self._settings.instance.name)
                    self._are_lanes_known = False
                    if self._host_id:
                        self._upkeep.attend(self._settings, self._host_id)
                case "look_for_work":
                    self._is_asked_for_work = True
                    self._next_beat = 0.0
                case "child_ended":
                    self._graves.appendleft(_Grave(message))
                case "stopping":
                    self._is_stopping = True

    def _lose(self, error: Exception) -> None:
        """The database is gone, or not fit for us yet. Say so, and come back with a growing, jittered wait."""
        told = error.message if isinstance(error, OrbitError) else str(error).strip().partition("\n")[0]
        why, command = masked(told), "orbitd migrate" if isinstance(error, store.SchemaMismatch) else "orbitd check --connect"
        if self._attempts == 0:
            log.warn("duty_failed", error=why)
        self._close()
        self._attempts += 1
        self._tell_database(is_up=False, why=why, command=command)

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _tell_database(self, *, is_up: bool, why: str | None = None, command: str = "") -> None:
        """News only: the arbiter is woken by each message."""
        is_deaf = self._is_deaf and self._settings.database.pooled == "auto"  # who has written "yes" knows
        if self._told_database != (is_up, why, is_deaf):
            self._told_database = (is_up, why, is_deaf)
            self._tell({"type": "database", "up": is_up, "why": why, "command": command, "deaf": is_deaf})

    def _tell(self, message: Message) -> None:
        """Tell the arbiter. One that does not read for very long must not cost the host its lease."""
        try:
            self._channel.send(message)
        except BufferError:
            log.warn("arbiter_does_not_read", message=message["type"])

    def _sleep(self) -> None:
        """Until the arbiter or the database speaks, or the next duty is due."""
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(self._slots.janitor_bell, select.POLLIN)
        now = clock.now()
        if not self._channel.flush():
            poll.modify(self._channel, select.POLLIN | select.POLLOUT)
        if self._connection is not None:
            poll.register(self._connection, select.POLLIN)
            due_at = min(self._next_beat, self._next_reconcile, self._watermark.next_look, self._waking.next_look_at())
            seconds = 0.0 if self._connection.is_rung() else due_at - now
        elif self._pipelines is None:
            seconds = inf
        else:
            seconds = reconnect_seconds(self._attempts, random.random())
        if not self._is_stopping:  # a beat at most, whatever there is to wait for: who does not turn is taken for stalled
            poll.poll(ceil(max(0.0, min(seconds, self._settings.host.beat)) * 1000))

    def _say_farewell(self) -> None:
        """End the host: its runs are taken back at once, and nobody waits for its lease."""
        try:
            if self._connection is not None and self._host_id:
                for grave in self._graves:
                    grave.not_before = 0.0
                self._bury_the_dead(self._connection)
                store.end_host(self._connection, self._boot_id, "stopped", self._mode())
                self._tell({"type": "handed_back"})
        except psycopg.Error as error:
            log.warn("farewell_failed", error=str(error).strip())
