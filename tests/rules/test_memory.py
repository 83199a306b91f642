"""Whom to weigh fully, and which death an OOM kill accounts for."""

from __future__ import annotations

from orbitd.rules.memory import FULL_SAMPLE_SECONDS, GROWTH_BYTES, NEWBORN_SECONDS, OomKills, whom_to_weigh_fully
from orbitd.rules.roster import Child

MB = 1024 * 1024
NOW = 1000.0


def child(slot: int, *, rss: int = 400 * MB, seen_at: float = NOW - 1, own: int | None = MB, booted_at: float | None = 0.0) -> Child:
    """One that had this resident set at its last full sample."""
    return Child(slot, 1, 0.0, booted_at=booted_at, own_bytes=own, own_seen_at=seen_at, own_seen_rss_bytes=rss)


def chosen(*children: Child, grown: dict[int, int] | None = None) -> int | None:
    rss_bytes = {child.slot: child.own_seen_rss_bytes + (grown or {}).get(child.slot, 0) for child in children}
    found = whom_to_weigh_fully(children, rss_bytes, NOW)
    return None if found is None else found.slot


def test_nobody_whose_sample_is_fresh_and_who_has_not_grown() -> None:
    assert chosen(child(0), child(1)) is None
    assert chosen() is None


def test_the_stalest_of_those_whose_sample_is_old() -> None:
    old, older = NOW - FULL_SAMPLE_SECONDS, NOW - FULL_SAMPLE_SECONDS - 5
    assert chosen(child(0), child(1, seen_at=old), child(2, seen_at=older)) == 2


def test_who_has_grown_goes_before_who_is_stale_and_who_has_grown_most_before_others() -> None:
    stale = child(0, seen_at=0.0)
    assert chosen(stale, child(1), child(2), grown={1: GROWTH_BYTES + 1, 2: GROWTH_BYTES + 2}) == 2


def test_who_was_over_its_limit_is_looked_at_again_at_once() -> None:
    suspect = child(1)
    suspect.heavy_own_samples = 1
    assert chosen(child(0, seen_at=0.0), suspect, child(2), grown={2: GROWTH_BYTES + 1}) == 1
    suspect.heavy_own_samples = 2
    assert chosen(suspect) is None


def test_a_small_child_has_grown_by_a_tenth() -> None:
    assert chosen(child(1, rss=20 * MB), grown={1: 3 * MB}) == 1
    assert chosen(child(1, rss=20 * MB), grown={1: 1 * MB}) is None


def test_a_newborn_gets_its_baseline_first_but_not_while_it_starts() -> None:
    newborn = child(1, own=None, booted_at=NOW - 1)
    assert chosen(child(0, seen_at=0.0), newborn) == 1
    assert chosen(child(1, own=None, booted_at=None)) is None


def test_one_that_cannot_be_looked_into_is_not_hurried_for_ever() -> None:
    unreadable = child(1, own=None, booted_at=NOW - NEWBORN_SECONDS, seen_at=0.0)
    assert chosen(unreadable, child(2), grown={2: GROWTH_BYTES + 1}) == 2
    assert chosen(unreadable) == 1


def test_an_oom_kill_accounts_for_one_death() -> None:
    kills = OomKills(3)
    kills.note(4, NOW)
    assert kills.claim()
    assert not kills.claim()


def test_an_oom_kill_seen_before_its_victim_is_gone_is_kept_for_it() -> None:
    kills = OomKills(0)
    kills.note(1, NOW)
    kills.note(1, NOW + 2)
    assert kills.claim()


def test_an_oom_kill_that_hit_somebody_else_lapses() -> None:
    kills = OomKills(0)
    kills.note(1, NOW)
    kills.note(1, NOW + 3600)
    assert not kills.claim()


def test_kills_from_before_us_and_a_count_that_is_not_there_account_for_nothing() -> None:
    for first, then in ((None, 5), (5, None), (5, 5)):
        kills = OomKills(first)
        kills.note(then, NOW)
        assert not kills.claim()
