from __future__ import annotations

from orbitd.config import adopt, load


def test_what_needs_a_restart_keeps_its_value_and_is_named() -> None:
    old = load(None, overrides=["database.url=postgresql://a@/one", "children.count=2"], environ={})
    new = load(None, overrides=["database.url=postgresql://a@/two", "children.count=3", "control.socket=/run/x.sock"], environ={})
    settings, kept = adopt(old, new)
    assert (settings.database.url, settings.control.socket, settings.children.count) == (old.database.url, old.control.socket, 3)
    assert kept == ["database.url", "control.socket"]


def test_settings_that_did_not_change_are_taken_up_as_they_are() -> None:
    settings = load(None, overrides=["children.count=2"], environ={})
    assert adopt(settings, settings) == (settings, [])
