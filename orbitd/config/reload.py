"""What a reload may change: all but the options of class *restart*, which keep their values until one, and are named."""

from __future__ import annotations

from dataclasses import asdict

from orbitd.config.model import OPTIONS, Settings
from orbitd.config.options import Reload


def adopt(old: Settings, new: Settings) -> tuple[Settings, list[str]]:
    """The new settings as far as a reload can take them up, and the options ("section.key") that wait for a restart."""
    before, values = asdict(old), asdict(new)
    kept = []
    for (section, key), option in OPTIONS.items():
        if option.reload is Reload.RESTART and values[section][key] != before[section][key]:
            values[section][key] = before[section][key]
            kept.append(f"{section}.{key}")
    return Settings.of(values), kept
