"""The configurations of the generations, and how the last reload went; the stages of one are in `rules.rollout`.

start, stage --> under way (ok None) --promote, conclude--> ok True: the new one holds the target
--fail--> ok False: the one before goes on, or takes over again
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from orbitd import config
from orbitd.config import Loaded, Origin, Settings
from orbitd.errors import ExitCode, OrbitError, why
from orbitd.rules.limits import Backoff, Limits
from orbitd.system import log
from orbitd.system.cpus import usable_cpus


@dataclass(frozen=True, slots=True)
class Reload:
    """One reload, as the operator sees it. `ok` is None while it is under way; `restart_needed` names options that it has left alone."""

    generation: int
    at: float
    ok: bool | None = None
    error: str | None = None
    exit_code: ExitCode = ExitCode.OK
    restart_needed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ConfigurationEstate:
    """A generation's configuration."""

    settings: dict[str, dict[str, Any]]
    origins: dict[str, tuple[str, Any]]
    environ: dict[str, str]
    files: list[str]


@dataclass(frozen=True, slots=True)
class GenerationsEstate:
    """What the generations hand over to the next program."""

    serving: int
    loaded: dict[int, ConfigurationEstate]
    pipelines: dict[int, list[dict[str, Any]]]
    fingerprints: dict[int, str]
    counts: dict[int, int]
    reload: Reload
    hazards: dict[int, list[str]] = field(default_factory=dict)


class Generations:
    """`serving` is the configuration of the generation that serves, environment included; `reload` is the last one, or the start.

    `counts`: how many children were wanted when a generation was relieved by the next.
    """

    def __init__(
        self, loaded: Loaded, load: Callable[[], Loaded], *, known: dict[int, Loaded] | None = None, reload: Reload | None = None
    ) -> None:
        """`load` reads the configuration anew and raises ConfigError. `known` are all generations', if this is not the first."""
        self.serving = loaded
        self.reload = reload or Reload(generation=1, at=time.time())
        self._load = load
        self._loaded = known or {1: loaded}
        self._pipelines: dict[int, list[dict[str, Any]]] = {}
        self._hazards: dict[int, list[str]] = {}
        self._fingerprints: dict[int, str] = {}
        self.counts: dict[int, int] = {}

    def hand_over(self) -> GenerationsEstate:
        """What `inherit` needs."""
        serving = next(generation for generation, loaded in self._loaded.items() if loaded is self.serving)
        loaded = {generation: _estate(loaded) for generation, loaded in self._loaded.items()}
        return GenerationsEstate(serving, loaded, self._pipelines, self._fingerprints, self.counts, self.reload, self._hazards)

    @classmethod
    def inherit(cls, estate: GenerationsEstate, load: Callable[[], Loaded]) -> Generations:
        """Go on with these. Raises TypeError for an option that we do not know."""
        loaded = {generation: _loaded(left) for generation, left in estate.loaded.items()}
        generations = cls(loaded[estate.serving], load, known=loaded, reload=estate.reload)
        generations._pipelines, generations._fingerprints, generations.counts = estate.pipelines, estate.fingerprints, estate.counts
        generations._hazards = estate.hazards
        return generations

    def of(self, generation: int) -> Loaded:
        """The configuration of a generation that serves or is staged."""
        return self._loaded[generation]

    def newest(self) -> Loaded:
        """The configuration that a reload would begin with now. Raises OrbitError when it cannot be used, or the system cannot read it."""
        try:
            return self._load()
        except OSError as error:  # no descriptor is left, say, for a file or a module
            raise OrbitError(f"the configuration cannot be read now: {why(error)}", "try again: orbitctl reload --wait") from error

    def is_unchanged(self, generation: int, fingerprint: str) -> bool:
        """Whether a mold of this generation has imported the same files as its first one."""
        return self._fingerprints.setdefault(generation, fingerprint) == fingerprint

    def stage(self, generation: int) -> None:
        """Begin a generation with the newest configuration.

        Raises ConfigError when that cannot be used: a reload that is under way goes on.
        """
        try:
            loaded = self.newest()
            settings, kept = config.adopt(self.serving.settings, loaded.settings)
        except OrbitError as error:
            log.fault("reload_refused", error=error)
            if self.reload.ok is not None:
                self.fail(generation, str(error), error.exit_code)
            raise
        log.event("reloading", gen=generation)
        origins = {key: (self.serving if ".".join(key) in kept else loaded).origins[key] for key in loaded.origins}
        if kept:
            log.warn("restart_needed", options=",".join(kept))
        self._loaded[generation] = replace(loaded, settings=settings, origins=origins)
        self.reload = Reload(generation, time.time(), restart_needed=tuple(kept))

    def take_over(self, generation: int) -> Loaded:
        """From now on the configuration of this generation is the one that counts: a new one's, or that of the one before."""
        self.serving = self._loaded[generation]
        return self.serving

    def learn(self, generation: int, pipelines: list[dict[str, Any]], hazards: list[str]) -> None:
        """What a generation's code defines, and what its import leaves that no fork survives, as its mold tells it."""
        self._pipelines[generation], self._hazards[generation] = pipelines, hazards

    def pipelines_of(self, generation: int) -> list[dict[str, Any]]:
        """What a generation's code defines; nothing before its mold was ready."""
        return self._pipelines.get(generation, [])

    def hazards_of(self, generation: int) -> list[str]:
        """Why a generation's children cannot be forked, as far as its code is the reason."""
        return self._hazards.get(generation, [])

    def fail(self, generation: int, error: str, exit_code: ExitCode) -> None:
        """It is no good, and the one before goes on."""
        log.fault("reload_failed", gen=generation, error=error)
        self.reload = Reload(generation, time.time(), ok=False, error=error, exit_code=exit_code)

    def conclude(self, generation: int, children: int) -> None:
        """The new generation holds the target; old children may still finish their runs. A later reload that failed is not forgotten."""
        if generation >= self.reload.generation:
            self.reload = Reload(generation, self.reload.at, ok=True, restart_needed=self.reload.restart_needed)
        log.event("generation_serves", gen=generation, children=children)

    def keep(self, generations: Collection[int]) -> None:
        """Forget the others: nobody goes back to them."""
        self._loaded = {each: loaded for each, loaded in self._loaded.items() if each in generations}
        self._pipelines = {each: specs for each, specs in self._pipelines.items() if each in generations}
        self._hazards = {each: hazards for each, hazards in self._hazards.items() if each in generations}
        self._fingerprints = {each: digest for each, digest in self._fingerprints.items() if each in generations}
        self.counts = {each: count for each, count in self.counts.items() if each in generations}


