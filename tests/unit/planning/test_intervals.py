"""Arithmetic of intervals, against sets of points."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from twinlake.planning.intervals import Pair, merged, subtracted

PAIRS = st.tuples(st.integers(-8, 20), st.integers(1, 9)).map(lambda p: (p[0], p[0] + p[1]))
LISTS = st.lists(PAIRS, max_size=6)


def points(*pairs: Pair) -> set[int]:
    """The instants of ``(start, end]``."""
    return {point for start, end in pairs for point in range(start + 1, end + 1)}


def apart(pairs: tuple[Pair, ...]) -> bool:
    """Whether intervals are in order, not empty, and none touches the next."""
    return all(low < high for low, high in pairs) and all(
        before[1] < after[0] for before, after in pairwise(pairs)
    )


@given(LISTS)
def test_merged_covers_the_same_points_with_the_fewest_intervals(pairs: list[Pair]) -> None:
    out = merged(pairs)
    assert points(*out) == points(*pairs)
    assert apart(out)
    assert merged(out) == out == merged(reversed(pairs))


@given(PAIRS, LISTS)
def test_subtracted_leaves_what_is_not_covered(wanted: Pair, covered: list[Pair]) -> None:
    out = subtracted(wanted, covered)
    assert points(*out) == points(wanted) - points(*covered)
    assert apart(out)
    assert subtracted(wanted, [*covered, *out]) == ()


def test_touching_intervals_leave_no_gap() -> None:
    assert merged([(0, 3), (3, 4)]) == ((0, 4),)
    assert merged([(0, 3), (4, 5)]) == ((0, 3), (4, 5))
    assert subtracted((0, 10), []) == ((0, 10),)
    assert subtracted((3, 7), [(0, 3), (7, 9)]) == ((3, 7),)
    assert merged([]) == ()
