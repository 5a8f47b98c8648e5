"""The cut in time against its definition in plain Python."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from fractions import Fraction

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from twinlake.errors import InputError
from twinlake.models.split import EPOCH, split_at, split_by_time

HOUR = 3_600_000_000


def times(instants: Sequence[int | None]) -> pa.Array:
    return pa.array(instants, pa.timestamp("us", tz="UTC"))


@given(
    st.lists(st.integers(-50, 50).map(lambda hour: hour * HOUR), min_size=2, max_size=40),
    st.sampled_from([0.1, 0.2, 0.25, 0.5, 0.9]),
)
@example([0, 0, HOUR, HOUR], 0.2)
def test_the_last_part_of_time_is_cut_off(instants: list[int], fraction: float) -> None:
    first, last = min(instants), max(instants)
    if first == last:
        with pytest.raises(InputError, match="cannot be split by time"):
            split_by_time(times(instants), fraction)
        return

    split = split_by_time(times(instants), fraction)

    boundary = last - Fraction(str(fraction)) * (last - first)
    expected = [instant > boundary for instant in instants]
    assert split.after.tolist() == expected
    assert split.before.tolist() == [not late for late in expected]
    assert split.cut == EPOCH + dt.timedelta(
        microseconds=min(instant for instant in instants if instant > boundary)
    )


def test_of_ten_days_the_last_two_are_the_last_fifth() -> None:
    days = pa.array([dt.date(2024, 1, day) for day in range(1, 11) for _ in range(3)])
    split = split_by_time(days, 0.2)
    assert split.cut == dt.datetime(2024, 1, 9, tzinfo=dt.UTC)
    assert split.after.sum() == 6


def test_both_sides_have_rows_even_for_a_sliver() -> None:
    for fraction in (1e-12, 1 - 1e-12):
        split = split_by_time(times([0, HOUR]), fraction)
        assert split.before.tolist() == [True, False]


@pytest.mark.parametrize("instants", [[], [HOUR], [HOUR, HOUR]])
def test_an_empty_side_is_refused(instants: list[int]) -> None:
    with pytest.raises(InputError, match="cannot be split by time"):
        split_by_time(times(instants), 0.2)


@given(
    st.lists(st.integers(-5, 5), min_size=1, max_size=30),
    st.integers(-6, 6) | st.none(),
    st.integers(-6, 6),
)
@example([0, 1, 2], 0, 2)
def test_a_cut_at_an_instant(instants: list[int], after: int | None, cut: int) -> None:
    learned = [i < cut and (after is None or i > after) for i in instants]
    tested = [i >= cut for i in instants]
    if not any(learned) or not any(tested):
        with pytest.raises(InputError, match=r"no time lies .* the rows span"):
            split_at(times(instants), after, cut)
        return
    split = split_at(times(instants), after, cut)
    assert split.before.tolist() == learned
    assert split.after.tolist() == tested
    assert split.cut == EPOCH + dt.timedelta(microseconds=cut)


def test_no_rows_have_no_cut() -> None:
    with pytest.raises(InputError, match="no at lies before 1970-01-01T00:00:00Z; there are no"):
        split_at(times([]), None, 0, "at")


def test_bad_columns_and_fractions_are_named() -> None:
    with pytest.raises(InputError, match="column at has 1 nulls"):
        split_by_time(times([1, None]), 0.2, "at")
    with pytest.raises(InputError, match="column at is of type int64"):
        split_by_time(pa.array([1, 2]), 0.2, "at")
    for fraction in (0, 1, -0.5, 1.5):
        with pytest.raises(InputError, match="cannot be cut off"):
            split_by_time(times([1, 2]), fraction)