def _estate(loaded: Loaded) -> ConfigurationEstate:
    origins = {".".join(key): (origin.where, origin.written) for key, origin in loaded.origins.items()}
    return ConfigurationEstate(asdict(loaded.settings), origins, dict(loaded.environ), [str(path) for path in loaded.files])


def _loaded(estate: ConfigurationEstate) -> Loaded:
    """With the defaults of the options that are new since."""
    defaults = config.survey(None, environ={})
    settings = asdict(defaults.settings)
    for section, values in estate.settings.items():
        settings.setdefault(section, {}).update(values)
    origins = {key: Origin(*estate.origins.get(".".join(key), origin)) for key, origin in defaults.origins.items()}
    return Loaded(Settings.of(settings), origins, (), tuple(map(Path, estate.files)), estate.environ)


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
        max_own_bytes=settings.children.max_own_memory,
        memory_hard_factor=settings.children.memory_hard_factor,
        max_runs=settings.children.max_runs,
        max_lifetime_seconds=settings.children.max_lifetime,
        jitter=settings.children.max_runs_jitter,
        **_surge(settings.reload.max_surge),
        canary_seconds=settings.reload.canary_time,
        probation_seconds=settings.reload.probation,
        boots_at_once=usable_cpus(),
        idle_stall_seconds=3 * settings.poll.interval + settings.database.connect_timeout + settings.database.call_timeout,
        stall_kill_seconds=settings.children.stall_timeout,
        janitor_stall_seconds=max(settings.host.lease / 2, settings.database.connect_timeout + 1, settings.database.call_timeout + 1),
    )


def _surge(text: str) -> dict[str, Any]:
    """As it is written: "25%" is a share of the children wanted, "4" a number."""
    return {"max_surge_share": int(text[:-1]) / 100} if text.endswith("%") else {"max_surge": int(text)}
