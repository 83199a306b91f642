"""What this host has going with the database, as far as the arbiter knows: it opens none, the janitor does, and tells."""

from __future__ import annotations

from dataclasses import asdict

from orbitd.fleet import Death, Fleet
from orbitd.generations import Generations
from orbitd.incarnation import Incarnation
from orbitd.rules.exits import Verdict
from orbitd.rules.upkeep import Duty, Holder
from orbitd.system import clock, log
from orbitd.system.channel import Message
from orbitd.vitals import DatabaseNews, UpkeepNews


class Affairs:
    """`database` is the janitor's last word of it, and `upkeep` of its upkeep; `boot_id` this host's incarnation there.

    `unburied` are the dead whose runs are still to be taken back: a janitor may die over it, or have no database.
    `is_handed_back`: at the end everything was, and the next arbiter has nothing to take over.
    """

    def __init__(self, fleet: Fleet, generations: Generations, incarnation: Incarnation) -> None:
        self._fleet, self._generations, self._incarnation = fleet, generations, incarnation
        self.database = DatabaseNews()
        self.upkeep = UpkeepNews()
        self.boot_id: str | None = None
        self.unburied: dict[str, Message] = {}
        self.is_handed_back = False

    def spawn_janitor(self, generation: int) -> None:
        """Exec one, and tell it all that the one before may not have done. Raises OSError."""
        former = self._incarnation.former_boot_id if self.boot_id is None else None
        configuration = {"settings": asdict(self._generations.serving.settings), "former_boot_id": former, "boot_id": self.boot_id}
        self._fleet.spawn_janitor(configuration, self._generations.serving.environ)
        self.tell_what_to_serve(generation)
        for message in self.unburied.values():
            self._fleet.tell_janitor(message)

    def tell_what_to_serve(self, generation: int) -> None:
        """The pipelines and the configuration of the generation that serves."""
        if pipelines := self._generations.pipelines_of(generation):
            settings = asdict(self._generations.serving.settings)
            self._fleet.tell_janitor({"type": "serve", "pipelines": pipelines, "settings": settings})

    def bury(self, death: Death, verdict: Verdict) -> None:
        """Have a dead child's runs taken back. Remembered until the janitor has done so."""
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
            self.unburied[death.nonce] = message
            self._fleet.tell_janitor(message)

    def hear(self, message: Message) -> None:
        """News from the janitor."""
        match message["type"]:
            case "host":
                self.boot_id = message["boot_id"]
            case "database":
                self._note_database(DatabaseNews(message["up"], message["why"], message["command"], is_word=True, is_deaf=message["deaf"]))
            case "upkeep":
                holder = message["holder"] and Holder(**message["holder"])
                self.upkeep = UpkeepNews([Duty(**duty) for duty in message["duties"]], holder, clock.now())
            case "buried":
                self.unburied.pop(message["nonce"], None)
            case "handed_back":
                self.is_handed_back = True

    def _note_database(self, news: DatabaseNews) -> None:
        before, self.database = self.database, news
        is_change = news.is_up != before.is_up
        if before.is_word and not is_change:
            news.since = before.since
        news.was_up = before.was_up or news.is_up
        if is_change or not before.is_word:
            log.event("database_up") if news.is_up else log.warn("database_down", why=news.why)
