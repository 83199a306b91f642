from __future__ import annotations

from hypothesis import given, strategies as st

from orbitd.rules.ids import LARGEST_ID, NUMBER_BITS, short_id


@given(st.integers(0, 2**14 - 1), st.integers(0, 2**39 - 1))
def test_the_short_form_of_an_id_is_its_number_without_the_day(day: int, number: int) -> None:
    run_id = (day << NUMBER_BITS) + number
    assert run_id <= LARGEST_ID
    assert short_id(run_id) == short_id(str(run_id)) == str(number)
