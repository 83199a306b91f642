"""The id of a run: the day on which it was made, counted from 2020-01-01, above a number that is unique by itself.

`orbit.next_run_id` makes them. The number alone is the short form, which people type.
"""

from __future__ import annotations

NUMBER_BITS = 39
LARGEST_ID = 2**63 - 1


def short_id(run_id: int | str) -> str:
    """The number of a run, without the day."""
    return str(int(run_id) & (2**NUMBER_BITS - 1))
