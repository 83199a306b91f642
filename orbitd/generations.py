"""The generations of configuration and code: one serves; a reload stages the next, which takes over or fails.

start, stage --> under way (ok None) --take_over, conclude--> ok True: the new one holds the target
--fail--> ok False: the one before goes on
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from orbitd import config
from orbitd.config import Loaded, Settings
from orbitd.errors import ExitCode, OrbitError
from orbitd.rules.limits import Backoff, Limits
from orbitd.rules.roster import Roster
from orbitd.system import log


@dataclass(frozen=True, slots=True)
class Reload:
    """One reload, as the operator sees it. `ok` is None while it is under way."""

    generation: int
    at: float
    ok: bool | None = None
    error: str | None = None
    exit_code: ExitCode = ExitCode.OK


class Generations:
    """`serving` is the configuration of the generation that serves, environment included; `reload` is the last one, or the start."""

    def __init__(self, loaded: Loaded, load: Callable[[], Loaded]) -> None:
        self.serving = loaded
        self.reload = Reload(generation=1, at=time.time())
        self._load = load
        self._loaded = {1: loaded}

    def of(self, generation: int) -> Loaded:
        """The configuration of a generation that serves or is staged."""
        return self._loaded[generation]

    def stage(self, generation: int) -> None:
        """Begin a generation with the newest configuration.

        Raises ConfigError when that cannot be used: a reload that is under way goes on.
        """
        try:
            loaded = self._load()
            settings, kept = config.adopt(self.serving.settings, loaded.settings)
        except OrbitError as error:
            log.fault("reload_refused", error=error)
            if self.reload.ok is not None:
                self.fail(generation, str(error), error.exit_code)
            raise
        log.event("reloading", gen=generation)
        if kept:
            log.warn("restart_needed", options=",".join(kept))
        self._loaded[generation] = replace(loaded, settings=settings)
        self.reload = Reload(generation, time.time())

    def take_over(self, generation: int) -> None:
        """Its code is loaded: from now on its configuration is the one that counts."""
        self.serving = self._loaded[generation]
        self._loaded = {each: loaded for each, loaded in self._loaded.items() if each >= generation}

    def fail(self, generation: int, error: str, exit_code: ExitCode) -> None:
        """It is broken, and the one before goes on."""
        log.fault("reload_failed", gen=generation, error=error)
        self.reload = Reload(generation, time.time(), ok=False, error=error, exit_code=exit_code)

    def conclude(self, roster: Roster, target: int) -> None:
        """A reload has succeeded when the new generation holds the target; old children may still finish their runs."""
        if self.reload.ok is not None or roster.generation < self.reload.generation:
            return
        new = [child for child in roster.able() if not roster.is_outdated(child)]
        if len(new) >= target and not any(roster.is_outdated(child) for child in roster.able()):
            self.reload = Reload(self.reload.generation, self.reload.at, ok=True)
            log.event("generation_serves", gen=roster.generation, children=len(new))


def limits_of(settings: Settings) -> Limits:
    """The numbers of the configuration that supervision goes by."""
    restart = settings.restart
    backoff = Backoff(restart.backoff_first, restart.backoff_longest, restart.min_uptime, restart.max_restarts, restart.restart_window)
    return Limits(
        backoff=backoff,
        janitor_backoff=Backoff(first_seconds=min(0.5, settings.host.beat), longest_seconds=settings.host.beat, max_restarts=1_000_000),
        boot_seconds=settings.children.boot_timeout,
        drain_seconds=settings.shutdown.drain_timeout,
        kill_after_seconds=settings.runs.kill_after,
        max_rss_bytes=settings.children.max_rss,
        boots_at_once=os.cpu_count() or 1,
        janitor_stall_seconds=max(settings.host.lease / 2, settings.database.connect_timeout + 1, settings.database.call_timeout + 1),
    )
