"""What outlives an upgrade, and that nobody adds something to the arbiter without saying whether it does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from orbitd import config, succession
from orbitd.errors import OrbitError
from orbitd.fleet import Keep
from orbitd.generations import Generations
from orbitd.succession import Estate, Succession
from orbitd.system.slots import SharedSlots
from tests.support.anything import anything

HANDED_OVER = {
    "arbiter": {
        *("_generations", "_incarnation", "fleet", "vitals", "roster", "desired", "ring", "affairs", "_server", "_pid_file", "succession"),
    },
    "affairs": {"database", "boot_id", "unburied"},
    "fleet": {"slots", "_molds", "_children", "_janitor", "_mark", "_orphans"},
    "vitals": {"tally", "findings"},
    "generations": {"serving", "reload", "_loaded", "_pipelines", "_hazards", "_fingerprints", "counts"},
    "ring": {"_events", "last_number"},
}
MADE_ANEW = {
    "arbiter": {
        *("wakeup", "limits", "exit_code", "start_error", "_errand"),  # `once` is not upgraded, nor is who stops or starts
        *("_scales", "inquiries", "_service"),  # they look again, and say again what they have said
        "rollouts",  # it knows nothing of its own
        *("looked_at", "_next_look", "_next_report", "_decided_at", "_wake_at", "_is_record_stale", "_is_judged"),
    },
    "affairs": {"_fleet", "_generations", "_incarnation", "is_handed_back", "upkeep"},
    "fleet": {"_owner", "_wakeup", "_burials", "_strays"},
    "vitals": {"_slots", "stuck_runs"},
    "generations": {"_load"},
    "ring": {"_dropped"},
}


_ATTRIBUTES = """
import json, pathlib, sys
from orbitd import config
from orbitd.arbiter import Arbiter
from orbitd.generations import Generations
from orbitd.incarnation import Incarnation
loaded = config.survey(None, environ={})
arbiter = Arbiter(Generations(loaded, lambda: loaded), Incarnation.begin(pathlib.Path(sys.argv[1])))
parts = {"arbiter": arbiter, "fleet": arbiter.fleet, "vitals": arbiter.vitals, "affairs": arbiter.affairs, "ring": arbiter.ring}
parts["generations"] = arbiter._generations
print(json.dumps({name: list(vars(part)) for name, part in parts.items()}))
"""


def test_whatever_the_arbiter_and_its_parts_know_is_handed_over_or_made_anew_on_purpose(tmp_path: Path) -> None:
    """Who adds an attribute decides here; one that is handed over also has its place in an estate, and in `inherit`."""
    known = json.loads(subprocess.check_output([sys.executable, "-c", _ATTRIBUTES, str(tmp_path)]))
    assert {part: set(names) for part, names in known.items()} == {part: HANDED_OVER[part] | MADE_ANEW[part] for part in HANDED_OVER}


@given(anything(Estate))
def test_an_estate_is_read_as_it_was_written(estate: Estate) -> None:
    estate.fleet.layout.clear()
    fd = succession.write(estate)
    try:
        assert succession.read(fd) == estate
    finally:
        os.close(fd)


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ({"format": succession.FORMAT + 1, "estate": {}}, "its format is"),
        ({"format": succession.FORMAT, "estate": {"mood": 1}}, "unknown: mood"),
        ([], "list indices"),
    ],
)
def test_what_cannot_be_read_is_refused_before_anything_changes(document: object, says: str) -> None:
    fd = os.memfd_create("test")
    os.write(fd, json.dumps(document).encode())
    with pytest.raises(OrbitError, match=says):
        succession.read(fd)
    os.close(fd)


@settings(max_examples=2)
@given(anything(Estate))
def test_children_that_share_memory_of_another_layout_cannot_be_gone_on_with(estate: Estate) -> None:
    ours = SharedSlots.layout()
    estate.fleet.layout.clear()
    estate.fleet.layout.update(ours)
    fd = succession.write(estate)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SharedSlots, "layout", lambda: ours | {"Record.mood": 12})
        assert succession.read(fd).fleet.layout == ours  # a word more hurts nobody: the old children leave it 0
        patch.setattr(SharedSlots, "layout", lambda: ours | {"Record.run_id": 99})
        with pytest.raises(OrbitError, match="another layout"):
            succession.read(fd)
    os.close(fd)


def test_what_cannot_be_handed_over_is_a_failed_upgrade_and_no_end() -> None:
    def take_stock(keep: Keep) -> Estate:
        raise OrbitError("there is no control socket to hand over")

    nobody: Any = None
    upgrading = Succession(nobody, take_stock)
    for begin in (upgrading.begin, upgrading.hand_over):
        upgrading.upgrade = None
        begin(1.0)
        assert "no control socket" in (upgrading.error or "")


def test_options_that_are_new_since_have_their_defaults() -> None:
    loaded = config.survey(None, environ={"ORBITD_CHILDREN__COUNT": "7"})
    estate = Generations(loaded, lambda: loaded).hand_over()
    del estate.loaded[1].settings["children"]["boot_timeout"], estate.loaded[1].settings["health"]
    inherited = Generations.inherit(estate, lambda: loaded).serving.settings
    assert inherited == loaded.settings
    assert inherited.children.count == 7
