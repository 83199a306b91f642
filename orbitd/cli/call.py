"""What a command of `orbitd` works with."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orbitd import config
from orbitd.cli.commands import OPTION_FLAGS
from orbitd.config import Loaded, Settings
from orbitd.ctl.output import Output
from orbitd.ctl.parser import Invocation
from orbitd.errors import Refused


@dataclass(frozen=True)
class Call:
    """One call of the program. `environ` is the environment that it was started with."""

    invocation: Invocation
    out: Output
    environ: Mapping[str, str]

    @property
    def args(self) -> Mapping[str, Any]:
        """The command's own arguments, by name."""
        return self.invocation.args

    @property
    def file(self) -> Path | None:
        """The configuration that -c names, or the usual one."""
        named = self.invocation.flags.get("config")
        return config.find_file(self.environ) if named is None else Path(named)

    @property
    def overrides(self) -> list[str]:
        """What the command line says about options, as `orbitd.config` takes it."""
        flags = self.invocation.flags
        return [*flags.get("set", []), *(f"{OPTION_FLAGS[name].written}={flags[name]}" for name in flags if name in OPTION_FLAGS)]

    def survey(self) -> Loaded:
        """The configuration in force. Raises ConfigError."""
        return config.survey(self.file, overrides=self.overrides, environ=self.environ)

    def refuse_root(self, settings: Settings) -> None:
        """Raise Refused for root who has not said that he means it: the pipelines' code would have every right."""
        if os.geteuid() == 0 and settings.children.user in ("", "root") and not self.invocation.flags.get("allow-root"):
            hint = "start it as another user, name one in children.user, or say --allow-root"
            raise Refused("orbitd does not run the pipelines' code as root", hint)


Act = Callable[[Call], int]
